package graph

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Finding is what a check has against an object.
type Finding struct {
	Check   string // filled in by Inspect
	Object  string
	Message string
}

// String is one line.
func (f Finding) String() string { return fmt.Sprintf("%s: %s: %s", f.Check, f.Object, f.Message) }

// Check is a question to a graph with a name. A check of a known tool has its name there, after the tool's: kube-linter/run-as-non-root.
type Check struct {
	Name string
	Run  func(*View) []Finding
}

// Checks are all that run inside this process; kube-score is a program of its own (score.go).
func Checks() []Check {
	return slices.Concat(linterChecks(), restrictedChecks(), workloadChecks(), protectionChecks(), secretChecks(), edgeChecks(), networkChecks(), amazonChecks(), issueChecks())
}

// Inspect runs checks. Findings are sorted and none comes twice.
func Inspect(g *Graph, checks []Check) []Finding { return NewView(g).inspect(checks) }

func (v *View) inspect(checks []Check) []Finding {
	seen := map[Finding]bool{}
	for _, c := range checks {
		for _, f := range c.Run(v) {
			f.Check = c.Name
			seen[f] = true
		}
	}
	return slices.SortedFunc(maps.Keys(seen), func(a, b Finding) int { return strings.Compare(a.String(), b.String()) })
}

// findings collects what one check has to say.
type findings []Finding

func (f *findings) say(object fmt.Stringer, format string, args ...any) {
	f.on(object.String(), format, args...)
}

func (f *findings) on(object, format string, args ...any) {
	*f = append(*f, Finding{Object: object, Message: fmt.Sprintf(format, args...)})
}

// each makes a check of a question that is asked of one thing at a time; "" is no finding.
func each[T any](name string, list func(*View) []T, called func(T) string, question func(*View, T) string) Check {
	return Check{Name: name, Run: func(v *View) []Finding {
		var found findings
		for _, item := range list(v) {
			if message := question(v, item); message != "" {
				found.on(called(item), "%s", message)
			}
		}
		return found
	}}
}

// eachPod asks about every pod template.
func eachPod(name string, question func(*View, Pod) string) Check {
	return each(name, func(v *View) []Pod { return v.Pods }, Pod.String, question)
}
