package infra

import (
	"fmt"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/s3"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// BackupBucket is an environment's bucket on AWS: ledger, keys and backups.
type BackupBucket struct {
	pulumi.ResourceState

	Name     pulumi.StringOutput
	ARN      pulumi.StringOutput
	Endpoint pulumi.StringOutput

	name string // of its resources in the state, which another name on S3 must not change
}

// BackupBucketArgs say how long it keeps what was deleted or overwritten, and for whom.
type BackupBucketArgs struct {
	Name      string
	Region    string
	KeyARN    pulumi.StringInput
	GraceDays int      // that older versions stay
	LockDays  int      // in which nobody can remove a version; 0 is no lock
	Pruners   []string // ARNs of those who may delete
	Protect   bool
}

// NewBackupBucket makes it. Every setting is a resource of its own on S3; all of them are there before the bucket's name is known to anyone else.
func NewBackupBucket(ctx *pulumi.Context, name string, args *BackupBucketArgs, opts ...pulumi.ResourceOption) (*BackupBucket, error) {
	b := &BackupBucket{name: name}
	if err := ctx.RegisterComponentResource("assistant:platform:BackupBucket", name, b, opts...); err != nil {
		return nil, fmt.Errorf("register bucket %s: %w", name, err)
	}
	rules, err := lifecycle(args.GraceDays, args.LockDays)
	if err != nil {
		return nil, err
	}
	// The lock is enabled by its own configuration, which S3 takes for a bucket with versions at any time; here it would be for a new bucket only.
	bucket, err := s3.NewBucketV2(ctx, b.name, &s3.BucketV2Args{
		Bucket: pulumi.String(args.Name), ForceDestroy: pulumi.Bool(false), Tags: named(args.Name),
	}, guarded(args.Protect, pulumi.Parent(b))...)
	if err != nil {
		return nil, fmt.Errorf("make bucket %s: %w", args.Name, err)
	}
	closed, err := b.close(ctx, args, bucket)
	if err != nil {
		return nil, err
	}
	kept, err := b.keep(ctx, args, bucket, rules)
	if err != nil {
		return nil, err
	}
	ready := []any{bucket.Bucket, bucket.Arn}
	for _, r := range append(closed, kept...) {
		ready = append(ready, r.ID())
	}
	known := pulumi.All(ready...)
	b.Name = known.ApplyT(func(v []any) string { return fmt.Sprint(v[0]) }).(pulumi.StringOutput)
	b.ARN = known.ApplyT(func(v []any) string { return fmt.Sprint(v[1]) }).(pulumi.StringOutput)
	b.Endpoint = pulumi.Sprintf("https://s3.%s.%s", args.Region, dnsSuffix(args.Region))
	return b, ctx.RegisterResourceOutputs(b, pulumi.Map{"name": b.Name, "endpoint": b.Endpoint})
}

// close encrypts the bucket and shuts it to everybody but those with a policy: nothing public, no access lists, TLS only, this key only.
func (b *BackupBucket) close(ctx *pulumi.Context, args *BackupBucketArgs, bucket *s3.BucketV2) ([]pulumi.CustomResource, error) {
	options := guarded(args.Protect, pulumi.Parent(bucket))
	encryption, err := s3.NewBucketServerSideEncryptionConfigurationV2(ctx, b.name, &s3.BucketServerSideEncryptionConfigurationV2Args{
		Bucket: bucket.Bucket,
		Rules: s3.BucketServerSideEncryptionConfigurationV2RuleArray{&s3.BucketServerSideEncryptionConfigurationV2RuleArgs{
			BucketKeyEnabled: pulumi.Bool(true), // one call to KMS for many objects
			ApplyServerSideEncryptionByDefault: &s3.BucketServerSideEncryptionConfigurationV2RuleApplyServerSideEncryptionByDefaultArgs{
				SseAlgorithm: pulumi.String("aws:kms"), KmsMasterKeyId: args.KeyARN,
			},
		}},
	}, options...)
	if err != nil {
		return nil, fmt.Errorf("encrypt bucket %s: %w", args.Name, err)
	}
	private, err := s3.NewBucketPublicAccessBlock(ctx, b.name, &s3.BucketPublicAccessBlockArgs{
		Bucket: bucket.Bucket, BlockPublicAcls: pulumi.Bool(true), BlockPublicPolicy: pulumi.Bool(true),
		IgnorePublicAcls: pulumi.Bool(true), RestrictPublicBuckets: pulumi.Bool(true),
	}, options...)
	if err != nil {
		return nil, fmt.Errorf("close bucket %s to the public: %w", args.Name, err)
	}
	owner, err := s3.NewBucketOwnershipControls(ctx, b.name, &s3.BucketOwnershipControlsArgs{
		Bucket: bucket.Bucket, Rule: &s3.BucketOwnershipControlsRuleArgs{ObjectOwnership: pulumi.String("BucketOwnerEnforced")},
	}, options...)
	if err != nil {
		return nil, fmt.Errorf("own the objects of bucket %s: %w", args.Name, err)
	}
	access, err := s3.NewBucketPolicy(ctx, b.name, &s3.BucketPolicyArgs{
		Bucket: bucket.Bucket,
		Policy: policyOf(func(v []string) policy { return bucketPolicy(v[0], v[1], args.Pruners) }, bucket.Arn, args.KeyARN),
	}, append(options, pulumi.DependsOn([]pulumi.Resource{private}))...)
	if err != nil {
		return nil, fmt.Errorf("set the policy of bucket %s: %w", args.Name, err)
	}
	return []pulumi.CustomResource{encryption, private, owner, access}, nil
}

// keep makes deletion a thing that can be undone: versions, a lifecycle that removes them later, and the lock, when asked for.
func (b *BackupBucket) keep(ctx *pulumi.Context, args *BackupBucketArgs, bucket *s3.BucketV2, rules []lifecycleRule) ([]pulumi.CustomResource, error) {
	options := guarded(args.Protect, pulumi.Parent(bucket))
	versions, err := s3.NewBucketVersioningV2(ctx, b.name, &s3.BucketVersioningV2Args{
		Bucket: bucket.Bucket, VersioningConfiguration: &s3.BucketVersioningV2VersioningConfigurationArgs{Status: pulumi.String("Enabled")},
	}, options...)
	if err != nil {
		return nil, fmt.Errorf("version bucket %s: %w", args.Name, err)
	}
	afterVersions := append(options, pulumi.DependsOn([]pulumi.Resource{versions}))
	expiry, err := s3.NewBucketLifecycleConfigurationV2(ctx, b.name, &s3.BucketLifecycleConfigurationV2Args{
		Bucket: bucket.Bucket, Rules: lifecycleInputs(rules),
	}, afterVersions...)
	if err != nil {
		return nil, fmt.Errorf("set the lifecycle of bucket %s: %w", args.Name, err)
	}
	made := []pulumi.CustomResource{versions, expiry}
	if args.LockDays > 0 {
		lock, err := s3.NewBucketObjectLockConfigurationV2(ctx, b.name, &s3.BucketObjectLockConfigurationV2Args{
			Bucket: bucket.Bucket, ObjectLockEnabled: pulumi.String("Enabled"),
			Rule: &s3.BucketObjectLockConfigurationV2RuleArgs{DefaultRetention: &s3.BucketObjectLockConfigurationV2RuleDefaultRetentionArgs{
				Mode: pulumi.String("GOVERNANCE"), Days: pulumi.Int(args.LockDays),
			}},
		}, afterVersions...)
		if err != nil {
			return nil, fmt.Errorf("lock the objects of bucket %s: %w", args.Name, err)
		}
		made = append(made, lock)
	}
	return made, nil
}
