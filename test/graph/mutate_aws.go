package graph

import (
	"slices"
	"strings"
)

// amazonMutations are of what the stack makes on AWS, and of the providers.
func amazonMutations(r *Resource) []mutation {
	if byType := amazonByType[r.Type]; byType != nil {
		return byType(r)
	}
	return nil
}

var amazonByType = map[string]func(*Resource) []mutation{
	"aws:ec2/vpc:Vpc": func(*Resource) []mutation { return []mutation{remove("aws/vpc")} },
	"aws:ec2/subnet:Subnet": func(*Resource) []mutation {
		return []mutation{remove("aws/zones"), change("aws/zones", true, "mapPublicIpOnLaunch")}
	},
	"aws:ec2/route:Route": func(r *Resource) []mutation {
		if r.Inputs["natGatewayId"] == nil {
			return nil
		}
		return []mutation{remove("aws/nodes-need-routes")}
	},
	"aws:ec2/flowLog:FlowLog": func(*Resource) []mutation {
		return []mutation{remove("aws/flow-logs"), change("aws/flow-logs", "ACCEPT", "trafficType")}
	},
	"aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": func(*Resource) []mutation {
		return []mutation{remove("aws/default-security-group"), change("aws/default-security-group", []any{map[string]any{}}, "ingress")}
	},
	"aws:ec2/launchTemplate:LaunchTemplate": func(*Resource) []mutation {
		return []mutation{
			drop("aws/nodes-type", "instanceType"), drop("aws/node-metadata", "metadataOptions", "httpTokens"), change("aws/node-metadata", 2.0, "metadataOptions", "httpPutResponseHopLimit"),
			drop("aws/node-disks", "blockDeviceMappings", 0, "ebs", "encrypted"), drop("aws/node-disks", "blockDeviceMappings", 0, "ebs", "kmsKeyId"),
		}
	},
	"aws:eks/nodeGroup:NodeGroup": func(*Resource) []mutation {
		return []mutation{
			change("aws/nodes-change", []any{"m7i.large"}, "instanceTypes"), change("aws/nodes-change", "nodes", "nodeGroupName"),
			remove("aws/nodes-in-zones"), change("aws/nodes-in-zones", 0.0, "scalingConfig", "minSize"),
			{"waits for nothing", "aws/nodes-need-routes", func(_ *Graph, r *Resource) { r.DependsOn = nil }},
		}
	},
	"aws:eks/cluster:Cluster": func(*Resource) []mutation {
		return []mutation{
			drop("aws/cluster-secrets", "encryptionConfig"), change("aws/cluster-secrets", []any{}, "encryptionConfig", "resources"), remove("aws/cluster-secrets"),
			drop("aws/cluster-access", "vpcConfig", "publicAccessCidrs"), change("aws/cluster-reached", false, "vpcConfig", "endpointPublicAccess"), drop("aws/cluster-access", "vpcConfig", "endpointPrivateAccess"),
			change("aws/cluster-entries", true, "accessConfig", "bootstrapClusterCreatorAdminPermissions"), change("aws/cluster-logs", []any{"api"}, "enabledClusterLogTypes"),
		}
	},
	"aws:eks/addon:Addon": func(r *Resource) []mutation {
		if r.Inputs["addonName"] == "vpc-cni" {
			return []mutation{drop("aws/network-policies", "configurationValues"), remove("aws/network-policies")}
		}
		return nil
	},
	"aws:eks/podIdentityAssociation:PodIdentityAssociation": func(*Resource) []mutation {
		return []mutation{remove("aws/pod-identity"), change("aws/pod-identity", "default", "namespace")}
	},
	"aws:kms/key:Key": func(*Resource) []mutation {
		return []mutation{drop("aws/key-rotation", "enableKeyRotation"), drop("protection/recovery", "deletionWindowInDays"), remove("aws/key-rotation")}
	},
	"aws:ecr/repository:Repository": func(*Resource) []mutation {
		return []mutation{
			change("aws/registry", "MUTABLE", "imageTagMutability"), drop("aws/registry", "encryptionConfigurations"), drop("aws/registry", "imageScanningConfiguration"),
			change("protection/force", true, "forceDelete"), remove("aws/registry"),
		}
	},
	"aws:cloudwatch/logGroup:LogGroup": func(*Resource) []mutation {
		return []mutation{drop("aws/log-groups", "kmsKeyId"), drop("aws/log-groups", "retentionInDays"), remove("aws/log-groups")}
	},
	"aws:secretsmanager/secret:Secret": func(*Resource) []mutation {
		return []mutation{drop("secrets/manager", "kmsKeyId"), change("protection/recovery", 0.0, "recoveryWindowInDays")}
	},
	"aws:secretsmanager/secretVersion:SecretVersion": func(*Resource) []mutation {
		return []mutation{
			remove("secrets/manager"),
			{"in clear", "secrets/manager", func(_ *Graph, r *Resource) { r.Inputs["secretString"] = Reveal(r.Inputs["secretString"]) }},
			{"in clear", "secrets/clear", func(_ *Graph, r *Resource) { r.Inputs["secretString"] = Reveal(r.Inputs["secretString"]) }},
		}
	},
	"random:index/randomPassword:RandomPassword": func(*Resource) []mutation {
		return []mutation{change("secrets/length", 8.0, "length"), {"a RandomString", "secrets/generator", func(_ *Graph, r *Resource) { r.Type = "random:index/randomString:RandomString" }}}
	},
	"pulumi:providers:kubernetes": func(r *Resource) []mutation {
		if r.Inputs["clusterIdentifier"] == nil {
			return nil // of a cluster that the stack does not make
		}
		return []mutation{{"waits for nothing", "aws/cluster-ready", func(_ *Graph, r *Resource) { r.DependsOn = nil }}}
	},
	"pulumi:providers:aws": func(*Resource) []mutation { return []mutation{drop("aws/account", "allowedAccountIds")} },
	"aws:iam/role:Role": func(*Resource) []mutation {
		return []mutation{{"anyone takes it", "aws/least-privilege", func(_ *Graph, r *Resource) {
			put(r.Inputs, `{"Statement":[{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole"}]}`, "assumeRolePolicy")
		}}}
	},
	"aws:iam/rolePolicyAttachment:RolePolicyAttachment": func(r *Resource) []mutation {
		all := []mutation{change("aws/least-privilege", "arn:aws:iam::aws:policy/AdministratorAccess", "policyArn")}
		if strings.HasSuffix(r.Name, "-AmazonEKSWorkerNodePolicy") {
			all = append(all, change("aws/nodes-may-join", "arn:aws:iam::aws:policy/AmazonEKSWorkerNodeMinimalPolicy", "policyArn"), remove("aws/nodes-may-join"))
		}
		return all
	},
	"aws:iam/rolePolicy:RolePolicy": rolePolicyMutations,

	"aws:s3/bucketV2:BucketV2": func(*Resource) []mutation {
		return []mutation{
			change("protection/force", true, "forceDestroy"), drop("protection/names", "bucket"), change("bucket/name", "other", "bucket"), remove("bucket/name"),
			change("bucket/lock", true, "objectLockEnabled"),
		}
	},
	"aws:s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2": func(*Resource) []mutation {
		return []mutation{
			remove("bucket/encryption"), change("bucket/encryption", "AES256", "rules", 0, "applyServerSideEncryptionByDefault", "sseAlgorithm"),
			drop("bucket/encryption", "rules", 0, "applyServerSideEncryptionByDefault", "kmsMasterKeyId"),
		}
	},
	"aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": func(*Resource) []mutation {
		return []mutation{
			remove("bucket/public-access"), drop("bucket/public-access", "blockPublicAcls"), drop("bucket/public-access", "blockPublicPolicy"),
			drop("bucket/public-access", "ignorePublicAcls"), drop("bucket/public-access", "restrictPublicBuckets"),
		}
	},
	"aws:s3/bucketOwnershipControls:BucketOwnershipControls": func(*Resource) []mutation {
		return []mutation{remove("bucket/ownership"), change("bucket/ownership", "ObjectWriter", "rule", "objectOwnership")}
	},
	"aws:s3/bucketVersioningV2:BucketVersioningV2": func(*Resource) []mutation {
		return []mutation{remove("bucket/versions"), change("bucket/versions", "Suspended", "versioningConfiguration", "status")}
	},
	"aws:s3/bucketObjectLockConfigurationV2:BucketObjectLockConfigurationV2": func(*Resource) []mutation {
		return []mutation{remove("issue/complete"), drop("bucket/lock", "rule")}
	},
	"aws:s3/bucketLifecycleConfigurationV2:BucketLifecycleConfigurationV2": func(*Resource) []mutation {
		return []mutation{
			remove("bucket/lifecycle"), change("bucket/lifecycle", map[string]any{"days": 30.0}, "rules", 0, "expiration"), change("bucket/lifecycle", "Disabled", "rules", 1, "status"),
			change("bucket/lifecycle", []any{map[string]any{"storageClass": "GLACIER"}}, "rules", 0, "transitions"),
			change("bucket/lifecycle", 1.0, "rules", 1, "noncurrentVersionExpiration", "noncurrentDays"), drop("bucket/lifecycle", "rules", 0, "abortIncompleteMultipartUpload"),
		}
	},
	"aws:s3/bucketPolicy:BucketPolicy": func(r *Resource) []mutation {
		all := []mutation{remove("aws/rights")}
		for _, sid := range sids(r.Inputs["policy"]) {
			// The other statements of encryption overlap on purpose; each is needed against one kind of request.
			all = append(all, withoutStatement(sid))
		}
		return all
	},
}

func sids(policy any) []string {
	d, err := ReadDocument(policy)
	if err != nil {
		return nil
	}
	var names []string
	for _, s := range d.Statement {
		names = append(names, s.Sid)
	}
	return names
}

// withoutStatement takes one statement out of a policy document.
func withoutStatement(sid string) mutation {
	return mutation{"without statement " + sid, "aws/rights", func(_ *Graph, r *Resource) {
		var d map[string]any
		text, _ := Reveal(r.Inputs["policy"]).(string)
		if !parseJSON(text, &d) {
			return
		}
		d["Statement"] = slices.DeleteFunc(List(d, "Statement"), func(s any) bool { return String(s, "Sid") == sid })
		r.Inputs["policy"] = quote(d)
	}}
}

// rolePolicyMutations give a role of the bucket more than it needs. A denial in them stands against what another policy may grant.
func rolePolicyMutations(r *Resource) []mutation {
	more := func(name, guard, action, resource string) mutation {
		return mutation{name, guard, func(_ *Graph, r *Resource) {
			var d map[string]any
			text, _ := Reveal(r.Inputs["policy"]).(string)
			if !parseJSON(text, &d) {
				return
			}
			kept := slices.DeleteFunc(List(d, "Statement"), func(s any) bool { return String(s, "Effect") == "Deny" })
			d["Statement"] = append(kept, map[string]any{"Sid": "More", "Effect": "Allow", "Action": action, "Resource": resource})
			r.Inputs["policy"] = quote(d)
		}}
	}
	all := []mutation{more("may do everything", "aws/least-privilege", "*", "*")}
	if strings.HasSuffix(r.Name, "-backup") || strings.HasSuffix(r.Name, "-prune") || strings.HasSuffix(r.Name, "-restore") {
		all = append(all, more("writes everywhere", "aws/rights", "s3:PutObject", "arn:aws:s3:::*"), remove("aws/rights"),
			more("changes the bucket", "aws/rights", "s3:PutLifecycleConfiguration", "arn:aws:s3:::*"))
	}
	return all
}

// itemMutations take away, one after the other, all resources that the issue asks for.
func itemMutations(g *Graph) []Mutation {
	v := NewView(g)
	var all []Mutation
	for _, i := range items {
		if !i.fits(g.Variant) {
			continue
		}
		for _, want := range i.are {
			all = append(all, Mutation{Name: i.asked + ": without " + want, Guard: "issue/complete", Apply: func(g *Graph) {
				drop := v.matching(want)
				g.Resources = slices.DeleteFunc(g.Resources, func(r *Resource) bool {
					return slices.ContainsFunc(drop, func(d *Resource) bool { return d.URN == r.URN })
				})
			}})
		}
	}
	return all
}
