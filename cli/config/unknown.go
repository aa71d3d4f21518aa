package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// sections are the keys of the top level.
var sections = []string{"project", "order", "environments", "release", "local", "kubernetes", "lease"}

// refuseUnknown reports every key of the file, the flags and the variables that the schema does not know, once for each
// section of them, with the nearest known name.
func (g *given) refuseUnknown(keys []key) {
	t := namesOf(keys)
	reported := map[string]bool{}
	for _, o := range g.inFile {
		if at, text := t.judge(o); text != "" && !reported[at] {
			reported[at] = true
			g.problem(g.lines[at], at, text)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(g.flags)) {
		if at, text := t.judge(g.flags[key]); text != "" {
			g.problem(g.flags[key].source, at, text)
		}
	}
	g.refuseUnknownVariables(keys)
}

// refuseUnknownVariables looks at the variables that begin like a section; others with the prefix belong to the commands.
func (g *given) refuseUnknownVariables(keys []key) {
	var known, free []string
	for _, k := range keys {
		if k.free {
			free = append(free, variable(k.name)+"_")
			continue
		}
		known = append(known, k.variables()...)
	}
	for _, name := range slices.Sorted(maps.Keys(g.environ)) {
		begins := func(p string) bool { return strings.HasPrefix(name, p) && name != p }
		section := slices.ContainsFunc(sections, func(s string) bool { return begins(variable(s) + "_") })
		if !section || g.environ[name] == "" || slices.Contains(known, name) || slices.ContainsFunc(free, begins) {
			continue
		}
		g.problem(Source{Kind: FromEnvironment, Name: name}, name, "sets no known key"+meant(name, known))
	}
}

// names is what the schema knows: full keys, the sections that hold them, and the maps whose members are free.
type names struct {
	keys, sections, free []string
}

func namesOf(keys []key) names {
	var n names
	for _, k := range keys {
		if k.free {
			n.free = append(n.free, k.name)
		} else {
			n.keys = append(n.keys, k.name)
		}
		for at := strings.LastIndex(k.name, "."); at > 0; at = strings.LastIndex(k.name[:at], ".") {
			if parent := k.name[:at]; !slices.Contains(n.sections, parent) {
				n.sections = append(n.sections, parent)
			}
		}
	}
	return n
}

// judge returns the part of o's key that is wrong and why, or "".
func (n names) judge(o origin) (at, text string) {
	if slices.Contains(n.keys, o.key) {
		return o.key, ""
	}
	if slices.Contains(n.sections, o.key) || slices.Contains(n.free, o.key) {
		if o.text != "" {
			return o.key, fmt.Sprintf("holds further keys, not the value %q", o.text)
		}
		return o.key, ""
	}
	parent := ""
	for part := range strings.SplitSeq(o.key, ".") {
		at = join(parent, part)
		if slices.Contains(n.free, at) {
			return o.key, ""
		}
		if slices.Contains(n.keys, at) {
			return at, "takes one value, not further keys"
		}
		if !slices.Contains(n.sections, at) {
			return at, "is not a known key" + meant(part, n.below(parent))
		}
		parent = at
	}
	return at, ""
}

// below lists the names directly below a section; "" is the top level.
func (n names) below(parent string) []string {
	var found []string
	for _, key := range slices.Concat(n.keys, n.sections, n.free) {
		rest := key
		if parent != "" {
			var ok bool
			if rest, ok = strings.CutPrefix(key, parent+"."); !ok {
				continue
			}
		}
		if name, _, _ := strings.Cut(rest, "."); !slices.Contains(found, name) {
			found = append(found, name)
		}
	}
	return found
}

// meant ends a message about an unknown name with the nearest known one, or with all of them when none is near.
func meant(name string, known []string) string {
	if near, ok := nearest(name, known); ok {
		return fmt.Sprintf(", did you mean %q?", near)
	}
	if len(known) == 0 || len(known) > 12 {
		return ""
	}
	known = slices.Clone(known)
	slices.Sort(known)
	return "; known are " + strings.Join(known, ", ")
}

func join(parent, name string) string {
	if parent == "" {
		return name
	}
	return parent + "." + name
}
