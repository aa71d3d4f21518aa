package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/cli/objectstore"
	"github.com/smart-assistant/platform/cli/objectstore/versitygw"
	"github.com/smart-assistant/platform/cli/postgres"
)

// The names of the components, which are also those of their log files.
const (
	supervisorName = "supervisor"
	databaseName   = "postgres"
	storeName      = "versitygw"
)

func (e *Environment) logPath(name string) string { return e.path("log", name+".log") }

// newStore is the keeper of the S3 server. It is ready once the environment's bucket exists.
func (s *supervisor) newStore() (*keeper, error) {
	binary, err := s.env.versitygw()
	if err != nil {
		return nil, err
	}
	access, err := s.env.Store()
	if err != nil {
		return nil, err
	}
	server := &versitygw.Server{
		Binary: binary, Root: s.env.path("s3"), Log: s.env.logPath(storeName), Port: s.state.Ports.S3,
		AccessKey: access.AccessKey, SecretKey: access.SecretKey,
	}
	bucket, err := objectstore.OpenS3(context.Background(), objectstore.S3Config{
		Endpoint: access.Endpoint, Region: access.Region, Bucket: access.Bucket,
		AccessKey: access.AccessKey, SecretKey: access.SecretKey, Attempts: 1,
	})
	if err != nil {
		return nil, err
	}
	left := s.state.Processes[storeName]
	made := false
	k := s.newKeeper(storeName)
	k.start = func(context.Context) (*process, error) {
		if p, ok := adopt(left.processID); ok {
			return p, nil
		}
		if err := forPort(portFree("127.0.0.1", server.Port), "S3 server", "ports.s3"); err != nil {
			return nil, err
		}
		cmd, log, err := server.Command()
		if err != nil {
			return nil, err
		}
		defer log.Close() //nolint:errcheck // the process has its own handle
		cmd.Env = append(cmd.Env, marker+"="+s.env.dir)
		p, err := launch(cmd)
		if err != nil {
			return nil, err
		}
		return s.launched(storeName, p, record{Port: server.Port})
	}
	k.probe = func(ctx context.Context) error {
		if err := server.Ready(ctx); err != nil || made {
			return err
		}
		err := bucket.EnsureBucket(ctx)
		made = err == nil
		return err
	}
	k.stop = func(p *process) error { return p.stop(syscall.SIGTERM, s.env.config.StopTimeout) }
	return k, nil
}

// firstCluster begins the name of the cluster that Up creates; restored ones have names of their own.
const firstCluster = "main"

func (e *Environment) currentLink() string            { return e.path("pg", "current") }
func (e *Environment) clusterPath(name string) string { return e.path("pg", "clusters", name) }

// server describes the live database cluster, or where it will be.
func (e *Environment) server() (*postgres.Server, error) {
	binaries, err := e.Binaries()
	if err != nil {
		return nil, err
	}
	st, err := loadState(e.statePath())
	if err != nil {
		return nil, err
	}
	dir, err := e.liveCluster()
	if errors.Is(err, fs.ErrNotExist) {
		dir = e.clusterPath(firstCluster)
	} else if err != nil {
		return nil, err
	}
	port := e.config.PostgresPort
	if port == 0 {
		port = st.Ports.Postgres
	}
	return &postgres.Server{
		Binaries: binaries, DataDir: dir, Port: port, Log: e.logPath(databaseName), Settings: e.config.PostgresSettings,
	}, nil
}

// liveCluster is the folder that pg/current links to; fs.ErrNotExist before the first one was created.
func (e *Environment) liveCluster() (string, error) {
	link, err := os.Readlink(e.currentLink())
	if err != nil {
		return "", err
	}
	return filepath.Join(filepath.Dir(e.currentLink()), link), nil
}

// startDatabase begins to keep PostgreSQL running. The caller has the turn, or is alone.
func (s *supervisor) startDatabase() {
	k := s.newKeeper(databaseName)
	var server *postgres.Server
	prepared := false
	k.start = func(ctx context.Context) (*process, error) {
		var err error
		prepared = false
		if server, err = s.env.server(); err != nil {
			return nil, err
		}
		if err := s.createCluster(ctx, server); err != nil {
			return nil, err
		}
		if _, runs := server.PID(); !runs {
			if err := forPort(portFree("127.0.0.1", server.Port), "PostgreSQL", "ports.postgres"); err != nil {
				return nil, err
			}
		}
		if err := server.Start(ctx); err != nil {
			return nil, err
		}
		pid, _ := server.PID()
		id, err := identify(pid)
		if err != nil {
			return nil, fmt.Errorf("PostgreSQL ended at once: %w", err)
		}
		p, ok := adopt(id)
		if !ok {
			return nil, errors.New("PostgreSQL ended at once")
		}
		return s.launched(databaseName, p, record{Port: server.Port})
	}
	k.probe = func(ctx context.Context) error {
		if !prepared {
			patient, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute) // creating a database takes its time
			defer cancel()
			if err := s.env.prepareDatabase(patient); err != nil {
				return err
			}
			prepared = true
		}
		return s.env.pingDatabase(ctx)
	}
	k.stop = func(p *process) error { return s.env.stopServer(server, p) }
	s.mu.Lock()
	s.database = k
	s.mu.Unlock()
	k.begin()
}

// endDatabase ends PostgreSQL, also one that nobody keeps running.
func (s *supervisor) endDatabase() error {
	s.mu.Lock()
	k := s.database
	s.mu.Unlock()
	if k != nil {
		if err := k.end(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	left := s.state.Processes[databaseName]
	s.database = nil
	s.mu.Unlock()
	server, err := s.env.server()
	if err != nil {
		return err
	}
	p, _ := adopt(left.processID)
	if err := s.env.stopServer(server, p); err != nil {
		return err
	}
	return s.update(func(st *state) { delete(st.Processes, databaseName) })
}

// stopServer ends PostgreSQL by the live cluster's postmaster.pid and, should that be damaged, by the number that was written down.
func (e *Environment) stopServer(server *postgres.Server, p *process) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute) // a checkpoint of a busy server takes its time
	defer cancel()
	err := server.Stop(ctx, postgres.Fast)
	if err != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err = server.Stop(ctx, postgres.Immediate)
	}
	if p != nil {
		return errors.Join(err, p.stop(syscall.SIGQUIT, e.config.StopTimeout))
	}
	return err
}

// createCluster makes the first cluster and the link to it.
func (s *supervisor) createCluster(ctx context.Context, server *postgres.Server) error {
	if _, err := os.Lstat(s.env.currentLink()); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	complete, err := filepath.Glob(s.env.clusterPath("*/PG_VERSION"))
	if err != nil {
		return err
	}
	for _, file := range complete {
		name := filepath.Base(filepath.Dir(file))
		switch {
		case !strings.HasPrefix(name, firstCluster):
			return fmt.Errorf("%s is gone, and there is data in %s: link it to the right cluster", s.env.currentLink(), filepath.Dir(file))
		case !strings.HasSuffix(name, ".initdb"): // a supervisor was killed before it could link it
			server.DataDir = s.env.clusterPath(name)
			return s.env.linkCurrent(name)
		}
	}
	// Each attempt has a folder of its own: the initdb of a supervisor that was killed may still be at work in another.
	attempt, err := randomHex(4)
	if err != nil {
		return err
	}
	name := firstCluster + "-" + string(attempt)
	sec, err := s.env.secrets()
	if err != nil {
		return err
	}
	server.DataDir = s.env.clusterPath(name)
	if err := server.Init(ctx, sec.Superuser); err != nil {
		return err
	}
	if err := s.env.linkCurrent(name); err != nil {
		return err
	}
	return s.sweepAttempts()
}

// sweepAttempts removes what initdb left unfinished.
func (s *supervisor) sweepAttempts() error {
	unfinished, err := filepath.Glob(s.env.clusterPath(firstCluster + "-*.initdb"))
	if err != nil {
		return err
	}
	for _, dir := range unfinished {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

// linkCurrent makes a cluster the live one, atomically.
func (e *Environment) linkCurrent(cluster string) error {
	next := e.currentLink() + ".next"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(filepath.Join("clusters", cluster), next); err != nil {
		return err
	}
	if err := os.Rename(next, e.currentLink()); err != nil {
		return err
	}
	return syncPath(filepath.Dir(e.currentLink()))
}

// prepareDatabase creates the roles and the service's database, and gives the roles their passwords. It changes nothing the second time.
func (e *Environment) prepareDatabase(ctx context.Context) error {
	sec, err := e.secrets()
	if err != nil {
		return err
	}
	conn, err := e.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing hangs on it
	for role, options := range map[string]struct{ password, attributes string }{
		ServiceRole: {sec.Service, "LOGIN"},
		BackupRole:  {sec.Backup, "LOGIN REPLICATION"},
	} {
		var exists bool
		if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role).Scan(&exists); err != nil {
			return fmt.Errorf("look for role %s: %w", role, err)
		}
		verb := "CREATE"
		if exists {
			verb = "ALTER"
		}
		// Passwords are hexadecimal digits, made by createSecrets.
		statement := fmt.Sprintf("%s ROLE %s %s PASSWORD '%s'", verb, role, options.attributes, options.password)
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s role %s: %w", strings.ToLower(verb), role, err)
		}
	}
	if _, err := conn.Exec(ctx, "GRANT pg_monitor TO "+BackupRole); err != nil {
		return fmt.Errorf("grant pg_monitor to %s: %w", BackupRole, err)
	}
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", Database).Scan(&exists); err != nil {
		return fmt.Errorf("look for database %s: %w", Database, err)
	}
	if exists {
		return nil
	}
	if _, err := conn.Exec(ctx, fmt.Sprintf("CREATE DATABASE %s OWNER %s", Database, ServiceRole)); err != nil {
		return fmt.Errorf("create database %s: %w", Database, err)
	}
	return nil
}

func (e *Environment) pingDatabase(ctx context.Context) error {
	conn, err := e.connect(ctx)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

func (e *Environment) connect(ctx context.Context) (*pgx.Conn, error) {
	url, err := e.AdminURL("postgres")
	if err != nil {
		return nil, err
	}
	return pgx.Connect(ctx, url)
}
