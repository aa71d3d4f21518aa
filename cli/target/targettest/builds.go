package targettest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/smart-assistant/platform/cli/target"
)

// Builds of the replica program beside this package, made by Main.
var (
	V1, V2     target.Build // good ones
	Exits      target.Build // ends at once
	Unready    target.Build // runs and is never ready
	HalfReady  target.Build // replicas whose number is even are never ready
	FailsSmoke target.Build // is ready and fails its own smoke test
)

const replicaPackage = "github.com/smart-assistant/platform/cli/target/targettest/replica"

// Main makes the builds, runs the tests and returns the exit status for os.Exit.
func Main(m *testing.M) int { return MainWith(m, nil) }

// MainWith is Main with something to do before the tests: to make of each build, an executable file, what the target runs.
func MainWith(m *testing.M, prepare func(builds ...*target.Build) error) int {
	dir, err := os.MkdirTemp("", "replica-builds-")
	if err == nil {
		defer os.RemoveAll(dir) //nolint:errcheck // of the system's temporary folder
		err = makeBuilds(dir)
	}
	if err == nil && prepare != nil {
		err = prepare(&V1, &V2, &Exits, &Unready, &HalfReady, &FailsSmoke)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func makeBuilds(dir string) error {
	if err := os.Chmod(dir, 0o755); err != nil { // tests run as other users, too
		return err
	}
	path := filepath.Join(dir, "replica")
	build := exec.Command("go", "build", "-o", path, "-ldflags", "-s -w", replicaPackage) //nolint:noctx // ends by itself
	build.Env = append(os.Environ(), "CGO_ENABLED=0")                                     // static: a pod has nothing beside it
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", replicaPackage, err, out)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for _, b := range []struct {
		to             *target.Build
		version, fault string
	}{
		{&V1, "v1", "none"},
		{&V2, "v2", "none"},
		{&Exits, "v3-exits", "exits"},
		{&Unready, "v3-unready", "unready"},
		{&HalfReady, "v3-half", "even-unready"},
		{&FailsSmoke, "v3-fails-smoke", "fails-smoke"},
	} {
		path := filepath.Join(dir, b.version)
		content := append(slices.Clip(program), fmt.Sprintf("\nreplica %s %s", b.version, b.fault)...)
		if err := os.WriteFile(path, content, 0o755); err != nil { //nolint:gosec // it has to be executable
			return err
		}
		sum, err := Hash(path)
		if err != nil {
			return err
		}
		*b.to = target.Build{Version: b.version, Commit: "0000000", Artifact: path, SHA256: sum}
	}
	return nil
}

// Hash is the SHA-256 of a file, as target.Build wants it.
func Hash(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // only read
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
