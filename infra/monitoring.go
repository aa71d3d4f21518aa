package infra

import (
	"embed"
	"fmt"
	"path"
	"strings"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apiextensions"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/smart-assistant/platform/infra/environment"
)

const (
	nameMonitoring = "monitoring"
	nameMetrics    = "api-metrics"
)

//go:embed dashboards/*.json
var dashboards embed.FS

// Monitoring is what looks at an environment: what to measure, what to be told of, and dashboards; and, where the cluster has none, the stack that
// does it.
type Monitoring struct {
	pulumi.ResourceState
	args  *MonitoringArgs
	stack []pulumi.Resource // the installed charts, which bring the kinds of our objects along
}

// MonitoringArgs are what it needs beside the settings.
type MonitoringArgs struct {
	Scope
	Secrets      *Secrets
	StorageClass string // "" is the cluster's default
}

// NewMonitoring makes it.
func NewMonitoring(ctx *pulumi.Context, name string, args *MonitoringArgs, opts ...pulumi.ResourceOption) (*Monitoring, error) {
	m := &Monitoring{args: args}
	if err := ctx.RegisterComponentResource(component("Monitoring"), name, m, opts...); err != nil {
		return nil, err
	}
	steps := []func(*pulumi.Context) error{m.scrape, m.scrapeCertificates, m.rules, m.dashboards}
	if args.Settings.Addons.Monitoring == environment.Install {
		steps = append([]func(*pulumi.Context) error{m.install}, steps...)
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return nil, fmt.Errorf("make the monitoring: %w", err)
		}
	}
	return m, ctx.RegisterResourceOutputs(m, pulumi.Map{})
}

// scrape tells Prometheus where the API's numbers are: at its private port, which the Service for clients does not have.
func (m *Monitoring) scrape(ctx *pulumi.Context) error {
	s := m.args.Settings
	meta := m.args.unawaited(nameMetrics, nameMetrics)
	if _, err := corev1.NewService(ctx, nameMetrics, &corev1.ServiceArgs{
		Metadata: meta,
		Spec: &corev1.ServiceSpecArgs{
			ClusterIP: pulumi.String("None"), Selector: selector(s, nameAPI), Ports: corev1.ServicePortArray{servicePort("private", privatePort)},
		},
	}, pulumi.Parent(m)); err != nil {
		return fmt.Errorf("make the service %s: %w", nameMetrics, err)
	}
	return m.custom(ctx, nameMetrics, "ServiceMonitor", pulumi.Map{
		"selector": pulumi.Map{"matchLabels": selector(s, nameMetrics)},
		"endpoints": pulumi.Array{pulumi.Map{
			"port": pulumi.String("private"), "path": pulumi.String("/metrics"), "interval": pulumi.String("15s"), "scrapeTimeout": pulumi.String("10s"),
		}},
		"sampleLimit": pulumi.Int(20_000), // a label that ran wild stops here
	})
}

// scrapeCertificates tells Prometheus of the cert-manager that we installed; one that was there has its own monitor, or none.
func (m *Monitoring) scrapeCertificates(ctx *pulumi.Context) error {
	if m.args.Settings.Addons.CertManager != environment.Install {
		return nil
	}
	return m.custom(ctx, "cert-manager", "PodMonitor", pulumi.Map{
		"namespaceSelector": pulumi.Map{"matchNames": texts("cert-manager")},
		"selector":          pulumi.Map{"matchLabels": pulumi.StringMap{"app.kubernetes.io/name": pulumi.String("cert-manager")}},
		"podMetricsEndpoints": pulumi.Array{pulumi.Map{
			"port": pulumi.String("http-metrics"), "interval": pulumi.String("60s"), "honorLabels": pulumi.Bool(true),
		}},
	})
}

func (m *Monitoring) rules(ctx *pulumi.Context) error {
	groups, err := alertGroups(m.args.Settings)
	if err != nil {
		return err
	}
	return m.custom(ctx, "assistant", "PrometheusRule", pulumi.Map{"groups": asInput(groups)})
}

// custom makes an object of the Prometheus operator, with the labels by which an operator that exists finds it.
func (m *Monitoring) custom(ctx *pulumi.Context, name, kind string, spec pulumi.Map) error {
	meta := m.args.meta(name, nameMonitoring)
	found := labels(m.args.Settings, nameMonitoring)
	for _, pair := range m.args.Settings.Monitoring.Labels {
		key, value, _ := strings.Cut(pair, "=")
		found[key] = pulumi.String(value)
	}
	meta.Labels = found
	if _, err := apiextensions.NewCustomResource(ctx, name+"-"+strings.ToLower(kind), &apiextensions.CustomResourceArgs{
		ApiVersion: pulumi.String("monitoring.coreos.com/v1"), Kind: pulumi.String(kind), Metadata: meta,
		OtherFields: kubernetes.UntypedArgs{"spec": spec},
	}, pulumi.Parent(m), pulumi.DependsOn(m.stack)); err != nil {
		return fmt.Errorf("make the %s %s: %w", kind, name, err)
	}
	return nil
}

// dashboards makes a ConfigMap of each, where Grafana's sidecar finds it by its label.
func (m *Monitoring) dashboards(ctx *pulumi.Context) error {
	files, err := dashboards.ReadDir("dashboards")
	if err != nil {
		return fmt.Errorf("read the dashboards: %w", err)
	}
	for _, file := range files {
		text, err := dashboards.ReadFile(path.Join("dashboards", file.Name()))
		if err != nil {
			return fmt.Errorf("read dashboard %s: %w", file.Name(), err)
		}
		name := "dashboard-" + strings.TrimSuffix(file.Name(), ".json")
		meta := m.args.meta(name, nameMonitoring)
		found := labels(m.args.Settings, nameMonitoring)
		found["grafana_dashboard"] = pulumi.String("1")
		meta.Labels = found
		if _, err := corev1.NewConfigMap(ctx, name, &corev1.ConfigMapArgs{
			Metadata: meta, Data: pulumi.StringMap{file.Name(): pulumi.String(string(text))},
		}, pulumi.Parent(m)); err != nil {
			return fmt.Errorf("make %s: %w", name, err)
		}
	}
	return nil
}

// asInput turns a value of maps, slices and scalars into Pulumi's.
func asInput(value any) pulumi.Input {
	switch v := value.(type) {
	case map[string]any:
		made := pulumi.Map{}
		for key, member := range v {
			made[key] = asInput(member)
		}
		return made
	case []any:
		made := pulumi.Array{}
		for _, member := range v {
			made = append(made, asInput(member))
		}
		return made
	default:
		return pulumi.Any(v)
	}
}
