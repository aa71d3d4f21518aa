package environment

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Release is what an environment runs. Only assistctl writes it into the configuration.
type Release struct {
	Version  string            `json:"version"`
	Commit   string            `json:"commit"`
	Images   map[string]string `json:"images"`   // name → digest
	Settings map[string]string `json:"settings"` // of the release, the same in every environment
}

// The images of a release.
const (
	Assistd   = "assistd"
	Assistctl = "assistctl"
)

var (
	versionPattern = regexp.MustCompile(`^v[0-9]+(\.[0-9]+){0,2}([-+][0-9A-Za-z.+-]+)?$`)
	digestPattern  = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

func parseRelease(text string) (*Release, error) {
	if text == "" {
		return nil, nil
	}
	var r Release
	decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&r)
	if err == nil {
		if _, more := decoder.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("more text follows")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("is not what assistctl writes (%w); bring it back by: assistctl deploy, promote or rollback", err)
	}
	var wrong []string
	if !versionPattern.MatchString(r.Version) {
		wrong = append(wrong, fmt.Sprintf("its version is %s; want one like v1.2.3", shown(r.Version)))
	}
	for _, image := range []string{Assistd, Assistctl} {
		if !digestPattern.MatchString(r.Images[image]) {
			wrong = append(wrong, fmt.Sprintf("its image %s is %s; want sha256: and 64 hex digits", image, shown(r.Images[image])))
		}
	}
	for _, variable := range slices.Sorted(maps.Keys(r.Settings)) {
		if !variablePattern.MatchString(variable) {
			wrong = append(wrong, fmt.Sprintf("its setting %s is no name of a variable", shown(variable)))
		}
	}
	if len(wrong) > 0 {
		return nil, errors.New(strings.Join(wrong, "; "))
	}
	return &r, nil
}
