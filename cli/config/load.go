package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/smart-assistant/platform/cli/fault"
)

// FileName is the name that Load looks for, from the working directory upward.
const FileName = "assistctl.yaml"

// Options are what Load takes from outside.
type Options struct {
	File    string   // the file to read; "" searches from Dir upward, and finding none is fine
	Dir     string   // working directory, absolute: the search starts here, and paths in variables and flags are relative to it
	Set     []string // key=value, from flags; a later one wins
	Environ []string // name=value, as os.Environ returns them
	Home    string   // the user's home folder
	Root    bool     // whether the user is root
}

// Load resolves the configuration: flag over environment variable over file over default. A configuration that does not
// hold together is an *Invalid, which lists every problem; its exit code is fault.Usage.
func Load(o Options) (*Config, error) {
	path, err := find(o)
	if err != nil {
		return nil, err
	}
	given := gather(o)
	if path != "" {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, fault.Code(fmt.Errorf("read the configuration: %w", err), fault.Usage)
		}
		given.readFile(brief(o.Dir, path), filepath.Dir(path), raw)
	}
	c := &Config{File: path, Paths: XDG(given.lookup, o.Home, o.Root)}
	r := resolver{given: given, config: c}
	r.resolve()
	if len(given.problems) > 0 {
		return nil, fault.Code(fault.Hint(&Invalid{Problems: sorted(given.problems)}, "assistctl help config"), fault.Usage)
	}
	return c, nil
}

// find returns the file to read: the one asked for, else the nearest one upward from the working directory, else "".
func find(o Options) (string, error) {
	if o.File != "" {
		path := absolute(o.Dir, o.File)
		if _, err := os.Stat(path); err != nil {
			return "", fault.Code(fmt.Errorf("read the configuration: %w", err), fault.Usage)
		}
		return path, nil
	}
	for dir := o.Dir; ; dir = filepath.Dir(dir) {
		path := filepath.Join(dir, FileName)
		_, err := os.Stat(path)
		if err == nil {
			return path, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("look for the configuration: %w", err)
		}
		if dir == filepath.Dir(dir) {
			return "", nil
		}
	}
}

// resolver brings what was given together with the schema.
type resolver struct {
	given  *given
	config *Config
	known  []key
}

// resolve fills the configuration. The order comes first: defaults depend on an environment's place in it, and the names of
// the environments decide which keys exist.
func (r *resolver) resolve() {
	c := r.config
	names := r.given.environments()
	for _, name := range names {
		if err := word(name); err != nil {
			r.given.problem(r.given.lines["environments."+name], "environments."+name, err.Error())
		}
	}
	r.values(projectKeys(c, names))

	list := make([]Environment, 0, len(c.Order))
	for _, name := range names {
		list = append(list, Environment{Name: name})
	}
	for i := range list {
		env := &list[i]
		r.values(environmentKeys(env, placeOf(env.Name, c.Order)))
		r.free("environments."+env.Name+".settings", &env.Settings, "environment variable of the service", settingName)
	}
	r.values(releaseKeys(c))
	r.free("release.settings", &c.Release.Settings, "setting that is part of the release", settingName)
	r.values(localKeys(c))
	r.free("local.postgres_settings", &c.Local.PostgresSettings, "line of postgresql.conf", postgresName)
	r.values(kubernetesKeys(c))
	r.values(leaseKeys(c))

	c.Environments = map[string]Environment{}
	for _, env := range list {
		c.Environments[env.Name] = env
	}
	r.given.refuseUnknown(r.known)
	if len(r.given.problems) == 0 {
		r.given.problems = check(c)
	}
}

func (r *resolver) values(keys []key) {
	for _, k := range keys {
		r.value(k)
	}
}

// value resolves one key from the strongest source that names it.
func (r *resolver) value(k key) {
	r.known = append(r.known, k)
	o := r.given.declare(k)
	shown, err := k.parse(o)
	if err != nil {
		r.given.problem(o.source, k.name, err.Error())
		return
	}
	r.config.values = append(r.config.values, Value{Key: k.name, Value: shown, Source: o.source, Doc: k.doc})
}

// free resolves a map whose names are the user's own.
func (r *resolver) free(parent string, target *map[string]string, doc string, name func(string) (string, error)) {
	r.known = append(r.known, key{name: parent, free: true})
	*target = map[string]string{}
	for _, full := range r.given.members(parent, name) {
		member := full[len(parent)+1:]
		r.value(key{name: full, doc: doc, parse: func(o origin) (string, error) {
			spelled, err := name(member)
			if err != nil {
				return "", err
			}
			(*target)[spelled] = o.text
			return o.text, nil
		}})
	}
}
