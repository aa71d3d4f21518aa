package infra

import (
	_ "embed"
	"fmt"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	networkingv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/networking/v1"
	rbacv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/rbac/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"sigs.k8s.io/yaml"
)

// The charts, and where they come from. Versions are raised here, in a commit of their own.
const (
	prometheusCharts = "https://prometheus-community.github.io/helm-charts"
	grafanaCharts    = "https://grafana.github.io/helm-charts"
	prometheusChart  = "67.8.0"
	lokiChart        = "6.29.0"
	alloyChart       = "0.12.5"
	nodesNamespace   = "monitoring-nodes" // as in files/monitoring/kube-prometheus-stack.yaml
	grafanaSecret    = "grafana-admin"    // so, too
)

var (
	//go:embed files/monitoring/kube-prometheus-stack.yaml
	prometheusValues string
	//go:embed files/monitoring/loki.yaml
	lokiValues string
	//go:embed files/monitoring/alloy.yaml
	alloyValues string
	//go:embed files/monitoring/config.alloy
	alloyConfig string
)

// install brings the stack: metrics and alerts, logs, and what carries the logs there.
func (m *Monitoring) install(ctx *pulumi.Context) error {
	s := m.args.Settings
	namespace, err := m.namespaces(ctx)
	if err != nil {
		return err
	}
	if err := m.grafana(ctx, namespace); err != nil {
		return err
	}
	if err := m.logReader(ctx, namespace); err != nil {
		return err
	}
	for _, chart := range []struct {
		name, repository, version, values string
		settings                          map[string]any
		opts                              []pulumi.ResourceOption
	}{
		{"kube-prometheus-stack", prometheusCharts, prometheusChart, prometheusValues, prometheusSettings(s, m.args.StorageClass), nil},
		// Its volume is as keepsVolumes says of ours. Prometheus' and Alertmanager's are the operator's, which copes.
		{"loki", grafanaCharts, lokiChart, lokiValues, lokiSettings(s, m.args.StorageClass), []pulumi.ResourceOption{pulumi.IgnoreChanges([]string{"values.singleBinary.persistence"})}},
		{"alloy", grafanaCharts, alloyChart, alloyValues, map[string]any{"alloy": map[string]any{"configMap": map[string]any{"content": alloyConfig}}}, nil},
	} {
		var values map[string]any
		if err := yaml.Unmarshal([]byte(chart.values), &values); err != nil {
			return fmt.Errorf("read the values of %s: %w", chart.name, err)
		}
		release, err := installChart(ctx, helmChart{
			name: chart.name, repository: chart.repository, version: chart.version, namespace: namespace, timeout: 900,
			values: asInput(over(values, chart.settings)).(pulumi.Map), //nolint:errcheck // a map becomes a map
		}, append(chart.opts, pulumi.Parent(m), pulumi.DependsOn(m.stack))...) // one after the other: the first brings the kinds that the others use
		if err != nil {
			return fmt.Errorf("install %s: %w", chart.name, err)
		}
		m.stack = append(m.stack, release)
	}
	return m.closed(ctx, namespace)
}

// namespaces makes the one of the stack, and one for the exporter that looks at the nodes themselves.
func (m *Monitoring) namespaces(ctx *pulumi.Context) (pulumi.StringOutput, error) {
	var name pulumi.StringOutput
	for _, n := range []struct{ name, enforce string }{{m.args.Settings.Monitoring.Namespace, "baseline"}, {nodesNamespace, "privileged"}} {
		l := labels(m.args.Settings, nameMonitoring)
		l["pod-security.kubernetes.io/enforce"] = pulumi.String(n.enforce)
		l["pod-security.kubernetes.io/warn"] = pulumi.String("restricted")
		l["pod-security.kubernetes.io/audit"] = pulumi.String("restricted")
		made, err := corev1.NewNamespace(ctx, n.name, &corev1.NamespaceArgs{
			Metadata: &metav1.ObjectMetaArgs{Name: pulumi.String(n.name), Labels: l},
		}, pulumi.Parent(m))
		if err != nil {
			return name, fmt.Errorf("make the namespace %s: %w", n.name, err)
		}
		m.stack = append(m.stack, made)
		if n.enforce == "baseline" {
			name = made.Metadata.Name().Elem()
		}
	}
	return name, nil
}

// grafana makes the administrator's password, and the way in when there is a host.
func (m *Monitoring) grafana(ctx *pulumi.Context, namespace pulumi.StringOutput) error {
	password, err := m.args.Secrets.password(ctx, "grafana", "", 32)
	if err != nil {
		return fmt.Errorf("make Grafana's password: %w", err)
	}
	values := pulumi.StringMap{"admin-user": pulumi.String("admin"), "admin-password": password}
	m.args.Secrets.Entries["grafana"] = values
	made, err := corev1.NewSecret(ctx, grafanaSecret, &corev1.SecretArgs{
		Metadata: m.meta(grafanaSecret, namespace), Type: pulumi.String("Opaque"), StringData: values,
	}, pulumi.Parent(m))
	if err != nil {
		return fmt.Errorf("make the secret %s: %w", grafanaSecret, err)
	}
	m.stack = append(m.stack, made)
	return nil
}

// logReader lets Alloy find pods and read what they write, and nothing else.
func (m *Monitoring) logReader(ctx *pulumi.Context, namespace pulumi.StringOutput) error {
	name := "alloy-" + m.args.Settings.Name
	l := labels(m.args.Settings, nameMonitoring)
	role, err := rbacv1.NewClusterRole(ctx, name, &rbacv1.ClusterRoleArgs{
		Metadata: &metav1.ObjectMetaArgs{Name: pulumi.String(name), Labels: l},
		Rules: rbacv1.PolicyRuleArray{&rbacv1.PolicyRuleArgs{
			ApiGroups: texts(""), Resources: texts("namespaces", "pods", "pods/log"), Verbs: texts("get", "list", "watch"),
		}},
	}, pulumi.Parent(m))
	if err != nil {
		return fmt.Errorf("make the role %s: %w", name, err)
	}
	if _, err := rbacv1.NewClusterRoleBinding(ctx, name, &rbacv1.ClusterRoleBindingArgs{
		Metadata: &metav1.ObjectMetaArgs{Name: pulumi.String(name), Labels: l},
		RoleRef: &rbacv1.RoleRefArgs{
			ApiGroup: pulumi.String("rbac.authorization.k8s.io"), Kind: pulumi.String("ClusterRole"), Name: role.Metadata.Name().Elem(),
		},
		Subjects: rbacv1.SubjectArray{&rbacv1.SubjectArgs{Kind: pulumi.String("ServiceAccount"), Name: pulumi.String("alloy"), Namespace: namespace}},
	}, pulumi.Parent(m)); err != nil {
		return fmt.Errorf("bind the role %s: %w", name, err)
	}
	return nil
}

// closed keeps the other namespaces out: logs and metrics say much, and neither Prometheus nor Loki asks who is there. The API server calls the
// operator's webhook; the ingress controller reaches Grafana when it has a host.
func (m *Monitoring) closed(ctx *pulumi.Context, namespace pulumi.StringOutput) error {
	s := m.args.Settings
	type policy struct {
		name string
		pods pulumi.StringMap
		from networkingv1.NetworkPolicyPeerArray
		port int
	}
	policies := []policy{
		{"same-namespace", pulumi.StringMap{}, networkingv1.NetworkPolicyPeerArray{networkingv1.NetworkPolicyPeerArgs{PodSelector: &metav1.LabelSelectorArgs{}}}, 0},
		{"operator-webhook", pulumi.StringMap{"app.kubernetes.io/name": pulumi.String("kube-prometheus-stack-prometheus-operator")}, nil, 10250},
	}
	if s.Monitoring.Host != "" {
		policies = append(policies, policy{
			"grafana",
			pulumi.StringMap{"app.kubernetes.io/name": pulumi.String("grafana")},
			networkingv1.NetworkPolicyPeerArray{networkingv1.NetworkPolicyPeerArgs{NamespaceSelector: &metav1.LabelSelectorArgs{
				MatchLabels: pulumi.StringMap{"kubernetes.io/metadata.name": pulumi.String(s.Ingress.Namespace)},
			}}},
			3000,
		})
	}
	for _, p := range policies {
		rule := &networkingv1.NetworkPolicyIngressRuleArgs{From: p.from}
		if p.port > 0 {
			rule.Ports = networkingv1.NetworkPolicyPortArray{networkingv1.NetworkPolicyPortArgs{Port: pulumi.Int(p.port), Protocol: pulumi.String("TCP")}}
		}
		if _, err := networkingv1.NewNetworkPolicy(ctx, "monitoring-"+p.name, &networkingv1.NetworkPolicyArgs{
			Metadata: m.meta(p.name, namespace),
			Spec: &networkingv1.NetworkPolicySpecArgs{
				PodSelector: &metav1.LabelSelectorArgs{MatchLabels: p.pods}, PolicyTypes: texts("Ingress"),
				Ingress: networkingv1.NetworkPolicyIngressRuleArray{rule},
			},
		}, pulumi.Parent(m)); err != nil {
			return fmt.Errorf("make the policy %s of the monitoring: %w", p.name, err)
		}
	}
	return nil
}

func (m *Monitoring) meta(name string, namespace pulumi.StringInput) *metav1.ObjectMetaArgs {
	return &metav1.ObjectMetaArgs{Name: pulumi.String(name), Namespace: namespace.ToStringOutput(), Labels: labels(m.args.Settings, nameMonitoring)}
}
