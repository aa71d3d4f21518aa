package local

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/postgres/postgrestest"
	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/cli/target/targettest"
)

// The test binary is its own supervisor: TestMain runs Supervise when it is told to.
func TestMain(m *testing.M) {
	if len(os.Args) >= 3 && os.Args[1] == "supervise" {
		if err := Supervise(context.Background(), Supervision{Dir: os.Args[2], Jobs: testJobs(os.Args[3:])}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) == 4 && os.Args[1] == "live-as-a-user" {
		if err := liveAsAUser(os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(targettest.Main(m))
}

// newEnvironment describes an environment in a temporary folder; the test's end takes it down.
func newEnvironment(t *testing.T, change ...func(*Config)) *Environment {
	t.Helper()
	root := postgrestest.Dir(t)
	c := Config{
		Environment: "test", Root: root, Replicas: 2,
		PostgresBin: os.Getenv("ASSISTCTL_POSTGRES_BIN"), PostgresSettings: map[string]string{"fsync": "off", "shared_buffers": "16MB"},
		Versitygw:    versitygwPath(t),
		ReadyTimeout: 20 * time.Second, DrainTimeout: 10 * time.Second, StopTimeout: 5 * time.Second,
		Supervise: []string{"supervise", filepath.Join(root, "test")},
	}
	for _, f := range change {
		f(&c)
	}
	e, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if t.Failed() {
			log, _ := os.ReadFile(e.logPath(supervisorName))
			t.Logf("supervisor's log:\n%s", log)
		}
		if err := e.Down(ctx); err != nil {
			t.Error(err)
		}
		if left, err := marked(e.dir); err != nil || len(left) > 0 {
			t.Errorf("processes left: %v %v", left, err)
		}
	})
	return e
}

// versitygwPath is the S3 server's program: named by the environment, or the one that `make tools` puts into the repository's bin.
func versitygwPath(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("ASSISTCTL_VERSITYGW"); path != "" {
		return path
	}
	path, err := filepath.Abs("../../../bin/versitygw")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func up(t *testing.T, e *Environment) {
	t.Helper()
	if _, err := e.Up(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

func status(t *testing.T, e *Environment) target.Status {
	t.Helper()
	st, err := e.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func deploy(t *testing.T, e *Environment, b target.Build, fence int64) {
	t.Helper()
	if err := e.Deploy(t.Context(), target.Deployment{Build: b, Fence: fence}, nil); err != nil {
		t.Fatal(err)
	}
}

// running returns the environment's processes: a component's or replica's name to its number.
func running(st target.Status) map[string]int {
	pids := map[string]int{}
	for _, c := range st.Components {
		pids[c.Name] = c.PID
	}
	for _, r := range st.Replicas {
		pids[r.Name] = r.PID
	}
	return pids
}

// supervisorPID is the process that looks after the environment.
func supervisorPID(t *testing.T, e *Environment) int {
	t.Helper()
	var id processID
	if err := readJSON(e.supervisorPath(), &id); err != nil || !id.alive() {
		t.Fatalf("there is no supervisor: %+v %v", id, err)
	}
	return id.PID
}

// kill ends a process that this test's environment started, without a warning.
func kill(t *testing.T, pid int) {
	t.Helper()
	if pid <= 1 {
		t.Fatalf("there is no process to kill: %d", pid)
	}
	id, err := identify(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := id.signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the killed process is gone", func() bool { return !id.alive() })
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain until %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// fetched is an answer, read whole.
type fetched struct {
	status int
	header http.Header
	body   string
}

func (f fetched) String() string { return fmt.Sprintf("%d %v %s", f.status, f.header, f.body) }

// refused reports whether the entrance answered by itself that the client may come back later.
func (f fetched) refused() bool {
	return f.status == http.StatusServiceUnavailable && f.header.Get("Retry-After") != "" && f.header.Get("Content-Type") == "application/problem+json"
}

// fetch asks the environment's entrance.
func fetch(t *testing.T, e *Environment, path string) fetched {
	t.Helper()
	r, err := http.Get(status(t, e).URL + path) //nolint:noctx // the test's own time limit does
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close() //nolint:errcheck // only read
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fetched{r.StatusCode, r.Header, string(body)}
}
