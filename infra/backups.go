package infra

import (
	"fmt"

	batchv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/batch/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/smart-assistant/platform/infra/environment"
)

const insideConfig = "/etc/assistctl" // where `assistctl inside` looks for what it works with

// Backups are the scheduled jobs, each with rights of its own to the bucket, and the template of the pod that restores.
type Backups struct {
	pulumi.ResourceState
	scope    Scope
	registry pulumi.StringInput
}

// NewBackups makes them. outputs is the environment's description as JSON; the jobs are there once there is a release, whose image they run.
func NewBackups(ctx *pulumi.Context, scope Scope, registry, outputs pulumi.StringInput, opts ...pulumi.ResourceOption) (*Backups, error) {
	b := &Backups{scope: scope, registry: registry}
	if err := ctx.RegisterComponentResource(component("Backups"), "backups", b, opts...); err != nil {
		return nil, err
	}
	parent := pulumi.Parent(b)
	if _, err := corev1.NewConfigMap(ctx, "assistctl", &corev1.ConfigMapArgs{
		Metadata: scope.meta("assistctl", nameBackup), Data: pulumi.StringMap{"environment.json": outputs},
	}, parent); err != nil {
		return nil, fmt.Errorf("make the jobs' configuration: %w", err)
	}
	for _, name := range []string{nameBackup, namePrune, nameRestore} {
		if err := scope.account(ctx, name, parent); err != nil {
			return nil, fmt.Errorf("make the account %s: %w", name, err)
		}
	}
	if err := b.template(ctx, parent); err != nil {
		return nil, fmt.Errorf("make the restore's pod template: %w", err)
	}
	if scope.Settings.Release != nil {
		schedules := map[string]string{nameBackup: scope.Settings.Schedule.Backup, namePrune: scope.Settings.Schedule.Prune}
		for _, name := range sortedKeys(schedules) {
			if err := b.cronJob(ctx, name, schedules[name], parent); err != nil {
				return nil, fmt.Errorf("make the job %s: %w", name, err)
			}
		}
	}
	return b, ctx.RegisterResourceOutputs(b, pulumi.Map{})
}

func (b *Backups) cronJob(ctx *pulumi.Context, name, schedule string, parent pulumi.ResourceOption) error {
	_, err := batchv1.NewCronJob(ctx, name, &batchv1.CronJobArgs{
		Metadata: b.scope.meta(name, name),
		Spec: &batchv1.CronJobSpecArgs{
			Schedule: pulumi.String(schedule), TimeZone: pulumi.String("Etc/UTC"),
			ConcurrencyPolicy: pulumi.String("Forbid"), StartingDeadlineSeconds: pulumi.Int(3600),
			SuccessfulJobsHistoryLimit: pulumi.Int(3), FailedJobsHistoryLimit: pulumi.Int(3),
			JobTemplate: &batchv1.JobTemplateSpecArgs{
				Metadata: b.scope.podMeta(name, nil),
				Spec: &batchv1.JobSpecArgs{
					BackoffLimit: pulumi.Int(2), ActiveDeadlineSeconds: pulumi.Int(6 * 3600), TtlSecondsAfterFinished: pulumi.Int(7 * 24 * 3600),
					Template: &corev1.PodTemplateSpecArgs{Metadata: b.scope.podMeta(name, nil), Spec: b.pod(name)},
				},
			},
		},
	}, parent)
	return err
}

// pod runs one of assistctl's scheduled commands. A backup can write and sign but not read what it wrote: it holds the writer's file.
func (b *Backups) pod(name string) *corev1.PodSpecArgs {
	s := b.scope.Settings
	volumes := corev1.VolumeArray{configVolume("environment", "assistctl"), laterSecret("bucket", bucketSecretOf(name)), emptyDir("tmp", "256Mi")}
	mounts := corev1.VolumeMountArray{
		mountReadOnly("environment", insideConfig), mountReadOnly("bucket", insideConfig+"/bucket"), mount("tmp", "/tmp"),
	}
	if name == nameBackup {
		volumes = append(volumes, laterSecret("writer", "backup-writer"), secretVolume("database", namePostgres, "backup-password", "ca.crt"))
		mounts = append(mounts, mountReadOnly("writer", insideConfig+"/writer"), mountReadOnly("database", insideConfig+"/database"))
	}
	return &corev1.PodSpecArgs{
		ServiceAccountName: pulumi.String(name), AutomountServiceAccountToken: pulumi.Bool(false), EnableServiceLinks: pulumi.Bool(false),
		SecurityContext: podSecurity(serviceUser), RestartPolicy: pulumi.String("Never"), TerminationGracePeriodSeconds: pulumi.Int(60),
		Containers: corev1.ContainerArray{corev1.ContainerArgs{
			Name: pulumi.String("assistctl"), Image: imageOf(b.registry, s.Release, environment.Assistctl), ImagePullPolicy: pulumi.String("IfNotPresent"),
			Args: texts("inside", name), SecurityContext: restricted(), VolumeMounts: mounts,
			Resources: resources(environment.Resources{CPU: "100m", CPULimit: "2", Memory: "128Mi", MemoryLimit: "512Mi"}),
		}},
		Volumes: volumes,
	}
}

func bucketSecretOf(component string) string {
	for name, of := range bucketSecrets {
		if of == component {
			return name
		}
	}
	return ""
}

// template is the pod in which assistctl restores: PostgreSQL's image, so that its programs are the ones that wrote the data, with
// assistctl copied into it, on the volume beside the live data.
func (b *Backups) template(ctx *pulumi.Context, parent pulumi.ResourceOption) error {
	s := b.scope.Settings
	const program = "/program/assistctl" // not below /assistctl, which is the program itself in its image
	pod := &corev1.PodSpecArgs{
		ServiceAccountName: pulumi.String(nameRestore), AutomountServiceAccountToken: pulumi.Bool(false), EnableServiceLinks: pulumi.Bool(false),
		SecurityContext: podSecurity(postgresUser), RestartPolicy: pulumi.String("Always"), TerminationGracePeriodSeconds: pulumi.Int(60),
		InitContainers: corev1.ContainerArray{corev1.ContainerArgs{
			Name: pulumi.String("install"), Image: imageLater(b.registry, environment.Assistctl), ImagePullPolicy: pulumi.String("IfNotPresent"),
			Args: texts("inside", "install", program), SecurityContext: restricted(),
			Resources:    resources(environment.Resources{CPU: "50m", CPULimit: "1", Memory: "64Mi", MemoryLimit: "256Mi"}),
			VolumeMounts: corev1.VolumeMountArray{mount("program", "/program")},
		}},
		Containers: corev1.ContainerArray{corev1.ContainerArgs{
			Name: pulumi.String(nameRestore), Image: pulumi.String(s.Images.Postgres), ImagePullPolicy: pulumi.String("IfNotPresent"),
			Command: texts(program, "inside", "wait"), SecurityContext: restricted(),
			Env:       variables(map[string]string{"PGDATA": databaseLive, "HOME": "/tmp"}),
			Ports:     corev1.ContainerPortArray{containerPort(namePostgres, databasePort)},
			Resources: resources(environment.Resources{CPU: "250m", CPULimit: "4", Memory: "512Mi", MemoryLimit: "2Gi"}),
			VolumeMounts: corev1.VolumeMountArray{
				mount("data", databaseVolume), mount("program", "/program"), mount("tmp", "/tmp"), mount("run", "/var/run/postgresql"),
				mount("shm", "/dev/shm"), mountReadOnly("environment", insideConfig), mountReadOnly("bucket", insideConfig+"/bucket"),
				mountReadOnly("database", insideConfig+"/database"),
			},
		}},
		Volumes: corev1.VolumeArray{
			corev1.VolumeArgs{Name: pulumi.String("data"), PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSourceArgs{
				ClaimName: pulumi.String("data-" + namePostgres + "-0"),
			}},
			emptyDir("program", "256Mi"), emptyDir("tmp", "512Mi"), emptyDir("run", "16Mi"), memoryDir("shm", "256Mi"),
			configVolume("environment", "assistctl"), laterSecret("bucket", "bucket-operator"), secretVolume("database", namePostgres),
		},
	}
	_, err := corev1.NewPodTemplate(ctx, nameRestore, &corev1.PodTemplateArgs{
		Metadata: b.scope.meta(nameRestore, nameRestore),
		Template: &corev1.PodTemplateSpecArgs{Metadata: b.scope.podMeta(nameRestore, nil), Spec: pod},
	}, parent)
	return err
}
