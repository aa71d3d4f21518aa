package graph

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"sigs.k8s.io/yaml"

	"github.com/smart-assistant/platform/infra"
	"github.com/smart-assistant/platform/infra/environment"
)

// Config is a stack's configuration as its file has it: keys without the project's prefix.
type Config map[string]any

// Variant is an environment, or an environment in another setting: the file of its stack with something changed.
type Variant struct {
	Name   string
	Stack  string // dev, staging or prod: whose file is read
	Change func(Config)
	Secret []string // the keys of Change whose values are secret
	Last   map[string]any
}

// Variants are all that the checks look at. Each has a release; what is without one is a matter of release_test.go.
func Variants() []Variant {
	return []Variant{
		{Name: "dev", Stack: "dev", Change: withRelease},
		{Name: "staging", Stack: "staging", Change: withRelease},
		{Name: "prod", Stack: "prod", Change: withRelease},
		{Name: "staging-existing", Stack: "staging", Change: onExistingCluster, Secret: []string{"s3", "secrets"}},
		{Name: "prod-existing", Stack: "prod", Change: onExistingCluster, Secret: []string{"s3", "secrets"}},
	}
}

// Environment returns the variant of that name.
func Environment(name string) (Variant, error) {
	for _, v := range Variants() {
		if v.Name == name {
			return v, nil
		}
	}
	return Variant{}, fmt.Errorf("no environment %s", name)
}

// ReleaseV1 and ReleaseV2 are what assistctl would write into the key "release".
var (
	ReleaseV1 = release("v1.0.0", "1", map[string]string{"ASSISTD_DRAIN_TIMEOUT": "20s"})
	ReleaseV2 = release("v2.0.0", "2", map[string]string{"ASSISTD_DRAIN_TIMEOUT": "40s", "ASSISTD_GREETING": "hello"})
)

func release(version, digit string, settings map[string]string) string {
	text, err := json.Marshal(environment.Release{
		Version: version, Commit: strings.Repeat(digit, 40), Settings: settings,
		Images: map[string]string{
			environment.Assistd: "sha256:" + strings.Repeat("a"+digit, 32), environment.Assistctl: "sha256:" + strings.Repeat("c"+digit, 32),
		},
	})
	if err != nil {
		panic(err) // a struct of texts
	}
	return string(text)
}

func withRelease(c Config) { c["release"] = ReleaseV1 }

// onExistingCluster is the other way to run staging and prod: on a cluster that somebody has, with an S3 endpoint that somebody runs,
// with secrets that were given.
func onExistingCluster(c Config) {
	withRelease(c)
	c["cluster"], c["kube"] = environment.ClusterExisting, map[string]any{"context": "somebodys"}
	c["images"] = map[string]any{"registry": "registry.example.com/assistant"}
	delete(c, "aws")
	c["bucket"] = "https://s3.example.com:9000"
	credentials := func(role string) map[string]any {
		return map[string]any{"accessKey": "ACCESS-KEY-OF-" + role, "secretKey": "given-secret-key-of-" + role}
	}
	c["s3"] = map[string]any{
		"region": "eu-west-1", "operator": credentials("operator"), "writer": credentials("writer"), "pruner": credentials("pruner"),
	}
	c["secrets"] = map[string]any{
		"jwtKey": givenKey(), "masterKey": base64.StdEncoding.EncodeToString([]byte("given-master-key-of-32-bytes-long")[:32]), "databasePassword": "given-database-password", "backupPassword": "given-backup-password",
		"superuserPassword": "given-superuser-password", "cachePassword": "given-cache-password",
		"llmKey": "given-llm-key", "smtpURL": "smtps://assistant:given-smtp-password@mail.example.com:465",
		"oidcProviders": "[{name: corporate, issuer: 'https://id.example.com', client_id: assistant, client_secret: given-oidc-secret}]",
	}
	api := maps.Clone(c["api"].(map[string]any))
	api["egress"] = []any{"10.0.100.0/24:8000", "fd12::/64:4318"} // a model's server, and a collector of traces
	c["api"] = api
	c["settings"] = map[string]any{"ASSISTD_LLM_URL": "http://10.0.100.9:8000/v1", "ASSISTD_LLM_MODEL": "small", "ASSISTD_MAIL_FROM": "assistant@example.com"}
	c["addons"] = map[string]any{"ingress": environment.Existing, "certManager": environment.None, "monitoring": environment.Existing}
	c["tls"] = map[string]any{"from": environment.TLSSecret, "secret": "somebodys-tls"}
}

// givenKey is one key for the whole run, so that two graphs have the same.
var givenKey = sync.OnceValue(func() string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // the machine has no randomness
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err) // a key that was just made
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
})

// Root is the repository's folder: the nearest above with a Pulumi.yaml.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "Pulumi.yaml")); err == nil {
			return dir, nil
		}
		above := filepath.Dir(dir)
		if above == dir {
			return "", errors.New("find the repository: no Pulumi.yaml here or above")
		}
		dir = above
	}
}

// ReadConfig reads Pulumi.<stack>.yaml.
func ReadConfig(stack string) (Config, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(root, "Pulumi."+stack+".yaml")
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration of %s: %w", stack, err)
	}
	var file struct {
		Config map[string]any `json:"config"`
	}
	if err := yaml.Unmarshal(content, &file); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	c := Config{}
	for key, value := range file.Config {
		c[strings.TrimPrefix(key, Project+":")] = value
	}
	return c, nil
}

// Texts is the configuration as Pulumi hands it to a program: each value as text, what has members as JSON.
func (c Config) Texts() (map[string]string, error) {
	texts := map[string]string{}
	for key, value := range c {
		switch value := value.(type) {
		case string:
			texts[key] = value
		default:
			text, err := json.Marshal(value)
			if err != nil {
				return nil, fmt.Errorf("write %s as JSON: %w", key, err)
			}
			texts[key] = string(text)
		}
	}
	return texts, nil
}

// Config is the variant's configuration.
func (v Variant) Config() (Config, error) {
	c, err := ReadConfig(v.Stack)
	if err == nil && v.Change != nil {
		v.Change(c)
	}
	return c, err
}

// Capture runs the program for the variant.
func (v Variant) Capture() (*Graph, error) {
	c, err := v.Config()
	if err != nil {
		return nil, err
	}
	texts, err := c.Texts()
	if err != nil {
		return nil, err
	}
	g, err := Deploy(v.Stack, texts, v.Secret)
	if err != nil {
		return nil, fmt.Errorf("capture %s: %w", v.Name, err)
	}
	g.Variant = v.Name
	return g, nil
}

// Deploy is what the program in stacks/ does with a configuration, but for its guard of the release, which has tests of its own there.
func Deploy(stack string, texts map[string]string, secret []string) (*Graph, error) {
	settings, err := environment.Parse(stack, texts, secret)
	if err != nil {
		return nil, err
	}
	run := Run{Stack: stack, Config: map[string]string{}}
	for key, text := range texts {
		run.Config[Project+":"+key] = text
	}
	for _, key := range secret {
		run.Secrets = append(run.Secrets, Project+":"+key)
	}
	return Capture(run, func(ctx *pulumi.Context) error {
		platform, err := infra.Deploy(ctx, settings)
		if err != nil {
			return err
		}
		ctx.Export("environment", platform.Environment)
		if platform.MadeCluster {
			ctx.Export("kubeconfig", pulumi.ToSecret(platform.Kubeconfig))
		}
		return nil
	})
}

var captured = struct {
	sync.Mutex
	graphs map[string]*Graph
}{graphs: map[string]*Graph{}}

// Of returns the graph of a variant, captured once. Whoever wants to change it takes a Clone.
func Of(name string) (*Graph, error) {
	captured.Lock()
	defer captured.Unlock()
	if g := captured.graphs[name]; g != nil {
		return g, nil
	}
	v, err := Environment(name)
	if err != nil {
		return nil, err
	}
	g, err := v.Capture()
	if err == nil {
		captured.graphs[name] = g
	}
	return g, err
}

// Objects are the Kubernetes objects of an environment, as a client would send them. Secrets hold made-up values.
func Objects(name string) ([]map[string]any, error) {
	g, err := Of(name)
	if err != nil {
		return nil, err
	}
	return g.Objects(), nil
}

// Objects are the Kubernetes objects of a graph in the order of their URNs, namespaces first.
func (g *Graph) Objects() []map[string]any {
	var spaces, others []map[string]any
	for _, r := range g.Find((*Resource).IsObject) {
		object, ok := Reveal(r.Inputs).(map[string]any)
		if !ok {
			continue
		}
		object = maps.Clone(object)
		if r.Kind() == "Namespace" {
			spaces = append(spaces, object)
		} else {
			others = append(others, object)
		}
	}
	return append(spaces, others...)
}
