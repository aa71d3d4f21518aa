package infra

import (
	"fmt"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/smart-assistant/platform/infra/environment"
)

const s3Port = 7070

// ClusterBucket is an S3 server beside the service, for environments that have no object store. It is one pod on one volume: whoever
// wants backups to survive the cluster gives the environment another bucket.
type ClusterBucket struct {
	pulumi.ResourceState
}

// NewClusterBucket makes it.
func NewClusterBucket(ctx *pulumi.Context, scope Scope, storageClass string, opts ...pulumi.ResourceOption) (*ClusterBucket, error) {
	b := &ClusterBucket{}
	if err := ctx.RegisterComponentResource(component("ClusterBucket"), "s3", b, opts...); err != nil {
		return nil, err
	}
	parent := pulumi.Parent(b)
	if err := scope.account(ctx, nameS3, parent); err != nil {
		return nil, fmt.Errorf("make the S3 server's account: %w", err)
	}
	if err := scope.service(ctx, nameS3, nameS3, s3Port, parent); err != nil {
		return nil, fmt.Errorf("make the S3 server's service: %w", err)
	}
	if _, err := appsv1.NewStatefulSet(ctx, nameS3, &appsv1.StatefulSetArgs{
		Metadata: scope.meta(nameS3, nameS3),
		Spec: &appsv1.StatefulSetSpecArgs{
			ServiceName: pulumi.String(nameS3), Replicas: pulumi.Int(1),
			Selector: &metav1.LabelSelectorArgs{MatchLabels: selector(scope.Settings, nameS3)},
			PersistentVolumeClaimRetentionPolicy: &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicyArgs{
				WhenDeleted: pulumi.String("Retain"), WhenScaled: pulumi.String("Retain"),
			},
			VolumeClaimTemplates: corev1.PersistentVolumeClaimTypeArray{scope.claim("data", nameS3, scope.Settings.Bucket.Storage, storageClass)},
			Template: &corev1.PodTemplateSpecArgs{
				Metadata: scope.podMeta(nameS3, nil), Spec: clusterBucketPod(scope.Settings),
			},
		},
	}, scope.keepsVolumes(parent)...); err != nil {
		return nil, fmt.Errorf("make the S3 server: %w", err)
	}
	return b, ctx.RegisterResourceOutputs(b, pulumi.Map{})
}

// clusterBucketPod runs versitygw over folders of the volume. A bucket is a folder, and the kubelet makes the folder of a subPath, so
// the bucket is there when the server starts. Attributes lie beside it, since not every file system keeps them.
func clusterBucketPod(s environment.Settings) *corev1.PodSpecArgs {
	probe := func(period, failures int) *corev1.ProbeArgs {
		return &corev1.ProbeArgs{
			HttpGet:       &corev1.HTTPGetActionArgs{Path: pulumi.String("/_health"), Port: pulumi.String(nameS3), Scheme: pulumi.String("HTTPS")},
			PeriodSeconds: pulumi.Int(period), TimeoutSeconds: pulumi.Int(3), FailureThreshold: pulumi.Int(failures),
		}
	}
	folder := func(path, sub string) corev1.VolumeMountArgs {
		m := mount("data", path)
		m.SubPath = pulumi.String(sub)
		return m
	}
	credential := func(name, key string) corev1.EnvVarArgs {
		return corev1.EnvVarArgs{Name: pulumi.String(name), ValueFrom: &corev1.EnvVarSourceArgs{
			SecretKeyRef: &corev1.SecretKeySelectorArgs{Name: pulumi.String(nameS3), Key: pulumi.String(key)},
		}}
	}
	return &corev1.PodSpecArgs{
		ServiceAccountName: pulumi.String(nameS3), AutomountServiceAccountToken: pulumi.Bool(false), EnableServiceLinks: pulumi.Bool(false),
		SecurityContext: podSecurity(serviceUser), TerminationGracePeriodSeconds: pulumi.Int(30), TopologySpreadConstraints: spread(s, nameS3),
		Containers: corev1.ContainerArray{corev1.ContainerArgs{
			Name: pulumi.String(nameS3), Image: pulumi.String(s.Images.Versitygw), ImagePullPolicy: pulumi.String("IfNotPresent"),
			Args: texts("--port", fmt.Sprintf(":%d", s3Port), "--region", s.Bucket.Region, "--health", "/_health", "--quiet", "--keep-alive",
				"--cert", "/etc/s3/tls.crt", "--key", "/etc/s3/tls.key",
				"posix", "--dir-perms", "0700", "--file-perms", "0600", "--sidecar", "/data/attributes", "/data/buckets"),
			// The one place where a secret is in a variable: versitygw takes its root account from nowhere else.
			Env:             corev1.EnvVarArray{credential("ROOT_ACCESS_KEY", "access-key"), credential("ROOT_SECRET_KEY", "secret-key")},
			Ports:           corev1.ContainerPortArray{containerPort(nameS3, s3Port)},
			SecurityContext: restricted(),
			Resources:       resources(environment.Resources{CPU: "50m", CPULimit: "1", Memory: "128Mi", MemoryLimit: "512Mi"}),
			StartupProbe:    probe(1, 60), LivenessProbe: probe(10, 3), ReadinessProbe: probe(5, 2),
			VolumeMounts: corev1.VolumeMountArray{
				folder("/data/buckets", "buckets"), folder("/data/buckets/"+s.Bucket.Name, "buckets/"+s.Bucket.Name),
				folder("/data/attributes", "attributes"), mount("tmp", "/tmp"), mountReadOnly("secrets", "/etc/s3"),
			},
		}},
		Volumes: corev1.VolumeArray{emptyDir("tmp", "256Mi"), secretVolume("secrets", nameS3, "tls.crt", "tls.key")},
	}
}
