package environment

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
)

// dev is the least that an environment needs.
func dev(change map[string]string) map[string]string {
	values := map[string]string{
		"cluster":   "existing",
		"kube":      `{"context":"kind-dev"}`,
		"bucket":    "cluster",
		"images":    `{"registry":"registry.example.com/assistant"}`,
		"api":       `{"host":"api.dev.example.com"}`,
		"tls":       `{"from":"generated"}`,
		"openWebUI": `{"enabled":false}`,
	}
	maps.Copy(values, change)
	return values
}

// cloud is the least of an environment on AWS.
func cloud(change map[string]string) map[string]string {
	values := map[string]string{
		"cluster":  "eks",
		"aws":      `{"region":"eu-central-1","account":"123456789012","administrators":["arn:aws:iam::123456789012:role/platform"]}`,
		"bucket":   "aws",
		"api.host": "api.example.com", "openWebUI.host": "chat.example.com",
		"addons": `{"certManager":"install"}`, "tls.email": "platform@example.com", "aws.publicAccess": "203.0.113.0/24",
	}
	maps.Copy(values, change)
	return values
}

func TestDefaults(t *testing.T) {
	s, err := Parse("dev", dev(nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	for what, got := range map[string][2]any{
		"namespace":        {s.Namespace, "assistant-dev"},
		"protect":          {s.Protect, true},
		"bucket":           {s.Bucket.Name, "assistant-dev"},
		"replicas":         {s.API.Replicas, 2},
		"backup":           {s.Schedule.Backup, "0 2 * * *"},
		"pre-deploy":       {s.Retention.PreDeployDays, 90},
		"certificate":      {s.TLS.From, TLSGenerated},
		"release":          {s.Release == nil, true},
		"service settings": {len(s.Service), 0},
	} {
		if got[0] != got[1] {
			t.Errorf("%s is %v, want %v", what, got[0], got[1])
		}
	}
}

func TestNestedAndDottedKeysMeanTheSame(t *testing.T) {
	nested, err := Parse("dev", dev(map[string]string{"api": `{"host":"a.example.com","replicas":3,"maxReplicas":"9"}`}), nil)
	if err != nil {
		t.Fatal(err)
	}
	values := dev(map[string]string{"api.host": "a.example.com", "api.replicas": "3", "api.maxReplicas": "9"})
	delete(values, "api")
	dotted, err := Parse("dev", values, nil)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := fmt.Sprintf("%+v", nested), fmt.Sprintf("%+v", dotted); a != b {
		t.Errorf("nested:\n%s\ndotted:\n%s", a, b)
	}
}

func TestOnAWS(t *testing.T) {
	s, err := Parse("prod", cloud(nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(s.AWS.Zones, " "); got != "eu-central-1a eu-central-1b eu-central-1c" {
		t.Errorf("zones are %s", got)
	}
	if s.Bucket.Region != "eu-central-1" || s.Bucket.PathStyle {
		t.Errorf("the bucket is in %s, by path: %t", s.Bucket.Region, s.Bucket.PathStyle)
	}
}

func TestS3Endpoint(t *testing.T) {
	for _, bucket := range []string{`{"bucket":"https://s3.example.com:9000/"}`, `{"bucket":"s3","s3.endpoint":"https://s3.example.com:9000"}`} {
		testS3Endpoint(t, bucket)
	}
}

func testS3Endpoint(t *testing.T, bucket string) {
	t.Helper()
	values := dev(map[string]string{
		"s3": `{"name":"backups","operator":{"accessKey":"o","secretKey":"oo"},"writer":{"accessKey":"w","secretKey":"ww"},"pruner":{"accessKey":"p","secretKey":"pp"}}`,
	})
	if err := json.Unmarshal([]byte(bucket), &values); err != nil {
		t.Fatal(err)
	}
	s, err := Parse("dev", values, []string{"s3"})
	if err != nil {
		t.Fatal(err)
	}
	if s.Bucket.Kind != BucketS3 || s.Bucket.Endpoint != "https://s3.example.com:9000" || s.Bucket.Writer.SecretKey.Reveal() != "ww" {
		t.Errorf("got %+v", s.Bucket)
	}
	if shown := fmt.Sprintf("%v %+v %#v", s, s, s); strings.Contains(shown, "ww") {
		t.Errorf("a secret is shown: %s", shown)
	}
}

func TestEgress(t *testing.T) {
	for _, text := range []string{"10.1.2.3/32:8000, fd00:1::/64:4318", `["10.1.2.3/32:8000","fd00:1::/64:4318"]`} {
		s, err := Parse("dev", dev(map[string]string{"api.egress": text}), nil)
		if err != nil {
			t.Fatal(err)
		}
		want := []Destination{{netip.MustParsePrefix("10.1.2.3/32"), 8000}, {netip.MustParsePrefix("fd00:1::/64"), 4318}}
		if !slices.Equal(s.API.Egress, want) {
			t.Errorf("%s: %v, want %v", text, s.API.Egress, want)
		}
	}
}

func TestTooOldOpenWebUI(t *testing.T) {
	for image, want := range map[string]bool{
		"ghcr.io/open-webui/open-webui:v0.6.36":                                     true,
		"ghcr.io/open-webui/open-webui:v0.10.1-slim":                                true,
		"mirror.example.com/ghcr.io/open-webui/open-webui:0.9":                      true,
		"docker.io/openwebui/open-webui:0.9.5":                                      true,
		"ghcr.io/open-webui/open-webui:v0.6.36@" + digest:                           true,
		"ghcr.io/open-webui/open-webui:v0.10.2":                                     false,
		"ghcr.io/open-webui/open-webui:0.10":                                        false,
		"ghcr.io/open-webui/open-webui:v0.11.4-cuda":                                false,
		"ghcr.io/open-webui/open-webui:v1.0.0":                                      false,
		"ghcr.io/open-webui/open-webui:main":                                        false,
		"ghcr.io/open-webui/open-webui@" + digest:                                   false,
		"registry.example.com/chat/open-webui:v0.3.0":                               false, // somebody's own, with versions of its own
		"ghcr.io/open-webui/open-webui:v99999999999999999999999999999999999999.0.1": false,
	} {
		if got := tooOld(image); got != want {
			t.Errorf("%s: too old %t, want %t", image, got, want)
		}
	}
}

// TestSecretsOfOtherServices: they are taken when they are encrypted and well formed, and no message repeats one.
func TestSecretsOfOtherServices(t *testing.T) {
	release := fmt.Sprintf(`{"version":"v1","images":{"assistd":%q,"assistctl":%q}}`, digest, digest)
	providers := "- {name: corporate, issuer: https://id.example.com, client_id: x, client_secret: s3cr3t}"
	for name, c := range map[string]struct {
		secrets  map[string]string
		settings string
		want     []string
	}{
		"all": {
			map[string]string{"llmKey": "s3cr3t", "googleClientSecret": "s3cr3t", "smtpURL": "smtps://u:s3cr3t@mail.example.com:465", "oidcProviders": providers},
			`{"ASSISTD_LLM_URL":"https://llm.example.com/v1","ASSISTD_GOOGLE_CLIENT_ID":"x","ASSISTD_MAIL_FROM":"a@example.com"}`, nil,
		},
		"mail without a sender": {map[string]string{"smtpURL": "smtp://mail.example.com"}, "{}", []string{"settings.ASSISTD_MAIL_FROM"}},
		"a key for nothing":     {map[string]string{"llmKey": "s3cr3t"}, "{}", []string{"settings.ASSISTD_LLM_URL"}},
		"not a mail server":     {map[string]string{"smtpURL": "https://u:s3cr3t@mail.example.com"}, `{"ASSISTD_MAIL_FROM":"a@example.com"}`, []string{"secrets.smtpURL"}},
		"two lines":             {map[string]string{"llmKey": "s3cr3t\n"}, `{"ASSISTD_LLM_URL":"https://llm.example.com/v1"}`, []string{"secrets.llmKey"}},
		"a file in the pod":     {map[string]string{"oidcProviders": "[{name: x, issuer: https://id.example.com, client_id: x, client_secret_file: /s3cr3t}]"}, "{}", []string{"secrets.oidcProviders"}},
		"a provider by HTTP":    {map[string]string{"oidcProviders": strings.ReplaceAll(providers, "https", "http")}, "{}", []string{"secrets.oidcProviders"}},
		"no provider":           {map[string]string{"oidcProviders": "[]"}, "{}", []string{"secrets.oidcProviders"}},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := json.Marshal(c.secrets)
			if err != nil {
				t.Fatal(err)
			}
			s, err := Parse("dev", dev(map[string]string{"secrets": string(text), "settings": c.settings, "release": release}), []string{"secrets"})
			var got []string
			if invalid, ok := errors.AsType[*Invalid](err); ok {
				for _, p := range invalid.Problems {
					got = append(got, p.Key)
				}
				if strings.Contains(err.Error(), "s3cr3t") {
					t.Errorf("a secret is shown: %v", err)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Fatalf("problems with %v, want %v: %v", got, c.want, err)
			}
			if err == nil && s.Secrets.OIDCProviders.Reveal() != providers {
				t.Errorf("the providers are %q", s.Secrets.OIDCProviders.Reveal())
			}
		})
	}
}

// digest is one of an image.
var digest = "sha256:" + strings.Repeat("0123456789abcdef", 4)

func TestRelease(t *testing.T) {
	text := fmt.Sprintf(`{"version":"v1.2","commit":"abc","images":{"assistd":%q,"assistctl":%q},"settings":{"ASSISTD_LOG_LEVEL":"debug"}}`, digest, digest)
	s, err := Parse("dev", dev(map[string]string{"release": text}), nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.Release == nil || s.Release.Version != "v1.2" || s.Release.Settings["ASSISTD_LOG_LEVEL"] != "debug" {
		t.Errorf("got %+v", s.Release)
	}
}

// TestProblems holds every way in which one setting, or two together, can be wrong.
func TestProblems(t *testing.T) {
	given := `"operator":{"accessKey":"o","secretKey":"x"},"writer":{"accessKey":"w","secretKey":"x"},"pruner":{"accessKey":"p","secretKey":"x"}`
	tests := []struct {
		name   string
		values map[string]string
		want   []string // "key: part of the text"
	}{
		{"nothing", map[string]string{}, []string{
			"cluster: is missing; want one of existing, eks", "bucket: is missing", "api.host: is missing", "openWebUI.host: is missing",
			"addons.certManager: contradicts tls.from", "tls.issuer: is missing",
		}},
		{"unknown key", dev(map[string]string{"databse": `{"storage":"1Gi"}`}), []string{`databse.storage: did you mean "database.storage"?`}},
		{"unknown member", dev(map[string]string{"database": `{"storge":"1Gi"}`}), []string{`database.storge: did you mean "storage"?`}},
		{"section as value", dev(map[string]string{"database": "20Gi"}), []string{`database: is "20Gi"; want a section with storage, connections`}},
		{"value as section", dev(map[string]string{"protect": `{"x":1}`}), []string{`protect: want true or false`}},
		{"twice", dev(map[string]string{"kube.context": "other"}), []string{"kube.context: is given twice"}},
		{"not a number", dev(map[string]string{"api.replicas": "three"}), []string{`api.replicas: is "three"; want a whole number from 1 to 1000`}},
		{"replicas", dev(map[string]string{"api.replicas": "7"}), []string{"api.maxReplicas: is 6, less than api.replicas (7)"}},
		{"limits", dev(map[string]string{"database.memory": "4Gi"}), []string{"database.memoryLimit: is 1Gi, less than database.memory (4Gi)"}},
		{"quantity", dev(map[string]string{"database.storage": "20GB"}), []string{"database.storage: Kubernetes quantity"}},
		{"no storage", dev(map[string]string{"database.storage": "0Gi"}), []string{"database.storage: above 0"}},
		{"latest", dev(map[string]string{"images.postgres": "postgres:latest"}), []string{"images.postgres: not latest"}},
		{"no tag", dev(map[string]string{"images.postgres": "registry:5000/postgres"}), []string{"images.postgres: tag"}},
		{"egress without a port", dev(map[string]string{"api.egress": "10.1.0.0/16"}), []string{`api.egress: holds "10.1.0.0/16"; want networks with a port`}},
		{"egress to a host", dev(map[string]string{"api.egress": "model.example.com:8000"}), []string{"api.egress: want networks with a port"}},
		{"egress of host bits", dev(map[string]string{"api.egress": "10.1.0.7/16:8000"}), []string{"api.egress: want networks with a port"}},
		{"egress to no port", dev(map[string]string{"api.egress": "10.1.0.0/16:0"}), []string{"api.egress: want networks with a port"}},
		{"egress to everything", dev(map[string]string{"api.egress": "0.0.0.0/0:443"}), []string{"api.egress: a network with link-local addresses"}},
		{"egress to the node", dev(map[string]string{"api.egress": "fe80::/64:80"}), []string{"api.egress: a network with link-local addresses"}},
		{"host", dev(map[string]string{"api": `{"host":"API.example.com"}`}), []string{"api.host: want a host name"}},
		{"namespace", dev(map[string]string{"namespace": "Assistant"}), []string{"namespace: want the name of a namespace"}},
		{"no context", dev(map[string]string{"kube": "{}"}), []string{"kube.context: is missing"}},
		{"no registry", dev(map[string]string{"images": "{}"}), []string{"images.registry: is missing"}},
		{"cron", dev(map[string]string{"schedule.backup": "02:00"}), []string{"schedule.backup: five fields of cron"}},
		{"cron's hour", dev(map[string]string{"schedule.backup": "0 24 * * *"}), []string{"schedule.backup: five fields of cron"}},
		{"bucket", dev(map[string]string{"bucket": "s3.example.com"}), []string{"bucket: the URL of an S3 endpoint"}},
		{"bucket with a path", dev(map[string]string{"bucket": "https://s3.example.com/backups"}), []string{"bucket: the URL of an S3 endpoint"}},
		{"aws bucket elsewhere", dev(map[string]string{"bucket": "aws", "aws": `{"region":"eu-central-1","account":"123456789012"}`}), []string{"bucket: needs cluster: eks"}},
		{"endpoint without keys", dev(map[string]string{"bucket": "https://s3.example.com"}), []string{"s3.operator.accessKey: is missing", "s3.writer.accessKey: is missing", "s3.pruner.accessKey: is missing"}},
		{"no endpoint", dev(map[string]string{"bucket": "s3"}), []string{"s3.endpoint: is missing", "s3.operator.accessKey: is missing", "s3.writer.accessKey: is missing", "s3.pruner.accessKey: is missing"}},
		{"two endpoints", dev(map[string]string{"bucket": "https://a.example.com", "s3.endpoint": "https://b.example.com"}), []string{
			"s3.endpoint: is given twice", "s3.operator.accessKey: is missing", "s3.writer.accessKey: is missing", "s3.pruner.accessKey: is missing",
		}},
		{"endpoint for nothing", dev(map[string]string{"s3.endpoint": "https://b.example.com"}), []string{"s3.endpoint: contradicts bucket: cluster"}},
		{"clear text", dev(map[string]string{"bucket": "https://s3.example.com", "s3": "{" + given + "}"}), []string{
			"s3.operator.secretKey: is in clear text; give it by: pulumi config set --secret --path 'smart-assistant:s3.operator.secretKey'",
			"s3.writer.secretKey: is in clear text", "s3.pruner.secretKey: is in clear text",
		}},
		{"keys for nothing", dev(map[string]string{"s3.operator.accessKey": "x"}), []string{"s3.operator.accessKey: contradicts bucket: cluster"}},
		{"CA for nothing", dev(map[string]string{"s3.ca": "x"}), []string{"s3.ca: certificates in PEM"}},
		{"AWS for nothing", dev(map[string]string{"aws.region": "eu-central-1"}), []string{"aws: contradicts cluster: existing and bucket: cluster"}},
		{"kube and eks", cloud(map[string]string{"kube.context": "kind-x"}), []string{"kube: contradicts cluster: eks"}},
		{"no region", cloud(map[string]string{"aws": `{"account":"123456789012","administrators":["arn:aws:iam::123456789012:role/platform"]}`}), []string{"aws.region: is missing"}},
		{"no cert-manager", dev(map[string]string{"tls": `{"from":"cert-manager","issuer":"x"}`}), []string{"addons.certManager: is none, which contradicts tls.from: cert-manager"}},
		{"no issuer", dev(map[string]string{"tls": `{"from":"cert-manager"}`, "addons.certManager": "existing"}), []string{"tls.issuer: is missing"}},
		{"two issuers", cloud(map[string]string{"tls.issuer": "x"}), []string{"tls.issuer: contradicts tls.email"}},
		{"no TLS secret", dev(map[string]string{"tls": `{"from":"secret"}`}), []string{"tls.secret: is missing"}},
		{"issuer for nothing", dev(map[string]string{"tls.issuer": "x"}), []string{"tls.issuer: contradicts tls.from: generated"}},
		{"no chat host", dev(map[string]string{"openWebUI": "{}"}), []string{"openWebUI.host: is missing"}},
		{"an Open WebUI that signs nobody", dev(map[string]string{
			"openWebUI": `{"host":"chat.dev.example.com"}`, "images.openWebUI": "ghcr.io/open-webui/open-webui:v0.6.36",
		}), []string{"images.openWebUI: is older than v0.10.2"}},
		{"same host", dev(map[string]string{"openWebUI": `{"host":"api.dev.example.com"}`}), []string{"openWebUI.host: which is also api.host"}},
		{"owned variable", dev(map[string]string{"settings": `{"ASSISTD_LISTEN":":1"}`}), []string{"settings.ASSISTD_LISTEN: belongs to the platform"}},
		{"owned file", dev(map[string]string{"settings": `{"ASSISTD_LLM_KEY_FILE":"/key"}`}), []string{"settings.ASSISTD_LLM_KEY_FILE: leave it out and give secrets.llmKey"}},
		{"a secret as a variable", dev(map[string]string{"settings": `{"ASSISTD_SMTP_URL":"smtp://u:p@h"}`}), []string{"settings.ASSISTD_SMTP_URL: leave it out and give secrets.smtpURL"}},
		{"Google without its secret", dev(map[string]string{"settings": `{"ASSISTD_GOOGLE_CLIENT_ID":"x"}`}), []string{"secrets.googleClientSecret: is missing: ASSISTD_GOOGLE_CLIENT_ID needs it"}},
		{"no variable", dev(map[string]string{"settings": `{"log-level":"debug"}`}), []string{"settings.log-level: is no name of a variable"}},
		{"settings as value", dev(map[string]string{"settings": "debug"}), []string{`settings: is "debug"; want a section of variables`}},
		{"burst", dev(map[string]string{"ingress": `{"rate":50,"burst":10}`}), []string{"ingress.burst: is 10, less than ingress.rate (50)"}},
		{"release", dev(map[string]string{"release": `{"version":"1","images":{"assistd":"x"}}`}), []string{`release: its version is "1"; want one like v1.2.3; its image assistd is "x"`}},
		{"half a release", dev(map[string]string{"release": `{"version":`}), []string{"release: is not what assistctl writes"}},
		{"foreign release", dev(map[string]string{"release": `{"verison":"v1"}`}), []string{`release: unknown field "verison"`}},
		{"snapshots before dailies", dev(map[string]string{"retention": `{"daily":30,"preDeployDays":7}`}), []string{"retention.preDeployDays: is 7, less than retention.daily (30)"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse("dev", test.values, nil)
			var invalid *Invalid
			if !errors.As(err, &invalid) {
				t.Fatalf("got %v, want an *Invalid", err)
			}
			for _, want := range test.want {
				key, text, _ := strings.Cut(want, ": ")
				if !slices.ContainsFunc(invalid.Problems, func(p Problem) bool { return p.Key == key && strings.Contains(p.Text, text) }) {
					t.Errorf("no problem with %s saying %q in\n%v", key, text, err)
				}
			}
			if len(invalid.Problems) != len(test.want) {
				t.Errorf("%d problems, want %d:\n%v", len(invalid.Problems), len(test.want), err)
			}
		})
	}
}

func TestAllProblemsInOneMessage(t *testing.T) {
	_, err := Parse("staging", map[string]string{
		"cluster": "exsting", "bucket": "https://s3.example.com", "api": `{"hosts":["a.example.com"],"replicas":9,"maxReplicas":3}`,
		"schedule": `{"backup":"daily"}`, "secrets": `{"databasePassword":"short"}`, "tls": `{"from":"generated","email":"x@example.com"}`,
	}, nil)
	if err == nil {
		t.Fatal("accepted")
	}
	want, readErr := os.ReadFile("testdata/problems.txt")
	if readErr != nil {
		t.Fatal(readErr)
	}
	if got := err.Error() + "\n"; got != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestKnobsAreSettings(t *testing.T) {
	all := keys(&Settings{})
	for _, knob := range Knobs() {
		if all.find(knob) == nil && knob != "settings" {
			t.Errorf("%s is no setting", knob)
		}
	}
	// What decides the shape of an environment is the same in staging and prod.
	for _, fixed := range []string{"cluster", "protect", "addons.ingress", "addons.certManager", "addons.monitoring", "tls.from", "bucket", "images.postgres", "openWebUI.enabled"} {
		if all.find(fixed) == nil {
			t.Errorf("%s is no setting", fixed)
		}
		if slices.Contains(Knobs(), fixed) {
			t.Errorf("%s may differ between staging and prod", fixed)
		}
	}
}

func TestOutputsHoldNoSecretField(t *testing.T) {
	content, err := json.Marshal(Outputs{})
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"assword", "secretKey", "accessKey", "jwt"} {
		if strings.Contains(string(content), word) {
			t.Errorf("%s in %s", word, content)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, values := range []map[string]string{dev(nil), cloud(nil)} {
		content, err := json.Marshal(values)
		if err != nil {
			f.Fatal(err)
		}
		f.Add("dev", content)
	}
	f.Add("x", []byte(`{"release":"{}","aws":"{\"zones\":[1]}","settings":"{\"A\":null}","schedule.backup":"*/0 1-99 * * *"}`))
	f.Fuzz(func(t *testing.T, name string, content []byte) {
		var values map[string]string
		if json.Unmarshal(content, &values) != nil {
			return
		}
		s, err := Parse(name, values, nil)
		var invalid *Invalid
		if err != nil && !errors.As(err, &invalid) {
			t.Fatalf("an error that is no *Invalid: %v", err)
		}
		if err != nil {
			if len(invalid.Problems) == 0 || s.Name != "" {
				t.Fatalf("refused without a problem, or with settings: %v", err)
			}
			return
		}
		if s.Name != name || s.API.Host == "" || s.API.Replicas < 1 || s.API.MaxReplicas < s.API.Replicas || s.Cluster == "" || s.Bucket.Kind == "" {
			t.Fatalf("accepted, but: %+v", s)
		}
		if s.Cluster == ClusterExisting && s.Kube.Context == "" {
			t.Fatal("accepted without a context: it would take whichever cluster is the current one")
		}
	})
}

// TestReferenceIsUpToDate compares SETTINGS.md with the settings; UPDATE=1 writes it.
func TestReferenceIsUpToDate(t *testing.T) {
	want := Reference()
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile("SETTINGS.md", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("SETTINGS.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("SETTINGS.md is not what the settings are: UPDATE=1 go test ./infra/environment")
	}
}
