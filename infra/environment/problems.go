package environment

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one mistake in the configuration: the key, and what is wrong and expected.
type Problem struct {
	Key  string
	Text string
}

// Invalid is a configuration that does not hold together. It lists every problem, not only the first.
type Invalid struct {
	Environment string
	Problems    []Problem // by key
}

// Error is one line for each problem.
func (e *Invalid) Error() string {
	var b strings.Builder
	noun := "problems"
	if len(e.Problems) == 1 {
		noun = "problem"
	}
	fmt.Fprintf(&b, "the settings of %s (Pulumi.%s.yaml) have %d %s; nothing was changed:", e.Environment, e.Environment, len(e.Problems), noun)
	width := 0
	for _, p := range e.Problems {
		width = max(width, len(p.Key))
	}
	for _, p := range e.Problems {
		fmt.Fprintf(&b, "\n  %-*s  %s", width, p.Key, p.Text)
	}
	return b.String()
}

// checker collects problems of the settings s.
type checker struct {
	s        *Settings
	problems []Problem
	given    map[string]given // what the configuration says, by dotted names
}

func (c *checker) say(key, format string, args ...any) {
	c.problems = append(c.problems, Problem{key, fmt.Sprintf(format, args...)})
}

func (c *checker) err() error {
	if len(c.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(c.problems, func(a, b Problem) int { return cmp.Compare(a.Key, b.Key) })
	return &Invalid{Environment: c.s.Name, Problems: slices.Compact(c.problems)}
}

// meant ends a message about an unknown name with the nearest known one, or with all of them when none is near and they are few.
func meant(name string, known []string) string {
	best, least := "", len(name)/2+1
	for _, k := range known {
		if d := edits(name, k); d < least {
			best, least = k, d
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf(", did you mean %q?", best)
	case len(known) == 0 || len(known) > 12:
		return ""
	}
	known = slices.Sorted(slices.Values(known))
	return "; known are " + strings.Join(known, ", ")
}

// edits counts the letters to insert, delete or replace between a and b, case aside.
func edits(a, b string) int {
	a, b = strings.ToLower(a), strings.ToLower(b)
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
