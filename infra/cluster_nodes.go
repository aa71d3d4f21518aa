package infra

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/eks"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// nodes makes one group a zone: a volume belongs to its zone, so each zone must be able to grow by itself. Most changes EKS rolls out node by node within a
// group; for another architecture or zone a new group must be made, which its name, Pulumi's own, lets it be before the old one is deleted.
func (c *Cluster) nodes(ctx *pulumi.Context, args *ClusterArgs, control *eks.Cluster, after []pulumi.Resource) ([]pulumi.Resource, error) {
	name := args.Prefix + "-nodes"
	// Pods get their rights by Pod Identity; the node's own are to join the cluster and to fetch images. The smaller AmazonEKSWorkerNodeMinimalPolicy is
	// not enough: nodeadm asks ec2:DescribeInstances about its machine before it joins.
	role, attached, err := serviceRole(ctx, c, name, args.Region, "ec2.amazonaws.com", "AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly")
	if err != nil {
		return nil, err
	}
	template, err := c.launchTemplate(ctx, args, name)
	if err != nil {
		return nil, err
	}
	waits := slices.Concat(attached, args.Routes, after)
	var groups []pulumi.Resource
	for i, zone := range args.Zones {
		least, most := share(args.NodesMin, len(args.Zones), i), max(share(args.NodesMax, len(args.Zones), i), 1)
		// The desired size goes with the least: EKS refuses a least above it, and nothing else here would raise it. What an autoscaler has made of it stays
		// until one of these settings changes.
		group, err := eks.NewNodeGroup(ctx, args.Prefix+"-"+zone, &eks.NodeGroupArgs{
			ClusterName: control.Name, NodeRoleArn: role.Arn,
			SubnetIds: pulumi.StringArray{args.PrivateSubnets[i]}, Version: control.Version,
			AmiType: pulumi.String(amiType(args.NodeType)), CapacityType: pulumi.String("ON_DEMAND"),
			LaunchTemplate: &eks.NodeGroupLaunchTemplateArgs{Id: template.ID(), Version: pulumi.Sprintf("%d", template.LatestVersion)},
			ScalingConfig:  &eks.NodeGroupScalingConfigArgs{MinSize: pulumi.Int(least), DesiredSize: pulumi.Int(least), MaxSize: pulumi.Int(most)},
			UpdateConfig:   &eks.NodeGroupUpdateConfigArgs{MaxUnavailable: pulumi.Int(1)},
			Tags:           named(args.Prefix + "-" + zone),
		}, pulumi.Parent(control), pulumi.DependsOn(waits))
		if err != nil {
			return nil, fmt.Errorf("make the nodes in %s: %w", zone, err)
		}
		groups = append(groups, group)
	}
	return groups, nil
}

// launchTemplate says what a node's machine is like: an encrypted disk, and instance metadata for the node alone (one hop: no pod reaches it) and by session
// tokens only. Its type is said here and not in the group, which could not change it.
func (c *Cluster) launchTemplate(ctx *pulumi.Context, args *ClusterArgs, name string) (*ec2.LaunchTemplate, error) {
	tags := named(name)
	template, err := ec2.NewLaunchTemplate(ctx, name, &ec2.LaunchTemplateArgs{
		Name: pulumi.String(name), UpdateDefaultVersion: pulumi.Bool(true), InstanceType: pulumi.String(args.NodeType),
		MetadataOptions: &ec2.LaunchTemplateMetadataOptionsArgs{
			HttpEndpoint: pulumi.String("enabled"), HttpTokens: pulumi.String("required"), HttpPutResponseHopLimit: pulumi.Int(1),
		},
		BlockDeviceMappings: ec2.LaunchTemplateBlockDeviceMappingArray{&ec2.LaunchTemplateBlockDeviceMappingArgs{
			DeviceName: pulumi.String("/dev/xvda"),
			Ebs: &ec2.LaunchTemplateBlockDeviceMappingEbsArgs{
				VolumeType: pulumi.String("gp3"), VolumeSize: pulumi.Int(args.NodeDiskGiB),
				Encrypted: pulumi.String("true"), KmsKeyId: args.VolumeKey, DeleteOnTermination: pulumi.String("true"),
			},
		}},
		Monitoring: &ec2.LaunchTemplateMonitoringArgs{Enabled: pulumi.Bool(true)},
		TagSpecifications: ec2.LaunchTemplateTagSpecificationArray{
			&ec2.LaunchTemplateTagSpecificationArgs{ResourceType: pulumi.String("instance"), Tags: tags},
			&ec2.LaunchTemplateTagSpecificationArgs{ResourceType: pulumi.String("volume"), Tags: tags},
		},
		Tags: tags,
	}, pulumi.Parent(c))
	if err != nil {
		return nil, fmt.Errorf("make launch template %s: %w", name, err)
	}
	return template, nil
}

// share is what the i-th of so many parts gets of a total; the first ones get the remainder.
func share(total, parts, i int) int {
	n := total / parts
	if i < total%parts {
		n++
	}
	return n
}

// graviton matches instance types with an ARM processor: a g right after the generation, as in m7g, c6gn, is4gen; and the first one, a1.
var graviton = regexp.MustCompile(`^([a-z]+\d+g[a-z]*|a1)\.`)

func amiType(instanceType string) string {
	if graviton.MatchString(instanceType) {
		return "AL2023_ARM_64_STANDARD"
	}
	return "AL2023_x86_64_STANDARD"
}
