package infra

import (
	"fmt"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/smart-assistant/platform/infra/environment"
)

const cachePort = 6379

// Cache is Valkey, which counts requests and remembers what may be forgotten: nothing of it is kept over a restart.
type Cache struct {
	pulumi.ResourceState
}

// NewCache makes it.
func NewCache(ctx *pulumi.Context, scope Scope, opts ...pulumi.ResourceOption) (*Cache, error) {
	c := &Cache{}
	if err := ctx.RegisterComponentResource(component("Cache"), "cache", c, opts...); err != nil {
		return nil, err
	}
	parent := pulumi.Parent(c)
	config := cacheConfiguration(scope.Settings)
	if _, err := corev1.NewConfigMap(ctx, nameValkey, &corev1.ConfigMapArgs{
		Metadata: scope.meta(nameValkey, nameValkey), Data: pulumi.StringMap{"valkey.conf": pulumi.String(config)},
	}, parent); err != nil {
		return nil, fmt.Errorf("make the cache's configuration: %w", err)
	}
	if err := scope.account(ctx, nameValkey, parent); err != nil {
		return nil, fmt.Errorf("make the cache's account: %w", err)
	}
	if err := scope.service(ctx, nameValkey, nameValkey, cachePort, parent); err != nil {
		return nil, fmt.Errorf("make the cache's service: %w", err)
	}
	if _, err := appsv1.NewDeployment(ctx, nameValkey, &appsv1.DeploymentArgs{
		Metadata: scope.meta(nameValkey, nameValkey),
		Spec: &appsv1.DeploymentSpecArgs{
			Replicas: pulumi.Int(1),
			Strategy: &appsv1.DeploymentStrategyArgs{Type: pulumi.String("Recreate")}, // two would count apart
			Selector: &metav1.LabelSelectorArgs{MatchLabels: selector(scope.Settings, nameValkey)},
			Template: &corev1.PodTemplateSpecArgs{
				Metadata: scope.podMeta(nameValkey, pulumi.StringMap{
					"assistant/configuration": pulumi.String(checksum(map[string]string{"valkey.conf": config})),
				}),
				Spec: cachePod(scope.Settings),
			},
		},
	}, parent); err != nil {
		return nil, fmt.Errorf("make the cache: %w", err)
	}
	return c, ctx.RegisterResourceOutputs(c, pulumi.Map{})
}

// cacheConfiguration leaves a quarter of the memory to the process itself.
func cacheConfiguration(s environment.Settings) string {
	return lines("port "+fmt.Sprint(cachePort), "bind * -::*", "dir /data", "save \"\"", "appendonly no",
		fmt.Sprintf("maxmemory %d", environment.Bytes(s.Cache.Resources.MemoryLimit)*3/4),
		"maxmemory-policy allkeys-lru", "aclfile /etc/valkey-secrets/users.acl", "logfile \"\"")
}

func cachePod(s environment.Settings) *corev1.PodSpecArgs {
	probe := func(period, failures int) *corev1.ProbeArgs {
		return &corev1.ProbeArgs{
			TcpSocket:     &corev1.TCPSocketActionArgs{Port: pulumi.String(nameValkey)},
			PeriodSeconds: pulumi.Int(period), TimeoutSeconds: pulumi.Int(2), FailureThreshold: pulumi.Int(failures),
		}
	}
	return &corev1.PodSpecArgs{
		ServiceAccountName: pulumi.String(nameValkey), AutomountServiceAccountToken: pulumi.Bool(false), EnableServiceLinks: pulumi.Bool(false),
		SecurityContext: podSecurity(valkeyUser), TerminationGracePeriodSeconds: pulumi.Int(30), TopologySpreadConstraints: spread(s, nameValkey),
		Containers: corev1.ContainerArray{corev1.ContainerArgs{
			Name: pulumi.String(nameValkey), Image: pulumi.String(s.Images.Valkey), ImagePullPolicy: pulumi.String("IfNotPresent"),
			Args:            texts("/etc/valkey/valkey.conf"),
			Ports:           corev1.ContainerPortArray{containerPort(nameValkey, cachePort)},
			SecurityContext: restricted(), Resources: resources(s.Cache.Resources),
			StartupProbe: probe(1, 60), LivenessProbe: probe(10, 3), ReadinessProbe: probe(5, 2),
			VolumeMounts: corev1.VolumeMountArray{
				mountReadOnly("configuration", "/etc/valkey"), mountReadOnly("secrets", "/etc/valkey-secrets"), mount("data", "/data"),
			},
		}},
		Volumes: corev1.VolumeArray{
			configVolume("configuration", nameValkey), secretVolume("secrets", nameValkey, "users.acl"), emptyDir("data", "16Mi"),
		},
	}
}
