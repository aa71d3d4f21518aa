package graph

import (
	"testing"
)

func graphOf(t *testing.T, name string) *Graph {
	t.Helper()
	g, err := Of(name)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// everyVariant runs a test on each environment.
func everyVariant(t *testing.T, test func(*testing.T, *Graph)) {
	t.Helper()
	for _, v := range Variants() {
		t.Run(v.Name, func(t *testing.T) { test(t, graphOf(t, v.Name)) })
	}
}

// Every check, on every environment, with the exceptions of waivers.go; and every exception is needed.
func TestChecks(t *testing.T) {
	used := map[Waiver]bool{}
	everyVariant(t, func(t *testing.T, g *Graph) {
		scored, err := Score(g)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range Waive(g.Variant, append(Inspect(g, Checks()), scored...), Waivers(), used) {
			t.Error(f)
		}
	})
	for _, w := range Waivers() {
		if !used[w] {
			t.Errorf("%s: nothing needs it any more", w)
		}
		if w.Reason == "" {
			t.Errorf("%s: no reason is given", w)
		}
	}
}
