// Package local is the embedded default target: one environment as processes on this machine.
//
// It owns a PostgreSQL server, an S3 server, N replicas of the service and the reverse proxy in front of them, the secrets they
// share, and one detached supervisor process that looks after all of that until Down. It implements target.Target, and the place
// where a restore puts its data. It does not own what is stored: migrations are the service's, backups are package backup's.
//
// Reading order: local.go (what there is and where), up.go (Up, Down, Reset), supervisor.go (what the detached process does),
// keeper.go (one process kept running), rollout.go (a deployment), proxy.go and traffic.go (the entrance), control.go and client.go
// (how assistctl talks to the supervisor), restore.go and aside.go (the restore's file operations).
//
// An environment's folder:
//
//	pg/clusters/<name>/   database clusters; pg/current links to the live one, pg/asides/<name> to those kept aside
//	s3/                   the S3 server's files
//	secrets/              generated once, mode 0600 (secrets.go)
//	run/                  config.json, state.json, locks, control socket
//	log/                  a file per component and replica
//	releases/<sha256>/    the service's builds
//
// It is for Linux: processes are told apart by /proc.
package local

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/objectstore/versitygw"
	"github.com/smart-assistant/platform/cli/postgres"
)

// Config describes one environment. It is written to run/config.json for the supervisor and holds no secret.
type Config struct {
	Environment string // its name: lower-case letters, digits and dashes
	Root        string // holds a folder per environment; as root it must be open to the PostgreSQL user (mode o+x all the way)

	ProxyAddr    string // host:port of the entrance; "" is 127.0.0.1:0. Port 0 picks a free one on the first start and keeps it.
	PostgresPort int    // on 127.0.0.1; 0 picks and keeps
	S3Port       int    // on 127.0.0.1; 0 picks and keeps
	Replicas     int    // 0 is 1

	PostgresBin      string            // folder of the server's programs; "" looks for them
	PostgresSettings map[string]string // server parameters
	Versitygw        string            // path of the binary; "" looks for it

	ReadyTimeout time.Duration // a new replica must be ready after; 0 is 1 min
	DrainTimeout time.Duration // requests in flight may take until their replica is told to end; 0 is 30 s
	StopTimeout  time.Duration // a process may take to end until it is killed; 0 is 10 s
	LogBytes     int64         // a log file is rotated at this size, one old one is kept; 0 is 32 MiB

	Executable string   // program of the supervisor; "" is this process's
	Supervise  []string // its arguments; nil is local supervise <environment> --dir <folder>
}

// Bucket is the name of the environment's bucket on its S3 server, and Region is the server's.
const (
	Bucket = "assistant"
	Region = "us-east-1"
)

// Database is the name of the service's database, which ServiceRole owns. BackupRole may replicate and reads no table.
const (
	Database    = "assistant"
	ServiceRole = "assistd"
	BackupRole  = "assistctl_backup"
)

// Environment is one environment of the local target, up or not.
type Environment struct {
	config Config
	dir    string
}

var environmentName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Open checks the configuration and fills in its defaults. It starts and writes nothing.
func Open(c Config) (*Environment, error) {
	if !environmentName.MatchString(c.Environment) {
		return nil, fault.Code(fmt.Errorf("environment name %q: lower-case letters, digits and dashes only", c.Environment), fault.Usage)
	}
	if !filepath.IsAbs(c.Root) {
		return nil, fault.Code(fmt.Errorf("environment %s: data directory %q is not an absolute path", c.Environment, c.Root), fault.Usage)
	}
	if c.ProxyAddr == "" {
		c.ProxyAddr = "127.0.0.1:0"
	}
	if _, port, err := net.SplitHostPort(c.ProxyAddr); err != nil {
		return nil, fault.Code(fmt.Errorf("environment %s: proxy address: %w", c.Environment, err), fault.Usage)
	} else if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return nil, fault.Code(fmt.Errorf("environment %s: proxy address %q: the port is not a number", c.Environment, c.ProxyAddr), fault.Usage)
	}
	if c.Replicas < 0 {
		return nil, fault.Code(fmt.Errorf("environment %s: %d replicas", c.Environment, c.Replicas), fault.Usage)
	}
	c.Replicas = max(c.Replicas, 1)
	setDefault(&c.ReadyTimeout, time.Minute)
	setDefault(&c.DrainTimeout, 30*time.Second)
	setDefault(&c.StopTimeout, 10*time.Second)
	setDefault(&c.LogBytes, 32<<20)
	e := &Environment{config: c, dir: filepath.Join(c.Root, c.Environment)}
	if c.Supervise == nil {
		e.config.Supervise = []string{"local", "supervise", c.Environment, "--dir", e.dir}
	}
	return e, nil
}

func setDefault[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// Name is the environment's name.
func (e *Environment) Name() string { return e.config.Environment }

// Dir is the folder that holds everything of the environment.
func (e *Environment) Dir() string { return e.dir }

func (e *Environment) path(elem ...string) string {
	return filepath.Join(append([]string{e.dir}, elem...)...)
}

// StoreAccess is how to reach the environment's bucket.
type StoreAccess struct {
	Endpoint, Region, Bucket string
	AccessKey, SecretKey     string
}

// Store returns the access data of the environment's bucket, ErrDown before the first Up.
func (e *Environment) Store() (StoreAccess, error) {
	ports, err := e.ports()
	if err != nil {
		return StoreAccess{}, err
	}
	sec, err := e.secrets()
	if err != nil {
		return StoreAccess{}, err
	}
	return StoreAccess{
		Endpoint: fmt.Sprintf("http://127.0.0.1:%d", ports.S3), Region: Region, Bucket: Bucket,
		AccessKey: sec.S3AccessKey, SecretKey: sec.S3SecretKey,
	}, nil
}

// AdminURL is the connection string of the database's superuser, ServiceURL that of the service's own role, BackupURL that of the
// role that may replicate. All of them hold a password: they are not for logs. ErrDown before the first Up.
func (e *Environment) AdminURL(database string) (string, error) {
	return e.databaseURL(database, postgres.Superuser, func(s secrets) string { return s.Superuser })
}

// ServiceURL is described with AdminURL.
func (e *Environment) ServiceURL() (string, error) {
	return e.databaseURL(Database, ServiceRole, func(s secrets) string { return s.Service })
}

// BackupURL is described with AdminURL.
func (e *Environment) BackupURL() (string, error) {
	return e.databaseURL("postgres", BackupRole, func(s secrets) string { return s.Backup })
}

func (e *Environment) databaseURL(database, role string, password func(secrets) string) (string, error) {
	ports, err := e.ports()
	if err != nil {
		return "", err
	}
	sec, err := e.secrets()
	if err != nil {
		return "", err
	}
	server := postgres.Server{Port: ports.Postgres}
	return server.URL(database, role, password(sec)), nil
}

// ports are the ports that the environment has taken for itself.
func (e *Environment) ports() (ports, error) {
	st, err := loadState(e.statePath())
	if err != nil {
		return ports{}, err
	}
	if st.Ports.Postgres == 0 {
		return ports{}, e.down(errors.New("it was never up"))
	}
	return st.Ports, nil
}

// Binaries are the PostgreSQL server's programs that the environment uses.
func (e *Environment) Binaries() (postgres.Binaries, error) {
	return postgres.Find(e.config.PostgresBin)
}

func (e *Environment) versitygw() (string, error) { return versitygw.Find(e.config.Versitygw) }

// socketPath is the control socket's. The kernel allows 107 bytes (unix(7)); a longer path moves to the user's own runtime folder.
func (e *Environment) socketPath() string {
	path := e.path("run", "control.sock")
	if len(path) <= 107 {
		return path
	}
	sum := sha256.Sum256([]byte(e.dir))
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" || len(dir) > 60 {
		dir = "/tmp"
	}
	return filepath.Join(dir, fmt.Sprintf("assistctl-%d-%s", os.Geteuid(), hex.EncodeToString(sum[:8])), "control.sock")
}
