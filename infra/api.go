package infra

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	autoscalingv2 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/autoscaling/v2"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	policyv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/policy/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/smart-assistant/platform/infra/environment"
)

const (
	apiPort        = 8080
	privatePort    = 9090
	serviceSecrets = "/etc/assistd/secrets" //nolint:gosec // a folder
)

// API is the service. Its Service is always there; what runs behind it is there once there is a release.
type API struct {
	pulumi.ResourceState
	scope    Scope
	registry pulumi.StringInput
}

// NewAPI makes the service, and the PodTemplates of the pods that assistctl makes of the same image.
func NewAPI(ctx *pulumi.Context, scope Scope, registry pulumi.StringInput, opts ...pulumi.ResourceOption) (*API, error) {
	a := &API{scope: scope, registry: registry}
	if err := ctx.RegisterComponentResource(component("Api"), "api", a, opts...); err != nil {
		return nil, err
	}
	parent := pulumi.Parent(a)
	for _, step := range []func(*pulumi.Context, pulumi.ResourceOption) error{a.always, a.templates, a.deployment} {
		if err := step(ctx, parent); err != nil {
			return nil, fmt.Errorf("make the API: %w", err)
		}
	}
	return a, ctx.RegisterResourceOutputs(a, pulumi.Map{})
}

// always makes what does not depend on a release.
func (a *API) always(ctx *pulumi.Context, parent pulumi.ResourceOption) error {
	if err := a.scope.account(ctx, nameAPI, parent); err != nil {
		return err
	}
	if err := a.scope.account(ctx, nameExec, parent); err != nil {
		return err
	}
	return a.scope.service(ctx, nameAPI, "http", apiPort, parent)
}

// templates makes what assistctl fills with image and arguments: a replica that gets no traffic, and one command of the service.
func (a *API) templates(ctx *pulumi.Context, parent pulumi.ResourceOption) error {
	s := a.scope.Settings
	image := imageLater(a.registry, environment.Assistd)
	if _, err := corev1.NewPodTemplate(ctx, nameAPI, &corev1.PodTemplateArgs{
		Metadata: a.scope.meta(nameAPI, nameAPI),
		Template: &corev1.PodTemplateSpecArgs{
			Metadata: a.scope.podMeta(nameCanary, pulumi.StringMap{"assistant/settings": settingsText(s.Service)}),
			Spec:     a.pod(image, s.Service),
		},
	}, parent); err != nil {
		return err
	}
	pod := a.pod(image, s.Service)
	pod.ServiceAccountName, pod.RestartPolicy = pulumi.String(nameExec), pulumi.String("Never")
	pod.TopologySpreadConstraints, pod.TerminationGracePeriodSeconds = nil, pulumi.Int(60)
	container := a.container(image, s.Service)
	container.Args = texts("version")
	container.StartupProbe, container.LivenessProbe, container.ReadinessProbe, container.Lifecycle, container.Ports = nil, nil, nil, nil, nil
	pod.Containers = corev1.ContainerArray{container}
	_, err := corev1.NewPodTemplate(ctx, nameExec, &corev1.PodTemplateArgs{
		Metadata: a.scope.meta(nameExec, nameExec),
		Template: &corev1.PodTemplateSpecArgs{
			Metadata: a.scope.podMeta(nameExec, pulumi.StringMap{"assistant/settings": settingsText(s.Service)}), Spec: pod,
		},
	}, parent)
	return err
}

// deployment runs the release, when there is one.
func (a *API) deployment(ctx *pulumi.Context, parent pulumi.ResourceOption) error {
	s := a.scope.Settings
	r := s.Release
	if r == nil {
		return nil
	}
	env := maps.Clone(r.Settings)
	if env == nil {
		env = map[string]string{}
	}
	maps.Copy(env, s.Service)
	_, err := appsv1.NewDeployment(ctx, nameAPI, &appsv1.DeploymentArgs{
		Metadata: a.scope.meta(nameAPI, nameAPI),
		// No replicas: their number is the autoscaler's, and a restore's while it lasts.
		Spec: &appsv1.DeploymentSpecArgs{
			Selector:                &metav1.LabelSelectorArgs{MatchLabels: selector(s, nameAPI)},
			ProgressDeadlineSeconds: pulumi.Int(s.API.ProgressDeadline),
			RevisionHistoryLimit:    pulumi.Int(5),
			Strategy: &appsv1.DeploymentStrategyArgs{
				Type:          pulumi.String("RollingUpdate"),
				RollingUpdate: &appsv1.RollingUpdateDeploymentArgs{MaxUnavailable: pulumi.Int(0), MaxSurge: pulumi.Int(1)},
			},
			Template: &corev1.PodTemplateSpecArgs{
				Metadata: a.scope.podMeta(nameAPI, pulumi.StringMap{
					"assistant/release":  pulumi.String(r.Version),
					"assistant/commit":   pulumi.String(r.Commit),
					"assistant/digest":   pulumi.String(strings.TrimPrefix(r.Images[environment.Assistd], "sha256:")),
					"assistant/settings": settingsText(env),
				}),
				Spec: a.pod(imageOf(a.registry, r, environment.Assistd), env),
			},
		},
	}, parent)
	if err != nil {
		return err
	}
	return a.scaling(ctx, parent)
}

// scaling makes the autoscaler, and the budget of disruptions where a drained node leaves another replica.
func (a *API) scaling(ctx *pulumi.Context, parent pulumi.ResourceOption) error {
	s := a.scope.Settings
	if _, err := autoscalingv2.NewHorizontalPodAutoscaler(ctx, nameAPI, &autoscalingv2.HorizontalPodAutoscalerArgs{
		Metadata: a.scope.meta(nameAPI, nameAPI),
		Spec: &autoscalingv2.HorizontalPodAutoscalerSpecArgs{
			ScaleTargetRef: &autoscalingv2.CrossVersionObjectReferenceArgs{
				ApiVersion: pulumi.String("apps/v1"), Kind: pulumi.String("Deployment"), Name: pulumi.String(nameAPI),
			},
			MinReplicas: pulumi.Int(s.API.Replicas), MaxReplicas: pulumi.Int(s.API.MaxReplicas),
			Metrics: autoscalingv2.MetricSpecArray{autoscalingv2.MetricSpecArgs{
				Type: pulumi.String("Resource"),
				Resource: &autoscalingv2.ResourceMetricSourceArgs{
					Name: pulumi.String("cpu"),
					Target: &autoscalingv2.MetricTargetArgs{
						Type: pulumi.String("Utilization"), AverageUtilization: pulumi.Int(s.API.CPUPercent),
					},
				},
			}},
		},
	}, parent); err != nil {
		return err
	}
	if s.API.Replicas < 2 {
		return nil // it would keep the node from being drained
	}
	_, err := policyv1.NewPodDisruptionBudget(ctx, nameAPI, &policyv1.PodDisruptionBudgetArgs{
		Metadata: a.scope.meta(nameAPI, nameAPI),
		Spec: &policyv1.PodDisruptionBudgetSpecArgs{
			MaxUnavailable: pulumi.Int(1), UnhealthyPodEvictionPolicy: pulumi.String("AlwaysAllow"),
			Selector: &metav1.LabelSelectorArgs{MatchLabels: selector(s, nameAPI)},
		},
	}, parent)
	return err
}

// pod is one replica.
func (a *API) pod(image pulumi.StringInput, env map[string]string) *corev1.PodSpecArgs {
	return &corev1.PodSpecArgs{
		ServiceAccountName: pulumi.String(nameAPI), AutomountServiceAccountToken: pulumi.Bool(false), EnableServiceLinks: pulumi.Bool(false),
		SecurityContext:               podSecurity(serviceUser),
		TerminationGracePeriodSeconds: pulumi.Int(grace(a.scope.Settings.API.DrainSeconds, env)),
		TopologySpreadConstraints:     spread(a.scope.Settings, nameAPI),
		Containers:                    corev1.ContainerArray{a.container(image, env)},
		Volumes:                       corev1.VolumeArray{secretVolume("secrets", environment.Assistd), emptyDir("tmp", "64Mi")},
	}
}

func (a *API) container(image pulumi.StringInput, env map[string]string) corev1.ContainerArgs {
	probe := func(path string, period, failures int) *corev1.ProbeArgs {
		return &corev1.ProbeArgs{
			HttpGet:       &corev1.HTTPGetActionArgs{Path: pulumi.String(path), Port: pulumi.String("http")},
			PeriodSeconds: pulumi.Int(period), TimeoutSeconds: pulumi.Int(3), FailureThreshold: pulumi.Int(failures),
		}
	}
	return corev1.ContainerArgs{
		Name: pulumi.String(environment.Assistd), Image: image, ImagePullPolicy: pulumi.String("IfNotPresent"),
		Args:            texts("serve"),
		Env:             serviceVariables(a.scope.Settings, env),
		Ports:           corev1.ContainerPortArray{containerPort("http", apiPort), containerPort("private", privatePort)},
		SecurityContext: restricted(), Resources: resources(a.scope.Settings.API.Resources),
		StartupProbe: probe("/health", 1, 60), LivenessProbe: probe("/health", 10, 3), ReadinessProbe: probe("/ready", 2, 2),
		// Whoever routes to the pod hears of its end before it stops to listen. The image has no shell, so the kubelet waits.
		Lifecycle: &corev1.LifecycleArgs{PreStop: &corev1.LifecycleHandlerArgs{Sleep: &corev1.SleepActionArgs{Seconds: pulumi.Int(a.scope.Settings.API.DrainSeconds)}}},
		VolumeMounts: corev1.VolumeMountArray{
			mountReadOnly("secrets", serviceSecrets), mount("tmp", "/tmp"),
		},
	}
}

// serviceVariables are the platform's own variables and, beside them, those of release and environment.
func serviceVariables(s environment.Settings, env map[string]string) corev1.EnvVarArray {
	all := map[string]string{
		// Only the ingress, Open WebUI and assistctl's own pods get through to the API (policies.go), all from private addresses.
		"ASSISTD_TRUSTED_PROXIES": "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,fc00::/7",
		"ASSISTD_HOSTS":           strings.Join(append(names(s, nameAPI), s.API.Host), ","),
		"ASSISTD_PUBLIC_URL":      "https://" + s.API.Host,
	}
	if limit := environment.Bytes(s.API.Resources.MemoryLimit); limit > 0 { // near it, garbage is collected more often
		all["GOMEMLIMIT"] = fmt.Sprint(limit * 9 / 10)
	}
	maps.Copy(all, env)
	for _, owned := range environment.Owned() { // a release cannot take these over either
		delete(all, owned)
	}
	maps.Copy(all, map[string]string{
		"ASSISTD_LISTEN":            fmt.Sprintf("0.0.0.0:%d", apiPort),
		"ASSISTD_METRICS_LISTEN":    fmt.Sprintf("0.0.0.0:%d", privatePort),
		"ASSISTD_DATABASE_URL_FILE": serviceSecrets + "/database-url",
		"ASSISTD_JWT_KEY_FILE":      serviceSecrets + "/jwt-key.pem",
		"ASSISTD_MASTER_KEY_FILE":   serviceSecrets + "/master-key",
		"ASSISTD_VALKEY_URL_FILE":   serviceSecrets + "/valkey-url",
	})
	if s.OpenWebUI.Enabled {
		all["ASSISTD_CHAT_KEY_FILE"], all["ASSISTD_CHAT_USER_KEY_FILE"] = serviceSecrets+"/chat-key", serviceSecrets+"/chat-user-key"
	}
	for _, given := range operatorSecrets(s) {
		all[given.variable] = serviceSecrets + "/" + given.entry
	}
	return append(variables(all), corev1.EnvVarArgs{
		Name: pulumi.String("ASSISTD_REPLICA"),
		ValueFrom: &corev1.EnvVarSourceArgs{
			FieldRef: &corev1.ObjectFieldSelectorArgs{ApiVersion: pulumi.String("v1"), FieldPath: pulumi.String("metadata.name")},
		},
	})
}

// grace is the seconds until a replica is killed: the sleep, the service's own drain, and some to spare.
func grace(sleep int, env map[string]string) int {
	read := func(name string, fallback time.Duration) time.Duration {
		if d, err := time.ParseDuration(env[name]); err == nil && d > 0 {
			return d
		}
		return fallback
	}
	drain := read("ASSISTD_DRAIN_DELAY", 3*time.Second) + read("ASSISTD_DRAIN_TIMEOUT", 30*time.Second)
	return sleep + int(drain.Seconds()+0.999) + 7
}

// settingsText is a set of variables as JSON, with its keys in order.
func settingsText(env map[string]string) pulumi.String {
	if env == nil {
		env = map[string]string{}
	}
	text, err := json.Marshal(env)
	if err != nil {
		panic(err) // a map of texts cannot fail
	}
	return pulumi.String(text)
}

// imageOf is an image of a release, by its digest.
func imageOf(registry pulumi.StringInput, r *environment.Release, name string) pulumi.StringOutput {
	return pulumi.Sprintf("%s/%s@%s", registry, name, r.Images[name])
}

// imageLater stands in a PodTemplate where assistctl puts the release's image.
func imageLater(registry pulumi.StringInput, name string) pulumi.StringOutput {
	return pulumi.Sprintf("%s/%s:set-by-assistctl", registry, name)
}
