package infra

import (
	"fmt"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/kms"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Keys are an environment's KMS keys, one a purpose, so that who may read logs cannot read backups.
type Keys struct {
	pulumi.ResourceState

	Cluster pulumi.StringOutput // Kubernetes Secrets in the control plane
	Volumes pulumi.StringOutput // disks of nodes and pods
	Secrets pulumi.StringOutput // Secrets Manager
	Images  pulumi.StringOutput // ECR
	Backups pulumi.StringOutput // the bucket
	Logs    pulumi.StringOutput // CloudWatch
}

// KeysArgs say whose keys they are.
type KeysArgs struct {
	Prefix  string // of every name on AWS, such as assistant-prod
	Account string
	Region  string
	Bucket  bool // whether the environment's bucket is on AWS, too
	Protect bool
}

// NewKeys makes them. They are replaced every year by KMS itself, which keeps the old material, and deleted no sooner than 30 days after somebody asked.
func NewKeys(ctx *pulumi.Context, name string, args *KeysArgs, opts ...pulumi.ResourceOption) (*Keys, error) {
	k := &Keys{}
	if err := ctx.RegisterComponentResource("assistant:platform:Keys", name, k, opts...); err != nil {
		return nil, fmt.Errorf("register keys %s: %w", name, err)
	}
	for _, key := range []struct {
		purpose     string
		description string
		wanted      bool
		more        []statement
		arn         *pulumi.StringOutput
	}{
		{"backups", "the bucket with backups and ledger", args.Bucket, nil, &k.Backups},
		{"cluster", "Secrets in the Kubernetes control plane", true, nil, &k.Cluster},
		{"volumes", "disks of nodes and pods", true, []statement{volumesUseKey(args.Region, args.Account)}, &k.Volumes},
		{"secrets", "Secrets Manager", true, nil, &k.Secrets},
		{"images", "container images", true, nil, &k.Images},
		{"logs", "logs in CloudWatch", true, []statement{logsUseKey(args.Region, args.Account)}, &k.Logs},
	} {
		if !key.wanted {
			continue
		}
		arn, err := newKMSKey(ctx, k, args, key.purpose, key.description, keyPolicy(args.Region, args.Account, key.more...))
		if err != nil {
			return nil, err
		}
		*key.arn = arn
	}
	return k, ctx.RegisterResourceOutputs(k, pulumi.Map{})
}

func newKMSKey(ctx *pulumi.Context, k *Keys, args *KeysArgs, purpose, description string, document policy) (pulumi.StringOutput, error) {
	name := args.Prefix + "-" + purpose
	text, err := document.json()
	if err != nil {
		return pulumi.StringOutput{}, err
	}
	key, err := kms.NewKey(ctx, name, &kms.KeyArgs{
		Description:          pulumi.String(args.Prefix + ": " + description),
		EnableKeyRotation:    pulumi.Bool(true),
		DeletionWindowInDays: pulumi.Int(30),
		Policy:               pulumi.String(text),
		Tags:                 named(name),
	}, guarded(args.Protect, pulumi.Parent(k))...)
	if err != nil {
		return pulumi.StringOutput{}, fmt.Errorf("make KMS key %s: %w", name, err)
	}
	if _, err := kms.NewAlias(ctx, name, &kms.AliasArgs{
		Name: pulumi.String("alias/" + name), TargetKeyId: key.KeyId,
	}, pulumi.Parent(key)); err != nil {
		return pulumi.StringOutput{}, fmt.Errorf("name KMS key %s: %w", name, err)
	}
	return key.Arn, nil
}
