// Package hash tells one state of the Pulumi program's sources from another. It owns which files those are.
package hash

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"strings"
)

// Sources is the hash of what goes into the program: the files of stacks/ and infra/ but for tests, and the versions of Pulumi's modules.
func Sources(root fs.FS) (string, error) {
	h := sha256.New()
	add := func(path string) error {
		content, err := fs.ReadFile(root, path)
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%s\n%d\n", path, len(content))
		h.Write(content)
		return nil
	}
	for _, folder := range []string{"infra", "stacks"} {
		err := fs.WalkDir(root, folder, func(path string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && entry.Name() == "testdata":
				return fs.SkipDir
			case entry.IsDir() || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			return add(path)
		})
		if err != nil {
			return "", err
		}
	}
	modules, err := fs.ReadFile(root, "go.mod")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(modules)) {
		if strings.Contains(line, "github.com/pulumi/") {
			h.Write([]byte(strings.TrimSpace(line) + "\n"))
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
