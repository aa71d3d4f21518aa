package config

import (
	"path/filepath"
	"slices"
	"strings"
)

// prefix begins the name of every environment variable that sets a key.
const prefix = "ASSISTCTL_"

// origin is a value as it was given, with its place.
type origin struct {
	text   string
	list   bool   // a YAML sequence, joined with commas
	dir    string // what a relative path is relative to
	source Source
}

// given holds what flags, environment variables and the file say, each value with its place, and the problems found so far.
//
// The precedence is in strongest, and nowhere else. It is not left to viper: that folds the case of keys (the service's
// settings are environment variables) and cannot say where a value came from.
type given struct {
	dir      string
	environ  map[string]string
	flags    map[string]origin // by key
	file     map[string]origin // by key
	inFile   []string          // keys of the file in its order, also those with nothing below
	lines    map[string]Source // place of every key and section of the file
	problems []Problem
}

func gather(o Options) *given {
	g := &given{
		dir:     o.Dir,
		environ: map[string]string{},
		flags:   map[string]origin{},
		file:    map[string]origin{},
		lines:   map[string]Source{},
	}
	for _, pair := range o.Environ {
		if name, value, ok := strings.Cut(pair, "="); ok {
			g.environ[name] = value
		}
	}
	for _, pair := range o.Set {
		source := Source{Kind: FromFlag, Name: "--set"}
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			g.problem(source, pair, "is not key=value")
			continue
		}
		g.flags[key] = origin{text: value, dir: o.Dir, source: source}
	}
	return g
}

func (g *given) lookup(variable string) (string, bool) {
	v, ok := g.environ[variable]
	return v, ok
}

func (g *given) problem(at Source, key, text string) {
	g.problems = append(g.problems, Problem{Key: key, Source: at, Text: text})
}

// strongest returns what holds for k: flag over environment variable over file over default. An empty variable counts as unset.
func (g *given) strongest(k key) origin {
	if o, ok := g.flags[k.name]; ok {
		return o
	}
	for _, name := range k.variables() {
		if text := g.environ[name]; text != "" {
			return origin{text: text, dir: g.dir, source: Source{Kind: FromEnvironment, Name: name}}
		}
	}
	if o, ok := g.file[k.name]; ok {
		return o
	}
	return origin{text: k.fallback, source: Source{Kind: FromDefault}}
}

// environments returns the names that the file describes, in its order, or the default three.
func (g *given) environments() []string {
	var names []string
	for _, key := range g.inFile {
		if rest, ok := strings.CutPrefix(key, "environments."); ok {
			name, _, _ := strings.Cut(rest, ".")
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	if len(names) == 0 {
		return []string{"dev", "staging", "prod"}
	}
	return names
}

// members returns the keys below a free map from all sources. A variable names a member in capitals; spell gives it the
// spelling of the map.
func (g *given) members(parent string, spell func(string) (string, error)) []string {
	found := map[string]bool{}
	for key := range g.file {
		if strings.HasPrefix(key, parent+".") {
			found[key] = true
		}
	}
	for key := range g.flags {
		if strings.HasPrefix(key, parent+".") {
			found[key] = true
		}
	}
	for name, value := range g.environ {
		if rest, ok := strings.CutPrefix(name, variable(parent)+"_"); ok && value != "" && rest != "" {
			if member, err := spell(rest); err == nil {
				rest = member
			}
			found[parent+"."+rest] = true
		}
	}
	keys := make([]string, 0, len(found))
	for key := range found {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// variable is the environment variable that sets a key: lease.ttl → ASSISTCTL_LEASE_TTL.
func variable(key string) string {
	return prefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(key))
}

func absolute(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

// brief is path as a reader in dir would write it: relative when it is below, or just above.
func brief(dir, path string) string {
	rel, err := filepath.Rel(dir, path)
	if err != nil || strings.HasPrefix(rel, filepath.Join("..", "..", "..")) {
		return path
	}
	return rel
}
