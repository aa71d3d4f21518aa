package infra

import (
	"fmt"

	"github.com/smart-assistant/platform/infra/environment"
)

// What the settings say about the charts, over the values in files/monitoring.

func prometheusSettings(s environment.Settings, storageClass string) map[string]any {
	claim := func(size string) map[string]any {
		spec := map[string]any{
			"accessModes": []any{"ReadWriteOnce"},
			"resources":   map[string]any{"requests": map[string]any{"storage": size}},
		}
		if storageClass != "" {
			spec["storageClassName"] = storageClass
		}
		return map[string]any{"volumeClaimTemplate": map[string]any{"spec": spec}}
	}
	return map[string]any{
		"prometheus": map[string]any{"prometheusSpec": map[string]any{
			"retention":      fmt.Sprintf("%dd", s.Monitoring.RetentionDays),
			"retentionSize":  fmt.Sprintf("%dMB", environment.Bytes(s.Monitoring.Storage)*8/10/1_000_000), // the log of writes and a block in the making come on top
			"externalLabels": map[string]any{"environment": s.Name},
			"storageSpec":    claim(s.Monitoring.Storage),
		}},
		"alertmanager": map[string]any{"alertmanagerSpec": map[string]any{"storage": claim("1Gi")}},
		"grafana":      grafanaSettings(s),
	}
}

// grafanaSettings give Grafana an Ingress when there is a host. Without one it is reached by kubectl port-forward, and its cookies go over plain HTTP to
// this machine.
func grafanaSettings(s environment.Settings) map[string]any {
	if s.Monitoring.Host == "" {
		return map[string]any{"grafana.ini": map[string]any{"security": map[string]any{"cookie_secure": false}}}
	}
	annotations := map[string]any{entryPoints: entryPointSecure, "cert-manager.io/cluster-issuer": s.TLS.Issuer}
	return map[string]any{
		"grafana.ini": map[string]any{"server": map[string]any{"root_url": "https://" + s.Monitoring.Host}},
		"ingress": map[string]any{
			"enabled": true, "ingressClassName": s.Ingress.Class, "annotations": annotations, "hosts": []any{s.Monitoring.Host},
			"tls": []any{map[string]any{"hosts": []any{s.Monitoring.Host}, "secretName": "grafana-tls"}},
		},
	}
}

func lokiSettings(s environment.Settings, storageClass string) map[string]any {
	disk := map[string]any{"size": s.Monitoring.Storage}
	if storageClass != "" {
		disk["storageClass"] = storageClass
	}
	return map[string]any{
		"loki":         map[string]any{"limits_config": map[string]any{"retention_period": fmt.Sprintf("%dh", 24*s.Monitoring.RetentionDays)}},
		"singleBinary": map[string]any{"persistence": disk},
	}
}

// over lays values over others: maps member by member, everything else as a whole.
func over(below, above map[string]any) map[string]any {
	for key, value := range above {
		members, isMap := value.(map[string]any)
		if lower, ok := below[key].(map[string]any); ok && isMap {
			below[key] = over(lower, members)
			continue
		}
		below[key] = value
	}
	return below
}
