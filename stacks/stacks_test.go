package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/smart-assistant/platform/infra/environment"
	"github.com/smart-assistant/platform/stacks/sources/hash"
)

func TestConfigurationTakesOurKeysAlone(t *testing.T) {
	values := `{"smart-assistant:cluster":"existing","smart-assistant:kube":"{\"context\":\"kind-dev\"}","smart-assistant:bucket":"cluster",
		"smart-assistant:images":"{\"registry\":\"registry.example.com/assistant\"}","smart-assistant:api":"{\"host\":\"api.example.com\"}",
		"smart-assistant:tls":"{\"from\":\"generated\"}","smart-assistant:openWebUI":"{\"enabled\":false}",
		"smart-assistant:secrets":"{\"databasePassword\":\"correct-horse-battery\"}","kubernetes:context":"another"}`
	s, err := configuration("dev", values, `["smart-assistant:secrets"]`)
	if err != nil {
		t.Fatal(err)
	}
	if s.Kube.Context != "kind-dev" || s.Secrets.DatabasePassword.Reveal() != "correct-horse-battery" {
		t.Errorf("got %+v", s)
	}
	_, err = configuration("dev", values, "")
	var invalid *environment.Invalid
	if !errors.As(err, &invalid) || invalid.Problems[0].Key != "secrets.databasePassword" {
		t.Errorf("a secret in clear text: got %v", err)
	}
}

// TestStackFilesAreAccepted parses the files of the repository as Pulumi would pass them.
func TestStackFilesAreAccepted(t *testing.T) {
	for _, stack := range []string{"dev", "staging", "prod"} {
		if _, err := configuration(stack, stackFile(t, stack), ""); err != nil {
			t.Error(err)
		}
	}
}

func TestReleaseOfTheLastUpdate(t *testing.T) {
	release := environment.Release{Version: "v2", Commit: "abc", Images: map[string]string{"assistd": "sha256:1"}}
	content, err := json.Marshal(environment.Outputs{Release: &release})
	if err != nil {
		t.Fatal(err)
	}
	var output map[string]any
	if err := json.Unmarshal(content, &output); err != nil {
		t.Fatal(err)
	}
	running, err := lastRelease(output)
	if err != nil || !same(running, &release) {
		t.Errorf("got %+v, %v", running, err)
	}
	for name, output := range map[string]any{"before the first update": nil, "before the first release": map[string]any{"release": nil}, "without the key": map[string]any{}} {
		if running, err = lastRelease(output); running != nil || err != nil {
			t.Errorf("%s: %v, %v", name, running, err)
		}
	}
}

func TestSameRelease(t *testing.T) {
	base := func() *environment.Release {
		return &environment.Release{Version: "v1", Commit: "c", Images: map[string]string{"assistd": "sha256:1"}, Settings: map[string]string{}}
	}
	changed := map[string]func(*environment.Release){
		"version":  func(r *environment.Release) { r.Version = "v2" },
		"commit":   func(r *environment.Release) { r.Commit = "d" },
		"image":    func(r *environment.Release) { r.Images["assistd"] = "sha256:2" },
		"settings": func(r *environment.Release) { r.Settings["A"] = "1" },
	}
	if bare := base(); !same(base(), base()) || !same(nil, nil) || same(base(), nil) || same(nil, base()) {
		t.Error("equal releases differ, or different ones are the same")
	} else if bare.Settings = nil; !same(base(), bare) {
		t.Error("no settings and empty settings differ")
	}
	for name, change := range changed {
		other := base()
		change(other)
		if same(base(), other) {
			t.Errorf("another %s is the same release", name)
		}
	}
}

func TestHashOfSources(t *testing.T) {
	tree := func() fstest.MapFS {
		return fstest.MapFS{
			"go.mod":              {Data: []byte("module x\nrequire (\n\tgithub.com/pulumi/pulumi/sdk/v3 v3.1.0\n\tgolang.org/x/sys v0.1.0\n)\n")},
			"stacks/main.go":      {Data: []byte("package main")},
			"infra/platform.go":   {Data: []byte("package infra")},
			"infra/files/a.conf":  {Data: []byte("a = 1")},
			"infra/some_test.go":  {Data: []byte("package infra")},
			"infra/testdata/x.go": {Data: []byte("x")},
		}
	}
	sum := func(t *testing.T, files fstest.MapFS) string {
		t.Helper()
		s, err := hash.Sources(files)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	base := sum(t, tree())
	for name, c := range map[string]struct {
		file, text string
		changes    bool
	}{
		"program":        {"stacks/main.go", "package main // new", true},
		"component":      {"infra/platform.go", "package infra // new", true},
		"embedded file":  {"infra/files/a.conf", "a = 2", true},
		"another file":   {"infra/files/b.conf", "", true},
		"Pulumi's SDK":   {"go.mod", "module x\nrequire (\n\tgithub.com/pulumi/pulumi/sdk/v3 v3.2.0\n\tgolang.org/x/sys v0.1.0\n)\n", true},
		"another module": {"go.mod", "module x\nrequire (\n\tgithub.com/pulumi/pulumi/sdk/v3 v3.1.0\n\tgolang.org/x/sys v0.2.0\n)\n", false},
		"test":           {"infra/some_test.go", "package infra // new", false},
		"test data":      {"infra/testdata/x.go", "y", false},
	} {
		files := tree()
		files[c.file] = &fstest.MapFile{Data: []byte(c.text)}
		if got := sum(t, files) != base; got != c.changes {
			t.Errorf("%s: changes the hash %t, want %t", name, got, c.changes)
		}
	}
}

func TestProgramRefusesOtherSources(t *testing.T) {
	root := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := current(root); err != nil {
		t.Errorf("without sources beside it: %v", err)
	}
	write("go.mod", "module x\n")
	write("infra/platform.go", "package infra")
	write("stacks/main.go", "package main")
	if err := current(root); err == nil || !strings.Contains(err.Error(), "make stacks") {
		t.Errorf("built from something else: %v", err)
	}
	sum, err := hash.Sources(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	before := sources
	sources = sum
	t.Cleanup(func() { sources = before })
	if err := current(root); err != nil {
		t.Errorf("built from these: %v", err)
	}
}
