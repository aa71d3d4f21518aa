package graph

import (
	"fmt"
	"slices"
	"strings"
)

// item is one thing that the issue asks for, in its words, and the resources that are it: "Deployment api" for a Kubernetes object,
// otherwise a resource's type. "3 × " wants so many at least.
type item struct {
	asked string
	where string // "all", or the variants that have it
	are   []string
}

// items is the issue's list. A resource that is missing is a finding of the check issue/complete.
var items = []item{
	// staging, prod
	{"VPC over three zones", "eks", []string{"aws:ec2/vpc:Vpc", "6 × aws:ec2/subnet:Subnet", "aws:ec2/internetGateway:InternetGateway", "aws:ec2/natGateway:NatGateway", "4 × aws:ec2/routeTable:RouteTable"}},
	{"EKS with node groups", "eks", []string{"aws:eks/cluster:Cluster", "3 × aws:eks/nodeGroup:NodeGroup", "5 × aws:eks/addon:Addon", "aws:eks/accessEntry:AccessEntry"}},
	{"encrypted gp3 storage class", "eks", []string{"StorageClass encrypted-gp3"}},
	{"KMS keys", "eks", []string{"6 × aws:kms/key:Key"}},
	{"ECR", "eks", []string{"2 × aws:ecr/repository:Repository", "2 × aws:ecr/lifecyclePolicy:LifecyclePolicy"}},
	{"Pod Identity roles with least privilege", "eks", []string{"3 × aws:eks/podIdentityAssociation:PodIdentityAssociation", "5 × aws:iam/role:Role", "3 × aws:iam/rolePolicy:RolePolicy"}},
	{"Secrets Manager", "eks", []string{"4 × aws:secretsmanager/secret:Secret", "4 × aws:secretsmanager/secretVersion:SecretVersion"}},
	{
		"the S3 backup bucket (versioned, SSE-KMS, no public access, TLS only, a lifecycle that never fights the retention policy)", "eks",
		[]string{
			"aws:s3/bucketV2:BucketV2", "aws:s3/bucketVersioningV2:BucketVersioningV2", "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
			"aws:s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2", "aws:s3/bucketPolicy:BucketPolicy",
			"aws:s3/bucketLifecycleConfigurationV2:BucketLifecycleConfigurationV2", "aws:s3/bucketOwnershipControls:BucketOwnershipControls",
		},
	},
	{"object lock as an option", "prod", []string{"aws:s3/bucketObjectLockConfigurationV2:BucketObjectLockConfigurationV2"}},

	// dev
	{"S3 by versitygw in the cluster", "dev", []string{"StatefulSet s3", "Service s3", "ServiceAccount s3", "Secret s3", "Secret bucket-operator", "Secret bucket-writer", "Secret bucket-pruner", "NetworkPolicy s3"}},
	{"a TLS certificate of the stack's own", "dev", []string{"Secret api-tls", "tls:index/selfSignedCert:SelfSignedCert"}},

	// existing
	{"any S3 endpoint", "existing", []string{"Secret bucket-operator", "Secret bucket-writer", "Secret bucket-pruner"}},

	// every cluster
	{"namespace with Pod Security restricted", "all", []string{"Namespace *"}},
	{"the API Deployment (PDB where there are two or more replicas, HPA)", "all", []string{"Deployment api", "Service api", "ServiceAccount api", "HorizontalPodAutoscaler api"}},
	{"PDB", "staging, prod, existing", []string{"PodDisruptionBudget api"}},
	{"the pods that assistctl makes", "all", []string{"PodTemplate api", "PodTemplate exec", "PodTemplate restore", "ServiceAccount exec", "ServiceAccount restore"}},
	{"PostgreSQL as a StatefulSet (ConfigMap, TLS)", "all", []string{"StatefulSet postgres", "Service postgres", "Service postgres-headless", "ConfigMap postgres", "Secret postgres", "ServiceAccount postgres", "2 × tls:index/privateKey:PrivateKey", "tls:index/locallySignedCert:LocallySignedCert"}},
	{"Valkey", "all", []string{"Deployment valkey", "Service valkey", "ConfigMap valkey", "Secret valkey", "ServiceAccount valkey"}},
	{"Ingress on Traefik, HTTP→HTTPS, and rate limiting", "all", []string{"Ingress api", "Ingress api-redirect", "Middleware redirect-https", "Middleware rate-limit"}},
	{"TLS from cert-manager", "eks", []string{"Certificate api-tls", "Issuer acme"}},
	{"backups (schedule, pruning, roles)", "all", []string{"CronJob backup", "CronJob prune", "ServiceAccount backup", "ServiceAccount prune", "ConfigMap assistctl"}},
	{"Open WebUI wired to the API", "all", []string{"StatefulSet open-webui", "Service open-webui", "Ingress open-webui", "Ingress open-webui-redirect", "Secret open-webui", "ServiceAccount open-webui"}},
	{"kube-prometheus-stack, Loki, Alloy as Helm releases, Traefik and cert-manager", "eks", []string{"5 × kubernetes:helm.sh/v3:Release"}},
	{"Traefik as a Helm release", "dev", []string{"kubernetes:helm.sh/v3:Release"}},
	{"our ServiceMonitor, PrometheusRule and dashboards", "eks, existing", []string{"ServiceMonitor api-metrics", "PrometheusRule assistant", "3 × ConfigMap *dashboard*"}},
	{"default-deny NetworkPolicies both ways", "all", []string{"NetworkPolicy default-deny", "NetworkPolicy api", "NetworkPolicy postgres", "NetworkPolicy valkey", "NetworkPolicy backup", "NetworkPolicy prune", "NetworkPolicy exec", "NetworkPolicy restore", "NetworkPolicy canary"}},
}

// fits says whether an item is asked of a variant.
func (i item) fits(variant string) bool {
	for where := range strings.SplitSeq(i.where, ", ") {
		switch where {
		case "all", variant:
			return true
		case "existing":
			if strings.HasSuffix(variant, "-existing") {
				return true
			}
		case "eks":
			if variant == "staging" || variant == "prod" {
				return true
			}
		}
	}
	return false
}

func issueChecks() []Check {
	return []Check{
		{Name: "issue/complete", Run: func(v *View) []Finding {
			var found findings
			for _, i := range items {
				if !i.fits(v.Variant) {
					continue
				}
				for _, want := range i.are {
					if have, least := v.count(want); have < least {
						found.on(i.asked, "%s: there are %d, want %d", want, have, least)
					}
				}
			}
			return found
		}},
		{Name: "issue/components", Run: func(v *View) []Finding {
			var found findings
			for _, r := range v.Resources {
				if r.Custom && !r.Read && !strings.HasPrefix(r.Type, "pulumi:providers:") && !strings.Contains(r.URN, "assistant:platform:") {
					found.say(r, "it is in no component")
				}
			}
			return found
		}},
	}
}

// count says how many resources there are of what an item names, and how many there must be.
func (v *View) count(want string) (have, least int) {
	least = 1
	if n, _, ok := strings.Cut(want, " × "); ok {
		if _, err := fmt.Sscan(n, &least); err != nil {
			panic("graph: " + want + " names no number")
		}
	}
	return len(v.matching(want)), least
}

// matching are the resources that an item names.
func (v *View) matching(want string) []*Resource {
	if _, rest, ok := strings.Cut(want, " × "); ok {
		want = rest
	}
	if strings.Contains(want, ":") {
		return v.Find(Type(want))
	}
	kind, name, _ := strings.Cut(want, " ")
	return v.Find((*Resource).IsObject, func(r *Resource) bool { return r.Kind() == kind && wildcard(name, r.ObjectName()) })
}

// Summary lists an environment's resources, a line each, for the golden files.
func (g *Graph) Summary() []string {
	var lines []string
	for _, r := range g.Resources {
		var line string
		if types := strings.Split(r.Type, "$"); r.IsObject() {
			line = fmt.Sprintf("%s %s/%s", types[len(types)-1], r.Namespace(), r.ObjectName())
		} else {
			line = fmt.Sprintf("%s %s", r.Type, r.Name)
		}
		for _, mark := range []struct {
			set  bool
			text string
		}{{r.Protect, "protect"}, {r.RetainOnDelete, "retain"}, {r.Read, "read"}} {
			if mark.set {
				line += " " + mark.text
			}
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}
