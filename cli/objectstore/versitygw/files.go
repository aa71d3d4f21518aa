package versitygw

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// leftover is the name under which versitygw links a replacing object for the moment before it is renamed over the old one.
var leftover = regexp.MustCompile(`^\..+\.sgwtmp\.[0-9]+$`)

// sweep removes replacements that a killed server had linked and not renamed yet. They would be listed as objects.
func sweep(root string) error {
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.Type().IsRegular() && leftover.MatchString(entry.Name()) {
			return os.Remove(path)
		}
		return nil
	})
}

// hasUserAttributes says whether files in dir can carry extended attributes set by users.
func hasUserAttributes(dir string) bool {
	f, err := os.CreateTemp(dir, ".attributes-")
	if err != nil {
		return false
	}
	defer os.Remove(f.Name())
	defer f.Close()
	return unix.Fsetxattr(int(f.Fd()), "user.assistctl", []byte("probe"), 0) == nil
}

// tail returns the last lines of a log file from an offset on.
func tail(path string, from int64) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	const most = 4 << 10
	text, err := io.ReadAll(io.NewSectionReader(f, from, most))
	if err != nil && !errors.Is(err, io.EOF) {
		return ""
	}
	return strings.TrimSpace(string(text))
}
