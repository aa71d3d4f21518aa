package config

import "fmt"

// Source says where a value came from.
type Source struct {
	Kind string `json:"kind"`           // flag, environment, file or default
	Name string `json:"name,omitempty"` // the flag, the variable or the file
	Line int    `json:"line,omitempty"` // of the file
}

// Kinds of Source, from the strongest to the weakest.
const (
	FromFlag        = "flag"
	FromEnvironment = "environment"
	FromFile        = "file"
	FromDefault     = "default"
)

// String is "flag --set", "ASSISTCTL_LEASE_TTL", "assistctl.yaml:12" or "default".
func (s Source) String() string {
	switch s.Kind {
	case FromFlag:
		return "flag " + s.Name
	case FromEnvironment:
		return s.Name
	case FromFile:
		return fmt.Sprintf("%s:%d", s.Name, s.Line)
	}
	return "default"
}

// Value is one resolved key.
type Value struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Source Source `json:"source"`
	Doc    string `json:"doc,omitempty"`
}
