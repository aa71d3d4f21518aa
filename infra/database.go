package infra

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/smart-assistant/platform/infra/environment"
)

// What PostgreSQL is called. assistctl reads it in the stack's output.
const (
	databaseName    = "assistant"
	databaseRole    = "assistd"
	backupRole      = "backup"
	databasePort    = 5432
	databaseVolume  = "/var/lib/postgresql" // where the images keep their data, in a folder of their own
	databaseLive    = databaseVolume + "/live"
	databaseConfig  = "/etc/postgresql"
	databaseSecrets = "/etc/postgresql-secrets" //nolint:gosec // a folder
)

var (
	//go:embed files/postgresql.conf
	postgresqlConf string
	//go:embed files/pg_hba.conf
	pgHBA string
	//go:embed files/roles.sql
	rolesSQL string
)

// Database is PostgreSQL: one server on a volume that outlives it.
type Database struct {
	pulumi.ResourceState
	scope Scope
}

// NewDatabase makes the StatefulSet, its Services and its configuration.
func NewDatabase(ctx *pulumi.Context, scope Scope, storageClass string, opts ...pulumi.ResourceOption) (*Database, error) {
	d := &Database{scope: scope}
	if err := ctx.RegisterComponentResource(component("Database"), "database", d, opts...); err != nil {
		return nil, err
	}
	parent := pulumi.Parent(d)
	config := map[string]string{"postgresql.conf": d.configuration(), "pg_hba.conf": pgHBA}
	if _, err := corev1.NewConfigMap(ctx, namePostgres, &corev1.ConfigMapArgs{
		Metadata: scope.meta(namePostgres, namePostgres),
		Data: pulumi.StringMap{
			"postgresql.conf": pulumi.String(config["postgresql.conf"]),
			"pg_hba.conf":     pulumi.String(config["pg_hba.conf"]),
			"roles.sql":       pulumi.String(rolesSQL), // read once, when the data directory is made
		},
	}, parent); err != nil {
		return nil, fmt.Errorf("make the database's configuration: %w", err)
	}
	if err := scope.account(ctx, namePostgres, parent); err != nil {
		return nil, fmt.Errorf("make the database's account: %w", err)
	}
	if err := d.services(ctx, parent); err != nil {
		return nil, fmt.Errorf("make the database's services: %w", err)
	}
	if _, err := appsv1.NewStatefulSet(ctx, namePostgres, &appsv1.StatefulSetArgs{
		Metadata: scope.meta(namePostgres, namePostgres),
		Spec: &appsv1.StatefulSetSpecArgs{
			ServiceName:         pulumi.String(namePostgres + "-headless"),
			Replicas:            pulumi.Int(1),
			PodManagementPolicy: pulumi.String("OrderedReady"),
			Selector:            &metav1.LabelSelectorArgs{MatchLabels: selector(scope.Settings, namePostgres)},
			PersistentVolumeClaimRetentionPolicy: &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicyArgs{
				WhenDeleted: pulumi.String("Retain"), WhenScaled: pulumi.String("Retain"),
			},
			VolumeClaimTemplates: corev1.PersistentVolumeClaimTypeArray{scope.claim("data", namePostgres, scope.Settings.Database.Storage, storageClass)},
			Template: &corev1.PodTemplateSpecArgs{
				// Both files are read at the start only, so a change of them restarts the server.
				Metadata: scope.podMeta(namePostgres, pulumi.StringMap{"assistant/configuration": pulumi.String(checksum(config))}),
				Spec:     d.pod(),
			},
		},
	}, scope.keepsVolumes(parent)...); err != nil {
		return nil, fmt.Errorf("make the database: %w", err)
	}
	return d, ctx.RegisterResourceOutputs(d, pulumi.Map{})
}

func (d *Database) services(ctx *pulumi.Context, parent pulumi.ResourceOption) error {
	if err := d.scope.service(ctx, namePostgres, namePostgres, databasePort, parent); err != nil {
		return err
	}
	headless := namePostgres + "-headless"
	_, err := corev1.NewService(ctx, headless, &corev1.ServiceArgs{
		Metadata: d.scope.unawaited(headless, namePostgres),
		Spec: &corev1.ServiceSpecArgs{
			ClusterIP: pulumi.String("None"), Selector: selector(d.scope.Settings, namePostgres),
			Ports: corev1.ServicePortArray{servicePort(namePostgres, databasePort)},
		},
	}, parent)
	return err
}

// pod is the server. What the image asks for is the official one's: POSTGRES_… variables, PGDATA, /docker-entrypoint-initdb.d.
func (d *Database) pod() *corev1.PodSpecArgs {
	s := d.scope.Settings
	return &corev1.PodSpecArgs{
		ServiceAccountName: pulumi.String(namePostgres), AutomountServiceAccountToken: pulumi.Bool(false), EnableServiceLinks: pulumi.Bool(false),
		SecurityContext:               podSecurity(postgresUser),
		TerminationGracePeriodSeconds: pulumi.Int(120), // a fast shutdown writes a checkpoint
		TopologySpreadConstraints:     spread(s, namePostgres),
		Containers: corev1.ContainerArray{corev1.ContainerArgs{
			Name: pulumi.String(namePostgres), Image: pulumi.String(s.Images.Postgres), ImagePullPolicy: pulumi.String("IfNotPresent"),
			Args: texts("postgres", "-c", "config_file="+databaseConfig+"/postgresql.conf", "-c", "hba_file="+databaseConfig+"/pg_hba.conf"),
			Env: variables(map[string]string{
				"PGDATA": databaseLive, "POSTGRES_USER": "postgres", "POSTGRES_DB": databaseName,
				"POSTGRES_PASSWORD_FILE": databaseSecrets + "/superuser-password",
				"POSTGRES_INITDB_ARGS":   "--data-checksums --encoding=UTF8 --auth-local=peer --auth-host=scram-sha-256",
			}),
			Ports:           corev1.ContainerPortArray{containerPort(namePostgres, databasePort)},
			SecurityContext: restricted(), Resources: resources(s.Database.Resources),
			StartupProbe: databaseProbe(alive, 5, 120), LivenessProbe: databaseProbe(alive, 10, 6), ReadinessProbe: databaseProbe(accepts, 5, 2),
			VolumeMounts: corev1.VolumeMountArray{
				mount("data", databaseVolume), mount("run", "/var/run/postgresql"), mount("tmp", "/tmp"), mount("shm", "/dev/shm"),
				mountReadOnly("configuration", databaseConfig), mountReadOnly("initialize", "/docker-entrypoint-initdb.d"),
				mountReadOnly("secrets", databaseSecrets),
			},
		}},
		Volumes: corev1.VolumeArray{
			emptyDir("run", "16Mi"), emptyDir("tmp", "512Mi"), memoryDir("shm", "256Mi"),
			configVolume("configuration", namePostgres, "postgresql.conf", "pg_hba.conf"),
			configVolume("initialize", namePostgres, "roles.sql"),
			secretVolume("secrets", namePostgres),
		},
	}
}

// Over TCP, because the server that initializes an empty volume listens on its socket alone and is no reason to be ready. pg_isready
// ends with 0 when connections are accepted and with 1 while the server recovers: killing it then would only begin the recovery anew.
const (
	accepts = "pg_isready -q -h 127.0.0.1 -U " + databaseRole + " -d " + databaseName
	alive   = accepts + "; test $? -lt 2"
)

func databaseProbe(command string, period, failures int) *corev1.ProbeArgs {
	return &corev1.ProbeArgs{
		Exec:          &corev1.ExecActionArgs{Command: texts("sh", "-c", command)},
		PeriodSeconds: pulumi.Int(period), TimeoutSeconds: pulumi.Int(5), FailureThreshold: pulumi.Int(failures),
	}
}

// configuration is postgresql.conf with the numbers that follow from the settings.
func (d *Database) configuration() string {
	s := d.scope.Settings.Database
	const mib = 1 << 20
	memory := environment.Bytes(s.Resources.MemoryLimit) / mib
	return postgresqlConf + lines("",
		"# from the settings",
		fmt.Sprintf("max_connections = %d", s.Connections),
		fmt.Sprintf("shared_buffers = %dMB", max(memory/4, 16)),
		fmt.Sprintf("effective_cache_size = %dMB", max(memory*3/4, 32)),
		fmt.Sprintf("ssl_cert_file = '%s/tls.crt'", databaseSecrets),
		fmt.Sprintf("ssl_key_file = '%s/tls.key'", databaseSecrets),
	)
}

// claim is a volume claim template.
func (s Scope) claim(name, component, size, storageClass string) corev1.PersistentVolumeClaimTypeArgs {
	spec := &corev1.PersistentVolumeClaimSpecArgs{
		AccessModes: texts("ReadWriteOnce"),
		Resources:   &corev1.VolumeResourceRequirementsArgs{Requests: pulumi.StringMap{"storage": pulumi.String(size)}},
	}
	if storageClass != "" {
		spec.StorageClassName = pulumi.String(storageClass)
	}
	return corev1.PersistentVolumeClaimTypeArgs{
		Metadata: &metav1.ObjectMetaArgs{Name: pulumi.String(name), Labels: labels(s.Settings, component)}, Spec: spec,
	}
}

// keepsVolumes are the options of a StatefulSet with claims. Kubernetes lets nobody change these, so Pulumi would replace the StatefulSet for another size
// or class in the settings: what is protected could not be, anything else would be down meanwhile, and the volume would stay as it is.
func (s Scope) keepsVolumes(opts ...pulumi.ResourceOption) []pulumi.ResourceOption {
	return append(s.keeps(opts...), pulumi.IgnoreChanges([]string{"spec.volumeClaimTemplates"}))
}

// checksum tells one set of files from another, in a pod's annotation.
func checksum(files map[string]string) string {
	h := sha256.New()
	for _, name := range sortedKeys(files) {
		fmt.Fprintf(h, "%s\n%d\n%s", name, len(files[name]), files[name])
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}
