package infra

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/smart-assistant/platform/infra/environment"
)

// around makes monitoring and Open WebUI with these settings.
func around(t *testing.T, s environment.Settings) *declared {
	t.Helper()
	d := &declared{}
	err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		scope := Scope{Settings: s, Namespace: pulumi.String(s.Namespace)}
		secrets, err := NewSecrets(ctx, scope)
		if err != nil {
			return err
		}
		if _, err := NewMonitoring(ctx, "monitoring", &MonitoringArgs{Scope: scope, Secrets: secrets, StorageClass: "fast"}); err != nil {
			return err
		}
		_, err = NewOpenWebUI(ctx, "open-webui", &OpenWebUIArgs{Scope: scope, Secrets: secrets, StorageClass: "fast"})
		return err
	}, pulumi.WithMocks("smart-assistant", s.Name, d))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestMonitoringModes(t *testing.T) {
	s := monitoredSettings()
	s.OpenWebUI.Host = "chat.example.com"
	for mode, charts := range map[string][]string{
		environment.Install: {"alloy 0.12.5", "kube-prometheus-stack 67.8.0", "loki 6.29.0"}, environment.Existing: nil,
	} {
		s.Addons.Monitoring, s.Monitoring.Labels = mode, nil
		if mode == environment.Existing {
			s.Monitoring.Labels = []string{"release=theirs"}
		}
		d := around(t, s)
		var found []string
		for _, r := range d.of("Release") {
			found = append(found, r.Inputs["chart"].StringValue()+" "+r.Inputs["version"].StringValue())
		}
		if slices.Sort(found); !slices.Equal(found, charts) {
			t.Errorf("%s installs %v; want %v", mode, found, charts)
		}
		for _, kind := range []string{"ServiceMonitor", "PrometheusRule"} {
			found := d.of(kind)
			if len(found) != 1 {
				t.Fatalf("%s makes %d %s", mode, len(found), kind)
			}
			labels := found[0].Inputs["metadata"].ObjectValue()["labels"].ObjectValue()
			if got := labels["release"]; mode == environment.Existing && (!got.IsString() || got.StringValue() != "theirs") {
				t.Errorf("an operator that looks for release=theirs does not find the %s: %v", kind, labels)
			}
		}
		var boards int
		for _, r := range d.of("ConfigMap") {
			if label := r.Inputs["metadata"].ObjectValue()["labels"].ObjectValue()["grafana_dashboard"]; label.IsString() {
				boards++
			}
		}
		if boards != 3 {
			t.Errorf("%s makes %d dashboards; want three", mode, boards)
		}
	}
}

// TestOpenWebUISecrets: they are files in the pod, never variables.
func TestOpenWebUISecrets(t *testing.T) {
	s := monitoredSettings()
	s.OpenWebUI.Host = "chat.example.com"
	d := around(t, s)
	var pod resource.PropertyMap
	for _, r := range d.of("StatefulSet") {
		pod = r.Inputs["spec"].ObjectValue()["template"].ObjectValue()["spec"].ObjectValue()
	}
	if pod == nil {
		t.Fatal("no StatefulSet")
	}
	container := pod["containers"].ArrayValue()[0].ObjectValue()
	variables := map[string]string{}
	for _, v := range container["env"].ArrayValue() {
		variables[v.ObjectValue()["name"].StringValue()] = v.ObjectValue()["value"].StringValue()
		if _, from := v.ObjectValue()["valueFrom"]; from {
			t.Errorf("a variable from elsewhere: %v", v)
		}
	}
	for _, name := range []string{"WEBUI_SECRET_KEY", "OPENAI_API_KEYS", "OPENAI_API_KEY"} {
		if value, given := variables[name]; given {
			t.Errorf("%s is the variable %q", name, value)
		}
		if name != "OPENAI_API_KEY" && !strings.Contains(openWebUIStart, `"`+name+`"`) {
			t.Errorf("the start script does not set %s", name)
		}
	}
	if got := variables["OPENAI_API_BASE_URLS"]; got != "http://api.assistant-prod.svc.cluster.local:8080/v1" {
		t.Errorf("it talks to %s", got)
	}
	if variables["ENABLE_PERSISTENT_CONFIG"] != "false" {
		t.Error("what is saved in its database would win over its variables")
	}
	if text := fmt.Sprint(pod["volumes"]); !strings.Contains(text, "secretName:{open-webui}") || !strings.Contains(fmt.Sprint(container["volumeMounts"]), variables["SECRETS_DIR"]) {
		t.Errorf("its secrets are not mounted: %s", text)
	}
}

// TestOpenWebUIHasTimeToBePulled: its image is larger than what comes down in Pulumi's ten minutes everywhere.
func TestOpenWebUIHasTimeToBePulled(t *testing.T) {
	s := monitoredSettings()
	s.OpenWebUI.Host = "chat.example.com"
	for _, r := range around(t, s).of("StatefulSet") {
		if got := r.RegisterRPC.GetCustomTimeouts(); got.GetCreate() != "30m" || got.GetUpdate() != "30m" {
			t.Errorf("%s has to be there after %v", r.Name, got)
		}
	}
}

// TestVolumesMayBeGivenAnotherSize: a StatefulSet's claims are for good, so their change would replace it, and Helm's upgrade of Loki would fail.
func TestVolumesMayBeGivenAnotherSize(t *testing.T) {
	s := monitoredSettings()
	s.OpenWebUI.Host = "chat.example.com"
	d := around(t, s)
	if err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		scope := Scope{Settings: s, Namespace: pulumi.String(s.Namespace)}
		if _, err := NewDatabase(ctx, scope, ""); err != nil {
			return err
		}
		_, err := NewClusterBucket(ctx, scope, "")
		return err
	}, pulumi.WithMocks("smart-assistant", s.Name, d)); err != nil {
		t.Fatal(err)
	}
	var sets []string
	for _, r := range d.of("StatefulSet") {
		sets = append(sets, r.Name)
		if got := r.RegisterRPC.GetIgnoreChanges(); !slices.Equal(got, []string{"spec.volumeClaimTemplates"}) {
			t.Errorf("the StatefulSet %s is replaced when its volume's size changes; ignored is only %v", r.Name, got)
		}
	}
	if slices.Sort(sets); !slices.Equal(sets, []string{"open-webui", "postgres", "s3"}) {
		t.Errorf("looked at %v", sets)
	}
	for _, r := range d.of("Release") {
		if got := r.RegisterRPC.GetIgnoreChanges(); r.Name == "loki" && !slices.Equal(got, []string{"values.singleBinary.persistence"}) {
			t.Errorf("Loki's volume is changed with its size; ignored is only %v", got)
		}
	}
}
