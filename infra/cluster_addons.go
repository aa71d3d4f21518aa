package infra

import (
	"fmt"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/eks"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// addon is a part of the cluster that EKS installs, in its default version for the Kubernetes of that day. There it stays: the program asks AWS nothing, and a
// release must not bring another network along. So after aws.kubernetes was raised, each is brought along by hand, kube-proxy above all, which may be three
// minor versions behind at most: `aws eks describe-addon-versions --kubernetes-version 1.35 --addon-name kube-proxy`, then
// `aws eks update-addon --cluster-name assistant-prod --addon-name kube-proxy --addon-version … --resolve-conflicts PRESERVE`.
type addon struct {
	name           string
	configuration  string // JSON
	serviceAccount string // of kube-system, when it needs rights on AWS
	policy         string // maintained by AWS
}

// networkAddons must be there before a node can become ready. The VPC CNI enforces NetworkPolicies; the default-deny of the environment's namespace
// stands on that.
func networkAddons() []addon {
	return []addon{
		{name: "eks-pod-identity-agent"},
		{name: "kube-proxy"},
		{
			name: "vpc-cni", serviceAccount: "aws-node", policy: "AmazonEKS_CNI_Policy",
			configuration: `{"enableNetworkPolicy":"true","env":{"ENABLE_PREFIX_DELEGATION":"true"}}`,
		},
	}
}

// nodeAddons need nodes to run on.
func nodeAddons() []addon {
	return []addon{
		{name: "coredns"},
		{name: "aws-ebs-csi-driver", serviceAccount: "ebs-csi-controller-sa", policy: "service-role/AmazonEBSCSIDriverPolicy"},
		{name: "metrics-server"}, // the HPA's source
	}
}

func (c *Cluster) addons(ctx *pulumi.Context, args *ClusterArgs, control *eks.Cluster, addons []addon, after []pulumi.Resource) ([]pulumi.Resource, error) {
	var made []pulumi.Resource
	for _, a := range addons {
		name := args.Prefix + "-" + a.name
		settings := &eks.AddonArgs{
			ClusterName: control.Name, AddonName: pulumi.String(a.name),
			ResolveConflictsOnCreate: pulumi.String("OVERWRITE"), ResolveConflictsOnUpdate: pulumi.String("OVERWRITE"), Tags: named(name),
		}
		if a.configuration != "" {
			settings.ConfigurationValues = pulumi.String(a.configuration)
		}
		waits := append([]pulumi.Resource{}, after...)
		if a.serviceAccount != "" {
			role, attached, err := c.addonRole(ctx, args, control, a)
			if err != nil {
				return nil, err
			}
			settings.PodIdentityAssociations = eks.AddonPodIdentityAssociationArray{&eks.AddonPodIdentityAssociationArgs{
				RoleArn: role.Arn, ServiceAccount: pulumi.String(a.serviceAccount),
			}}
			waits = append(waits, attached)
		}
		addon, err := eks.NewAddon(ctx, name, settings, pulumi.Parent(control), pulumi.DependsOn(waits))
		if err != nil {
			return nil, fmt.Errorf("install add-on %s: %w", a.name, err)
		}
		made = append(made, addon)
	}
	return made, nil
}

func (c *Cluster) addonRole(ctx *pulumi.Context, args *ClusterArgs, control *eks.Cluster, a addon) (*iam.Role, pulumi.Resource, error) {
	role, err := podRole(ctx, c, args.Prefix+"-"+a.name, control.Arn, "kube-system", a.serviceAccount)
	if err != nil {
		return nil, nil, err
	}
	attached, err := iam.NewRolePolicyAttachment(ctx, args.Prefix+"-"+a.name, &iam.RolePolicyAttachmentArgs{
		Role: role.Name, PolicyArn: pulumi.String(managedPolicy(args.Region, a.policy)),
	}, pulumi.Parent(role))
	if err != nil {
		return nil, nil, fmt.Errorf("attach %s: %w", a.policy, err)
	}
	return role, attached, nil
}

// podRole makes a role that the pods of one ServiceAccount may take.
func podRole(ctx *pulumi.Context, parent pulumi.Resource, name string, clusterARN pulumi.StringInput, namespace, serviceAccount string) (*iam.Role, error) {
	trust := policyOf(func(v []string) policy { return podTrust(v[0], namespace, serviceAccount) }, clusterARN)
	role, err := iam.NewRole(ctx, name, &iam.RoleArgs{Name: pulumi.String(name), AssumeRolePolicy: trust, Tags: named(name)}, pulumi.Parent(parent))
	if err != nil {
		return nil, fmt.Errorf("make role %s: %w", name, err)
	}
	return role, nil
}
