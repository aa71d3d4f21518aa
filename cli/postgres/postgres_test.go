package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/postgres"
	"github.com/smart-assistant/platform/cli/postgres/postgrestest"
)

func TestServerLife(t *testing.T) {
	ctx := t.Context()
	s := postgrestest.Start(t)

	conn := connect(t, s.URL("postgres"))
	for query, want := range map[string]string{
		"show listen_addresses":        "127.0.0.1",
		"show unix_socket_directories": "",
		"show data_checksums":          "on",
		"show server_encoding":         "UTF8",
		"show wal_level":               "replica",
		"show password_encryption":     "scram-sha-256",
		"show timezone":                "UTC",
		"select datcollate from pg_database where datname = 'postgres'":                "C.UTF-8",
		"select current_setting('max_wal_senders')::int >= 4":                          "true",
		"select string_agg(distinct auth_method, ',') from pg_hba_file_rules":          "scram-sha-256",
		"select string_agg(rolname, ',') from pg_roles where rolcanlogin and rolsuper": "postgres",
	} {
		var got any
		if err := conn.QueryRow(ctx, query).Scan(&got); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%s = %v, want %s", query, got, want)
		}
	}
	exec1(t, conn, "create table kept (n int)")
	exec1(t, conn, "insert into kept select generate_series(1, 100)")

	pid, runs := s.PID()
	if !runs {
		t.Fatal("PID says that nothing runs")
	}
	if err := s.Init(ctx, "another"); err != nil {
		t.Errorf("Init on a living cluster: %v", err)
	}
	if err := s.Server.Start(ctx); err != nil {
		t.Errorf("second Start: %v", err)
	}
	if again, _ := s.PID(); again != pid {
		t.Errorf("second Start replaced process %d by %d", pid, again)
	}
	if session, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err != nil {
		t.Error(err)
	} else if fields := strings.Fields(string(session)); fields[5] != strconv.Itoa(pid) {
		t.Errorf("the server is in session %s, want one of its own, %d", fields[5], pid)
	}

	control, err := s.Control(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var system string
	if err := conn.QueryRow(ctx, "select system_identifier::text from pg_control_system()").Scan(&system); err != nil {
		t.Fatal(err)
	}
	if strconv.FormatUint(control.SystemIdentifier, 10) != system || control.State != "in production" || control.TimeLineID != 1 ||
		!control.Checksums || control.WALSegmentBytes != 16<<20 || control.CheckpointLSN == "" {
		t.Errorf("control = %+v, want system %s in production on timeline 1 with checksums", control, system)
	}

	for _, mode := range []string{postgres.Fast, postgres.Immediate} {
		if err := s.Stop(ctx, mode); err != nil {
			t.Fatal(err)
		}
		if pid, runs := s.PID(); runs {
			t.Fatalf("process %d runs after Stop(%s)", pid, mode)
		}
		if err := s.Stop(ctx, mode); err != nil {
			t.Errorf("second Stop: %v", err)
		}
		if err := s.Server.Start(ctx); err != nil {
			t.Fatalf("Start after Stop(%s): %v", mode, err)
		}
		if n := count(t, s.URL("postgres")); n != 100 {
			t.Errorf("%d rows after Stop(%s), want 100", n, mode)
		}
	}
	if err := s.Stop(ctx, "smart-ish"); err == nil {
		t.Error("an unknown stop mode was accepted")
	}
}

func TestServerComesBackAfterItsPostmasterWasKilled(t *testing.T) {
	s := postgrestest.Start(t, postgrestest.WithSettings(map[string]string{"fsync": "on"}))
	conn := connect(t, s.URL("postgres"))
	exec1(t, conn, "create table kept as select generate_series(1, 100) n")

	pid, _ := s.PID()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for again, runs := s.PID(); runs && again == pid; again, runs = s.PID() { // a killed process takes a moment to end
		time.Sleep(time.Millisecond)
	}
	if err := s.Server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := count(t, s.URL("postgres")); n != 100 {
		t.Errorf("%d rows, want 100", n)
	}
}

// After a reboot the number in a stale postmaster.pid may belong to anybody.
func TestStalePIDFileOfAStranger(t *testing.T) {
	s := postgrestest.Start(t)
	if err := s.Stop(t.Context(), postgres.Fast); err != nil {
		t.Fatal(err)
	}
	owner, err := postgres.ServerOwner()
	if err != nil {
		t.Fatal(err)
	}
	stranger := owner.Command(t.Context(), "sleep", "600")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- stranger.Wait() }()
	file := filepath.Join(s.DataDir, "postmaster.pid")
	stale := fmt.Sprintf("%d\n%s\n1700000000\n%d\n\n127.0.0.1\n  1  2\nready   \n", stranger.Process.Pid, s.DataDir, s.Port)
	if err := os.WriteFile(file, []byte(stale), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := owner.Chown(file); err != nil {
		t.Fatal(err)
	}

	if pid, runs := s.PID(); runs {
		t.Errorf("PID takes the stranger %d for the server", pid)
	}
	if err := s.Stop(t.Context(), postgres.Immediate); err != nil {
		t.Error(err)
	}
	if err := s.Server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		t.Fatalf("the stranger was ended: %v", err)
	default:
	}
	if err := stranger.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-ended
}

func TestStartFailureShowsTheLogAndLeavesNothing(t *testing.T) {
	s := postgrestest.New(t)
	if err := s.Server.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "not a database cluster") {
		t.Fatalf("Start without a cluster: %v", err)
	}
	if err := s.Init(t.Context(), postgrestest.Password); err != nil {
		t.Fatal(err)
	}

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s.Port = taken.Addr().(*net.TCPAddr).Port
	err = s.Server.Start(t.Context())
	if err == nil || !strings.Contains(err.Error(), "Address already in use") {
		t.Errorf("Start on a taken port: %v, want the server's own message", err)
	}

	s.Port = postgrestest.FreePort(t)
	s.Settings["shared_buffers"] = "a lot"
	err = s.Server.Start(t.Context())
	if err == nil || !strings.Contains(err.Error(), `invalid value for parameter "shared_buffers"`) || strings.Contains(err.Error(), "Address already") {
		t.Errorf("Start with a bad setting: %v, want this start's own message", err)
	}
	delete(s.Settings, "shared_buffers")

	cancelled, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("the operator gave up")
	cancel(stop)
	if err := s.Server.Start(cancelled); !errors.Is(err, stop) {
		t.Errorf("cancelled Start: %v, want %v", err, stop)
	}
	if pid, runs := s.PID(); runs {
		t.Errorf("process %d is left", pid)
	}
	if err := s.Server.Start(t.Context()); err != nil {
		t.Error(err)
	}
	elsewhere := *s.Server
	elsewhere.Port++
	if err := elsewhere.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "already runs on port") {
		t.Errorf("Start of a running server on another port: %v", err)
	}
}

func TestInitLeavesNothingHalfDone(t *testing.T) {
	s := postgrestest.New(t)
	if err := s.Init(t.Context(), ""); err == nil {
		t.Error("an empty password was accepted")
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Init(cancelled, "x"); err == nil {
		t.Error("a cancelled Init succeeded")
	}
	left, err := filepath.Glob(s.DataDir + "*")
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	if err := os.MkdirAll(s.DataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	precious := filepath.Join(s.DataDir, "precious")
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Init(t.Context(), "x"); err == nil {
		t.Error("Init took a folder that holds something else")
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
}

func TestReachNamesTheClosedFolder(t *testing.T) {
	closed := filepath.Join(postgrestest.Dir(t), "closed")
	if err := os.MkdirAll(filepath.Join(closed, "open"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	stranger := &postgres.Owner{UID: os.Getuid() + 1, GID: os.Getgid() + 1, Name: "stranger"}
	err := stranger.Reach(filepath.Join(closed, "open", "data"))
	if err == nil || !strings.Contains(err.Error(), closed+" is closed") || !strings.Contains(fault.HintOf(err), "chmod o+x "+closed) {
		t.Errorf("Reach = %v (hint %q), want %s named", err, fault.HintOf(err), closed)
	}
	self := &postgres.Owner{UID: os.Getuid(), GID: os.Getgid()}
	if err := self.Reach(filepath.Join(closed, "open", "data")); err != nil {
		t.Errorf("the folder's own user: %v", err)
	}
}

func TestFind(t *testing.T) {
	found, err := postgres.Find("")
	if err != nil {
		t.Fatal(err)
	}
	if found.Major < postgres.OldestMajor {
		t.Errorf("found %+v", found)
	}
	if again, err := postgres.Find(filepath.Dir(found.Dir)); err != nil || filepath.Base(found.Dir) == "bin" && again != found {
		t.Errorf("Find(%s) = %+v, %v; want %+v", filepath.Dir(found.Dir), again, err, found)
	}

	t.Setenv(postgres.BinEnv, t.TempDir())
	if _, err := postgres.Find(""); err == nil {
		t.Error("an empty folder in the environment was passed over")
	}
	t.Setenv(postgres.BinEnv, found.Dir)
	if again, err := postgres.Find(""); err != nil || again != found {
		t.Errorf("by the environment: %+v, %v; want %+v", again, err, found)
	}
	t.Setenv(postgres.BinEnv, "")

	// A link on PATH leads to its neighbours.
	links := t.TempDir()
	if err := os.Symlink(found.Path("postgres"), filepath.Join(links, "postgres")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", links+":"+os.Getenv("PATH"))
	if again, err := postgres.Find(""); err != nil || again != found {
		t.Errorf("through a link: %+v, %v; want %+v", again, err, found)
	}

	old := t.TempDir()
	for name, script := range map[string]string{"postgres": "echo 'postgres (PostgreSQL) 14.9'", "initdb": "", "pg_controldata": ""} {
		if err := os.WriteFile(filepath.Join(old, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := postgres.Find(old); err == nil || !strings.Contains(err.Error(), "is PostgreSQL 14") || fault.HintOf(err) == "" {
		t.Errorf("PostgreSQL 14: %v, hint %q", err, fault.HintOf(err))
	}
	// Version 14 first on PATH does not hide the good one further on.
	t.Setenv("PATH", old+":"+os.Getenv("PATH"))
	if again, err := postgres.Find(""); err != nil || again.Major < postgres.OldestMajor {
		t.Errorf("with version 14 on PATH: %+v, %v", again, err)
	}
	if _, err := postgres.Find(t.TempDir()); err == nil || !strings.Contains(fault.HintOf(err), "apt-get install postgresql") {
		t.Errorf("empty folder: %v, hint %q", err, fault.HintOf(err))
	}
	if _, err := exec.LookPath(found.Path("postgres")); err != nil {
		t.Error(err)
	}
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func exec1(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, url string) (n int) {
	t.Helper()
	if err := connect(t, url).QueryRow(t.Context(), "select count(*) from kept").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
