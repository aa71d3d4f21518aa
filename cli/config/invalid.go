package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one mistake: where it is, in which key, and what was expected.
type Problem struct {
	Key    string `json:"key"`
	Source Source `json:"source"`
	Text   string `json:"problem"`
}

// String is "assistctl.yaml:3  lease.tll is not a known key, did you mean "ttl"?".
func (p Problem) String() string {
	switch {
	case p.Source.Kind == "":
		return p.Key + " " + p.Text
	case p.Source.Name == p.Key || p.Key == "":
		return p.Source.String() + "  " + p.Text
	}
	return p.Source.String() + "  " + p.Key + " " + p.Text
}

// Invalid is a configuration that does not hold together. It lists every problem, not only the first.
type Invalid struct {
	Problems []Problem
}

// sorted puts the problems in the order in which a reader goes through them: the file from top to bottom, then variables, then flags.
func sorted(problems []Problem) []Problem {
	rank := map[string]int{FromFile: 0, FromEnvironment: 1, FromFlag: 2}
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(rank[a.Source.Kind], rank[b.Source.Kind]), cmp.Compare(a.Source.Line, b.Source.Line))
	})
	return problems
}

func (e *Invalid) Error() string {
	if len(e.Problems) == 1 {
		return "the configuration does not hold together: " + e.Problems[0].String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "the configuration has %d problems:", len(e.Problems))
	for _, p := range e.Problems {
		b.WriteString("\n  " + p.String())
	}
	return b.String()
}
