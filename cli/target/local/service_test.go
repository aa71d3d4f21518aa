package local

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/smart-assistant/platform/cli/postgres/postgrestest"
	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/cli/target/targettest"
)

// TestTheServiceItself runs assistd, of which the suite's replica program is a small image.
func TestTheServiceItself(t *testing.T) {
	path := filepath.Join(postgrestest.Dir(t), "assistd")
	cmd := exec.Command("go", "build", "-o", path, "-ldflags", "-X main.version=v7", "github.com/smart-assistant/platform/service/assistd") //nolint:gosec // the test's own folder
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	sum, err := targettest.Hash(path)
	if err != nil {
		t.Fatal(err)
	}
	build := target.Build{Version: "v7", Artifact: path, SHA256: sum}
	e := newEnvironment(t)
	up(t, e)
	assistd := func(args ...string) string {
		var out bytes.Buffer
		if err := e.Exec(t.Context(), build, nil, args, &out, nil); err != nil {
			t.Fatalf("assistd %q: %v\n%s", args, err, out.String())
		}
		return out.String()
	}
	assistd("migrate", "up")
	var said []string
	err = e.Deploy(t.Context(), target.Deployment{Build: build, Fence: 1, Canary: true}, func(_, _ int, detail string) { said = append(said, detail) })
	if err != nil {
		t.Fatal(err)
	}
	if !status(t, e).Settled(build) {
		t.Errorf("not settled: %+v", status(t, e))
	}
	if got := fetch(t, e, "/version"); !strings.Contains(got.body, `"v7"`) {
		t.Errorf("the service answers %s", got)
	}
	assistd("smoke", "--url", status(t, e).URL, "--version", "v7")
	replaced := target.Deployment{Build: build, Settings: map[string]string{"ASSISTD_LOG_LEVEL": "debug"}, Fence: 1}
	done := make(chan error, 1)
	go func() { done <- e.Deploy(t.Context(), replaced, nil) }()
	for replacing := true; replacing; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			replacing = false
		default:
			assistd("smoke", "--url", status(t, e).URL, "--reads", "4")
		}
	}
	if len(said) == 0 {
		t.Error("no progress was told")
	}
}
