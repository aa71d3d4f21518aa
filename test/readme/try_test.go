package readme

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/smart-assistant/platform/cli/postgres/postgrestest"
)

// TestTry: `make try` starts the service, a second time finds it running and changes nothing, and with STOP=1 nothing of it is left running.
func TestTry(t *testing.T) {
	dir, err := os.MkdirTemp("", "try-*") // not t.TempDir: PostgreSQL's user has to get through
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // see above
		t.Fatal(err)
	}
	port := postgrestest.FreePort(t)
	try := func(arguments ...string) {
		t.Helper()
		command := exec.CommandContext(context.WithoutCancel(t.Context()), "make", append([]string{"-C", "../..", "try"}, arguments...)...) //nolint:gosec // as the README has it
		command.Env = append(os.Environ(), "XDG_CONFIG_HOME="+dir+"/config", "XDG_STATE_HOME="+dir+"/state", "NO_COLOR=1",
			"ASSISTCTL_LOCAL_DATA_DIR="+dir+"/data", fmt.Sprintf("ASSISTCTL_ENVIRONMENTS_DEV_PORTS_PROXY=%d", port))
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("make try %q: %v\n%s", arguments, err, out)
		}
	}
	stopped := false
	t.Cleanup(func() {
		if !stopped {
			try("STOP=1")
		}
	})
	try()
	running := processes(dir)
	ready(t, port)
	try()
	if again := processes(dir); len(running) < 3 || !slices.Equal(again, running) {
		t.Errorf("a second time it runs as\n%s\nand before\n%s", strings.Join(again, "\n"), strings.Join(running, "\n"))
	}
	ready(t, port)
	try("STOP=1")
	stopped = true
	if left := processes(dir); len(left) > 0 {
		t.Errorf("left behind: %s", strings.Join(left, "; "))
	}
	if answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/health", port)); err == nil {
		_ = answer.Body.Close()
		t.Errorf("stopped, it answers %s", answer.Status)
	}
}

func ready(t *testing.T, port int) {
	t.Helper()
	answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/ready", port))
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("/ready: %s", answer.Status)
	}
}

// processes lists the programs that were started with a folder: PostgreSQL's own children come and go.
func processes(dir string) (found []string) {
	all, _ := filepath.Glob("/proc/[0-9]*") // the pattern is right
	for _, process := range all {
		if line, err := os.ReadFile(process + "/cmdline"); err == nil && bytes.Contains(line, []byte(dir)) { // else it has ended
			found = append(found, filepath.Base(process)+" "+string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
		}
	}
	return found
}
