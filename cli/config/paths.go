package config

import "path/filepath"

// Paths are the folders of one user, as the XDG base directory specification names them
// (https://specifications.freedesktop.org/basedir-spec/latest/), each with "assistctl" appended.
type Paths struct {
	Config string // keys: private, worth a copy
	State  string // what a later run may want to know
	Data   string // environments of the local target
	Cache  string // may be deleted at any time
}

// systemData holds the local target's data when assistctl runs as root: PostgreSQL then runs as another user, who must be
// able to reach its files, and root's home is closed to everybody.
const systemData = "/var/lib/assistctl"

// XDG returns the folders for a user with this home folder. A relative path in a variable is ignored, as the
// specification asks.
func XDG(lookup func(string) (string, bool), home string, root bool) Paths {
	dir := func(variable, fallback string) string {
		if v, ok := lookup(variable); ok && filepath.IsAbs(v) {
			return filepath.Join(v, "assistctl")
		}
		return filepath.Join(home, fallback, "assistctl")
	}
	p := Paths{
		Config: dir("XDG_CONFIG_HOME", ".config"),
		State:  dir("XDG_STATE_HOME", ".local/state"),
		Data:   dir("XDG_DATA_HOME", ".local/share"),
		Cache:  dir("XDG_CACHE_HOME", ".cache"),
	}
	if _, chosen := lookup("XDG_DATA_HOME"); root && !chosen {
		p.Data = systemData
	}
	return p
}
