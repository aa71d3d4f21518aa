package release

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"github.com/smart-assistant/platform/cli/fault"
)

// ImageFile is what `make images` records of the images that it made.
type ImageFile struct {
	Version  string            `json:"version"`
	Commit   string            `json:"commit"`
	Platform string            `json:"platform"`
	Images   map[string]string `json:"images"`   // name → digest
	Binaries map[string]string `json:"binaries"` // name → SHA-256 of the program in the image
}

// ImageNames are the images that a release on Kubernetes needs: the service's, and that of the jobs which back it up.
var ImageNames = []string{"assistd", "assistctl"}

var digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// ReadImages reads the images of a version.
func ReadImages(file, version string) (ImageFile, error) {
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return ImageFile{}, fault.Code(fault.Hint(fmt.Errorf("there are no images of %s: %w", version, err), makeImages(version)), fault.Usage)
	}
	if err != nil {
		return ImageFile{}, fmt.Errorf("read the images of %s: %w", version, err)
	}
	var f ImageFile
	if err := json.Unmarshal(raw, &f); err != nil {
		return ImageFile{}, fault.Code(fault.Hint(fmt.Errorf("read %s: %w", file, err), makeImages(version)), fault.Damaged)
	}
	if f.Version != version {
		return ImageFile{}, fault.Code(fault.Hint(fmt.Errorf("%s holds the images of %s, not of %s", file, f.Version, version), makeImages(version)), fault.Refused)
	}
	for _, name := range ImageNames {
		if !digestPattern.MatchString(f.Images[name]) {
			return ImageFile{}, fault.Code(fault.Hint(fmt.Errorf("%s has no digest of %s", file, name), makeImages(version)), fault.Damaged)
		}
	}
	return f, nil
}

// Match refuses images that are not of the build that makes the release. A commit that ends in -dirty does not say what was built: there
// the program's own bytes do, when it is known which (sha256 is empty otherwise).
func (f ImageFile) Match(commit, sha256 string) error {
	var err error
	switch {
	case f.Commit != commit:
		err = fmt.Errorf("the images of %s were made from commit %s, the build from %s", f.Version, f.Commit, commit)
	case strings.HasSuffix(commit, "-dirty") && sha256 != "" && f.Binaries["assistd"] != sha256:
		err = fmt.Errorf("the images of %s were made before the work tree was changed again: they hold the program %s, the build is %s",
			f.Version, short(f.Binaries["assistd"]), short(sha256))
	default:
		return nil
	}
	return fault.Code(fault.Hint(err, makeImages(f.Version)), fault.Refused)
}

func makeImages(version string) string { return "make images VERSION=" + version }

func short(hash string) string { return hash[:min(len(hash), 12)] }
