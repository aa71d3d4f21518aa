package local

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"syscall"

	"github.com/smart-assistant/platform/cli/target"
)

var sha256Hex = regexp.MustCompile(`^[0-9a-f]{64}$`)

func (e *Environment) buildPath(sha string) string { return e.path("releases", sha, "assistd") }

// Installed reports whether the build is there and is what its SHA-256 says.
func (e *Environment) Installed(b target.Build) bool { return e.verifyBuild(b) == nil }

// Install puts a build into the environment's store. r is read only when the build is not there yet. Content of another SHA-256
// than b's is refused with target.ErrNoBuild, and nothing is kept of it.
func (e *Environment) Install(ctx context.Context, b target.Build, r io.Reader) error {
	if e.Installed(b) {
		return nil
	}
	if !sha256Hex.MatchString(b.SHA256) {
		return fmt.Errorf("install build %s: %w: SHA-256 %q", b.Version, target.ErrNoBuild, b.SHA256)
	}
	if err := e.install(ctx, b, r); err != nil {
		return fmt.Errorf("install build %s: %w", b.Version, err)
	}
	return nil
}

func (e *Environment) install(ctx context.Context, b target.Build, r io.Reader) error {
	dir := e.path("releases", b.SHA256)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".assistd.*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) //nolint:errcheck // gone already when all went well
	defer tmp.Close()           //nolint:errcheck // closed already when all went well
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(tmp, sum), contextReader{ctx, r}); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != b.SHA256 {
		return fmt.Errorf("%w: the artifact's SHA-256 is %s and not %s", target.ErrNoBuild, got, b.SHA256)
	}
	if err := errors.Join(tmp.Chmod(0o755), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), e.buildPath(b.SHA256)); err != nil {
		return err
	}
	return syncPath(dir)
}

type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := context.Cause(r.ctx); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// verifyBuild reads the whole binary. It is called before each run.
func (e *Environment) verifyBuild(b target.Build) error {
	if !sha256Hex.MatchString(b.SHA256) {
		return fmt.Errorf("build %s: %w: SHA-256 %q", b.Version, target.ErrNoBuild, b.SHA256)
	}
	f, err := os.Open(e.buildPath(b.SHA256))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("build %s: %w: not installed", b.Version, target.ErrNoBuild)
	}
	if err != nil {
		return fmt.Errorf("build %s: %w", b.Version, err)
	}
	defer f.Close() //nolint:errcheck // only read
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return fmt.Errorf("build %s: read %s: %w", b.Version, f.Name(), err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != b.SHA256 {
		return fmt.Errorf("build %s: %w: %s was changed, its SHA-256 is %s", b.Version, target.ErrNoBuild, f.Name(), got)
	}
	return nil
}

// ensureBuild installs the build from its artifact when it is not there.
func (e *Environment) ensureBuild(ctx context.Context, b target.Build) error {
	missing := e.verifyBuild(b)
	if missing == nil {
		return nil
	}
	if b.Artifact == "" {
		return missing
	}
	f, err := os.Open(b.Artifact)
	if err != nil {
		return fmt.Errorf("build %s: %w: %w", b.Version, target.ErrNoBuild, err)
	}
	defer f.Close() //nolint:errcheck // only read
	return e.Install(ctx, b, f)
}

// serviceEnv is the whole environment of a process of the service: settings, over which the target's own values win.
func (e *Environment) serviceEnv(settings map[string]string, own map[string]string) []string {
	all := map[string]string{}
	for _, name := range []string{"PATH", "HOME", "TZ", "LANG", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"} {
		if v, ok := os.LookupEnv(name); ok {
			all[name] = v
		}
	}
	maps.Copy(all, settings)
	all["ASSISTD_DATABASE_URL_FILE"] = e.secretPath(databaseURLFile)
	all["ASSISTD_JWT_KEY_FILE"] = e.secretPath(jwtKeyFile)
	delete(all, "ASSISTD_DATABASE_URL")
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
