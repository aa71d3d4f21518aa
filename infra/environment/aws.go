package environment

// AWS is what the stack makes there.
type AWS struct {
	Region         string
	Zones          []string // three; "" are <region>a, b and c
	CIDR           string   // of the VPC
	Kubernetes     string   // minor version of EKS
	Nodes          Nodes
	PublicAccess   []string // CIDRs that reach the API server; none makes it private
	Administrators []string // ARNs of IAM roles that may do everything in the cluster
	ObjectLockDays int      // backups cannot be deleted by anyone for so long; 0 is no lock
	LogDays        int      // that the control plane's logs are kept
}

// Nodes are the cluster's workers.
type Nodes struct {
	Type     string // EC2 instance type
	Min, Max int
	DiskGiB  int
}

func (t *table) aws(s *Settings) {
	a := &s.AWS
	t.text("aws.region", &a.Region, "", "an AWS region, such as eu-central-1", region)
	t.list("aws.zones", &a.Zones, "three availability zones of the region", zone)
	t.text("aws.cidr", &a.CIDR, "10.0.0.0/16", "a private IPv4 range of /16 to /20", cidr)
	t.text("aws.kubernetes", &a.Kubernetes, "1.34", "a minor version of EKS, such as 1.34", minorVersion)
	t.text("aws.nodes.type", &a.Nodes.Type, "m7g.large", "an EC2 instance type, such as m7g.large", instanceType).knob()
	t.count("aws.nodes.min", &a.Nodes.Min, 3, 1, 1000, "workers at least").knob()
	t.count("aws.nodes.max", &a.Nodes.Max, 6, 1, 1000, "workers at most").knob()
	t.count("aws.nodes.diskGiB", &a.Nodes.DiskGiB, 50, 20, 16_384, "GiB of a worker's own disk").knob()
	t.list("aws.publicAccess", &a.PublicAccess, "IPv4 ranges that may reach the API server", anyCIDR)
	t.list("aws.administrators", &a.Administrators, "ARNs of IAM roles", roleARN).knob()
	t.count("aws.objectLockDays", &a.ObjectLockDays, 0, 0, 3650, "days").knob()
	t.count("aws.logDays", &a.LogDays, 90, 1, 3653, "days").knob()
}

// checkAWS says what is missing or contradictory about AWS.
func (c *checker) checkAWS() {
	s := c.s
	if !s.UsesAWS() {
		return
	}
	if s.AWS.Region == "" {
		c.say("aws.region", "is missing: cluster: %s and bucket: %s need it", ClusterEKS, BucketAWS)
	}
	if n := len(s.AWS.Zones); n != 0 && n != 3 {
		c.say("aws.zones", "names %d zones; want three, or none for a, b and c of the region", n)
	}
	if s.AWS.Nodes.Min > s.AWS.Nodes.Max {
		c.say("aws.nodes.max", "is %d, less than aws.nodes.min (%d)", s.AWS.Nodes.Max, s.AWS.Nodes.Min)
	}
	if len(s.AWS.Zones) == 0 && s.AWS.Region != "" {
		c.s.AWS.Zones = []string{s.AWS.Region + "a", s.AWS.Region + "b", s.AWS.Region + "c"}
	}
}
