package graph

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/smart-assistant/platform/infra/environment"
)

var update = flag.Bool("update", false, "write the golden files")

// twins are staging and prod in one setting: on AWS, or on a cluster that somebody has.
type twins struct{ staging, prod Variant }

func everyTwin(t *testing.T, test func(*testing.T, twins)) {
	t.Helper()
	for _, suffix := range []string{"", "-existing"} {
		staging, err := Environment("staging" + suffix)
		if err != nil {
			t.Fatal(err)
		}
		prod, err := Environment("prod" + suffix)
		if err != nil {
			t.Fatal(err)
		}
		t.Run("eks"+suffix, func(t *testing.T) { test(t, twins{staging, prod}) })
	}
}

// flat is a variant's settings by their dotted keys.
func flat(t *testing.T, v Variant) map[string]string {
	t.Helper()
	c, err := v.Config()
	if err != nil {
		t.Fatal(err)
	}
	texts, err := c.Texts()
	if err != nil {
		t.Fatal(err)
	}
	return environment.Flatten(texts)
}

func deploy(t *testing.T, stack string, settings map[string]string) (*Graph, error) {
	t.Helper()
	return Deploy(stack, settings, slices.Collect(maps.Keys(settings)))
}

func mustDeploy(t *testing.T, stack string, settings map[string]string) *Graph {
	t.Helper()
	g, err := deploy(t, stack, settings)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// differing are the settings whose values are not the same.
func differing(a, b map[string]string) []string {
	var keys []string
	for key := range union(a, b) {
		if inA, ok := a[key]; inA != b[key] || ok != has(b, key) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func has(m map[string]string, key string) bool { _, ok := m[key]; return ok }

func isKnob(key string) bool {
	section, _, _ := strings.Cut(key, ".")
	return slices.Contains(environment.Knobs(), key) || section == "settings" && slices.Contains(environment.Knobs(), "settings")
}

// The files of staging and prod differ in declared knobs only.
func TestSettingsDifferInKnobsOnly(t *testing.T) {
	everyTwin(t, func(t *testing.T, w twins) {
		staging, prod := flat(t, w.staging), flat(t, w.prod)
		for _, key := range differing(staging, prod) {
			if !isKnob(key) {
				t.Errorf("%s differs (%q and %q) and is no knob of infra/environment", key, staging[key], prod[key])
			}
		}
		if staging["bucket"] != prod["bucket"] {
			t.Errorf("the bucket is %q in staging and %q in prod: another path through the program", staging["bucket"], prod["bucket"])
		}
	})
}

// Given the same settings, staging and prod are the same but for their name: no code asks which of the two it is.
func TestTheNameMakesNoDifference(t *testing.T) {
	everyTwin(t, func(t *testing.T, w twins) {
		settings := flat(t, w.prod)
		for _, d := range Compare(mustDeploy(t, "staging", settings), mustDeploy(t, "prod", settings), "staging", "prod") {
			t.Error(d)
		}
	})
}

// Staging ≡ prod: every property in which the two graphs differ is one that a declared knob changes.
func TestStagingIsAReplicaOfProd(t *testing.T) {
	everyTwin(t, func(t *testing.T, w twins) {
		staging, prod := graphOf(t, w.staging.Name), graphOf(t, w.prod.Name)
		touched := touchedByKnobs(t, flat(t, w.staging), flat(t, w.prod))
		undeclared, by := Undeclared(Compare(staging, prod, "staging", "prod"), touched)
		for _, d := range undeclared {
			t.Errorf("no declared knob explains %s", d)
		}
		golden(t, w.prod.Name+".knobs.txt", summaryOf(by))

		// The comparison is no formality: one property more in prod, and it fails.
		changed := prod.Clone()
		for _, r := range changed.Find(Object("Deployment", "valkey")) {
			Map(r.Inputs, "spec")["paused"] = true
		}
		if undeclared, _ := Undeclared(Compare(staging, changed, "staging", "prod"), touched); len(undeclared) != 1 {
			t.Errorf("a property that only prod has is not noticed: %v", undeclared)
		}
	})
}

// touchedByKnobs changes staging's settings into prod's, one knob at a time, and says what changed in the graph. A knob that cannot be
// changed alone (a lower limit above the upper one) is changed with its section.
func touchedByKnobs(t *testing.T, staging, prod map[string]string) map[string][]Difference {
	t.Helper()
	base := mustDeploy(t, "staging", staging)
	touched := map[string][]Difference{}
	change := func(keys ...string) (*Graph, error) {
		settings := maps.Clone(staging)
		for _, key := range keys {
			if value, ok := prod[key]; ok {
				settings[key] = value
			} else {
				delete(settings, key)
			}
		}
		return deploy(t, "staging", settings)
	}
	keys := differing(staging, prod)
	for _, key := range keys {
		if !isKnob(key) {
			continue // TestSettingsDifferInKnobsOnly says so
		}
		g, err := change(key)
		if err != nil {
			section, _, _ := strings.Cut(key, ".")
			g, err = change(slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return !strings.HasPrefix(k, section+".") || !isKnob(k) })...)
		}
		if err != nil {
			t.Fatalf("change %s of staging to prod's: %v", key, err)
		}
		touched[key] = Compare(base, g, "staging")
	}
	return touched
}

// summaryOf lists what each knob changes, for people to read.
func summaryOf(by map[Difference][]string) []string {
	lines := map[string]bool{}
	for d, knobs := range by {
		lines[fmt.Sprintf("%s: %s %s", strings.Join(knobs, ", "), d.Resource[strings.LastIndex(d.Resource, "$")+1:], d.Path)] = true
	}
	return slices.Sorted(maps.Keys(lines))
}

// golden compares lines with a file of testdata.
func golden(t *testing.T, name string, lines []string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	got := strings.Join(lines, "\n") + "\n"
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v\nwrite it by: go test -trimpath ./test/graph -update", err)
	}
	have, expected := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for _, line := range have {
		if !slices.Contains(expected, line) {
			t.Errorf("%s has not: %s", path, line)
		}
	}
	for _, line := range expected {
		if !slices.Contains(have, line) {
			t.Errorf("%s has, and the graph not: %s", path, line)
		}
	}
	if t.Failed() {
		t.Log("when it is meant: go test -trimpath ./test/graph -update")
	}
}

// The resources of each environment, in files that show in a review what a change brings.
func TestResources(t *testing.T) {
	everyVariant(t, func(t *testing.T, g *Graph) { golden(t, g.Variant+".txt", g.Summary()) })
}
