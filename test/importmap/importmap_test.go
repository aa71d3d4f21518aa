// Package importmap checks the import map of ARCHITECTURE.md on what the compiler would really link.
// The linter's depguard rules say the same of single import lines; here the whole graph counts, tests included.
package importmap

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/smart-assistant/platform"

// pkg is what `go list -json` says of a package.
type pkg struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Deps         []string
}

// ours lists the module's packages by their path inside the module ("cli/release").
func ours(t *testing.T) map[string]pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Imports,TestImports,XTestImports,Deps", module+"/...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	found := map[string]pkg{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list's JSON: %v", err)
		}
		if path, ok := strings.CutPrefix(p.ImportPath, module+"/"); ok {
			found[path] = p
		}
	}
	for _, want := range []string{"cli/assistctl", "cli/release", "cli/migrate", "cli/backup", "cli/target/local", "service/assistd", "service/telemetry"} {
		if _, ok := found[want]; !ok {
			t.Fatalf("package %s is not there: this test would check nothing of it", want)
		}
	}
	return found
}

// in says whether path is one of the folders or lies below one.
func in(path string, folders ...string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return path == f || strings.HasPrefix(path, f+"/") })
}

// links tells what a package links: its dependencies, all the way down.
func links(p pkg) []string { return p.Deps }

// imports tells what a package and its tests import directly.
func imports(p pkg) []string { return slices.Concat(p.Imports, p.TestImports, p.XTestImports) }

// reach tells both.
func reach(p pkg) []string { return slices.Concat(links(p), imports(p)) }

func TestMap(t *testing.T) {
	packages := ours(t)
	siblings := []string{"cli/release", "cli/migrate", "cli/backup", "cli/target"}
	ground := []string{"cli/objectstore", "cli/ledger", "cli/postgres", "cli/config", "cli/terminal", "cli/fault"}

	rules := []struct {
		name string
		of   func(from string) bool
		see  func(pkg) []string
		deny func(from, to string) bool // our own packages without the module's path
	}{
		{
			name: "cli and service link no provider's SDK",
			of: func(from string) bool {
				return in(from, "cli", "service") && !in(from, "cli/target/kubernetes")
			},
			see: links,
			deny: func(from, to string) bool {
				// command joins the targets, so what the Kubernetes target needs reaches command and assistctl.
				if in(from, "cli/command", "cli/assistctl") {
					return in(to, "github.com/pulumi/pulumi-aws", "github.com/pulumi/pulumi-kubernetes", "github.com/pulumi/pulumi-eks", "github.com/pulumi/pulumi-random", "github.com/pulumi/pulumi-tls")
				}
				return in(to, "github.com/pulumi", "k8s.io")
			},
		},
		{
			name: "service links neither cli, infra nor stacks",
			of:   func(from string) bool { return in(from, "service") },
			see:  links,
			deny: func(_, to string) bool { return in(to, "cli", "infra", "stacks") },
		},
		{
			name: "service's tests take from cli what starts PostgreSQL servers, and nothing else",
			of:   func(from string) bool { return in(from, "service") },
			see:  imports,
			deny: func(_, to string) bool { return in(to, "cli", "infra", "stacks") && !in(to, "cli/postgres") },
		},
		{
			name: "service/telemetry links nothing of ours",
			of:   func(from string) bool { return from == "service/telemetry" },
			see:  links,
			deny: func(from, to string) bool { return in(to, "cli", "service", "infra", "stacks", "test") && to != from },
		},
		{
			name: "cli takes only schema and telemetry from service",
			of:   func(from string) bool { return in(from, "cli") },
			see:  reach,
			deny: func(_, to string) bool { return in(to, "service") && !in(to, "service/schema", "service/telemetry") },
		},
		{
			name: "cli links neither infra nor stacks",
			of:   func(from string) bool { return in(from, "cli") },
			see:  reach,
			deny: func(_, to string) bool { return in(to, "infra", "stacks") },
		},
		{
			name: "release, migrate, backup and target do not import one another, nor command",
			of:   func(from string) bool { return in(from, siblings...) },
			see:  reach,
			deny: func(from, to string) bool {
				if in(to, "cli/command") {
					return true
				}
				return slices.ContainsFunc(siblings, func(s string) bool { return in(to, s) && !in(from, s) })
			},
		},
		{
			name: "the lower packages import none of those above",
			of:   func(from string) bool { return in(from, ground...) },
			see:  reach,
			deny: func(_, to string) bool { return in(to, siblings...) || in(to, "cli/command") },
		},
		{
			name: "cli/backup/replication is the protocol and nothing else",
			of:   func(from string) bool { return from == "cli/backup/replication" },
			see:  links,
			deny: func(from, to string) bool { return in(to, "cli", "service") && to != from },
		},
		{
			name: "only stacks, infra and cli/target/kubernetes import Pulumi",
			of: func(from string) bool {
				return !in(from, "stacks", "infra", "cli/target/kubernetes", "test/graph", "test/cluster") || in(from, "infra/environment")
			},
			see:  imports,
			deny: func(_, to string) bool { return in(to, "github.com/pulumi") },
		},
		{
			name: "the programs link no test package",
			of:   func(from string) bool { return in(from, "cli/assistctl", "service/assistd") },
			see:  links,
			deny: func(_, to string) bool { return to == "testing" || in(to, "test") },
		},
	}
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			for from, p := range packages {
				if !rule.of(from) {
					continue
				}
				seen := rule.see(p)
				slices.Sort(seen)
				for _, to := range slices.Compact(seen) {
					to = strings.TrimPrefix(to, module+"/")
					if rule.deny(from, to) {
						t.Errorf("%s reaches %s", from, to)
					}
				}
			}
		})
	}
}
