package kubernetes

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/target"
)

// script is an executable in Pulumi's place.
func script(t *testing.T, content string) command {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pulumi")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+content), 0o755); err != nil {
		t.Fatal(err)
	}
	c, err := findPulumi(path, &children{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRun(t *testing.T) {
	c := script(t, `echo "out $1 $TEST"; echo err >&2; exit 3`)
	var seen strings.Builder
	out, errOut, code, err := c.Run(t.Context(), t.TempDir(), nil, []io.Writer{&seen}, nil, []string{"TEST=x"}, "up")
	if out != "out --non-interactive x\n" || errOut != "err\n" || code != 3 || err == nil || seen.String() != out {
		t.Errorf("%q %q %d %v", out, errOut, code, err)
	}
}

// An update that is interrupted writes its state; one that is killed leaves a lock.
func TestInterrupt(t *testing.T) {
	c := script(t, `trap 'echo written; exit 1' INT; echo began; while :; do sleep 0.05; done`)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("another wants the turn")
	began := writer(func(p []byte) {
		if strings.Contains(string(p), "began") {
			cancel(why)
		}
	})
	out, _, _, err := c.Run(ctx, t.TempDir(), nil, []io.Writer{began}, nil, nil, "up")
	if !errors.Is(err, why) || !strings.Contains(out, "written") {
		t.Errorf("%q %v", out, err)
	}
}

type writer func([]byte)

func (w writer) Write(p []byte) (int, error) { w(p); return len(p), nil }

func TestVersion(t *testing.T) {
	if v := script(t, "echo v3.232.0").Version(); v.String() != "3.232.0" {
		t.Error(v)
	}
	if v := script(t, "exit 1").Version(); v.String() != "0.0.0" {
		t.Error(v)
	}
}

func TestNoPulumi(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := findPulumi("", &children{}); err == nil || fault.HintOf(err) == "" {
		t.Error(err)
	}
}

func openFake(t *testing.T, content string) *Environment {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Pulumi.yaml"), []byte("name: smart-assistant\nruntime: go\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := Open(Config{Environment: "prod", Dir: dir, Pulumi: script(t, content).path})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// A stack that was never brought up is an environment that is not up, and not an error.
func TestNeverUp(t *testing.T) {
	for name, script := range map[string]string{
		"no stack":   `echo "error: no stack named 'prod' found" >&2; exit 255`,
		"no outputs": `echo '{}'`,
	} {
		e := openFake(t, script)
		if s, err := e.Status(t.Context()); err != nil || s.Up || s.Environment != "prod" {
			t.Errorf("%s: status %+v %v", name, s, err)
		}
		err := e.Deploy(t.Context(), target.Deployment{Build: target.Build{Version: "v1", SHA256: "1"}}, nil)
		if !errors.Is(err, target.ErrDown) || fault.HintOf(err) != "pulumi up --stack prod" || fault.CodeOf(err) != fault.Unreachable {
			t.Errorf("%s: Deploy returned %v", name, err)
		}
		if _, err := e.Traffic(t.Context(), time.Minute); !errors.Is(err, target.ErrDown) {
			t.Errorf("%s: Traffic returned %v", name, err)
		}
	}
}

// What Pulumi cannot tell is an error: nothing is known then.
func TestPulumiFails(t *testing.T) {
	e := openFake(t, `echo "error: passphrase must be set with PULUMI_CONFIG_PASSPHRASE" >&2; exit 255`)
	if _, err := e.Status(t.Context()); err == nil || !strings.Contains(err.Error(), "passphrase must be set") || errors.Is(err, target.ErrDown) {
		t.Errorf("Status returned %v", err)
	}
	if _, err := openFake(t, `echo '{"environment":{"format":9}}'`).Status(t.Context()); err == nil || !strings.Contains(err.Error(), "format 9") {
		t.Errorf("Status returned %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, c := range []Config{{Environment: "../x", Dir: "/tmp"}, {Environment: "prod", Dir: "relative"}, {Environment: "prod", Stack: "-x", Dir: "/tmp"}} {
		if _, err := Open(c); fault.CodeOf(err) != fault.Usage {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
