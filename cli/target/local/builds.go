package local

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"

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
