package infra

import (
	"encoding/json"
	"fmt"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ecr"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Registry is where an environment's images are on AWS.
type Registry struct {
	pulumi.ResourceState

	URL pulumi.StringOutput // of the repositories, without their names
}

// RegistryArgs say which images it holds.
type RegistryArgs struct {
	Prefix       string
	Account      string
	Region       string
	Repositories []string
	KeyARN       pulumi.StringInput
	Protect      bool
}

// untaggedDays is how long an image stays that no tag names: an upload that was cut short.
const untaggedDays = 14

// NewRegistry makes a repository for each image. A tag says the same for ever; releases go by digest, and their images do not expire, since a
// rollback may need the oldest.
func NewRegistry(ctx *pulumi.Context, name string, args *RegistryArgs, opts ...pulumi.ResourceOption) (*Registry, error) {
	r := &Registry{}
	if err := ctx.RegisterComponentResource("assistant:platform:Registry", name, r, opts...); err != nil {
		return nil, fmt.Errorf("register registry %s: %w", name, err)
	}
	expiry, err := untaggedExpiry()
	if err != nil {
		return nil, err
	}
	for _, image := range args.Repositories {
		path := args.Prefix + "/" + image
		repository, err := ecr.NewRepository(ctx, path, &ecr.RepositoryArgs{
			Name: pulumi.String(path), ImageTagMutability: pulumi.String("IMMUTABLE"), ForceDelete: pulumi.Bool(false),
			ImageScanningConfiguration: &ecr.RepositoryImageScanningConfigurationArgs{ScanOnPush: pulumi.Bool(true)},
			EncryptionConfigurations: ecr.RepositoryEncryptionConfigurationArray{&ecr.RepositoryEncryptionConfigurationArgs{
				EncryptionType: pulumi.String("KMS"), KmsKey: args.KeyARN,
			}},
			Tags: named(path),
		}, guarded(args.Protect, pulumi.Parent(r))...)
		if err != nil {
			return nil, fmt.Errorf("make repository %s: %w", path, err)
		}
		if _, err := ecr.NewLifecyclePolicy(ctx, path, &ecr.LifecyclePolicyArgs{Repository: repository.Name, Policy: pulumi.String(expiry)}, pulumi.Parent(repository)); err != nil {
			return nil, fmt.Errorf("set the lifecycle of repository %s: %w", path, err)
		}
	}
	r.URL = pulumi.String(args.Account + ".dkr.ecr." + args.Region + "." + dnsSuffix(args.Region) + "/" + args.Prefix).ToStringOutput()
	return r, ctx.RegisterResourceOutputs(r, pulumi.Map{"url": r.URL})
}

func untaggedExpiry() (string, error) {
	text, err := json.Marshal(map[string]any{"rules": []any{map[string]any{
		"rulePriority": 1,
		"description":  "uploads that were cut short",
		"selection":    map[string]any{"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": untaggedDays},
		"action":       map[string]any{"type": "expire"},
	}}})
	if err != nil {
		return "", fmt.Errorf("write the images' lifecycle: %w", err)
	}
	return string(text), nil
}
