package infra

import (
	"fmt"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/eks"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// BucketAccess is who may do what in the bucket on AWS: the pods of the CronJobs and of a restore take roles by EKS Pod Identity, so that there is no key to keep;
// operators get a policy for roles of their own.
type BucketAccess struct {
	pulumi.ResourceState

	Operator pulumi.StringOutput // ARN of the policy
}

// BucketAccessArgs name the bucket and the cluster.
type BucketAccessArgs struct {
	Prefix       string
	Region       string
	Namespace    string
	ClusterName  pulumi.StringInput
	ClusterARN   pulumi.StringInput
	BucketARN    pulumi.StringInput
	KeyARN       pulumi.StringInput
	Repositories string // ARN pattern of the images
}

// prunerARN is the one principal that the bucket's policy lets delete. It is known before it exists, so that the bucket does not wait for it.
func prunerARN(region, account, prefix string) string {
	return roleARN(region, account, prefix+"-prune")
}

// NewBucketAccess makes the roles of the ServiceAccounts backup, prune and restore, and the operators' policy.
func NewBucketAccess(ctx *pulumi.Context, name string, args *BucketAccessArgs, opts ...pulumi.ResourceOption) (*BucketAccess, error) {
	b := &BucketAccess{}
	if err := ctx.RegisterComponentResource("assistant:platform:BucketAccess", name, b, opts...); err != nil {
		return nil, fmt.Errorf("register bucket access %s: %w", name, err)
	}
	if err := b.grant(ctx, args, "backup", writerPolicy); err != nil {
		return nil, err
	}
	if err := b.grant(ctx, args, "prune", prunerPolicy); err != nil {
		return nil, err
	}
	if err := b.grant(ctx, args, "restore", readerPolicy); err != nil {
		return nil, err
	}
	operator, err := iam.NewPolicy(ctx, args.Prefix+"-operator", &iam.PolicyArgs{
		Name: pulumi.String(args.Prefix + "-operator"), Description: pulumi.String("What assistctl does from an operator's machine"),
		Policy: policyOf(func(v []string) policy { return operatorPolicy(v[0], v[1], v[2], args.Repositories, args.Region) }, args.BucketARN, args.KeyARN, args.ClusterARN),
		Tags:   named(args.Prefix + "-operator"),
	}, pulumi.Parent(b))
	if err != nil {
		return nil, fmt.Errorf("make the operators' policy: %w", err)
	}
	b.Operator = operator.Arn
	return b, ctx.RegisterResourceOutputs(b, pulumi.Map{"operator": b.Operator})
}

// grant makes a role with these rights for the pods of a ServiceAccount.
func (b *BucketAccess) grant(ctx *pulumi.Context, args *BucketAccessArgs, account string, rights func(bucketARN, keyARN, region string) policy) error {
	name := args.Prefix + "-" + account
	role, err := podRole(ctx, b, name, args.ClusterARN, args.Namespace, account)
	if err != nil {
		return err
	}
	allowed, err := iam.NewRolePolicy(ctx, name, &iam.RolePolicyArgs{
		Name: pulumi.String("bucket"), Role: role.Name,
		Policy: policyOf(func(v []string) policy { return rights(v[0], v[1], args.Region) }, args.BucketARN, args.KeyARN),
	}, pulumi.Parent(role))
	if err != nil {
		return fmt.Errorf("allow role %s: %w", name, err)
	}
	if _, err := eks.NewPodIdentityAssociation(ctx, name, &eks.PodIdentityAssociationArgs{
		ClusterName: args.ClusterName, Namespace: pulumi.String(args.Namespace), ServiceAccount: pulumi.String(account), RoleArn: role.Arn, Tags: named(name),
	}, pulumi.Parent(role), pulumi.DependsOn([]pulumi.Resource{allowed})); err != nil {
		return fmt.Errorf("give role %s to the ServiceAccount %s: %w", name, account, err)
	}
	return nil
}
