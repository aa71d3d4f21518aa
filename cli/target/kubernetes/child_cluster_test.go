//go:build cluster

package kubernetes

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/target"
)

// A deployment in a process of its own, which a test can kill: this test's program, told by a variable.

const childVariable = "KUBERNETES_TARGET_CHILD"

// runChild deploys as it is told, and does not return, when this process is such a child.
func runChild() {
	text := os.Getenv(childVariable)
	if text == "" {
		return
	}
	var task struct {
		Config     Config
		Deployment target.Deployment
	}
	if err := json.Unmarshal([]byte(text), &task); err != nil {
		panic(err)
	}
	e, err := Open(task.Config)
	if err == nil {
		err = e.Deploy(context.Background(), task.Deployment, nil)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func deployInChild(t *testing.T, e *Environment, b target.Build, fence int64) *os.Process {
	t.Helper()
	task, err := json.Marshal(struct {
		Config     any
		Deployment target.Deployment
	}{withoutFunctions(e.config), target.Deployment{Build: b, Fence: fence, Images: map[string]string{"assistctl": "sha256:" + b.SHA256}}})
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childVariable+"="+string(task))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd.Process
}

// withoutFunctions is a configuration that can be written as JSON.
func withoutFunctions(c Config) map[string]any {
	return map[string]any{
		"Environment": c.Environment, "Stack": c.Stack, "Dir": c.Dir, "Pulumi": c.Pulumi, "Env": c.Env, "Kubeconfig": c.Kubeconfig, "ReadyTimeout": c.ReadyTimeout,
	}
}

// awaitRolling waits until the cluster starts replicas of a build.
func awaitRolling(t *testing.T, e *Environment, b target.Build) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		s, err := e.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range s.Replicas {
			if r.Build.SHA256 == b.SHA256 {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("no replica of %s: %+v", b.Version, s)
		}
	}
}

// pulumis are the processes of Pulumi that work on the environment's stack: the engine first.
func pulumis(t *testing.T, e *Environment) []int {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []int
	for _, path := range all {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		args := strings.Split(string(raw), "\x00")
		if args[0] == e.config.Pulumi && strings.Contains(string(raw), e.config.Stack) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, pid)
		}
	}
	if len(found) == 0 {
		t.Fatal("Pulumi does not run")
	}
	return found
}

func kill9(t *testing.T, pid int, more ...int) {
	t.Helper()
	for _, p := range append([]int{pid}, more...) {
		if err := syscall.Kill(p, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
}
