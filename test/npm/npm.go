// Package npm installs what a test takes from the npm registry, once a version and outside the work tree.
package npm

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Install copies a folder with package.json and package-lock.json to TEST_CACHE (by default a folder of the user's cache), installs there
// what the lock file pins, and returns the copy's path. No package's own script runs. A copy of the same content that is there already is used again.
func Install(t testing.TB, folder string) string {
	t.Helper()
	target, err := place(folder)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(target); err == nil {
		return target
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
		t.Fatal(err)
	}
	unfinished, err := os.MkdirTemp(filepath.Dir(target), "unfinished-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(unfinished)
	if err := os.CopyFS(unfinished, os.DirFS(folder)); err != nil {
		t.Fatal(err)
	}
	install := exec.CommandContext(t.Context(), "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir = unfinished
	if said, err := install.CombinedOutput(); err != nil {
		t.Fatalf("npm ci for %s (scripts/install-test-tools.sh installs npm): %v\n%s", folder, err, said)
	}
	if err := os.Rename(unfinished, target); err != nil && !errors.Is(err, fs.ErrExist) { // another run may be first
		if _, there := os.Stat(target); there != nil {
			t.Fatal(err)
		}
	}
	return target
}

// place is where a folder of this content is installed.
func place(folder string) (string, error) {
	cache := os.Getenv("TEST_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		cache = filepath.Join(user, "smart-assistant-tests")
	}
	files, sum := os.DirFS(folder), sha256.New()
	err := fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(files, path)
		fmt.Fprintf(sum, "%s %d\n%s", path, len(text), text)
		return err
	})
	return filepath.Join(cache, fmt.Sprintf("%s-%x", filepath.Base(folder), sum.Sum(nil)[:8])), err
}
