// Package config owns assistctl.yaml: its keys, their defaults, and where each value came from.
//
// Load resolves every key with one precedence, flag over environment variable over file over default, into a typed
// Config, and remembers the source of each value (Values). All mistakes are reported at once, each with its place.
// Paths names the XDG folders that assistctl uses.
//
// It does not own what the values mean: gates are judged by release, retention by backup, processes by target/local.
// It reads no secret, only the names of the files that hold them.
package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
)

// Config is the whole configuration, resolved and checked.
type Config struct {
	Project      string                 // names the data and key folders, so that two projects share a machine
	Order        []string               // the way of a release; each promotion goes from one to the next
	Environments map[string]Environment // by name; exactly the names in Order
	Release      Release
	Local        Local
	Kubernetes   Kubernetes
	Lease        Lease

	File   string // the file that was read; "" when none was found
	Paths  Paths  // folders of this user
	values []Value
}

// Kinds of target.
const (
	TargetLocal      = "local"
	TargetKubernetes = "kubernetes"
)

// Environment is one stop of a release: a target, a database, a bucket and a ledger.
type Environment struct {
	Name      string
	Target    string            // Local or Kubernetes
	Stack     string            // kubernetes: the Pulumi stack; what it sets is not set here
	Replicas  int               // how many copies of the service run
	Confirm   bool              // changes ask for the environment's name
	Ports     Ports             // local only
	Bucket    Bucket            // overrides the target's own bucket
	Settings  map[string]string // handed to the service as environment variables
	Gates     Gates
	Retention Retention
	Backup    Backup
}

// Ports are the loopback ports of a local environment; 0 picks a free one on the first start and keeps it.
type Ports struct {
	Proxy    int
	Postgres int
	S3       int
}

// Bucket says how to reach the environment's bucket. The zero value means the bucket that the target brings.
type Bucket struct {
	Endpoint      string // URL; "" is AWS
	Region        string
	Name          string
	PathStyle     bool   // bucket in the path rather than in the host name
	AccessKeyFile string // files, so that no secret is in the configuration
	SecretKeyFile string
}

// Set reports whether the configuration overrides the target's own bucket.
func (b Bucket) Set() bool { return b.Name != "" }

// Gates are the limits that a promotion into the environment must hold.
type Gates struct {
	Soak         time.Duration // how long the release must have been verified in the environment before
	BackupMaxAge time.Duration // the newest backup of the environment may be at most this old
	ErrorRate    float64       // fraction of failed requests that is tolerated: 0.005 is 0.5 %
	VerifyWindow time.Duration // how long the error rate is watched after the deployment
}

// Retention says which backups outlive a prune; a backup stays when any rule keeps it.
type Retention struct {
	KeepLast      int // the newest ones, whatever their age
	Daily         int // the newest of each of the last days
	Weekly        int // the newest of each of the last weeks
	PreDeployDays int // snapshots taken before a promotion stay this many days
}

// Backup says when the local target takes and prunes backups by itself.
type Backup struct {
	Schedule Schedule
	Prune    Schedule
}

// Release says how `assistctl release create` builds the service.
type Release struct {
	Package  string            // Go package of the service, relative to the project's folder
	Settings map[string]string // settings that belong to the release and are part of its configuration hash
}

// Local configures the processes of the local target.
type Local struct {
	DataDir          string            // holds a folder per environment
	PostgresBin      string            // folder of the PostgreSQL server binaries; "" looks for them
	VersityGW        string            // path of the versitygw binary; "" looks for it
	PostgresSettings map[string]string // added to postgresql.conf
}

// Kubernetes configures how the stacks of Kubernetes environments are reached.
type Kubernetes struct {
	Dir    string // the Pulumi project: the folder that holds Pulumi.yaml
	Pulumi string // path of the Pulumi CLI; "" looks for it
}

// Lease configures the right of one writer to change an environment.
type Lease struct {
	TTL time.Duration // a holder that does not renew for this long has lost it
}

// Environment returns the named environment, or an error that names the ones there are.
func (c *Config) Environment(name string) (Environment, error) {
	if env, ok := c.Environments[name]; ok {
		return env, nil
	}
	err := fmt.Errorf("there is no environment %q; there are %s", name, strings.Join(c.Order, ", "))
	if near, ok := nearest(name, c.Order); ok {
		err = fmt.Errorf("there is no environment %q, did you mean %q?", name, near)
	}
	return Environment{}, fault.Code(fault.Hint(err, "assistctl config view"), fault.NotFound)
}

// Before returns the environment that comes before name in the order, and false for the first.
func (c *Config) Before(name string) (string, bool) {
	i := slices.Index(c.Order, name)
	if i <= 0 {
		return "", false
	}
	return c.Order[i-1], true
}

// After returns the environment that comes after name in the order, and false for the last.
func (c *Config) After(name string) (string, bool) {
	i := slices.Index(c.Order, name)
	if i < 0 || i == len(c.Order)-1 {
		return "", false
	}
	return c.Order[i+1], true
}

// Dir is the project's folder: that of the file, or "" when no file was read.
func (c *Config) Dir() string {
	if c.File == "" {
		return ""
	}
	return filepath.Dir(c.File)
}

// KeyDir holds the identities that open this project's backups: in the user's configuration folder, never beside the data.
func (c *Config) KeyDir() string { return filepath.Join(c.Paths.Config, c.Project, "keys") }

// StateDir holds what this user's assistctl remembers about the project, all of it dispensable.
func (c *Config) StateDir() string { return filepath.Join(c.Paths.State, c.Project) }

// Values lists every key with its value and source, in the order of the documentation.
func (c *Config) Values() []Value { return slices.Clone(c.values) }
