package infra

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/smart-assistant/platform/infra/environment"
)

// Names of components: the label component, and mostly the name of the object as well. assistctl knows them too.
const (
	nameAPI       = "api"
	namePostgres  = "postgres"
	nameS3        = "s3"
	nameValkey    = "valkey"
	nameOpenWebUI = "open-webui"
	nameBackup    = "backup"
	namePrune     = "prune"
	nameExec      = "exec"
	nameRestore   = "restore"
	nameCanary    = "canary"
)

// Users in the images.
const (
	serviceUser  = 65532 // assistd, assistctl, versitygw
	postgresUser = 999
	valkeyUser   = 999
)

// skipAwait is for objects that cannot settle on a first `pulumi up`: a Service has no endpoints before the first release, and an
// Ingress gets no address from a controller without a load balancer. Nothing is lost: Deployments and StatefulSets are waited for.
const skipAwait = "pulumi.com/skipAwait"

// Scope is what every component in the cluster needs.
type Scope struct {
	Settings  environment.Settings
	Namespace pulumi.StringInput // of the environment, once it is there
}

// labels are on every object of a component.
func labels(s environment.Settings, component string) pulumi.StringMap {
	l := selector(s, component)
	l["app.kubernetes.io/part-of"] = pulumi.String("smart-assistant")
	l["app.kubernetes.io/managed-by"] = pulumi.String("pulumi")
	return l
}

// selector finds the pods of a component.
func selector(s environment.Settings, component string) pulumi.StringMap {
	return pulumi.StringMap{
		"app.kubernetes.io/name":      pulumi.String(component),
		"app.kubernetes.io/instance":  pulumi.String(s.Name),
		"app.kubernetes.io/component": pulumi.String(component),
	}
}

// meta names an object in the environment's namespace.
func (s Scope) meta(name, component string) *metav1.ObjectMetaArgs {
	return &metav1.ObjectMetaArgs{
		Name: pulumi.String(name), Namespace: s.Namespace.ToStringOutput(), Labels: labels(s.Settings, component),
	}
}

// unawaited is meta for an object that Pulumi must not wait for.
func (s Scope) unawaited(name, component string) *metav1.ObjectMetaArgs {
	m := s.meta(name, component)
	m.Annotations = pulumi.StringMap{skipAwait: pulumi.String("true")}
	return m
}

// podMeta is the metadata of a component's pods.
func (s Scope) podMeta(component string, annotations pulumi.StringMap) *metav1.ObjectMetaArgs {
	return &metav1.ObjectMetaArgs{Labels: labels(s.Settings, component), Annotations: annotations}
}

// keeps are the options of what must outlive a destroyed stack.
func (s Scope) keeps(opts ...pulumi.ResourceOption) []pulumi.ResourceOption {
	return guarded(s.Settings.Protect, opts...)
}

// host is a service's name in the cluster's DNS.
func host(s environment.Settings, service string) string {
	return fmt.Sprintf("%s.%s.svc.cluster.local", service, s.Namespace)
}

// restricted is what the Pod Security standard of that name wants of a container, and a read-only root file system.
func restricted() *corev1.SecurityContextArgs {
	return &corev1.SecurityContextArgs{
		AllowPrivilegeEscalation: pulumi.Bool(false),
		ReadOnlyRootFilesystem:   pulumi.Bool(true),
		RunAsNonRoot:             pulumi.Bool(true),
		Capabilities:             &corev1.CapabilitiesArgs{Drop: pulumi.StringArray{pulumi.String("ALL")}},
		SeccompProfile:           &corev1.SeccompProfileArgs{Type: pulumi.String("RuntimeDefault")},
	}
}

// podSecurity is the same of a pod, with the numeric user that its images want and the group to which its volumes belong.
func podSecurity(user int) *corev1.PodSecurityContextArgs {
	return &corev1.PodSecurityContextArgs{
		RunAsNonRoot: pulumi.Bool(true), RunAsUser: pulumi.Int(user), RunAsGroup: pulumi.Int(user), FsGroup: pulumi.Int(user),
		FsGroupChangePolicy: pulumi.String("OnRootMismatch"), // a large volume is not walked at every start
		SeccompProfile:      &corev1.SeccompProfileArgs{Type: pulumi.String("RuntimeDefault")},
	}
}

// resources are requests and limits. Scratch space counts as well, since emptyDirs live on the node's disk.
func resources(r environment.Resources) *corev1.ResourceRequirementsArgs {
	return &corev1.ResourceRequirementsArgs{
		Requests: pulumi.StringMap{"cpu": pulumi.String(r.CPU), "memory": pulumi.String(r.Memory), "ephemeral-storage": pulumi.String("64Mi")},
		Limits:   pulumi.StringMap{"cpu": pulumi.String(r.CPULimit), "memory": pulumi.String(r.MemoryLimit), "ephemeral-storage": pulumi.String("1Gi")},
	}
}

// spread puts a component's pods on different nodes and zones as far as there are any.
func spread(s environment.Settings, component string) corev1.TopologySpreadConstraintArray {
	constraint := func(key string) corev1.TopologySpreadConstraintArgs {
		return corev1.TopologySpreadConstraintArgs{
			MaxSkew: pulumi.Int(1), TopologyKey: pulumi.String(key), WhenUnsatisfiable: pulumi.String("ScheduleAnyway"),
			LabelSelector: &metav1.LabelSelectorArgs{MatchLabels: selector(s, component)},
		}
	}
	return corev1.TopologySpreadConstraintArray{constraint("kubernetes.io/hostname"), constraint("topology.kubernetes.io/zone")}
}

// account makes a ServiceAccount whose token no pod gets.
func (s Scope) account(ctx *pulumi.Context, component string, opts ...pulumi.ResourceOption) error {
	_, err := corev1.NewServiceAccount(ctx, component, &corev1.ServiceAccountArgs{
		Metadata: s.meta(component, component), AutomountServiceAccountToken: pulumi.Bool(false),
	}, opts...)
	return err
}

// service makes a Service over the pods of a component.
func (s Scope) service(ctx *pulumi.Context, component, port string, number int, opts ...pulumi.ResourceOption) error {
	_, err := corev1.NewService(ctx, component, &corev1.ServiceArgs{
		Metadata: s.unawaited(component, component),
		Spec: &corev1.ServiceSpecArgs{
			Selector: selector(s.Settings, component),
			Ports:    corev1.ServicePortArray{servicePort(port, number)},
		},
	}, opts...)
	return err
}

func servicePort(name string, number int) corev1.ServicePortArgs {
	return corev1.ServicePortArgs{
		Name: pulumi.String(name), Port: pulumi.Int(number), TargetPort: pulumi.String(name), Protocol: pulumi.String("TCP"),
	}
}

func containerPort(name string, number int) corev1.ContainerPortArgs {
	return corev1.ContainerPortArgs{Name: pulumi.String(name), ContainerPort: pulumi.Int(number), Protocol: pulumi.String("TCP")}
}

// Volumes and mounts.

func emptyDir(name, limit string) corev1.VolumeArgs {
	return corev1.VolumeArgs{Name: pulumi.String(name), EmptyDir: &corev1.EmptyDirVolumeSourceArgs{SizeLimit: pulumi.String(limit)}}
}

func memoryDir(name, limit string) corev1.VolumeArgs {
	return corev1.VolumeArgs{Name: pulumi.String(name), EmptyDir: &corev1.EmptyDirVolumeSourceArgs{
		Medium: pulumi.String("Memory"), SizeLimit: pulumi.String(limit),
	}}
}

// secretVolume mounts keys of a Secret for the pod's group alone; no keys are all of them.
func secretVolume(name, secret string, keys ...string) corev1.VolumeArgs {
	return corev1.VolumeArgs{Name: pulumi.String(name), Secret: &corev1.SecretVolumeSourceArgs{
		SecretName: pulumi.String(secret), DefaultMode: pulumi.Int(0o440), Items: items(keys),
	}}
}

// laterSecret is a Secret that may not be there yet.
func laterSecret(name, secret string) corev1.VolumeArgs {
	return corev1.VolumeArgs{Name: pulumi.String(name), Secret: &corev1.SecretVolumeSourceArgs{
		SecretName: pulumi.String(secret), DefaultMode: pulumi.Int(0o440), Optional: pulumi.Bool(true),
	}}
}

func configVolume(name, config string, keys ...string) corev1.VolumeArgs {
	return corev1.VolumeArgs{Name: pulumi.String(name), ConfigMap: &corev1.ConfigMapVolumeSourceArgs{
		Name: pulumi.String(config), DefaultMode: pulumi.Int(0o444), Items: items(keys),
	}}
}

func items(keys []string) corev1.KeyToPathArray {
	var list corev1.KeyToPathArray
	for _, key := range keys {
		list = append(list, corev1.KeyToPathArgs{Key: pulumi.String(key), Path: pulumi.String(key)})
	}
	return list
}

func mount(volume, path string) corev1.VolumeMountArgs {
	return corev1.VolumeMountArgs{Name: pulumi.String(volume), MountPath: pulumi.String(path)}
}

func mountReadOnly(volume, path string) corev1.VolumeMountArgs {
	m := mount(volume, path)
	m.ReadOnly = pulumi.Bool(true)
	return m
}

// variables are plain environment variables, by name.
func variables(values map[string]string) corev1.EnvVarArray {
	var list corev1.EnvVarArray
	for _, name := range sortedKeys(values) {
		list = append(list, corev1.EnvVarArgs{Name: pulumi.String(name), Value: pulumi.String(values[name])})
	}
	return list
}

func texts(values ...string) pulumi.StringArray { return pulumi.ToStringArray(values) }

// clusterProvider is the way to the cluster. It is explicit, so that nothing is ever made in whichever cluster is the current one.
func clusterProvider(ctx *pulumi.Context, s environment.Settings, aws *awsParts) (*kubernetes.Provider, error) {
	// Changed in place: a ConfigMap or Secret that is deleted and made anew would be missing in between, and a protected one could not be.
	args := &kubernetes.ProviderArgs{EnableConfigMapMutable: pulumi.Bool(true), EnableSecretMutable: pulumi.Bool(true)}
	var opts []pulumi.ResourceOption
	if s.Cluster == environment.ClusterEKS {
		args.Kubeconfig = aws.Cluster.Kubeconfig
		// Another endpoint is another cluster, whose objects are made anew; a new certificate of the same one is not.
		args.ClusterIdentifier = aws.Cluster.Endpoint
		opts = append(opts, pulumi.DependsOn(aws.Cluster.Ready))
	} else {
		args.Context = pulumi.String(s.Kube.Context)
		if s.Kube.Kubeconfig != "" {
			args.Kubeconfig = pulumi.String(s.Kube.Kubeconfig)
		}
	}
	return kubernetes.NewProvider(ctx, "cluster", args, opts...)
}

// component is the type of a component resource.
func component(name string) string { return "assistant:platform:" + name }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// lines joins the lines of a file.
func lines(text ...string) string { return strings.Join(text, "\n") + "\n" }
