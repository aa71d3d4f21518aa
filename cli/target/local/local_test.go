package local

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/postgres/postgrestest"
	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/cli/target/targettest"
)

// The test binary is its own supervisor: TestMain runs Supervise when it is told to.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "supervise" {
		if err := Supervise(context.Background(), Supervision{Dir: os.Args[2]}); err != nil {
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

func TestUpDeployDown(t *testing.T) {
	e := newEnvironment(t)
	up(t, e)
	deploy(t, e, targettest.V1, 1)
	st := status(t, e)
	if !st.Settled(targettest.V1) {
		t.Errorf("not settled: %+v", st)
	}
	t.Logf("%+v", st)
}
