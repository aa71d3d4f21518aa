package environment

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// AWS is what the stack makes there.
type AWS struct {
	Account        string // twelve digits
	Region         string
	Zones          []string // three; "" are <region>a, b and c
	CIDR           string   // of the VPC
	NATGateways    int      // through which nodes reach the world
	Kubernetes     string   // minor version of EKS
	Nodes          Nodes
	PublicAccess   []string // CIDRs that reach the API server from the internet; none makes it private
	PrivateAccess  []string // CIDRs in the VPC, or connected to it, that reach the API server
	Administrators []string // ARNs of IAM roles that may do everything in the cluster
	GraceDays      int      // that the bucket keeps what was deleted or overwritten
	ObjectLockDays int      // backups cannot be deleted by anyone for so long; 0 is no lock
	LogDays        int      // that the logs of network and control plane are kept
}

// Nodes are the cluster's workers.
type Nodes struct {
	Type     string // EC2 instance type
	Min, Max int    // the stack installs no node autoscaler: without one, Min is how many there are
	DiskGiB  int
}

func (t *table) aws(s *Settings) {
	a := &s.AWS
	t.text("aws.account", &a.Account, "", "the twelve digits of an AWS account", account).knob()
	t.text("aws.region", &a.Region, "", "an AWS region, such as eu-central-1", region)
	t.list("aws.zones", &a.Zones, "three availability zones of the region", zone)
	t.text("aws.cidr", &a.CIDR, "10.0.0.0/16", "a private IPv4 range of /16 to /20", cidr)
	t.count("aws.natGateways", &a.NATGateways, 3, 1, 3, "NAT gateways: one for all zones, or one in each").knob()
	t.text("aws.kubernetes", &a.Kubernetes, "1.34", "a minor version of EKS, such as 1.34; one up at a time, then the add-ons by aws eks update-addon", minorVersion)
	t.text("aws.nodes.type", &a.Nodes.Type, "m7i.large", "an EC2 instance type, such as m7i.large", instanceType).knob()
	t.count("aws.nodes.min", &a.Nodes.Min, 3, 1, 1000, "workers; so many there are without a node autoscaler").knob()
	t.count("aws.nodes.max", &a.Nodes.Max, 6, 1, 1000, "workers that a node autoscaler of yours may make; EKS itself adds none").knob()
	t.count("aws.nodes.diskGiB", &a.Nodes.DiskGiB, 50, 20, 16_384, "GiB of a worker's own disk").knob()
	t.list("aws.publicAccess", &a.PublicAccess, "public IPv4 ranges, of /8 or less, that may reach the API server from the internet", publicCIDR)
	t.list("aws.privateAccess", &a.PrivateAccess, "IPv4 ranges, of /8 or less, in the VPC or connected to it, that may reach the API server", narrowCIDR)
	t.list("aws.administrators", &a.Administrators, "ARNs of IAM roles", roleARN).knob()
	t.count("aws.graceDays", &a.GraceDays, 30, 1, 3650, "days that deleted backups can be brought back").knob()
	t.count("aws.objectLockDays", &a.ObjectLockDays, 0, 0, 3650, "days").knob()
	t.days("aws.logDays", &a.LogDays, 90, logDays).knob()
}

// logDays are the times for which CloudWatch keeps logs.
var logDays = []int{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}

// days is a setting that takes some numbers only.
func (t *table) days(name string, field *int, fallback int, values []int) *key {
	want := "one of " + strings.Trim(fmt.Sprint(values), "[]") + " (days)"
	return t.add(key{name: name, fallback: strconv.Itoa(fallback), want: want, set: func(text string) error {
		n, err := strconv.Atoi(text)
		if err != nil || !slices.Contains(values, n) {
			return fmt.Errorf("is %s; want %s", shown(text), want)
		}
		*field = n
		return nil
	}})
}

// checkAWS says what is missing or contradictory about AWS.
func (c *checker) checkAWS() {
	s := c.s
	if !s.UsesAWS() {
		if slices.ContainsFunc(slices.Collect(maps.Keys(c.given)), func(name string) bool { return strings.HasPrefix(name, "aws.") }) {
			c.say("aws", "contradicts cluster: %s and bucket: %s, which make nothing there; leave it out", s.Cluster, s.Bucket.Kind)
		}
		return
	}
	a := &s.AWS
	if len(s.Name) > 24 {
		c.say("stack", "has a name of %d letters; on AWS, where names are limited, want at most 24", len(s.Name))
	}
	if a.Account == "" {
		c.say("aws.account", "is missing: nothing is ever made in whichever account is the current one")
	}
	if a.Region == "" {
		c.say("aws.region", "is missing: cluster: %s and bucket: %s need it", ClusterEKS, BucketAWS)
	}
	c.checkZones()
	if a.Nodes.Min > a.Nodes.Max {
		c.say("aws.nodes.max", "is %d, less than aws.nodes.min (%d)", a.Nodes.Max, a.Nodes.Min)
	}
	if a.ObjectLockDays > a.GraceDays {
		c.say("aws.objectLockDays", "is %d, more than aws.graceDays (%d): versions would be locked that should be gone", a.ObjectLockDays, a.GraceDays)
	}
	if s.Cluster == ClusterEKS && len(a.Administrators) == 0 {
		c.say("aws.administrators", "is missing: name the IAM role that runs Pulumi at least, or nobody can reach the cluster")
	}
	// The stack has no bastion and no VPN: it must be able to talk to the cluster that it makes, and so must assistctl.
	if s.Cluster == ClusterEKS && len(a.PublicAccess)+len(a.PrivateAccess) == 0 {
		c.say("aws.publicAccess", "is missing: name the ranges from which Pulumi and assistctl reach the API server, such as 203.0.113.0/24, "+
			"or in aws.privateAccess those in the VPC or connected to it")
	}
}

// checkZones wants three different ones of the region; none are a, b and c.
func (c *checker) checkZones() {
	a := &c.s.AWS
	if len(a.Zones) == 0 {
		if a.Region != "" {
			a.Zones = []string{a.Region + "a", a.Region + "b", a.Region + "c"}
		}
		return
	}
	if n := len(slices.Compact(slices.Sorted(slices.Values(a.Zones)))); n != 3 || len(a.Zones) != 3 {
		c.say("aws.zones", "names %d different zones; want three, or none for a, b and c of the region", n)
	}
	for _, z := range a.Zones {
		if a.Region != "" && z[:len(z)-1] != a.Region {
			c.say("aws.zones", "holds %s, which is not in aws.region (%s)", z, a.Region)
		}
	}
}
