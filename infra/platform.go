// Package infra is the platform as Pulumi components: what an environment consists of, from the network to the last network policy.
//
// Deploy below is the main flow; each component has a file. The package makes resources from typed settings and knows neither where they
// come from (infra/environment) nor what is done with the platform afterwards (cli). Staging and prod take the same way through it: what
// differs between them is in their settings.
package infra

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/smart-assistant/platform/infra/environment"
)

// Platform is what a stack says of itself.
type Platform struct {
	Environment pulumi.MapOutput    // environment.Outputs; no secret
	Kubeconfig  pulumi.StringOutput // of a cluster that the stack made, a secret; unset for another
	MadeCluster bool
}

// Deploy declares everything that an environment with these settings consists of.
func Deploy(ctx *pulumi.Context, s environment.Settings) (*Platform, error) {
	cloud, err := deployAWS(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("AWS: %w", err)
	}
	provider, err := clusterProvider(ctx, s, cloud)
	if err != nil {
		return nil, fmt.Errorf("reach the cluster: %w", err)
	}
	inCluster := pulumi.Providers(provider)
	addons, err := NewAddons(ctx, s, inCluster)
	if err != nil {
		return nil, err
	}
	namespace, err := NewNamespace(ctx, s, inCluster)
	if err != nil {
		return nil, err
	}
	p := &parts{
		scope: Scope{Settings: s, Namespace: namespace.Name}, cloud: cloud, opts: []pulumi.ResourceOption{inCluster}, addons: addons,
		located: located{
			registry: pulumi.String(s.Images.Registry), bucketName: pulumi.String(s.Bucket.Name),
			bucketEndpoint: pulumi.String(s.Bucket.Endpoint), tlsCA: pulumi.String(s.TLS.CA),
		},
		storageClass: s.StorageClass,
	}
	p.locate()
	for _, step := range []func(*pulumi.Context) error{p.foundation, p.data, p.service, p.around} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	made := &Platform{Environment: asObject(p.description)}
	if s.Cluster == environment.ClusterEKS {
		made.Kubeconfig, made.MadeCluster = cloud.Cluster.Kubeconfig, true
	}
	return made, nil
}

// parts are the components of one environment while they are put together.
type parts struct {
	scope        Scope
	cloud        *awsParts // nil without AWS
	addons       *Addons
	opts         []pulumi.ResourceOption
	storageClass string
	secrets      *Secrets
	located      located
	description  pulumi.StringOutput
}

// locate takes from AWS what the settings left to it.
func (p *parts) locate() {
	s := p.scope.Settings
	if s.Bucket.Kind == environment.BucketCluster {
		p.located.bucketEndpoint = pulumi.Sprintf("https://%s:%d", host(s, nameS3), s3Port)
	}
	if p.cloud == nil {
		return
	}
	if s.Images.Registry == "" {
		p.located.registry = p.cloud.Registry
	}
	if s.Bucket.Kind == environment.BucketAWS {
		p.located.bucketName, p.located.bucketEndpoint = p.cloud.BucketName, p.cloud.BucketEndpoint
	}
	if p.storageClass == "" {
		p.storageClass = p.cloud.StorageClass
	}
}

// foundation is what everything else stands on: storage and rights on AWS, network policies, secrets.
func (p *parts) foundation(ctx *pulumi.Context) (err error) {
	if p.cloud != nil {
		if err := p.cloud.inCluster(ctx, p.scope, p.opts...); err != nil {
			return fmt.Errorf("AWS in the cluster: %w", err)
		}
	}
	if _, err := NewPolicies(ctx, p.scope, p.opts...); err != nil {
		return err
	}
	p.secrets, err = NewSecrets(ctx, p.scope, p.opts...)
	return err
}

// data is PostgreSQL, Valkey and, where it is in the cluster, the bucket.
func (p *parts) data(ctx *pulumi.Context) error {
	if _, err := NewDatabase(ctx, p.scope, p.storageClass, p.opts...); err != nil {
		return err
	}
	if p.scope.Settings.Bucket.Kind == environment.BucketCluster {
		if _, err := NewClusterBucket(ctx, p.scope, p.storageClass, p.opts...); err != nil {
			return err
		}
	}
	_, err := NewCache(ctx, p.scope, p.opts...)
	return err
}

// service is the API, the way to it, and its backups.
func (p *parts) service(ctx *pulumi.Context) error {
	if _, err := NewAPI(ctx, p.scope, p.located.registry, p.opts...); err != nil {
		return err
	}
	ingress, err := NewIngress(ctx, p.scope, p.addons.Releases, p.opts...)
	if err != nil {
		return err
	}
	p.located.tlsCA = ingress.CA
	p.description = describe(p.scope.Settings, p.located)
	_, err = NewBackups(ctx, p.scope, p.located.registry, p.description, p.opts...)
	return err
}

// around is what looks at the service and what uses it.
func (p *parts) around(ctx *pulumi.Context) error {
	s := p.scope.Settings
	if s.Addons.Monitoring != environment.None {
		if _, err := NewMonitoring(ctx, "monitoring", &MonitoringArgs{Scope: p.scope, Secrets: p.secrets, StorageClass: p.storageClass}, p.opts...); err != nil {
			return err
		}
	}
	if s.OpenWebUI.Enabled {
		if _, err := NewOpenWebUI(ctx, "open-webui", &OpenWebUIArgs{Scope: p.scope, Secrets: p.secrets, StorageClass: p.storageClass}, p.opts...); err != nil {
			return err
		}
	}
	if p.cloud == nil {
		return nil
	}
	if err := p.cloud.storeSecrets(ctx, s, p.secrets.Entries); err != nil {
		return fmt.Errorf("store secrets on AWS: %w", err)
	}
	return nil
}
