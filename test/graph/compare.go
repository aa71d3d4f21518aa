package graph

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Difference is one property that two graphs do not share. A resource that only one of them has differs in its path "".
type Difference struct {
	Resource string
	Path     string
	A, B     string // as JSON; "" is absent
}

// String is one line.
func (d Difference) String() string {
	return fmt.Sprintf("%s %s: %s → %s", d.Resource, d.Path, shown(d.A), shown(d.B))
}

func shown(s string) string {
	if s == "" {
		return "(absent)"
	}
	return s
}

// Compare lists every property of every resource, every option and every output in which b differs from a. The names are the
// environments' own: where one stands as a word, in a text or a key, it is taken for "ENV" on both sides.
func Compare(a, b *Graph, names ...string) []Difference {
	flatA, flatB := flatten(a, names), flatten(b, names)
	var found []Difference
	for resource := range union(flatA, flatB) {
		inA, okA := flatA[resource]
		inB, okB := flatB[resource]
		if !okA || !okB {
			d := Difference{Resource: resource, A: "present", B: "present"}
			if okA {
				d.B = ""
			} else {
				d.A = ""
			}
			found = append(found, d)
			continue
		}
		for path := range union(inA, inB) {
			if inA[path] != inB[path] {
				found = append(found, Difference{resource, path, inA[path], inB[path]})
			}
		}
	}
	slices.SortFunc(found, func(x, y Difference) int {
		return strings.Compare(x.Resource+" "+x.Path, y.Resource+" "+y.Path)
	})
	return found
}

func union[T any](a, b map[string]T) map[string]bool {
	keys := map[string]bool{}
	for k := range maps.Keys(a) {
		keys[k] = true
	}
	for k := range maps.Keys(b) {
		keys[k] = true
	}
	return keys
}

// flatten gives each resource's properties by path.
func flatten(g *Graph, names []string) map[string]map[string]string {
	rename := renamer(names)
	flat := map[string]map[string]string{}
	for _, r := range g.Resources {
		leaves := map[string]string{}
		flattenValue(r.Inputs, "", rename, leaves)
		options := map[string]any{
			"protect": r.Protect, "retainOnDelete": r.RetainOnDelete, "parent": strip(r.Parent), "provider": strip(r.Provider),
			"import": r.Import, "deletedWith": strip(r.DeletedWith), "custom": r.Custom, "read": r.Read,
			"ignoreChanges": list(r.IgnoreChanges), "secretOutputs": list(r.SecretOutputs),
		}
		if r.Custom {
			// A component's are those of its children that the SDK has registered by then: another set in each run.
			options["dependsOn"] = list(sorted(r.DependsOn, strip))
		}
		flattenValue(options, "options", rename, leaves)
		flat[rename(strip(r.URN))] = leaves
	}
	outputs := map[string]string{}
	flattenValue(g.Outputs, "", rename, outputs)
	flat["outputs"] = outputs
	return flat
}

// strip takes the stack's part from a URN.
func strip(urn string) string {
	if parts := strings.SplitN(urn, "::", 3); len(parts) == 3 {
		return parts[2]
	}
	return urn
}

func sorted(texts []string, change func(string) string) []string {
	var changed []string
	for _, t := range texts {
		changed = append(changed, change(t))
	}
	slices.Sort(changed)
	return changed
}

func list(texts []string) []any {
	l := make([]any, len(texts))
	for i, t := range texts {
		l[i] = t
	}
	return l
}

// flattenValue opens what is wrapped in text as well: JSON as its members, a file as its lines.
func flattenValue(v any, path string, rename func(string) string, into map[string]string) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			flattenValue(e, path+"."+rename(k), rename, into)
		}
		if len(v) == 0 {
			into[path+".{}"] = "empty"
		}
	case []any:
		for i, e := range v {
			flattenValue(e, fmt.Sprintf("%s[%d]", path, i), rename, into)
		}
		if len(v) == 0 {
			into[path+".[]"] = "empty"
		}
	case Secret:
		into[path+".secret"] = "true"
		flattenValue(v.Value, path, rename, into)
	case string:
		var opened any
		if t := strings.TrimSpace(v); (strings.HasPrefix(t, "{") || strings.HasPrefix(t, "[")) && parseJSON(t, &opened) {
			flattenValue(opened, path+"(json)", rename, into)
			return
		}
		if lines := strings.Split(v, "\n"); len(lines) > 2 {
			for i, line := range lines {
				into[fmt.Sprintf("%s(line %d)", path, i+1)] = quote(rename(line))
			}
			return
		}
		into[path] = quote(rename(v))
	default:
		into[path] = quote(v)
	}
}

func quote(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprintf("%#v", v)
	}
	return string(text)
}

func parseJSON(text string, into any) bool { return json.Unmarshal([]byte(text), into) == nil }

// renamer replaces names where they stand as words of their own.
func renamer(names []string) func(string) string {
	var quoted []string
	for _, n := range names {
		quoted = append(quoted, regexp.QuoteMeta(n))
	}
	if len(quoted) == 0 {
		return func(s string) string { return s }
	}
	// Go's \b takes _ for a letter; a name beside one is a name nonetheless.
	word := regexp.MustCompile(`(^|[^A-Za-z0-9])(` + strings.Join(quoted, "|") + `)($|[^A-Za-z0-9])`)
	return func(s string) string {
		for { // matches may share a separator
			next := word.ReplaceAllString(s, "${1}ENV${3}")
			if next == s {
				return s
			}
			s = next
		}
	}
}

// Undeclared takes from the differences of two graphs those that some declared setting causes. touched holds, by setting, what
// changes when it alone is changed.
func Undeclared(differences []Difference, touched map[string][]Difference) (undeclared []Difference, by map[Difference][]string) {
	by = map[Difference][]string{}
	places := map[string][]string{}
	for _, setting := range slices.Sorted(maps.Keys(touched)) {
		for _, d := range touched[setting] {
			place := d.Resource + " " + d.Path
			places[place] = append(places[place], setting)
		}
	}
	for _, d := range differences {
		if causes := places[d.Resource+" "+d.Path]; causes != nil {
			by[d] = causes
		} else {
			undeclared = append(undeclared, d)
		}
	}
	return undeclared, by
}
