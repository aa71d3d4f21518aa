package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"syscall"

	"github.com/smart-assistant/platform/cli/target"
)

// serviceEnv is the whole environment of a process of the service: settings, over which the target's own values win.
func (e *Environment) serviceEnv(settings, own map[string]string) []string {
	all := map[string]string{}
	for _, name := range []string{"PATH", "HOME", "TZ", "LANG", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"} {
		if v, ok := os.LookupEnv(name); ok {
			all[name] = v
		}
	}
	all["ASSISTD_TRUSTED_PROXIES"] = "127.0.0.1/32,::1/128" // the entrance, which is in front of every replica
	maps.Copy(all, settings)
	all["ASSISTD_JWT_KEY_FILE"] = e.secretPath(jwtKeyFile)
	all["ASSISTD_MASTER_KEY_FILE"] = e.secretPath(masterKeyFile)
	delete(all, "ASSISTD_DATABASE_URL")
	if all["ASSISTD_DATABASE_URL_FILE"] = e.secretPath(databaseURLFile); own["ASSISTD_DATABASE_URL"] != "" {
		delete(all, "ASSISTD_DATABASE_URL_FILE")
	}
	maps.Copy(all, own)
	var env []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		env = append(env, name+"="+all[name])
	}
	return env
}

// Exec implements target.Target. The build is installed from its artifact when it is not there. When ctx ends, the process gets
// SIGTERM, and SIGKILL after Config.StopTimeout.
func (e *Environment) Exec(ctx context.Context, b target.Build, settings map[string]string, args []string, stdout, stderr io.Writer) error {
	if err := e.ensureBuild(ctx, b); err != nil {
		return err
	}
	if err := e.writeDatabaseURL(); err != nil {
		return fmt.Errorf("run assistd %q of %s: %w", args, b.Version, err)
	}
	return e.exec(ctx, b, settings, nil, args, stdout, stderr)
}

// ExecOn is Exec against another database than the live one: a restored cluster that Try has started. databaseURL holds a password and
// goes to the process by its environment.
func (e *Environment) ExecOn(ctx context.Context, databaseURL string, b target.Build, args []string, stdout, stderr io.Writer) error {
	if err := e.verifyBuild(b); err != nil {
		return fmt.Errorf("run assistd %q of %s: %w", args, b.Version, err)
	}
	return e.exec(ctx, b, nil, map[string]string{"ASSISTD_DATABASE_URL": databaseURL}, args, stdout, stderr)
}

func (e *Environment) exec(ctx context.Context, b target.Build, settings, own map[string]string, args []string, stdout, stderr io.Writer) error {
	end := tailWriter{limit: 2000}
	if stderr == nil {
		stderr = io.Discard
	}
	cmd := exec.CommandContext(ctx, e.buildPath(b.SHA256), args...)
	cmd.Env = e.serviceEnv(settings, own)
	cmd.Dir = e.dir
	cmd.Stdout, cmd.Stderr = stdout, io.MultiWriter(stderr, &end)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the caller, who then ends the process in good order
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = e.config.StopTimeout
	err := cmd.Run()
	if exit := new(exitStatus); errors.As(err, exit) {
		failed := &target.ExitError{Args: args, Code: (*exit).ExitCode(), Stderr: end.String()}
		if ctx.Err() != nil {
			return fmt.Errorf("%w (%w)", context.Cause(ctx), failed)
		}
		return failed
	}
	if err != nil {
		return fmt.Errorf("run assistd %q of %s: %w", args, b.Version, err)
	}
	return nil
}

type exitStatus = *exec.ExitError

// tailWriter keeps the end of what is written.
type tailWriter struct {
	limit int
	kept  []byte
}

func (w *tailWriter) Write(p []byte) (int, error) {
	w.kept = append(w.kept, p...)
	if over := len(w.kept) - w.limit; over > 0 {
		w.kept = append(w.kept[:0], w.kept[over:]...)
	}
	return len(p), nil
}

func (w *tailWriter) String() string { return string(bytes.TrimSpace(w.kept)) }
