package infra

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/smart-assistant/platform/infra/environment"
)

func monitoredSettings() environment.Settings {
	return environment.Settings{
		Name: "prod", Namespace: "assistant-prod",
		TLS: environment.TLS{From: environment.TLSCertManager, Issuer: "letsencrypt"}, OpenWebUI: environment.OpenWebUI{Enabled: true},
		Ingress:    environment.Ingress{Class: "traefik", Namespace: "traefik"},
		Addons:     environment.Addons{Monitoring: environment.Install},
		Monitoring: environment.Monitoring{Namespace: "monitoring", Storage: "20Gi", RetentionDays: 15, Host: "grafana.example.com"},
		Schedule:   environment.Schedule{Backup: "0 2 * * *", Prune: "0 3 * * *"},
	}
}

// TestRules writes what test/rules.sh gives to promtool, which checks the expressions and what they say of made-up series.
func TestRules(t *testing.T) {
	groups, err := alertGroups(monitoredSettings())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.MarshalIndent(map[string]any{"groups": groups}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, filepath.Join("testdata", "rules", "assistant.json"), string(text)+"\n")
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, `"expr"`) && !strings.Contains(line, `namespace=\"assistant-prod\"`) {
			t.Errorf("looks at other environments, too: %s", line)
		}
		if strings.Contains(line, "$ns") || strings.Contains(line, "$env") || strings.Contains(line, "%!") {
			t.Errorf("is not filled in: %s", line)
		}
	}
}

// TestRulesAskForWhatThereIs: metrics and routes of the service are named as it names them.
func TestRulesAskForWhatThereIs(t *testing.T) {
	groups, err := alertGroups(monitoredSettings())
	if err != nil {
		t.Fatal(err)
	}
	service := source(t, "../service/*")
	metrics := regexp.MustCompile(`assistd_[a-z_]+`).FindAllString(fmt.Sprint(groups), -1)
	for _, metric := range metrics {
		if !strings.Contains(service, `"`+strings.TrimSuffix(metric, "_bucket")+`"`) {
			t.Errorf("an alert asks for %s, which the service does not have", metric)
		}
	}
	if len(metrics) < 10 {
		t.Errorf("only %v are asked for", metrics)
	}
	for route := range strings.SplitSeq(longRoutes+"|"+modelRoutes, "|") {
		tool, isTool := strings.CutPrefix(route, "/tools/")
		if named := strings.Contains(service, `"`+route+`"`) || isTool && strings.Contains(service, `"`+tool+`"`); !named {
			t.Errorf("%s is no route of the service", route)
		}
	}
}

func TestRulesFollowTheSettings(t *testing.T) {
	s := monitoredSettings()
	s.TLS, s.OpenWebUI.Enabled, s.Schedule.Backup = environment.TLS{From: environment.TLSGenerated}, false, "0 */6 * * *"
	groups, err := alertGroups(s)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprint(groups)
	for _, part := range []string{"certmanager", "open-webui"} {
		if strings.Contains(text, part) {
			t.Errorf("alerts of %s, which is not there", part)
		}
	}
	if want := `cronjob="backup"}) > 28800`; !strings.Contains(text, want) {
		t.Errorf("a backup every six hours is late after eight: no %q in %s", want, text)
	}
}

func TestLongestGap(t *testing.T) {
	const day = 24 * time.Hour
	for schedule, want := range map[string]time.Duration{
		"0 2 * * *":         day,
		"*/15 * * * *":      15 * time.Minute,
		"0 */6 * * *":       6 * time.Hour,
		"0 1,13 * * *":      12 * time.Hour,
		"30 2 * * 0":        7 * day,
		"30 2 * * 7":        7 * day,
		"0 3 * * 1-5":       3 * day,
		"0 0 1 * *":         31 * day,
		"0 0 31 * *":        61 * day, // from March to May
		"0 0 15 * 1":        7 * day,  // either
		"0 8-18/5 * * *":    14 * time.Hour,
		"10 4 29 2 *":       0,
		"0 2 * *":           0,
		"0 x * * *":         0,
		"0 2/0 * * *":       0,
		"0 4,x-9 * * *":     0,
		"59 23 31 12 *":     366 * day, // 2028 is a leap year
		"0 0 1 1,7 *":       184 * day,
		"0 12/6 * * *":      18 * time.Hour,
		"5,50 9 * * *":      23*time.Hour + 15*time.Minute,
		"0 0-23 * 1-12 0-6": time.Hour,
	} {
		got, err := longestGap(schedule)
		if got != want || (err != nil) != (want == 0) {
			t.Errorf("%q: %v, %v; want %v", schedule, got, err, want)
		}
	}
}

// TestDashboards: each opens by itself, for the environment that is chosen, and asks for numbers that the service has.
func TestDashboards(t *testing.T) {
	service := source(t, "../service/*")
	uids := map[string]bool{}
	files, err := filepath.Glob("dashboards/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var dashboard struct {
			UID    string `json:"uid"`
			Title  string `json:"title"`
			Panels []struct {
				ID      int    `json:"id"`
				Title   string `json:"title"`
				Type    string `json:"type"`
				Targets []struct {
					Expr       string            `json:"expr"`
					Datasource map[string]string `json:"datasource"`
				} `json:"targets"`
			} `json:"panels"`
		}
		if err := json.Unmarshal(text, &dashboard); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if dashboard.UID == "" || dashboard.Title == "" || uids[dashboard.UID] {
			t.Errorf("%s: uid %q, title %q", file, dashboard.UID, dashboard.Title)
		}
		uids[dashboard.UID] = true
		ids := map[int]bool{}
		for _, panel := range dashboard.Panels {
			if ids[panel.ID] {
				t.Errorf("%s: two panels with id %d", file, panel.ID)
			}
			ids[panel.ID] = true
			if panel.Type != "row" && len(panel.Targets) == 0 {
				t.Errorf("%s: %q asks nothing", file, panel.Title)
			}
			for _, target := range panel.Targets {
				if !strings.Contains(target.Expr, `namespace="$namespace"`) || !strings.HasPrefix(target.Datasource["uid"], "${") {
					t.Errorf("%s: %q asks %s of %v, whatever is chosen", file, panel.Title, target.Expr, target.Datasource)
				}
				for _, metric := range regexp.MustCompile(`assistd_[a-z_]+`).FindAllString(target.Expr, -1) {
					if !strings.Contains(service, `"`+strings.TrimSuffix(metric, "_bucket")+`"`) {
						t.Errorf("%s: %q asks for %s, which the service does not have", file, panel.Title, metric)
					}
				}
			}
		}
	}
}

func source(t *testing.T, folder string) string {
	t.Helper()
	files, err := filepath.Glob(folder + "/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	var all strings.Builder
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

func TestChartValues(t *testing.T) {
	for name, text := range map[string]string{"kube-prometheus-stack": prometheusValues, "loki": lokiValues, "alloy": alloyValues} {
		var values map[string]any
		if err := yaml.UnmarshalStrict([]byte(text), &values); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	var values map[string]any
	if err := yaml.Unmarshal([]byte(prometheusValues), &values); err != nil {
		t.Fatal(err)
	}
	laid := over(values, prometheusSettings(monitoredSettings(), "encrypted-gp3"))
	const claim = "volumeClaimTemplate/spec/storageClassName"
	for path, want := range map[string]any{
		"prometheus/prometheusSpec/retention":            "15d",
		"prometheus/prometheusSpec/retentionSize":        "17179MB",
		"prometheus/prometheusSpec/scrapeInterval":       "30s", // from below
		"prometheus/prometheusSpec/storageSpec/" + claim: "encrypted-gp3",
		"alertmanager/alertmanagerSpec/storage/" + claim: "encrypted-gp3",
		"grafana/env/GF_SECURITY_ADMIN_PASSWORD__FILE":   "/etc/grafana/admin/admin-password",
		"grafana/admin/existingSecret":                   grafanaSecret,
		"grafana/grafana.ini/security/cookie_secure":     true,
		"prometheus-node-exporter/namespaceOverride":     nodesNamespace,
	} {
		if got := member(laid, strings.Split(path, "/")...); got != want {
			t.Errorf("%s is %v; want %v", path, got, want)
		}
	}
	if got := member(laid, "grafana", "ingress", "annotations", "cert-manager.io/cluster-issuer"); got != "letsencrypt" {
		t.Errorf("Grafana's certificate is of %v; want letsencrypt", got)
	}
	s := monitoredSettings()
	s.Monitoring.Host = ""
	laid = prometheusSettings(s, "")
	if got := member(laid, "grafana", "ingress"); got != nil {
		t.Errorf("an ingress without a host: %v", got)
	}
	if got := member(laid, strings.Split("prometheus/prometheusSpec/storageSpec/"+claim, "/")...); got != nil {
		t.Errorf("storage class %v; want the cluster's default", got)
	}
	if got := member(lokiSettings(s, ""), "loki", "limits_config", "retention_period"); got != "360h" {
		t.Errorf("logs stay %v; want 360h", got)
	}
}

// member finds a value by its path.
func member(values map[string]any, path ...string) any {
	var at any = values
	for _, name := range path {
		m, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = m[name]
	}
	return at
}
