// Package e2e drives the built assistctl as its users do, against real servers on this machine: the promises of the README, each as a test.
//
// It owns the machine (a configuration, its folders, its processes, all of them gone at the end) and the stories that need a whole
// product. What one package promises is tested in that package.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/test/builds"
)

// Binaries, built once: assistctl, and the service in its variants.
var binaries string

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "assistctl-e2e-*")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	binaries = dir
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "assistctl"), "../../cli/assistctl")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("build assistctl: %w\n%s", err, out)
	}
	for version, variant := range map[string]string{"v1": builds.V1, "v2": builds.Current, "v3": builds.Stale, "v4": builds.Late} {
		if err := builds.Build(context.Background(), variant, version, filepath.Join(dir, version)); err != nil {
			return 0, err
		}
	}
	return m.Run(), nil
}

// machine is a user's machine with staging and prod on it.
type machine struct {
	t    *testing.T
	dir  string
	conf string
	env  []string
}

const configuration = `
project: e2e
order: [staging, prod]
environments:
  staging:
    replicas: 1
    gates: {verify_window: 1s}
    backup: {schedule: never, prune: never}
  prod:
    replicas: 2
    confirm: true
    gates: {soak: 0s, verify_window: %s}
    backup: {schedule: never, prune: never}
    %s
local:
  data_dir: %s
  postgres_settings: {fsync: "off"}
`

// newMachine brings staging and prod up, with v1 in both and v2 in staging, and a backup of prod.
func newMachine(t *testing.T, window string) *machine {
	t.Helper()
	m := bareMachine(t, window)
	m.must("local", "up")
	m.must("release", "create", "v1", "--binary", filepath.Join(binaries, "v1"))
	m.must("release", "create", "v2", "--binary", filepath.Join(binaries, "v2"))
	m.must("deploy", "staging", "v1")
	m.promote()
	m.must("backup", "create", "prod")
	m.must("deploy", "staging", "v2")
	return m
}

func bareMachine(t *testing.T, window string) *machine {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e-*")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil { // as root, PostgreSQL's own user has to get through
		t.Fatal(err)
	}
	m := &machine{t: t, dir: dir, conf: filepath.Join(dir, "assistctl.yaml")}
	m.env = append(os.Environ(), "XDG_CONFIG_HOME="+filepath.Join(dir, "config"), "XDG_STATE_HOME="+filepath.Join(dir, "state"), "NO_COLOR=1")
	if os.Getenv("ASSISTCTL_VERSITYGW") == "" { // as `make tools` leaves it
		built, err := filepath.Abs("../../bin/versitygw")
		if err != nil {
			t.Fatal(err)
		}
		m.env = append(m.env, "ASSISTCTL_VERSITYGW="+built)
	}
	m.configure(window, "")
	t.Cleanup(m.clear)
	return m
}

// configure writes the configuration file; extra are further lines of prod.
func (m *machine) configure(window, extra string) {
	m.t.Helper()
	text := fmt.Sprintf(configuration, window, extra, filepath.Join(m.dir, "data"))
	if err := os.WriteFile(m.conf, []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// clear ends the environments and removes the folder. A process that is left is a failure.
func (m *machine) clear() {
	if m.t.Failed() {
		if out, err := m.command("status").CombinedOutput(); err == nil {
			m.t.Logf("status at the end:\n%s", out)
		}
		if out, err := m.command("history", "prod").CombinedOutput(); err == nil {
			m.t.Logf("history at the end:\n%s", out)
		}
	}
	if out, err := m.command("local", "down").CombinedOutput(); err != nil {
		m.t.Errorf("local down: %v\n%s", err, out)
	}
	if left := m.processes(); len(left) > 0 {
		m.t.Errorf("left behind: %s", strings.Join(left, "; "))
	}
	if err := os.RemoveAll(m.dir); err != nil {
		m.t.Error(err)
	}
}

// processes lists those that run in the machine's folder or were started with it.
func (m *machine) processes() []string {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var left []string
	for _, dir := range dirs {
		cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if bytes.Contains(cmdline, []byte(m.dir)) {
			left = append(left, filepath.Base(dir)+" "+string(bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '})))
		}
	}
	return left
}

func (m *machine) command(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(binaries, "assistctl"), append([]string{"--config", m.conf}, args...)...)
	cmd.Env = m.env
	cmd.Dir = m.dir
	return cmd
}

// result is what a command said.
type result struct {
	code        int
	out, errOut string
}

func (m *machine) run(args ...string) result {
	m.t.Helper()
	cmd := m.command(args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		m.t.Fatalf("assistctl %s: %v", strings.Join(args, " "), err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errOut.String()}
}

func (m *machine) must(args ...string) result {
	m.t.Helper()
	r := m.run(args...)
	if r.code != 0 {
		m.t.Fatalf("assistctl %s: exit status %d\n%s%s", strings.Join(args, " "), r.code, r.out, r.errOut)
	}
	return r
}

var promoteProd = []string{"promote", "staging", "prod", "--yes", "--confirm=prod"}

func (m *machine) promote() result {
	m.t.Helper()
	return m.must(promoteProd...)
}

// ask decodes what a command prints with --json.
func (m *machine) ask(into any, args ...string) {
	m.t.Helper()
	r := m.must(append(args, "--json")...)
	if err := json.Unmarshal([]byte(r.out), into); err != nil {
		m.t.Fatalf("assistctl %s --json: %v\n%s", strings.Join(args, " "), err, r.out)
	}
}

// status is what the tests read of an environment.
type status struct {
	Environment, URL, Release, Runs string
	Want, Ready                     int
	Schema                          int64
	Unfinished                      int
}

func (m *machine) status(env string) status {
	m.t.Helper()
	var all []status
	m.ask(&all, "status")
	for _, s := range all {
		if s.Environment == env {
			return s
		}
	}
	m.t.Fatalf("status does not speak of %s", env)
	return status{}
}

// database connects to an environment's database as the superuser.
func (m *machine) database(env string) *pgx.Conn {
	m.t.Helper()
	url, err := os.ReadFile(filepath.Join(m.dir, "data", env, "secrets", "database-url"))
	if err != nil {
		m.t.Fatal(err)
	}
	conn, err := pgx.Connect(m.t.Context(), strings.TrimSpace(string(url)))
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { conn.Close(context.Background()) }) //nolint:errcheck // the server may be gone
	return conn
}

// kill sends SIGKILL and reaps.
func kill(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(syscall.SIGKILL)
	_ = cmd.Wait()
}

// eventually polls until what holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}
