package infra

import (
	"fmt"
	"strings"
	"testing"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"

	"github.com/smart-assistant/platform/infra/environment"
)

func TestReplicaIsKilledAfterItsDrain(t *testing.T) {
	for name, c := range map[string]struct {
		sleep int
		env   map[string]string
		least int
	}{
		"the service's defaults": {5, nil, 5 + 3 + 30},
		"its settings":           {1, map[string]string{"ASSISTD_DRAIN_DELAY": "500ms", "ASSISTD_DRAIN_TIMEOUT": "4s"}, 1 + 5},
		"a setting that is none": {5, map[string]string{"ASSISTD_DRAIN_TIMEOUT": "soon"}, 5 + 3 + 30},
	} {
		if got := grace(c.sleep, c.env); got < c.least+5 || got > c.least+10 {
			t.Errorf("%s: killed after %d s; the drain takes %d", name, got, c.least)
		}
	}
}

func TestDatabaseConfigurationFitsItsMemory(t *testing.T) {
	s := environment.Settings{Name: "x", Namespace: "x"}
	s.Database = environment.Database{Connections: 77, Resources: environment.Resources{MemoryLimit: "2Gi"}}
	config := (&Database{scope: Scope{Settings: s}}).configuration()
	for _, want := range []string{"max_connections = 77", "shared_buffers = 512MB", "effective_cache_size = 1536MB", "ssl = on", "wal_level = replica"} {
		if !strings.Contains(config, want+"\n") {
			t.Errorf("no %q in\n%s", want, config)
		}
	}
}

func TestConfigurationChangesRestartTheDatabase(t *testing.T) {
	base := map[string]string{"a": "1", "b": "2"}
	for name, other := range map[string]map[string]string{
		"a value": {"a": "1", "b": "3"}, "a name": {"a": "1", "c": "2"}, "moved text": {"a": "12", "b": ""}, "less": {"a": "1"},
	} {
		if checksum(base) == checksum(other) {
			t.Errorf("%s: the same checksum", name)
		}
	}
	if checksum(base) != checksum(map[string]string{"b": "2", "a": "1"}) {
		t.Error("the order matters")
	}
}

func TestEndpointPort(t *testing.T) {
	for endpoint, want := range map[string]int{
		"https://s3.example.com": 443, "http://s3.example.com": 80, "https://s3.example.com:9000": 9000, "https://[2001:db8::1]:7070": 7070,
	} {
		if got := endpointPort(endpoint); got != want {
			t.Errorf("%s: port %d, want %d", endpoint, got, want)
		}
	}
}

// TestPlatformsVariablesWin: neither release nor environment can take over what ties the service to its secrets and ports.
func TestPlatformsVariablesWin(t *testing.T) {
	env := map[string]string{"ASSISTD_LOG_LEVEL": "debug"}
	for _, owned := range environment.Owned() {
		env[owned] = "elsewhere"
	}
	names := map[string]bool{}
	for _, v := range serviceVariables(environment.Settings{}, env) {
		text := variableText(v)
		if strings.Contains(text, "elsewhere") {
			t.Errorf("%s was taken over", text)
		}
		name, _, _ := strings.Cut(text, "=")
		if names[name] {
			t.Errorf("%s stands twice", name)
		}
		names[name] = true
	}
	if !names["ASSISTD_LOG_LEVEL"] || !names["ASSISTD_REPLICA"] || !names["ASSISTD_DATABASE_URL_FILE"] || names["ASSISTD_DATABASE_URL"] {
		t.Errorf("got %v", names)
	}
}

// TestOperatorSecretsAreFilesOfTheService: each that was given is an entry of its Secret, and a variable says where; without one there is neither.
func TestOperatorSecretsAreFilesOfTheService(t *testing.T) {
	variablesOf := func(s environment.Settings) string {
		var texts []string
		for _, v := range serviceVariables(s, nil) {
			texts = append(texts, variableText(v))
		}
		return strings.Join(texts, "\n")
	}
	given := monitoredSettings()
	given.OpenWebUI.Host = "chat.example.com"
	given.Secrets = environment.Secrets{LLMKey: "a-key", GoogleClientSecret: "a-secret", SMTPURL: "smtps://u:p@mail.example.com", OIDCProviders: "[{}]"}
	entries := map[string]bool{}
	for _, r := range around(t, given).of("Secret") {
		if r.Name == "assistd" {
			for name := range r.Inputs["stringData"].SecretValue().Element.ObjectValue() {
				entries[string(name)] = true
			}
		}
	}
	for variable, entry := range map[string]string{
		"ASSISTD_LLM_KEY_FILE": "llm-key", "ASSISTD_GOOGLE_CLIENT_SECRET_FILE": "google-client-secret",
		"ASSISTD_SMTP_URL_FILE": "smtp-url", "ASSISTD_OIDC_PROVIDERS_FILE": "oidc-providers.yaml",
	} {
		if want := variable + "=/etc/assistd/secrets/" + entry; !strings.Contains(variablesOf(given), want) {
			t.Errorf("no %s in\n%s", want, variablesOf(given))
		}
		if !entries[entry] {
			t.Errorf("no entry %s in %v", entry, entries)
		}
		if none := variablesOf(monitoredSettings()); strings.Contains(none, variable) {
			t.Errorf("%s names a file that is not there", variable)
		}
	}
}

// variableText is a variable as name=value, or name= when its value comes from elsewhere.
func variableText(v corev1.EnvVarInput) string {
	args, ok := v.(corev1.EnvVarArgs)
	if !ok {
		return fmt.Sprintf("%T", v)
	}
	return fmt.Sprintf("%v=%v", args.Name, args.Value)
}
