package graph

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// amazonChecks ask about what the stack makes on AWS.
func amazonChecks() []Check {
	return slices.Concat(amazonParts(), bucketChecks(), []Check{{Name: "aws/rights", Run: bucketRights}, {Name: "aws/least-privilege", Run: leastPrivilege}})
}

// onAWS makes a check of the resources of a type; there must be at least as many, where the stack makes a cluster on AWS.
func onAWS(name, typ string, atLeast int, question func(*View, *Resource) string) Check {
	return Check{Name: "aws/" + name, Run: func(v *View) []Finding {
		var found findings
		resources := v.Find(Type(typ))
		if v.madeCluster() && len(resources) < atLeast {
			found.on(typ, "there are %d, want %d at least", len(resources), atLeast)
		}
		for _, r := range resources {
			if message := question(v, r); message != "" {
				found.say(r, "%s", message)
			}
		}
		return found
	}}
}

// madeCluster says whether the stack makes its cluster on AWS: by the environment's output, not by what there is.
func (v *View) madeCluster() bool { return v.Outputs["kubeconfig"] != nil }

// before finds, among all that a resource waits for, one of a type. It waits for what it depends on, and each for its own.
func (v *View) before(r *Resource) func(typ string, is func(*Resource) bool) *Resource {
	byURN := map[string]*Resource{}
	for _, x := range v.Resources {
		byURN[x.URN] = x
	}
	waits := map[*Resource]bool{}
	var follow func(*Resource)
	follow = func(x *Resource) {
		for _, urn := range append(slices.Clone(x.DependsOn), x.Parent) {
			// A component's dependencies are no promise: they are those of its children that the SDK has registered by then.
			if next := byURN[urn]; next != nil && next.Custom && !waits[next] {
				waits[next] = true
				follow(next)
			}
		}
	}
	follow(r)
	return func(typ string, is func(*Resource) bool) *Resource {
		for x := range waits {
			if x.Type == typ && is(x) {
				return x
			}
		}
		return nil
	}
}

func unless(ok bool, message string, args ...any) string {
	if ok {
		return ""
	}
	return fmt.Sprintf(message, args...)
}

func amazonParts() []Check {
	return []Check{
		{Name: "aws/zones", Run: func(v *View) []Finding {
			var found findings
			zones := map[string]map[string]bool{"kubernetes.io/role/elb": {}, "kubernetes.io/role/internal-elb": {}}
			for _, r := range v.Find(Type("aws:ec2/subnet:Subnet")) {
				for role, in := range zones {
					if String(r.Inputs, "tags", role) == "1" {
						in[String(r.Inputs, "availabilityZone")] = true
					}
				}
				if r.Inputs["mapPublicIpOnLaunch"] != false {
					found.say(r, "what runs in it gets a public address")
				}
			}
			for _, role := range slices.Sorted(maps.Keys(zones)) {
				if v.madeCluster() && len(zones[role]) != 3 {
					found.on("aws:ec2/subnet:Subnet", "subnets for %s are in %d zones, want three", role, len(zones[role]))
				}
			}
			return found
		}},
		onAWS("nodes-in-zones", "aws:eks/nodeGroup:NodeGroup", 3, func(v *View, r *Resource) string {
			least := Number(r.Inputs, "scalingConfig", "minSize")
			return unless(least >= 1 || v.Environment == "dev", "no node in its zone")
		}),
		onAWS("nodes-need-routes", "aws:eks/nodeGroup:NodeGroup", 3, func(v *View, r *Resource) string {
			before := v.before(r)
			for _, of := range List(r.Inputs, "subnetIds") {
				association := before("aws:ec2/routeTableAssociation:RouteTableAssociation", func(a *Resource) bool { return a.Inputs["subnetId"] == of })
				if association == nil || before("aws:ec2/route:Route", func(x *Resource) bool { return x.Inputs["routeTableId"] == association.Inputs["routeTableId"] }) == nil {
					return fmt.Sprintf("it may start before subnet %v has its way out, and never join the cluster", of)
				}
			}
			return ""
		}),
		onAWS("nodes-may-join", "aws:eks/nodeGroup:NodeGroup", 3, func(v *View, r *Resource) string {
			return unless(v.before(r)("aws:iam/rolePolicyAttachment:RolePolicyAttachment", func(a *Resource) bool {
				return strings.HasSuffix(String(r.Inputs, "nodeRoleArn"), ":role/"+String(a.Inputs, "role")) && strings.HasSuffix(String(a.Inputs, "policyArn"), ":policy/AmazonEKSWorkerNodePolicy")
			}) != nil, "its machines may start without the right to ask EC2 about themselves, and never join the cluster")
		}),
		onAWS("nodes-change", "aws:eks/nodeGroup:NodeGroup", 3, func(_ *View, r *Resource) string {
			return unless(r.Inputs["instanceTypes"] == nil && r.Inputs["nodeGroupName"] == nil && r.Inputs["launchTemplate"] != nil,
				"another type of machine deletes all its nodes before there are new ones")
		}),
		onAWS("nodes-type", "aws:ec2/launchTemplate:LaunchTemplate", 1, func(_ *View, r *Resource) string {
			return unless(String(r.Inputs, "instanceType") != "", "EKS takes a t3.medium")
		}),
		onAWS("vpc", "aws:ec2/vpc:Vpc", 1, func(*View, *Resource) string { return "" }),
		onAWS("flow-logs", "aws:ec2/flowLog:FlowLog", 1, func(_ *View, r *Resource) string {
			return unless(r.Inputs["trafficType"] == "ALL", "it does not log what is refused")
		}),
		onAWS("default-security-group", "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup", 1, func(_ *View, r *Resource) string {
			return unless(len(List(r.Inputs, "ingress"))+len(List(r.Inputs, "egress")) == 0, "it lets something through")
		}),
		onAWS("key-rotation", "aws:kms/key:Key", 6, func(_ *View, r *Resource) string {
			return unless(r.Inputs["enableKeyRotation"] == true, "it is never replaced")
		}),
		onAWS("cluster-secrets", "aws:eks/cluster:Cluster", 1, func(_ *View, r *Resource) string {
			return unless(slices.Contains(List(r.Inputs, "encryptionConfig", "resources"), any("secrets")) &&
				String(r.Inputs, "encryptionConfig", "provider", "keyArn") != "", "Kubernetes Secrets are not encrypted by a key of ours")
		}),
		onAWS("cluster-access", "aws:eks/cluster:Cluster", 1, func(_ *View, r *Resource) string {
			open := r.Inputs["vpcConfig"]
			return unless(At(open, "endpointPrivateAccess") == true && (At(open, "endpointPublicAccess") == false ||
				len(List(open, "publicAccessCidrs")) > 0 && !slices.Contains(List(open, "publicAccessCidrs"), any("0.0.0.0/0"))),
				"anyone on the internet reaches its API server")
		}),
		onAWS("cluster-reached", "aws:eks/cluster:Cluster", 1, func(v *View, r *Resource) string {
			return unless(At(r.Inputs, "vpcConfig", "endpointPublicAccess") == true || len(v.Find(Type("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"))) > 0,
				"nobody reaches its API server, this program included")
		}),
		onAWS("cluster-ready", "pulumi:providers:kubernetes", 1, func(v *View, r *Resource) string {
			for _, typ := range []string{"accessPolicyAssociation:AccessPolicyAssociation", "nodeGroup:NodeGroup", "addon:Addon"} {
				for _, first := range v.Find(Type("aws:eks/" + typ)) {
					if v.before(r)(first.Type, func(x *Resource) bool { return x == first }) == nil {
						return fmt.Sprintf("objects may be made before %s", first)
					}
				}
			}
			return ""
		}),
		onAWS("cluster-entries", "aws:eks/cluster:Cluster", 1, func(_ *View, r *Resource) string {
			return unless(String(r.Inputs, "accessConfig", "authenticationMode") == "API" &&
				At(r.Inputs, "accessConfig", "bootstrapClusterCreatorAdminPermissions") == false, "who created it rules it for ever")
		}),
		onAWS("cluster-logs", "aws:eks/cluster:Cluster", 1, func(_ *View, r *Resource) string {
			return unless(slices.Contains(List(r.Inputs, "enabledClusterLogTypes"), any("audit")), "nobody writes down who did what")
		}),
		onAWS("node-metadata", "aws:ec2/launchTemplate:LaunchTemplate", 1, func(_ *View, r *Resource) string {
			m := r.Inputs["metadataOptions"]
			return unless(String(m, "httpTokens") == "required" && Number(m, "httpPutResponseHopLimit") == 1, "a pod may take the node's credentials")
		}),
		onAWS("node-disks", "aws:ec2/launchTemplate:LaunchTemplate", 1, func(_ *View, r *Resource) string {
			ebs := At(r.Inputs, "blockDeviceMappings", 0, "ebs")
			return unless(String(ebs, "encrypted") == "true" && String(ebs, "kmsKeyId") != "" && String(ebs, "volumeType") == "gp3", "its disk is not an encrypted gp3")
		}),
		onAWS("storage-class", "kubernetes:storage.k8s.io/v1:StorageClass", 1, func(_ *View, r *Resource) string {
			p := r.Inputs["parameters"]
			return unless(String(p, "type") == "gp3" && String(p, "encrypted") == "true" && String(p, "kmsKeyId") != "" &&
				r.Inputs["volumeBindingMode"] == "WaitForFirstConsumer", "its volumes are not encrypted gp3, in the pod's zone")
		}),
		{Name: "aws/storage-class-used", Run: func(v *View) []Finding {
			var found findings
			for _, s := range v.StatefulSets {
				for _, c := range s.Spec.VolumeClaimTemplates {
					if v.madeCluster() && (c.Spec.StorageClassName == nil || len(v.Find(Object("StorageClass", *c.Spec.StorageClassName))) != 1) {
						found.on("StatefulSet "+s.Name, "its volume is not of the encrypted class")
					}
				}
			}
			return found
		}},
		onAWS("registry", "aws:ecr/repository:Repository", 2, func(_ *View, r *Resource) string {
			return unless(r.Inputs["imageTagMutability"] == "IMMUTABLE" && At(r.Inputs, "imageScanningConfiguration", "scanOnPush") == true &&
				String(r.Inputs, "encryptionConfigurations", "0") == "" && String(At(r.Inputs, "encryptionConfigurations", 0), "encryptionType") == "KMS",
				"its images can be replaced, are not scanned or not encrypted")
		}),
		onAWS("log-groups", "aws:cloudwatch/logGroup:LogGroup", 2, func(_ *View, r *Resource) string {
			return unless(String(r.Inputs, "kmsKeyId") != "" && Number(r.Inputs, "retentionInDays") > 0, "its logs are not encrypted, or stay for ever")
		}),
		onAWS("pod-identity", "aws:eks/podIdentityAssociation:PodIdentityAssociation", 3, func(v *View, r *Resource) string {
			return unless(slices.ContainsFunc(v.ServiceAccounts, func(a serviceAccount) bool {
				return a.Name == String(r.Inputs, "serviceAccount") && a.Namespace == String(r.Inputs, "namespace")
			}), "its ServiceAccount is not there")
		}),
		{Name: "aws/network-policies", Run: func(v *View) []Finding {
			for _, r := range v.Find(Type("aws:eks/addon:Addon")) {
				if String(r.Inputs, "addonName") == "vpc-cni" && strings.Contains(String(r.Inputs, "configurationValues"), `"enableNetworkPolicy":"true"`) {
					return nil
				}
			}
			if !v.madeCluster() {
				return nil
			}
			return []Finding{{Object: "aws:eks/addon:Addon vpc-cni", Message: "nothing enforces NetworkPolicies"}}
		}},
		{Name: "aws/account", Run: func(v *View) []Finding {
			var found findings
			for _, r := range v.Find(Type("pulumi:providers:aws")) {
				if ids := String(r.Inputs, "allowedAccountIds"); ids == "" && len(List(r.Inputs, "allowedAccountIds")) != 1 {
					found.say(r, "a shell's profile could send the environment elsewhere")
				}
			}
			for _, r := range v.Find(Type("aws:*")) {
				if !strings.Contains(r.Provider, "pulumi:providers:aws::") || strings.Contains(r.Provider, "::default") {
					found.say(r, "it is not of the environment's provider")
				}
			}
			return found
		}},
	}
}
