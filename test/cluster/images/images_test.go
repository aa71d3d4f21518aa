package images

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestProgram: each binary is an image of its own, and the same one always the same image.
func TestProgram(t *testing.T) {
	digests := map[string]bool{}
	for _, content := range []string{"one", "two", "one"} {
		binary := filepath.Join(t.TempDir(), "program")
		if err := os.WriteFile(binary, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
		i, err := Program("../../..", t.TempDir(), "assistd", "v1", binary)
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`^localhost/assistd@sha256:[0-9a-f]{64}$`).MatchString(i.Reference()) {
			t.Errorf("reference %s", i.Reference())
		}
		digests[i.Digest] = true
	}
	if len(digests) != 2 {
		t.Errorf("%d images of two binaries", len(digests))
	}
	if _, err := Program("../../..", t.TempDir(), "assistd", "v1", filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no binary: %v", err)
	}
}

// TestLoad: what containerd knows by its digest is not loaded again, and loading ends well only when it does. A script takes its client's place.
func TestLoad(t *testing.T) {
	i := Image{Name: "assistd", Digest: "sha256:" + strings.Repeat("a", 64), Archive: "archive.tar"}
	for name, c := range map[string]struct{ before, after, want string }{
		"there":  {i.Reference(), i.Reference(), ""},
		"loaded": {"", i.Reference(), ""},
		"tagged": {"", "localhost/assistd:v1", "containerd has no " + i.Reference()},
	} {
		dir := t.TempDir()
		script := fmt.Sprintf(`#!/bin/sh
echo "$@" >>%[1]s/calls
case "$*" in
*list*) if [ -e %[1]s/imported ]; then echo %[3]s; else echo %[2]s; fi ;;
*import*) touch %[1]s/imported ;;
esac
`, dir, c.before, c.after)
		if err := os.WriteFile(filepath.Join(dir, "ctr"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		err := Containerd{Socket: "/c.sock", Ctr: filepath.Join(dir, "ctr")}.Load(t.Context(), i)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		calls, err := os.ReadFile(filepath.Join(dir, "calls"))
		if err != nil || strings.Contains(string(calls), "--address /c.sock --namespace k8s.io images import archive.tar\n") != (c.before == "") {
			t.Errorf("%s: %v: %s", name, err, calls)
		}
	}
}
