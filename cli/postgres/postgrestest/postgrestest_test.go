package postgrestest_test

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/postgres/postgrestest"
)

// child makes TestKilledTestLeavesNothing play the test that is killed.
const child = "POSTGRESTEST_CHILD"

func TestKilledTestLeavesNothing(t *testing.T) {
	if os.Getenv(child) != "" {
		s := postgrestest.Start(t)
		pid, _ := s.PID()
		fmt.Printf("\n%d %s\n", pid, s.DataDir)
		select {}
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$") //nolint:gosec // this very program
	cmd.Env = append(os.Environ(), child+"=yes")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	var dir string
	for lines := bufio.NewScanner(out); pid == 0 && lines.Scan(); {
		_, _ = fmt.Sscan(lines.Text(), &pid, &dir) // other lines are the test's own
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if pid == 0 {
		t.Fatal("the server did not start")
	}
	for _, path := range []string{fmt.Sprintf("/proc/%d", pid), filepath.Dir(filepath.Dir(dir))} {
		for {
			if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}
