// Package builds makes builds of the service that the product's code does not contain: an older one and broken ones. Each
// is a real build with a real difference, laid over the working tree by `go build -overlay`, so that releases can be
// promoted, caught and rolled back in tests and in the demo.
//
// A variant is a folder under testdata: a file in it takes the place of the file with the same path in the repository, and
// the paths in delete.txt are left out.
package builds

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// The variants.
const (
	Current = "current"  // the working tree as it is
	V1      = "v1"       // before briefings: without the newest migration and the code that uses it
	Stale   = "v3-stale" // each process remembers profiles: with one replica nobody notices
	Late    = "v3-late"  // serves well until it has run for 5 s, then refuses to save profiles
)

// Variants lists what Build can make.
func Variants() []string { return []string{Current, V1, Stale, Late} }

// Build compiles a variant of assistd into the file out and gives it the version. It is called within the repository.
func Build(ctx context.Context, variant, version, out string) error {
	if !slices.Contains(Variants(), variant) {
		return fmt.Errorf("build %s: want one of %s", variant, strings.Join(Variants(), ", "))
	}
	root, err := repository(ctx)
	if err != nil {
		return err
	}
	out, err = filepath.Abs(out)
	if err != nil {
		return fmt.Errorf("build %s: %w", variant, err)
	}
	args := []string{"build", "-trimpath", "-ldflags", "-s -w -X main.version=" + version + " -X main.commit=" + commit(ctx, root), "-o", out}
	if variant != Current {
		overlay, err := writeOverlay(root, filepath.Join(root, "test", "builds", "testdata", variant))
		if err != nil {
			return fmt.Errorf("build %s: %w", variant, err)
		}
		defer os.Remove(overlay)
		args = append(args, "-overlay", overlay)
	}
	build := exec.CommandContext(ctx, "go", append(args, "./service/assistd")...)
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", variant, err, output)
	}
	return nil
}

// writeOverlay writes the JSON that `go help build` describes under -overlay and returns its path.
func writeOverlay(root, variant string) (string, error) {
	replace := map[string]string{}
	err := filepath.WalkDir(variant, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		inside, err := filepath.Rel(variant, path)
		if err != nil {
			return err
		}
		if inside == "delete.txt" {
			return readDeletions(root, path, replace)
		}
		return put(replace, filepath.Join(root, inside), path)
	})
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file, err := os.CreateTemp("", "overlay-*.json")
	if err != nil {
		return "", err
	}
	_, err = file.Write(text)
	return file.Name(), errors.Join(err, file.Close())
}

func readDeletions(root, list string, replace map[string]string) error {
	text, err := os.ReadFile(list)
	if err != nil {
		return err
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if path := strings.TrimSpace(lines.Text()); path != "" {
			if err := put(replace, filepath.Join(root, path), ""); err != nil {
				return err
			}
		}
	}
	return nil
}

// put refuses to lay something over a file that is not there: the tree has moved on and the variant has not.
func put(replace map[string]string, file, by string) error {
	if _, err := os.Stat(file); err != nil {
		return fmt.Errorf("nothing to lay over: %w", err)
	}
	replace[file] = by
	return nil
}

func repository(ctx context.Context) (string, error) {
	output, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	mod := strings.TrimSpace(string(output))
	if filepath.Base(mod) != "go.mod" {
		return "", errors.New("find the repository: not within a Go module")
	}
	return filepath.Dir(mod), nil
}

// commit names the commit, or says that there is none to name (a source archive has no .git).
func commit(ctx context.Context, root string) string {
	git := exec.CommandContext(ctx, "git", "rev-parse", "--short=12", "HEAD")
	git.Dir = root
	output, err := git.Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(output))
}
