// Package graph proves what the Pulumi program declares, without a cloud, a cluster or the Pulumi engine.
//
// It runs the program of the stacks against a resource monitor of its own, which stands where the engine would and writes down
// every resource with its inputs and options, and every stack output. The result is a Graph: plain values, secrets marked.
// Everything else here asks questions of graphs: is it complete, are staging and prod the same, is data protected, who may
// talk to whom, what may a role do, which check notices when something is taken out.
//
// It owns the questions and their exceptions (waivers.go). It does not own the resources: those are infra's.
package graph

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Resource is one resource as the program registered it.
type Resource struct {
	URN    string
	Type   string // e.g. kubernetes:apps/v1:Deployment
	Name   string // Pulumi's name, not the object's
	Parent string // the parent's URN
	Custom bool   // false: a component
	Read   bool   // read, not managed: a StackReference, a Get

	Inputs map[string]any // plain JSON values; a secret is a Secret

	Protect        bool // as it takes effect: its own, or inherited from the parent
	RetainOnDelete bool
	DependsOn      []string // URNs
	Provider       string   // URN::ID of the provider, when one is named
	IgnoreChanges  []string
	DeletedWith    string
	Import         string
	SecretOutputs  []string
}

// Secret is a value that Pulumi keeps encrypted.
type Secret struct{ Value any }

// MarshalJSON hides the value: what is printed of a graph shows no secret.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"[secret]"`), nil }

// Graph is everything that one run of the program declared.
type Graph struct {
	Environment string      // the stack's name
	Variant     string      // of environments.go
	Resources   []*Resource // sorted by URN
	Outputs     map[string]any
	Warnings    []string

	// Known are the secret values that went in or came out of generators. None may appear outside of a Secret.
	Known []string
}

// Find returns the resources that satisfy all conditions.
func (g *Graph) Find(conditions ...func(*Resource) bool) []*Resource {
	var found []*Resource
	for _, r := range g.Resources {
		if !slices.ContainsFunc(conditions, func(c func(*Resource) bool) bool { return !c(r) }) {
			found = append(found, r)
		}
	}
	return found
}

// Type selects by type: an exact one, or "aws:*" for all that begin so.
func Type(pattern string) func(*Resource) bool {
	return func(r *Resource) bool { return matches(pattern, r.Type) }
}

// Object selects a Kubernetes object by kind and name.
func Object(kind, name string) func(*Resource) bool {
	return func(r *Resource) bool { return r.Kind() == kind && matches(name, r.ObjectName()) }
}

func matches(pattern, s string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(s, prefix)
	}
	return pattern == s
}

// Kind is the Kubernetes kind, empty for what is no Kubernetes object.
func (r *Resource) Kind() string {
	if !r.IsObject() {
		return ""
	}
	kind, _ := r.Inputs["kind"].(string)
	return kind
}

// IsObject says whether the resource is one Kubernetes object, not a provider, a Helm release or a patch.
func (r *Resource) IsObject() bool {
	return r.Custom && !r.Read && strings.HasPrefix(r.Type, "kubernetes:") && !strings.HasPrefix(r.Type, "kubernetes:helm") &&
		r.Inputs["kind"] != nil
}

// ObjectName is metadata.name of a Kubernetes object.
func (r *Resource) ObjectName() string { return String(r.Inputs, "metadata", "name") }

// Namespace is metadata.namespace of a Kubernetes object.
func (r *Resource) Namespace() string { return String(r.Inputs, "metadata", "namespace") }

// String names the resource in messages.
func (r *Resource) String() string {
	if r.IsObject() {
		return r.Kind() + " " + r.ObjectName()
	}
	return r.Type + " " + r.Name
}

// Clone copies the graph so that a mutation leaves the original alone.
func (g *Graph) Clone() *Graph {
	c := *g
	c.Resources = make([]*Resource, len(g.Resources))
	for i, r := range g.Resources {
		copied := *r
		inputs, ok := clone(r.Inputs).(map[string]any)
		if !ok {
			panic("graph: inputs of " + r.URN + " are no map")
		}
		copied.Inputs = inputs
		c.Resources[i] = &copied
	}
	return &c
}

func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, e := range v {
			m[k] = clone(e)
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i, e := range v {
			l[i] = clone(e)
		}
		return l
	case Secret:
		return Secret{clone(v.Value)}
	}
	return v
}

// Reveal replaces every Secret by its value.
func Reveal(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, e := range v {
			m[k] = Reveal(e)
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i, e := range v {
			l[i] = Reveal(e)
		}
		return l
	case Secret:
		return Reveal(v.Value)
	}
	return v
}

// At walks into maps (by key) and lists (by index); nil when there is nothing. It looks through secrets.
func At(v any, path ...any) any {
	for _, step := range path {
		if s, ok := v.(Secret); ok {
			v = s.Value
		}
		switch step := step.(type) {
		case string:
			m, ok := v.(map[string]any)
			if !ok {
				return nil
			}
			v = m[step]
		case int:
			l, ok := v.([]any)
			if !ok || step >= len(l) {
				return nil
			}
			v = l[step]
		default:
			panic(fmt.Sprintf("graph: a step is a key or an index, not %T", step))
		}
	}
	return v
}

// String is At for texts; "" when there is none.
func String(v any, path ...any) string {
	s, _ := At(v, path...).(string)
	return s
}

// List is At for lists.
func List(v any, path ...any) []any {
	l, _ := At(v, path...).([]any)
	return l
}

// Map is At for maps.
func Map(v any, path ...any) map[string]any {
	m, _ := At(v, path...).(map[string]any)
	return m
}

// Number is At for numbers; -1 when there is none.
func Number(v any, path ...any) float64 {
	n, ok := At(v, path...).(float64)
	if !ok {
		return -1
	}
	return n
}

// decode turns a plain value into the Go type that its API declares.
func decode(v, into any) error {
	text, err := json.Marshal(Reveal(v))
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}
