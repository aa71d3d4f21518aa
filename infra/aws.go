package infra

import (
	"fmt"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/smart-assistant/platform/infra/environment"
)

// awsParts is what an environment has on AWS, for the parts in the cluster to use.
type awsParts struct {
	Cluster        *Cluster
	Registry       pulumi.StringOutput // of the images, without their names
	StorageClass   string
	BucketName     pulumi.StringOutput // set when the bucket is there, too
	BucketEndpoint pulumi.StringOutput
	OperatorPolicy pulumi.StringOutput

	prefix   string
	provider *aws.Provider
	keys     *Keys
}

// storageClass is the default of a cluster that the stack makes.
const storageClass = "encrypted-gp3"

// awsPrefix begins the name of everything that an environment has on AWS.
func awsPrefix(s environment.Settings) string { return "assistant-" + s.Name }

// deployAWS makes what must be there before the cluster can be talked to: keys, network, cluster, registry and bucket. It asks AWS nothing: account,
// region and zones are settings. An environment that uses no AWS has none of it.
func deployAWS(ctx *pulumi.Context, s environment.Settings, opts ...pulumi.ResourceOption) (*awsParts, error) {
	if !s.UsesAWS() {
		return nil, nil //nolint:nilnil // nothing was asked for, and that is no error
	}
	provider, err := NewAWS(ctx, "aws", &AWSArgs{Environment: s.Name, Account: s.AWS.Account, Region: s.AWS.Region}, opts...)
	if err != nil {
		return nil, err
	}
	parts := &awsParts{prefix: awsPrefix(s), provider: provider, StorageClass: storageClass}
	opts = append(opts, pulumi.Providers(provider))
	bucket := s.Bucket.Kind == environment.BucketAWS
	parts.keys, err = NewKeys(ctx, "keys", &KeysArgs{
		Prefix: parts.prefix, Account: s.AWS.Account, Region: s.AWS.Region, Bucket: bucket, Protect: s.Protect,
	}, opts...)
	if err != nil {
		return nil, err
	}
	registry, err := NewRegistry(ctx, "registry", &RegistryArgs{
		Prefix: parts.prefix, Account: s.AWS.Account, Region: s.AWS.Region, Repositories: []string{"assistd", "assistctl"},
		KeyARN: parts.keys.Images, Protect: s.Protect,
	}, opts...)
	if err != nil {
		return nil, err
	}
	parts.Cluster, err = parts.deployCluster(ctx, s, opts...)
	if err != nil {
		return nil, err
	}
	parts.Registry = registry.URL
	if bucket {
		return parts, parts.deployBucket(ctx, s, opts...)
	}
	return parts, nil
}

func (a *awsParts) deployCluster(ctx *pulumi.Context, s environment.Settings, opts ...pulumi.ResourceOption) (*Cluster, error) {
	network, err := NewNetwork(ctx, "network", &NetworkArgs{
		Prefix: a.prefix, Account: s.AWS.Account, Region: s.AWS.Region, Zones: s.AWS.Zones, CIDR: s.AWS.CIDR, NATGateways: s.AWS.NATGateways,
		LogDays: s.AWS.LogDays, LogKey: a.keys.Logs,
	}, opts...)
	if err != nil {
		return nil, err
	}
	return NewCluster(ctx, "cluster", &ClusterArgs{
		Prefix: a.prefix, Region: s.AWS.Region, Version: s.AWS.Kubernetes, PublicAccess: s.AWS.PublicAccess, PrivateAccess: s.AWS.PrivateAccess,
		Administrators: s.AWS.Administrators, LogDays: s.AWS.LogDays,
		NodeType: s.AWS.Nodes.Type, NodesMin: s.AWS.Nodes.Min, NodesMax: s.AWS.Nodes.Max, NodeDiskGiB: s.AWS.Nodes.DiskGiB,
		Zones: s.AWS.Zones, PublicSubnets: network.PublicSubnets, PrivateSubnets: network.PrivateSubnets, Routes: network.Routes,
		ClusterKey: a.keys.Cluster, VolumeKey: a.keys.Volumes, LogKey: a.keys.Logs,
	}, opts...)
}

func (a *awsParts) deployBucket(ctx *pulumi.Context, s environment.Settings, opts ...pulumi.ResourceOption) error {
	bucket, err := NewBackupBucket(ctx, "backup-bucket", &BackupBucketArgs{
		Name: s.Bucket.Name, Region: s.AWS.Region, KeyARN: a.keys.Backups, GraceDays: s.AWS.GraceDays, LockDays: s.AWS.ObjectLockDays,
		Pruners: []string{prunerARN(s.AWS.Region, s.AWS.Account, a.prefix)}, Protect: s.Protect,
	}, opts...)
	if err != nil {
		return err
	}
	access, err := NewBucketAccess(ctx, "bucket-access", &BucketAccessArgs{
		Prefix: a.prefix, Region: s.AWS.Region, Namespace: s.Namespace, ClusterName: a.Cluster.Name, ClusterARN: a.Cluster.ARN,
		BucketARN: bucket.ARN, KeyARN: a.keys.Backups, Repositories: repositories(s.AWS.Region, s.AWS.Account, a.prefix),
	}, opts...)
	if err != nil {
		return err
	}
	a.BucketName, a.BucketEndpoint, a.OperatorPolicy = bucket.Name, bucket.Endpoint, access.Operator
	return nil
}

// repositories matches the ARNs of an environment's repositories.
func repositories(region, account, prefix string) string {
	return "arn:" + partition(region) + ":ecr:" + region + ":" + account + ":repository/" + prefix + "/*"
}

// inCluster makes what AWS needs in the cluster. The options name the cluster's provider.
func (a *awsParts) inCluster(ctx *pulumi.Context, scope Scope, opts ...pulumi.ResourceOption) error {
	if a == nil {
		return nil
	}
	_, err := NewStorage(ctx, "storage", &StorageArgs{Name: a.StorageClass, KeyARN: a.keys.Volumes, Labels: labels(scope.Settings, "storage")}, opts...)
	return err
}

// storeSecrets puts the environment's secrets into Secrets Manager as well.
func (a *awsParts) storeSecrets(ctx *pulumi.Context, s environment.Settings, entries map[string]pulumi.StringMap, opts ...pulumi.ResourceOption) error {
	if a == nil {
		return nil
	}
	_, err := NewSecretStore(ctx, "secret-store", &SecretStoreArgs{
		Prefix: a.prefix, KeyARN: a.keys.Secrets, Entries: entries, Protect: s.Protect,
	}, append(opts, pulumi.Providers(a.provider))...)
	return err
}

// AWSArgs say in which account and region an environment lives.
type AWSArgs struct {
	Environment string
	Account     string // twelve digits; nothing is made in another one
	Region      string
}

// NewAWS makes the provider that everything on AWS uses. It names account and region itself, so that a shell's profile cannot send an
// environment elsewhere.
func NewAWS(ctx *pulumi.Context, name string, args *AWSArgs, opts ...pulumi.ResourceOption) (*aws.Provider, error) {
	provider, err := aws.NewProvider(ctx, name, &aws.ProviderArgs{
		Region:            pulumi.String(args.Region),
		AllowedAccountIds: pulumi.ToStringArray([]string{args.Account}),
		DefaultTags: &aws.ProviderDefaultTagsArgs{Tags: pulumi.StringMap{
			"part-of":     pulumi.String("smart-assistant"),
			"environment": pulumi.String(args.Environment),
			"managed-by":  pulumi.String("pulumi"),
		}},
	}, opts...)
	if err != nil {
		return nil, fmt.Errorf("make the AWS provider: %w", err)
	}
	return provider, nil
}

func named(name string) pulumi.StringMap { return pulumi.StringMap{"Name": pulumi.String(name)} }
