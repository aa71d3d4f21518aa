package infra

import (
	"fmt"
	"strings"
	"time"

	"github.com/smart-assistant/platform/infra/environment"
)

// alert is a condition that somebody must know of. In expressions, $ns stands for the environment's namespace as a matcher.
type alert struct {
	name     string
	expr     string
	wait     string // for which it must hold
	severity string // critical wakes somebody up, warning waits for the morning
	summary  string
	next     string // what to type
}

// alertGroups are the rules of an environment, in the form of a PrometheusRule's groups.
func alertGroups(s environment.Settings) ([]any, error) {
	backups, err := backupAlerts(s)
	if err != nil {
		return nil, err
	}
	groups := []any{map[string]any{"name": "assistant.ratios", "interval": "30s", "rules": ratios(s)}}
	for _, g := range []struct {
		name   string
		alerts []alert
	}{
		{"assistant.api", apiAlerts()},
		{"assistant.model", modelAlerts()},
		{"assistant.work", workAlerts()},
		{"assistant.parts", partAlerts(s)},
		{"assistant.backups", backups},
		{"assistant.volumes", volumeAlerts(s)},
		{"assistant.pods", podAlerts()},
		{"assistant.certificates", certificateAlerts(s)},
	} {
		if len(g.alerts) == 0 {
			continue
		}
		var rules []any
		for _, a := range g.alerts {
			rules = append(rules, map[string]any{
				"alert": a.name, "expr": expression(s, a.expr), "for": a.wait,
				"labels":      map[string]any{"severity": a.severity, "environment": s.Name},
				"annotations": map[string]any{"summary": s.Name + ": " + a.summary, "next": strings.ReplaceAll(a.next, "$env", s.Name)},
			})
		}
		groups = append(groups, map[string]any{"name": g.name, "rules": rules})
	}
	return groups, nil
}

func expression(s environment.Settings, text string) string {
	return strings.ReplaceAll(text, "$ns", fmt.Sprintf("namespace=%q", s.Namespace))
}

// The service promises 99.9 % of requests without a fault of its own. An alert goes off when the month's allowance goes so fast that
// somebody should look now: by the long window that it matters, and by the short one that it still goes on.
const (
	errorBudget = 0.001
	fastBurn    = 14.4 // the allowance of a month in two days
	slowBurn    = 6    // in five
)

// ratios records which part of the requests failed, over the windows of the alerts. Those that a language model's server answers are left out.
func ratios(s environment.Settings) []any {
	var rules []any
	for _, window := range []string{"5m", "30m", "1h", "6h"} {
		rules = append(rules, map[string]any{
			"record": "assistant:http_errors:ratio_rate" + window,
			"labels": map[string]any{"environment": s.Name},
			"expr": expression(s, fmt.Sprintf(`sum by (namespace) (rate(assistd_http_requests_total{$ns,route!~%[2]q,status=~"5.."}[%[1]s])) / sum by (namespace) (rate(assistd_http_requests_total{$ns,route!~%[2]q}[%[1]s]))`,
				window, modelRoutes)),
		})
	}
	return rules
}

func apiAlerts() []alert {
	burns := func(rate float64, long, short string) string {
		return fmt.Sprintf(`assistant:http_errors:ratio_rate%s{$ns} > %[3]g and assistant:http_errors:ratio_rate%[2]s{$ns} > %[3]g`, long, short, rate*errorBudget)
	}
	return []alert{
		{
			"AssistantAPIDown",
			// It is meant to run, and nobody can be asked.
			`sum by (namespace) (kube_deployment_spec_replicas{$ns,deployment="api"}) > 0 unless on (namespace) sum by (namespace) (up{$ns,job="api-metrics"}) > 0`,
			"1m", "critical", "no replica of the API answers", "assistctl status $env",
		},
		{"AssistantAPIErrorsFast", burns(fastBurn, "1h", "5m"), "2m", "critical", "requests fail at a rate that uses up a month's allowance in two days", "assistctl status $env"},
		{"AssistantAPIErrorsSlow", burns(slowBurn, "6h", "30m"), "15m", "warning", "requests fail at a rate that uses up a month's allowance in five days", "assistctl status $env"},
		{
			"AssistantAPISlow",
			fmt.Sprintf(`histogram_quantile(0.95, sum by (namespace, le) (rate(assistd_http_request_duration_seconds_bucket{$ns,route!~%q}[10m]))) > 1`, longRoutes),
			"10m", "warning", "one request in twenty takes longer than a second", "assistctl status $env",
		},
		{
			"AssistantReplicaDown",
			`kube_deployment_status_replicas_available{$ns,deployment="api"} < kube_deployment_spec_replicas{$ns,deployment="api"}`,
			"10m", "warning", "the API has fewer replicas than it should", "assistctl status $env",
		},
		{
			"AssistantTwoReleases",
			`count by (namespace) (count by (namespace, version) (assistd_build_info{$ns})) > 1`,
			"30m", "warning", "replicas of two releases run: a rollout did not end", "assistctl status $env",
		},
		{
			"AssistantAPIAtMaximum",
			`kube_horizontalpodautoscaler_status_current_replicas{$ns,horizontalpodautoscaler="api"} >= kube_horizontalpodautoscaler_spec_max_replicas{$ns,horizontalpodautoscaler="api"}`,
			"30m", "warning", "the API has as many replicas as it may have", "raise api.maxReplicas in Pulumi.$env.yaml",
		},
	}
}

func partAlerts(s environment.Settings) []alert {
	alerts := []alert{
		{
			"AssistantDatabaseDown",
			`kube_statefulset_status_replicas_ready{$ns,statefulset="postgres"} < kube_statefulset_replicas{$ns,statefulset="postgres"}`,
			"2m", "critical", "PostgreSQL is not ready", "assistctl doctor $env",
		},
		{
			"AssistantCacheDown",
			`kube_deployment_status_replicas_available{$ns,deployment="valkey"} < kube_deployment_spec_replicas{$ns,deployment="valkey"}`,
			"5m", "warning", "Valkey is not there", "assistctl doctor $env",
		},
	}
	if s.OpenWebUI.Enabled {
		alerts = append(alerts, alert{
			"AssistantOpenWebUIDown",
			`kube_statefulset_status_replicas_ready{$ns,statefulset="open-webui"} < kube_statefulset_replicas{$ns,statefulset="open-webui"}`,
			"10m", "warning", "Open WebUI is not ready", "kubectl -n " + s.Namespace + " logs open-webui-0",
		})
	}
	return alerts
}

// backupMargin is how late a scheduled backup may be before somebody is told.
const backupMargin = 2 * time.Hour

func backupAlerts(s environment.Settings) ([]alert, error) {
	gap, err := longestGap(s.Schedule.Backup)
	if err != nil {
		return nil, fmt.Errorf("schedule of backups %q: %w", s.Schedule.Backup, err)
	}
	late := int((gap + backupMargin).Seconds())
	return []alert{
		{
			"AssistantBackupTooOld",
			fmt.Sprintf(`time() - max by (namespace) (kube_cronjob_status_last_successful_time{$ns,cronjob="backup"}) > %d`, late),
			"5m", "critical", fmt.Sprintf("the newest scheduled backup is older than %s", inHours(late)), "assistctl backup create $env",
		},
		{
			"AssistantBackupNever",
			fmt.Sprintf(`time() - max by (namespace) (kube_cronjob_created{$ns,cronjob="backup"}) > %d unless on (namespace) kube_cronjob_status_last_successful_time{$ns,cronjob="backup"}`, late),
			"5m", "critical", "no scheduled backup has ever succeeded", "assistctl backup create $env",
		},
		{
			"AssistantBackupJobFailed",
			`kube_job_status_failed{$ns,job_name=~"(backup|prune)-.*"} > 0 and on (namespace, job_name) kube_job_status_start_time{$ns} > time() - 86400`,
			"0m", "warning", "a scheduled backup or prune failed", "kubectl -n " + s.Namespace + " logs job/{{ $labels.job_name }}",
		},
		{
			"AssistantBackupsSuspended", `kube_cronjob_spec_suspend{$ns,cronjob=~"backup|prune"} == 1`,
			"6h", "warning", "scheduled backups are suspended", "kubectl -n " + s.Namespace + " get cronjobs",
		},
	}, nil
}

func volumeAlerts(s environment.Settings) []alert {
	const free = `kubelet_volume_stats_available_bytes{$ns} / kubelet_volume_stats_capacity_bytes{$ns}`
	grow := "kubectl -n " + s.Namespace + " edit pvc {{ $labels.persistentvolumeclaim }} # spec.resources.requests.storage"
	return []alert{
		{"AssistantVolumeFull", free + ` < 0.05`, "5m", "critical", "volume {{ $labels.persistentvolumeclaim }} is almost full", grow},
		{
			"AssistantVolumeFilling",
			free + ` < 0.2 and predict_linear(kubelet_volume_stats_available_bytes{$ns}[6h], 4 * 86400) < 0`,
			"1h", "warning", "volume {{ $labels.persistentvolumeclaim }} will be full in four days", grow,
		},
		{
			"AssistantVolumeOutOfFiles", `kubelet_volume_stats_inodes_free{$ns} / kubelet_volume_stats_inodes{$ns} < 0.05`,
			"15m", "warning", "volume {{ $labels.persistentvolumeclaim }} can hold few more files", grow,
		},
	}
}

func podAlerts() []alert {
	const logs = "kubectl -n {{ $labels.namespace }} logs {{ $labels.pod }} -c {{ $labels.container }} --previous"
	return []alert{
		{
			"AssistantRestarts", `increase(kube_pod_container_status_restarts_total{$ns}[30m]) > 3`,
			"0m", "warning", "{{ $labels.pod }} restarts again and again", logs,
		},
		{
			"AssistantPodStuck",
			`max by (namespace, pod, container, reason) (kube_pod_container_status_waiting_reason{$ns,reason=~"CrashLoopBackOff|ImagePullBackOff|ErrImagePull|CreateContainerConfigError"}) > 0`,
			"5m", "warning", "{{ $labels.pod }} does not start: {{ $labels.reason }}", "kubectl -n {{ $labels.namespace }} describe pod {{ $labels.pod }}",
		},
		{
			"AssistantOutOfMemory",
			`kube_pod_container_status_last_terminated_reason{$ns,reason="OOMKilled"} > 0 and on (namespace, pod, container) increase(kube_pod_container_status_restarts_total{$ns}[15m]) > 0`,
			"0m", "warning", "{{ $labels.container }} of {{ $labels.pod }} ran out of memory", "raise its memoryLimit in Pulumi.$env.yaml",
		},
	}
}

// certificateAlerts are about what cert-manager keeps. It renews a month before the end: two weeks before, it has failed for two weeks.
func certificateAlerts(s environment.Settings) []alert {
	if s.TLS.From != environment.TLSCertManager {
		return nil
	}
	// By cert-manager's own namespace or the certificate's: it depends on who scrapes.
	either := func(metric, more string) string {
		return fmt.Sprintf(`(%[1]s{$ns%[2]s} or %[1]s{exported_$ns%[2]s})`, metric, more)
	}
	look := "kubectl -n " + s.Namespace + " describe certificate {{ $labels.name }}"
	return []alert{
		{
			"AssistantCertificateExpiring", either("certmanager_certificate_expiration_timestamp_seconds", "") + ` - time() < 14 * 86400`,
			"1h", "critical", "certificate {{ $labels.name }} ends in less than two weeks and is not renewed", look,
		},
		{
			"AssistantCertificateNotReady", "max by (name) " + either("certmanager_certificate_ready_status", `,condition!="True"`) + " > 0",
			"1h", "warning", "certificate {{ $labels.name }} is not ready", look,
		},
	}
}

func inHours(seconds int) string {
	return fmt.Sprintf("%.0f h", time.Duration(seconds*int(time.Second)).Hours())
}
