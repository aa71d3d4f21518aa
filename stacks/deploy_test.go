package main

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// engine answers as if every resource were made as it was asked for, and remembers them by type and name.
type engine struct {
	last resource.PropertyMap // outputs of the stack's last update

	mu   sync.Mutex
	made map[string]resource.PropertyMap
}

func (e *engine) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.made[args.TypeToken+" "+args.Name] = args.Inputs
	if args.TypeToken == "pulumi:pulumi:StackReference" {
		return args.ID, resource.PropertyMap{"name": resource.NewStringProperty(args.Name), "outputs": resource.NewObjectProperty(e.last)}, nil
	}
	outputs := args.Inputs.Copy()
	for _, name := range []resource.PropertyKey{"result", "privateKeyPem", "certPem", "certRequestPem"} {
		outputs[name] = resource.MakeSecret(resource.NewStringProperty("made " + args.Name))
	}
	return args.Name, outputs, nil
}

func (*engine) Call(args pulumi.MockCallArgs) (resource.PropertyMap, error) {
	return nil, fmt.Errorf("the program asks for %s: it should make do with its settings", args.Token)
}

// run deploys a stack of the repository, with a release in its configuration when there is one.
func run(t *testing.T, stack, release string, last resource.PropertyMap) map[string]resource.PropertyMap {
	t.Helper()
	values := stackFile(t, stack)
	if release != "" {
		values = strings.Replace(values, "{", fmt.Sprintf(`{"smart-assistant:release":%q,`, release), 1)
	}
	t.Setenv(pulumi.EnvConfig, values)
	e := &engine{last: last, made: map[string]resource.PropertyMap{}}
	if err := pulumi.RunErr(deploy, pulumi.WithMocks("smart-assistant", stack, e)); err != nil {
		t.Fatalf("%s: %v", stack, err)
	}
	return e.made
}

const deployment = "kubernetes:apps/v1:Deployment api"

func TestEveryStackDeploys(t *testing.T) {
	for _, stack := range []string{"dev", "staging", "prod"} {
		made := run(t, stack, "", nil)
		for _, want := range []string{"kubernetes:core/v1:Namespace namespace", "kubernetes:apps/v1:StatefulSet postgres", "kubernetes:core/v1:PodTemplate api"} {
			if _, ok := made[want]; !ok {
				t.Errorf("%s has no %s", stack, want)
			}
		}
		if _, ok := made[deployment]; ok {
			t.Errorf("%s has a Deployment without a release", stack)
		}
	}
}

func releaseText(version string) string {
	digest := "sha256:" + strings.Repeat("ab", 32)
	return fmt.Sprintf(`{"version":%q,"commit":"c","images":{"assistd":%q,"assistctl":%q},"settings":{}}`, version, digest, digest)
}

// lastOutputs are those of an update with which a version ran.
func lastOutputs(version string) resource.PropertyMap {
	digest := "sha256:" + strings.Repeat("ab", 32)
	return resource.NewPropertyMapFromMap(map[string]any{"environment": map[string]any{"release": map[string]any{
		"version": version, "commit": "c", "images": map[string]any{"assistd": digest, "assistctl": digest}, "settings": map[string]any{},
	}}})
}

func deployed(t *testing.T, made map[string]resource.PropertyMap) string {
	t.Helper()
	object, ok := made[deployment]
	if !ok {
		return ""
	}
	template := object["spec"].ObjectValue()["template"].ObjectValue()
	return template["metadata"].ObjectValue()["annotations"].ObjectValue()["assistant/release"].StringValue()
}

// TestReleaseIsNeverChangedBySurprise: what runs is kept, unless assistctl says that it is at work.
func TestReleaseIsNeverChangedBySurprise(t *testing.T) {
	tests := []struct {
		name, configured, running, variable, want string
	}{
		{"the first release", "v1", "", "change", "v1"},
		{"a stack made anew", "v1", "", "", ""},
		{"nothing changed", "v1", "v1", "", "v1"},
		{"a checkout that is behind", "v1", "v2", "", "v2"},
		{"a checkout without the key", "", "v2", "", "v2"},
		{"assistctl", "v3", "v2", "change", "v3"},
		{"any other value of the variable", "v3", "v2", "yes", "v2"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv(changeRelease, test.variable)
			var last resource.PropertyMap
			if test.running != "" {
				last = lastOutputs(test.running)
			}
			var configured string
			if test.configured != "" {
				configured = releaseText(test.configured)
			}
			if got := deployed(t, run(t, "dev", configured, last)); got != test.want {
				t.Errorf("%q runs, want %q", got, test.want)
			}
		})
	}
}
