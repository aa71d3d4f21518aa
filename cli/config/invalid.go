package config

import (
	"fmt"
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
