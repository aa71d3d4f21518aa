package config

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/viper"
)

// prefix begins the name of every environment variable that sets a key.
const prefix = "ASSISTCTL_"

// origin is a value as it was given, with its place.
type origin struct {
	key    string
	text   string
	list   bool   // a YAML sequence, joined with commas
	dir    string // what a relative path is relative to
	source Source
}

// given holds what flags, environment variables, the file and the defaults say, and the problems found so far.
//
// The layers and their precedence are viper's: a flag is Set, the file and then the variables are merged as its
// configuration, a default is SetDefault. The variables are not bound by viper's BindEnv, which reads the environment of the
// process and no other. What viper holds is origins rather than texts, so that the one that wins brings its place along.
type given struct {
	dir      string
	environ  map[string]string
	layers   *viper.Viper
	flags    map[string]origin // by key
	inFile   []origin          // in the file's order, also keys with nothing below
	lines    map[string]Source // place of every key and section of the file
	problems []Problem
}

func gather(o Options) *given {
	g := &given{
		dir:     o.Dir,
		environ: map[string]string{},
		layers:  viper.NewWithOptions(viper.KeyDelimiter(flat)),
		flags:   map[string]origin{},
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
		g.flags[key] = origin{key: key, text: value, dir: o.Dir, source: source}
		g.layers.Set(cased(key), g.flags[key])
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

// merge puts o over what the file and the variables before it say of its key.
func (g *given) merge(o origin) {
	if err := g.layers.MergeConfigMap(map[string]any{cased(o.key): o}); err != nil {
		g.problem(o.source, o.key, err.Error())
	}
}

// declare adds k's default and its variables to the layers and returns the origin that wins. It comes after the file: that
// names the environments, and so the keys. An empty variable counts as unset.
func (g *given) declare(k key) origin {
	g.layers.SetDefault(cased(k.name), origin{key: k.name, text: k.fallback, source: Source{Kind: FromDefault}})
	for _, name := range slices.Backward(k.variables()) {
		if text := g.environ[name]; text != "" {
			g.merge(origin{key: k.name, text: text, dir: g.dir, source: Source{Kind: FromEnvironment, Name: name}})
		}
	}
	winner, _ := g.layers.Get(cased(k.name)).(origin) // nothing else is in there
	return winner
}

// flat separates the parts of a key for viper: a byte that is in none of them, as names of PostgreSQL settings have dots.
const flat = "\xff"

var capital = regexp.MustCompile(`[\p{Lu}^]`)

// cased marks the capitals of a key: viper folds case, and a service setting, being an environment variable, keeps its own.
func cased(key string) string { return capital.ReplaceAllString(key, "^$0") }

// environments returns the names that the file describes, in its order, or the default three.
func (g *given) environments() []string {
	var names []string
	for _, o := range g.inFile {
		if rest, ok := strings.CutPrefix(o.key, "environments."); ok {
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
	for _, name := range g.layers.AllKeys() {
		if o, ok := g.layers.Get(name).(origin); ok && strings.HasPrefix(o.key, parent+".") {
			found[o.key] = true
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
	return slices.Sorted(maps.Keys(found))
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
