package kubernetes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/blang/semver"
	"github.com/pulumi/pulumi/sdk/v3/go/auto"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/target/kubernetes/unasked"
)

// Pulumi's packages are initialized by now.
func init() { unasked.Restore() }

// command runs Pulumi's command line for the Automation API. The API's own runner leaves the child in the caller's process group, where a
// Ctrl-C would reach Pulumi at the same time as its caller, and kills it ten seconds after it was asked to end; a killed update leaves a
// lock and pending operations behind.
type command struct {
	path     string
	version  func() semver.Version
	children *children
}

// children are the processes that this one has started and that have ended: a lock of theirs is nobody's.
type children struct {
	mu   sync.Mutex
	gone []int
}

func (c *children) end(pid int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = append(c.gone, pid)
}

// ended reports whether a lock is one of theirs.
func (c *children) ended(by lock) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return by.here() && slices.Contains(c.gone, by.pid)
}

var _ auto.PulumiCommand = command{}

// patience is how long an interrupted Pulumi may take to write its state down.
const patience = 90 * time.Second

// findPulumi looks for the command line. The version is asked for when it is needed, which is not for reading outputs.
func findPulumi(path string, known *children) (command, error) {
	if path == "" {
		found, err := exec.LookPath("pulumi")
		if err != nil {
			return command{}, fault.Hint(errors.New("pulumi is not on the PATH"), "install Pulumi's command line (pulumi.com/docs/install), or name it: --set kubernetes.pulumi=<path>")
		}
		path = found
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return command{}, err
	}
	return command{path: path, version: sync.OnceValue(func() semver.Version { return versionOf(path) }), children: known}, nil
}

func versionOf(path string) semver.Version {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "version")
	cmd.Env = append(os.Environ(), "PULUMI_SKIP_UPDATE_CHECK=true")
	out, err := cmd.Output()
	if err != nil {
		return semver.Version{}
	}
	v, err := semver.ParseTolerant(strings.TrimSpace(string(out)))
	if err != nil {
		return semver.Version{}
	}
	return v
}

// Version implements auto.PulumiCommand; zero when it cannot be found out.
func (c command) Version() semver.Version { return c.version() }

// Run implements auto.PulumiCommand. When ctx ends, the child is interrupted, which makes the engine cancel what it waits for, write its
// state and give the lock back.
func (c command) Run(
	ctx context.Context, dir string, stdin io.Reader, outs, errOuts []io.Writer, env []string, args ...string,
) (stdout, stderr string, code int, err error) {
	if !slices.Contains(args, "--non-interactive") {
		args = append([]string{"--non-interactive"}, args...)
	}
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, c.path, args...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), env...), "PULUMI_AUTOMATION_API=true", "PULUMI_SKIP_UPDATE_CHECK=true",
		"PATH="+filepath.Dir(c.path)+string(os.PathListSeparator)+os.Getenv("PATH")) // the language host stands beside it
	cmd.Stdin = stdin
	cmd.Stdout = io.MultiWriter(append(slices.Clip(outs), &out)...)
	cmd.Stderr = io.MultiWriter(append(slices.Clip(errOuts), &errOut)...)
	tie(cmd)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = patience
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the kernel ties a child to the thread that started it
		defer runtime.UnlockOSThread()
		ended <- cmd.Run()
	}()
	err = <-ended
	code = -2 // as the Automation API's own runner says that there is none
	if cmd.ProcessState != nil {
		c.children.end(cmd.Process.Pid)
		code = cmd.ProcessState.ExitCode()
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w (%w)", context.Cause(ctx), err)
	}
	return out.String(), errOut.String(), code, err
}

// said is what Pulumi complained of: the lines that begin with "error:", and what is indented below them. The rest of what it prints is long.
func said(output string) string {
	var kept []string
	taking := false
	for line := range strings.Lines(output) {
		text := strings.TrimRight(line, "\r\n")
		for _, stream := range []string{"stdout: ", "stderr: "} { // as the Automation API quotes them
			text = strings.TrimPrefix(text, stream)
		}
		trimmed := strings.TrimSpace(text)
		if rest, ok := strings.CutPrefix(trimmed, "error:"); ok {
			taking, trimmed = true, strings.TrimSpace(rest)
		} else if trimmed == "" || text == trimmed {
			taking = false
		}
		if taking && trimmed != "" && !slices.Contains(kept, trimmed) && len(kept) < 12 {
			kept = append(kept, trimmed)
		}
	}
	return strings.Join(kept, "; ")
}
