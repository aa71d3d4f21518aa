package infra

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/cloudwatch"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/eks"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/vpc"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Cluster is an environment's EKS cluster with its nodes and the add-ons that a cluster cannot do without.
type Cluster struct {
	pulumi.ResourceState

	Name       pulumi.StringOutput
	ARN        pulumi.StringOutput
	Endpoint   pulumi.StringOutput
	Kubeconfig pulumi.StringOutput // secret; asks the AWS CLI for a token at each use
	Ready      []pulumi.Resource   // what must be there first: before, the API server would turn its user away, or have nowhere to run a pod
}

// ClusterArgs say what it is made of.
type ClusterArgs struct {
	Prefix         string
	Region         string
	Version        string   // Kubernetes' minor version
	PublicAccess   []string // ranges that reach the API server from the internet; none makes it private
	PrivateAccess  []string // ranges in the VPC or connected to it that reach it: else only the nodes do
	Administrators []string // ARNs of IAM roles; the one that runs Pulumi must be among them
	NodeType       string   // EC2 instance type
	NodesMin       int      // of all zones together
	NodesMax       int
	NodeDiskGiB    int
	LogDays        int
	Zones          []string
	PublicSubnets  pulumi.StringArray
	PrivateSubnets pulumi.StringArray // in the order of Zones
	Routes         []pulumi.Resource  // of the subnets: a node without one cannot join
	ClusterKey     pulumi.StringInput
	VolumeKey      pulumi.StringInput
	LogKey         pulumi.StringInput
}

// NewCluster makes it: control plane, access, the network add-ons, nodes, and the add-ons that need nodes, in this order.
func NewCluster(ctx *pulumi.Context, name string, args *ClusterArgs, opts ...pulumi.ResourceOption) (*Cluster, error) {
	c := &Cluster{}
	if err := ctx.RegisterComponentResource("assistant:platform:Cluster", name, c, opts...); err != nil {
		return nil, fmt.Errorf("register cluster %s: %w", name, err)
	}
	control, err := c.controlPlane(ctx, args)
	if err != nil {
		return nil, err
	}
	access, err := c.access(ctx, args, control)
	if err != nil {
		return nil, err
	}
	doors, err := c.privateAccess(ctx, args, control)
	if err != nil {
		return nil, err
	}
	network, err := c.addons(ctx, args, control, networkAddons(), nil)
	if err != nil {
		return nil, err
	}
	nodes, err := c.nodes(ctx, args, control, network)
	if err != nil {
		return nil, err
	}
	others, err := c.addons(ctx, args, control, nodeAddons(), nodes)
	if err != nil {
		return nil, err
	}
	c.Name, c.ARN, c.Endpoint = control.Name, control.Arn, control.Endpoint
	c.Kubeconfig, c.Ready = kubeconfig(args.Region, control), slices.Concat(access, doors, network, nodes, others)
	return c, ctx.RegisterResourceOutputs(c, pulumi.Map{"name": c.Name, "arn": c.ARN})
}

func (c *Cluster) controlPlane(ctx *pulumi.Context, args *ClusterArgs) (*eks.Cluster, error) {
	role, grants, err := c.controlPlaneRole(ctx, args)
	if err != nil {
		return nil, err
	}
	// Made before EKS would make it, so that it is encrypted and does not grow for ever.
	logs, err := cloudwatch.NewLogGroup(ctx, args.Prefix+"-control-plane", &cloudwatch.LogGroupArgs{
		Name: pulumi.String("/aws/eks/" + args.Prefix + "/cluster"), RetentionInDays: pulumi.Int(args.LogDays), KmsKeyId: args.LogKey,
	}, pulumi.Parent(c))
	if err != nil {
		return nil, fmt.Errorf("make the control plane's log group: %w", err)
	}
	public := len(args.PublicAccess) > 0
	reach := &eks.ClusterVpcConfigArgs{
		SubnetIds:             append(append(pulumi.StringArray{}, args.PrivateSubnets...), args.PublicSubnets...),
		EndpointPrivateAccess: pulumi.Bool(true), EndpointPublicAccess: pulumi.Bool(public),
	}
	if public {
		reach.PublicAccessCidrs = pulumi.ToStringArray(args.PublicAccess)
	}
	control, err := eks.NewCluster(ctx, args.Prefix, &eks.ClusterArgs{
		Name: pulumi.String(args.Prefix), Version: pulumi.String(args.Version), RoleArn: role.Arn, VpcConfig: reach,
		EnabledClusterLogTypes: pulumi.ToStringArray([]string{"api", "audit", "authenticator", "controllerManager", "scheduler"}),
		EncryptionConfig: &eks.ClusterEncryptionConfigArgs{
			Provider:  &eks.ClusterEncryptionConfigProviderArgs{KeyArn: args.ClusterKey},
			Resources: pulumi.ToStringArray([]string{"secrets"}),
		},
		// Who may come in is said by access entries alone: not by a ConfigMap, and not by who happened to create it.
		AccessConfig: &eks.ClusterAccessConfigArgs{
			AuthenticationMode: pulumi.String("API"), BootstrapClusterCreatorAdminPermissions: pulumi.Bool(false),
		},
		BootstrapSelfManagedAddons: pulumi.Bool(false),
		UpgradePolicy:              &eks.ClusterUpgradePolicyArgs{SupportType: pulumi.String("STANDARD")},
		Tags:                       named(args.Prefix),
	}, pulumi.Parent(c), pulumi.DependsOn(append(grants, logs)))
	if err != nil {
		return nil, fmt.Errorf("make EKS cluster %s: %w", args.Prefix, err)
	}
	return control, nil
}

// controlPlaneRole returns what must be there before the cluster, and until after it.
func (c *Cluster) controlPlaneRole(ctx *pulumi.Context, args *ClusterArgs) (*iam.Role, []pulumi.Resource, error) {
	name := args.Prefix + "-control-plane"
	role, attached, err := serviceRole(ctx, c, name, args.Region, "eks.amazonaws.com", "AmazonEKSClusterPolicy")
	if err != nil {
		return nil, nil, err
	}
	encrypt, err := iam.NewRolePolicy(ctx, name, &iam.RolePolicyArgs{
		Name: pulumi.String("encrypt-secrets"), Role: role.Name,
		Policy: policyOf(func(v []string) policy { return clusterUsesKey(v[0]) }, args.ClusterKey),
	}, pulumi.Parent(role))
	if err != nil {
		return nil, nil, fmt.Errorf("allow role %s: %w", name, err)
	}
	return role, append(attached, encrypt), nil
}

// serviceRole makes a role for a service of AWS, with policies that AWS maintains.
func serviceRole(ctx *pulumi.Context, parent pulumi.Resource, name, region, service string, policies ...string) (*iam.Role, []pulumi.Resource, error) {
	trust, err := serviceTrust(service, "").json()
	if err != nil {
		return nil, nil, err
	}
	role, err := iam.NewRole(ctx, name, &iam.RoleArgs{Name: pulumi.String(name), AssumeRolePolicy: pulumi.String(trust), Tags: named(name)}, pulumi.Parent(parent))
	if err != nil {
		return nil, nil, fmt.Errorf("make role %s: %w", name, err)
	}
	var attached []pulumi.Resource
	for _, p := range policies {
		a, err := iam.NewRolePolicyAttachment(ctx, name+"-"+p, &iam.RolePolicyAttachmentArgs{
			Role: role.Name, PolicyArn: pulumi.String(managedPolicy(region, p)),
		}, pulumi.Parent(role))
		if err != nil {
			return nil, nil, fmt.Errorf("attach %s to role %s: %w", p, name, err)
		}
		attached = append(attached, a)
	}
	return role, attached, nil
}

// access lets the administrators in.
func (c *Cluster) access(ctx *pulumi.Context, args *ClusterArgs, control *eks.Cluster) ([]pulumi.Resource, error) {
	if len(args.Administrators) == 0 {
		return nil, fmt.Errorf("cluster %s has no administrators: nobody could reach it", args.Prefix)
	}
	var entries []pulumi.Resource
	for _, arn := range args.Administrators {
		name := args.Prefix + "-" + arn
		entry, err := eks.NewAccessEntry(ctx, name, &eks.AccessEntryArgs{
			ClusterName: control.Name, PrincipalArn: pulumi.String(arn), Type: pulumi.String("STANDARD"),
		}, pulumi.Parent(control))
		if err != nil {
			return nil, fmt.Errorf("let %s into cluster %s: %w", arn, args.Prefix, err)
		}
		rights, err := eks.NewAccessPolicyAssociation(ctx, name, &eks.AccessPolicyAssociationArgs{
			ClusterName: control.Name, PrincipalArn: entry.PrincipalArn,
			PolicyArn:   pulumi.String("arn:" + partition(args.Region) + ":eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"),
			AccessScope: &eks.AccessPolicyAssociationAccessScopeArgs{Type: pulumi.String("cluster")},
		}, pulumi.Parent(entry))
		if err != nil {
			return nil, fmt.Errorf("give %s its rights in cluster %s: %w", arn, args.Prefix, err)
		}
		entries = append(entries, rights)
	}
	return entries, nil
}

// privateAccess opens the API server's private addresses: their security group, which EKS makes, lets in nothing but nodes.
func (c *Cluster) privateAccess(ctx *pulumi.Context, args *ClusterArgs, control *eks.Cluster) ([]pulumi.Resource, error) {
	var rules []pulumi.Resource
	for _, cidr := range args.PrivateAccess {
		name := args.Prefix + "-" + cidr
		rule, err := vpc.NewSecurityGroupIngressRule(ctx, name, &vpc.SecurityGroupIngressRuleArgs{
			SecurityGroupId: control.VpcConfig.ClusterSecurityGroupId().Elem(), CidrIpv4: pulumi.String(cidr),
			IpProtocol: pulumi.String("tcp"), FromPort: pulumi.Int(443), ToPort: pulumi.Int(443), Tags: named(name),
		}, pulumi.Parent(control))
		if err != nil {
			return nil, fmt.Errorf("let %s reach the API server of %s: %w", cidr, args.Prefix, err)
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

// kubeconfig is made of what a cluster has for life, and of nothing else: were it unknown in a preview, as it is when it also waits for an administrator who
// is to be added, Pulumi would plan to replace every object in the cluster.
func kubeconfig(region string, control *eks.Cluster) pulumi.StringOutput {
	text := pulumi.All(control.Name, control.Endpoint, control.CertificateAuthority.Data().Elem()).ApplyT(func(known []any) (string, error) {
		return kubeconfigText(region, fmt.Sprint(known[0]), fmt.Sprint(known[1]), fmt.Sprint(known[2]))
	}).(pulumi.StringOutput)
	return pulumi.ToSecret(text).(pulumi.StringOutput)
}

func kubeconfigText(region, name, endpoint, ca string) (string, error) {
	text, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": name,
		"clusters": []any{map[string]any{"name": name, "cluster": map[string]any{"server": endpoint, "certificate-authority-data": ca}}},
		"contexts": []any{map[string]any{"name": name, "context": map[string]any{"cluster": name, "user": name}}},
		"users": []any{map[string]any{"name": name, "user": map[string]any{"exec": map[string]any{
			"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "aws", "interactiveMode": "Never",
			"args": []string{"--region", region, "eks", "get-token", "--cluster-name", name, "--output", "json"},
		}}}},
	})
	if err != nil {
		return "", fmt.Errorf("write the kubeconfig of %s: %w", name, err)
	}
	return string(text), nil
}
