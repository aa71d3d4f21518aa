// Package postgres owns PostgreSQL server processes on this machine: it finds the server's programs, creates a cluster,
// starts and stops its server, and reads its control file.
//
// A server outlives the process that started it. Unless told otherwise it listens on 127.0.0.1 only and has no unix socket, so nothing
// depends on a folder for sockets. The package knows nothing of backups, of what is stored, nor of who supervises the server.
// It is for Linux: it tells one server's processes from another's by /proc.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/smart-assistant/platform/cli/fault"
)

// Superuser is the name of the superuser that Init creates.
const Superuser = "postgres"

// Stop modes, as in pg_ctl(1).
const (
	Fast      = "fast"      // sessions are ended, a checkpoint is written
	Immediate = "immediate" // as a crash: the next start recovers from the WAL
)

// Server is one data directory and the server process that runs on it, if it runs.
type Server struct {
	Binaries
	DataDir  string            // created by Init; a symbolic link is followed
	Port     int               // on 127.0.0.1, and on Listen
	Listen   string            // another address that it listens on; "" for none
	Sockets  string            // folder for a unix socket; "" for none
	Log      string            // file that the server's messages are appended to
	Owner    *Owner            // nil stands for ServerOwner()
	Settings map[string]string // server parameters for the command line; they win over the files in DataDir
}

// Init creates the cluster: superuser "postgres" with the password, SCRAM for every connection, UTF-8, data checksums.
// It appears whole or not at all. A data directory that already holds a cluster is left as it is.
func (s *Server) Init(ctx context.Context, password string) error {
	if err := s.init(ctx, password); err != nil {
		return fmt.Errorf("create database cluster %s: %w", s.DataDir, err)
	}
	return nil
}

func (s *Server) init(ctx context.Context, password string) error {
	if _, err := os.Stat(filepath.Join(s.DataDir, "PG_VERSION")); err == nil {
		return nil
	}
	if password == "" {
		return errors.New("the superuser's password is empty")
	}
	owner, err := s.reachable()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.DataDir), 0o755); err != nil {
		return err
	}
	unfinished := s.DataDir + ".initdb"
	if err := os.RemoveAll(unfinished); err != nil {
		return err
	}
	if err := os.Mkdir(unfinished, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(unfinished)
	if err := owner.Chown(unfinished); err != nil {
		return err
	}

	args := []string{
		"--pgdata=" + unfinished, "--username=" + Superuser, "--pwfile=/dev/stdin", "--auth=scram-sha-256",
		"--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums", "--no-instructions",
	}
	if s.Settings["fsync"] == "off" {
		args = append(args, "--no-sync")
	}
	cmd := owner.Command(ctx, s.Path("initdb"), args...)
	// The password goes through a pipe and so never lies in a file. initdb opens it by name, for which it must own it.
	stdin, passwords, err := os.Pipe()
	if err != nil {
		return err
	}
	defer stdin.Close()
	if owner != nil {
		if err := stdin.Chown(owner.UID, owner.GID); err != nil {
			passwords.Close()
			return err
		}
	}
	cmd.Stdin = stdin
	_, err = passwords.WriteString(password + "\n")
	if err := errors.Join(err, passwords.Close()); err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w", withOutput(err, out))
	}
	if err := os.Rename(unfinished, s.DataDir); err != nil { // over an empty folder too, not over a full one
		return err
	}
	return SyncPath(filepath.Dir(s.DataDir))
}

// Start starts the server, detached from this process's session, and waits until it accepts connections: read-write ones,
// or read-only ones where standby.signal makes it a standby. Recovery may take long; the context bounds the wait.
// When the server already runs, Start only waits. When Start fails or is cancelled, no server that it started is left.
func (s *Server) Start(ctx context.Context) error {
	if err := s.start(ctx); err != nil {
		return fmt.Errorf("start PostgreSQL on %s: %w", s.DataDir, err)
	}
	return nil
}

func (s *Server) start(ctx context.Context) error {
	owner, err := s.reachable()
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(s.DataDir, "PG_VERSION")); err != nil {
		return fmt.Errorf("not a database cluster: %w", err)
	}
	lock, err := lockDir(ctx, s.DataDir)
	if err != nil {
		return err
	}
	defer lock.Close()

	if pid, runs := s.PID(); runs {
		return s.waitReady(ctx, pid, nil)
	}
	if err := clearStale(ctx, s.DataDir); err != nil {
		return err
	}

	log, err := s.openLog()
	if err != nil {
		return err
	}
	defer log.Close()
	from, err := log.Seek(0, 2)
	if err != nil {
		return err
	}
	cmd := owner.Command(context.WithoutCancel(ctx), s.Path("postgres"), s.arguments()...)
	cmd.Dir = s.DataDir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr.Setsid = true // the terminal's signals are not for the server
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan string, 1)
	go func() { // also reaps the server when it ends while this process still lives
		_ = cmd.Wait() // which the state says as well
		exited <- cmd.ProcessState.String()
	}()

	err = s.waitReady(ctx, cmd.Process.Pid, exited)
	if err == nil {
		return nil
	}
	if ended := new(exitedError); !errors.As(err, &ended) {
		_ = cmd.Process.Signal(syscall.SIGQUIT) // fails only when it has just ended
		<-exited
	}
	if text := tail(s.Log, from); text != "" {
		err = fmt.Errorf("%w; its log %s ends with:\n%s", err, s.Log, text)
	}
	return err
}

// exitedError says that the server ended before it was ready.
type exitedError struct{ status string }

func (e *exitedError) Error() string { return "the server ended at once (" + e.status + ")" }

// waitReady waits for the postmaster's own word in postmaster.pid, as pg_ctl does: it needs no password, and a stranger's
// server on the same port cannot be taken for this one.
func (s *Server) waitReady(ctx context.Context, pid int, exited <-chan string) error {
	accepts := "ready"
	if _, err := os.Stat(filepath.Join(s.DataDir, "standby.signal")); err == nil {
		accepts = "standby"
	}
	return poll(ctx, func() (bool, error) {
		select {
		case status := <-exited:
			return false, &exitedError{status}
		default:
		}
		f, err := readPIDFile(s.DataDir)
		if err != nil || f.pid != pid {
			if exited == nil && !inDataDir(pid, s.DataDir) {
				return false, &exitedError{"it was running a moment ago"}
			}
			return false, nil // not yet written, or the previous server's
		}
		if f.port != 0 && f.port != s.Port {
			return false, fault.Hint(fmt.Errorf("it already runs on port %d, not on %d", f.port, s.Port), "stop it first")
		}
		return f.status == accepts || f.status == "ready", nil
	})
}

// arguments are the server's command line. What must hold for a server of ours stands there, where no file can change it.
func (s *Server) arguments() []string {
	settings := map[string]string{
		"wal_level":         "replica",
		"max_wal_senders":   "10",
		"logging_collector": "off", // messages go to Log
	}
	maps.Copy(settings, s.Settings)
	settings["listen_addresses"] = "127.0.0.1"
	if s.Listen != "" && s.Listen != "127.0.0.1" {
		settings["listen_addresses"] += "," + s.Listen
	}
	settings["port"] = strconv.Itoa(s.Port)
	settings["unix_socket_directories"] = s.Sockets
	args := []string{"-D", s.DataDir}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", name+"="+settings[name])
	}
	return args
}

// Stop ends the server and waits until its process is gone. A server that does not run is not an error. Only the process
// named in the data directory's postmaster.pid is signalled, and only when it really is a server on this data directory.
func (s *Server) Stop(ctx context.Context, mode string) error {
	signals := map[string]syscall.Signal{Fast: syscall.SIGINT, Immediate: syscall.SIGQUIT}
	signal, ok := signals[mode]
	if !ok {
		return fmt.Errorf("stop PostgreSQL on %s: unknown mode %q", s.DataDir, mode)
	}
	pid, runs := s.PID()
	if !runs {
		return nil
	}
	if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop PostgreSQL on %s: signal process %d: %w", s.DataDir, pid, err)
	}
	if err := poll(ctx, func() (bool, error) { return !inDataDir(pid, s.DataDir), nil }); err != nil {
		return fmt.Errorf("stop PostgreSQL on %s: process %d is still ending: %w", s.DataDir, pid, err)
	}
	return nil
}

// PID returns the process of the server that runs on the data directory, and whether there is one.
func (s *Server) PID() (int, bool) {
	f, err := readPIDFile(s.DataDir)
	if err != nil || !inDataDir(f.pid, s.DataDir) {
		return 0, false
	}
	return f.pid, true
}

// URL is the connection string for a database of this server.
func (s *Server) URL(database, user, password string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(user, password),
		Host:     net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)),
		Path:     "/" + database,
		RawQuery: "sslmode=disable", // the connection never leaves the loopback interface
	}
	return u.String()
}

// Control reads the data directory's control file.
func (s *Server) Control(ctx context.Context) (Control, error) {
	return ReadControl(ctx, s.Binaries, s.DataDir, s.Owner)
}

// reachable returns the server's user once it is sure that it can get at the programs and the data.
func (s *Server) reachable() (*Owner, error) {
	owner, err := orServerOwner(s.Owner)
	if err != nil {
		return nil, err
	}
	return owner, errors.Join(owner.Reach(s.Path("postgres")), owner.Reach(s.DataDir))
}

func orServerOwner(owner *Owner) (*Owner, error) {
	if owner != nil {
		return owner, nil
	}
	return ServerOwner()
}

func (s *Server) openLog() (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(s.Log), 0o755); err != nil {
		return nil, err
	}
	return os.OpenFile(s.Log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}
