package infra

import (
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/smart-assistant/platform/infra/environment"
)

// chartKeys are values that the charts know, at the versions that we install. A chart ignores what it does not know, or, as cert-manager's does,
// refuses to be installed: so a new key is looked up in the chart of that version, then written here. What is below a key belongs to it.
var chartKeys = map[string][]string{
	// deploy/charts/cert-manager/values.schema.json of github.com/cert-manager/cert-manager, which allows no other.
	"cert-manager " + certManagerChart: {
		"crds/enabled", "crds/keep", "podDisruptionBudget/enabled", "podDisruptionBudget/maxUnavailable", "podDisruptionBudget/minAvailable",
		"replicaCount", "resources", "topologySpreadConstraints",
	},
	// traefik/values.yaml, values.schema.json and templates/_podtemplate.tpl of github.com/traefik/traefik-helm-chart. Its globalArguments are gone.
	"traefik " + traefikChart: {
		"deployment/lifecycle", "deployment/replicas", "deployment/terminationGracePeriodSeconds", "global/checkNewVersion", "global/sendAnonymousUsage",
		"ingressClass/enabled", "ingressClass/isDefaultClass", "ingressClass/name", "podDisruptionBudget/enabled", "podDisruptionBudget/maxUnavailable",
		"ports/web/hostPort", "ports/web/transport/lifeCycle/graceTimeOut", "ports/websecure/hostPort", "ports/websecure/transport/lifeCycle/graceTimeOut",
		"ports/websecure/transport/respondingTimeouts/readTimeout",
		"providers/kubernetesCRD/enabled", "providers/kubernetesIngress/allowEmptyServices", "providers/kubernetesIngress/enabled",
		"providers/kubernetesIngress/publishedService/enabled", "resources", "service/annotations", "service/spec", "service/type",
		"topologySpreadConstraints", "updateStrategy/rollingUpdate/maxSurge", "updateStrategy/rollingUpdate/maxUnavailable", "updateStrategy/type",
	},
	// charts/kube-prometheus-stack/values.yaml of github.com/prometheus-community/helm-charts; below grafana, kube-state-metrics and
	// prometheus-node-exporter those charts' own.
	"kube-prometheus-stack " + prometheusChart: {
		"alertmanager/alertmanagerSpec/alertmanagerConfigNamespaceSelector", "alertmanager/alertmanagerSpec/alertmanagerConfigSelector",
		"alertmanager/alertmanagerSpec/resources", "alertmanager/alertmanagerSpec/storage", "cleanPrometheusOperatorObjectNames", "crds/enabled",
		"fullnameOverride", "grafana/additionalDataSources", "grafana/admin/existingSecret", "grafana/admin/passwordKey", "grafana/admin/userKey",
		"grafana/containerSecurityContext", "grafana/defaultDashboardsTimezone", "grafana/env", "grafana/extraEmptyDirMounts", "grafana/extraSecretMounts",
		"grafana/grafana.ini", "grafana/ingress/annotations", "grafana/ingress/enabled", "grafana/ingress/hosts", "grafana/ingress/ingressClassName",
		"grafana/ingress/tls", "grafana/initChownData/enabled", "grafana/resources", "grafana/securityContext", "grafana/sidecar/dashboards/enabled",
		"grafana/sidecar/dashboards/label", "grafana/sidecar/dashboards/labelValue", "grafana/sidecar/dashboards/searchNamespace",
		"grafana/sidecar/dashboards/skipReload", "grafana/sidecar/datasources/enabled", "grafana/sidecar/datasources/initDatasources",
		"grafana/sidecar/datasources/skipReload", "grafana/sidecar/resources", "grafana/sidecar/securityContext", "grafana/testFramework/enabled",
		"kube-state-metrics/collectors", "kube-state-metrics/resources", "kubeControllerManager/enabled", "kubeEtcd/enabled", "kubeProxy/enabled",
		"kubeScheduler/enabled", "prometheus-node-exporter/namespaceOverride", "prometheus-node-exporter/resources",
		"prometheus/prometheusSpec/enableAdminAPI", "prometheus/prometheusSpec/evaluationInterval", "prometheus/prometheusSpec/externalLabels",
		"prometheus/prometheusSpec/podMonitorSelectorNilUsesHelmValues", "prometheus/prometheusSpec/probeSelectorNilUsesHelmValues",
		"prometheus/prometheusSpec/resources", "prometheus/prometheusSpec/retention", "prometheus/prometheusSpec/retentionSize",
		"prometheus/prometheusSpec/ruleSelectorNilUsesHelmValues", "prometheus/prometheusSpec/scrapeConfigSelectorNilUsesHelmValues",
		"prometheus/prometheusSpec/scrapeInterval", "prometheus/prometheusSpec/serviceMonitorSelectorNilUsesHelmValues",
		"prometheus/prometheusSpec/storageSpec", "prometheus/prometheusSpec/walCompression", "prometheusOperator/admissionWebhooks/patch/resources",
		"prometheusOperator/prometheusConfigReloader/resources", "prometheusOperator/resources",
	},
	// production/helm/loki/values.yaml of github.com/grafana/loki.
	"loki " + lokiChart: {
		"backend/replicas", "chunksCache/enabled", "deploymentMode", "fullnameOverride", "gateway/enabled", "loki/analytics", "loki/auth_enabled",
		"loki/commonConfig", "loki/compactor", "loki/containerSecurityContext", "loki/enableServiceLinks", "loki/limits_config", "loki/podSecurityContext",
		"loki/schemaConfig", "loki/storage/type", "lokiCanary/enabled", "minio/enabled", "monitoring/selfMonitoring/enabled",
		"monitoring/selfMonitoring/grafanaAgent/installOperator", "monitoring/serviceMonitor/enabled", "read/replicas", "resultsCache/enabled",
		"serviceAccount/automountServiceAccountToken", "sidecar/rules/enabled", "singleBinary/persistence/enableStatefulSetAutoDeletePVC",
		"singleBinary/persistence/enabled", "singleBinary/persistence/size", "singleBinary/persistence/storageClass", "singleBinary/replicas",
		"singleBinary/resources", "test/enabled", "write/replicas",
	},
	// operations/helm/charts/alloy/README.md of github.com/grafana/alloy.
	"alloy " + alloyChart: {
		"alloy/clustering/enabled", "alloy/configMap/content", "alloy/enableReporting", "alloy/mounts/extra", "alloy/mounts/varlog", "alloy/resources",
		"alloy/securityContext", "alloy/storagePath", "configReloader/resources", "configReloader/securityContext",
		"controller/podDisruptionBudget/enabled", "controller/podDisruptionBudget/maxUnavailable", "controller/replicas", "controller/type",
		"controller/volumes/extra", "crds/create", "fullnameOverride", "global/podSecurityContext", "rbac/create", "serviceMonitor/enabled",
	},
}

// TestChartsKnowTheirValues, wherever they are installed.
func TestChartsKnowTheirValues(t *testing.T) {
	s := monitoredSettings()
	s.OpenWebUI.Host = "chat.example.com"
	releases := around(t, s).of("Release")
	for _, cluster := range []string{environment.ClusterEKS, environment.ClusterExisting} {
		releases = append(releases, addonsOn(t, cluster)...)
	}
	found := map[string]bool{}
	for _, r := range releases {
		chart := r.Inputs["chart"].StringValue() + " " + r.Inputs["version"].StringValue()
		found[chart] = true
		for _, path := range chartPaths(r.Inputs["values"]) {
			if !slices.ContainsFunc(chartKeys[chart], func(key string) bool { return path == key || strings.HasPrefix(path, key+"/") }) {
				t.Errorf("%s: is %s a key of this chart? Look in its values.yaml, then say so in chartKeys", chart, path)
			}
		}
	}
	if len(found) != len(chartKeys) {
		t.Errorf("installed are %v; the table has %d charts", found, len(chartKeys))
	}
}

// addonsOn are the releases of all add-ons on such a cluster.
func addonsOn(t *testing.T, cluster string) []pulumi.MockResourceArgs {
	t.Helper()
	s := monitoredSettings()
	s.Cluster, s.Addons.Ingress, s.Addons.CertManager = cluster, environment.Install, environment.Install
	d := &declared{}
	if err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		_, err := NewAddons(ctx, s)
		return err
	}, pulumi.WithMocks("smart-assistant", s.Name, d)); err != nil {
		t.Fatal(err)
	}
	return d.of("Release")
}

// chartPaths are the paths of all values but maps, and of empty maps.
func chartPaths(v resource.PropertyValue) []string {
	if !v.IsObject() || len(v.ObjectValue()) == 0 {
		return []string{""}
	}
	var paths []string
	for key, member := range v.ObjectValue() {
		for _, below := range chartPaths(member) {
			paths = append(paths, strings.TrimSuffix(string(key)+"/"+below, "/"))
		}
	}
	slices.Sort(paths)
	return paths
}
