package release

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/service/schema"
)

// Manifest is a release: made once, never changed, promoted as it is. What it names by checksum is what runs in every environment.
type Manifest struct {
	Format     int               `json:"format"`
	Version    string            `json:"version"`
	Commit     string            `json:"commit"` // of the source; ends in -dirty when the work tree had changes
	Created    time.Time         `json:"created"`
	CreatedBy  string            `json:"createdBy"`
	Artifacts  []Artifact        `json:"artifacts,omitempty"` // binaries, one a platform
	Images     map[string]string `json:"images,omitempty"`    // name → digest
	Schema     schema.Manifest   `json:"schema"`              // head and migrations, as the build says them
	Settings   map[string]string `json:"settings,omitempty"`  // of the release, the same in every environment
	ConfigHash string            `json:"configHash"`          // SHA-256 of Settings as canonical JSON
}

// Artifact is one binary of a release.
type Artifact struct {
	Platform string `json:"platform"` // GOOS/GOARCH
	SHA256   string `json:"sha256"`   // lower-case hex
	Size     int64  `json:"size"`     // bytes
}

// manifestFormat is the version of the manifest's JSON. A reader refuses a newer one.
const manifestFormat = 1

var versionPattern = regexp.MustCompile(`^v[0-9]+(\.[0-9]+){0,2}([-+][0-9A-Za-z.+-]+)?$`)

// CheckVersion refuses what cannot be a release's name.
func CheckVersion(version string) error {
	if versionPattern.MatchString(version) {
		return nil
	}
	return fault.Code(fmt.Errorf("%q cannot be a release's version: it has to be like v1, v1.2 or v1.2.3-rc.1", version), fault.Usage)
}

// NewManifest fills in what follows from the rest and validates the result.
func NewManifest(m Manifest) (Manifest, error) {
	m.Format = manifestFormat
	m.ConfigHash = configHash(m.Settings)
	slices.SortFunc(m.Schema.Migrations, func(a, b schema.Migration) int { return int(a.Version - b.Version) })
	return m, m.Validate()
}

// Validate reports everything that is wrong with the manifest.
func (m Manifest) Validate() error {
	var problems []error
	say := func(format string, a ...any) { problems = append(problems, fmt.Errorf(format, a...)) }
	if m.Format != manifestFormat {
		say("format %d is not one that this build reads (%d)", m.Format, manifestFormat)
	}
	if !versionPattern.MatchString(m.Version) {
		say("version %q is not like v1, v1.2 or v1.2.3-rc.1", m.Version)
	}
	if len(m.Artifacts) == 0 && len(m.Images) == 0 {
		say("neither a binary nor an image")
	}
	for _, a := range m.Artifacts {
		if sum, err := hex.DecodeString(a.SHA256); err != nil || len(sum) != sha256.Size || a.Size <= 0 {
			say("artifact for %s has no size or SHA-256", a.Platform)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.Images)) {
		if name == "" || !digestPattern.MatchString(m.Images[name]) {
			say("image %q has digest %q, not one like sha256:… with 64 hexadecimal digits", name, m.Images[name])
		}
	}
	var last int64
	for _, mig := range m.Schema.Migrations {
		if mig.Version <= last {
			say("migration %d stands after %d", mig.Version, last)
		}
		last = mig.Version
		switch mig.Phase {
		case schema.Expand, schema.Backfill:
		case schema.Contract:
			if mig.Needs == 0 {
				say("migration %d is a contract and does not say which releases still need what it drops", mig.Version)
			}
		default:
			say("migration %d has phase %q, not expand, backfill or contract", mig.Version, mig.Phase)
		}
	}
	if m.Schema.Head != last {
		say("schema head %d is not the last migration %d", m.Schema.Head, last)
	}
	if m.ConfigHash != configHash(m.Settings) {
		say("config hash does not match the settings")
	}
	if len(problems) > 0 {
		return fmt.Errorf("release %s: %w", m.Version, errors.Join(problems...))
	}
	return nil
}

// Content is the hash of everything that makes the release what it is: all but when and by whom it was made.
func (m Manifest) Content() string {
	m.Created, m.CreatedBy = time.Time{}, ""
	sum := sha256.Sum256(mustJSON(m))
	return hex.EncodeToString(sum[:])
}

// Artifact returns the binary for a platform (GOOS/GOARCH).
func (m Manifest) Artifact(platform string) (Artifact, bool) {
	for _, a := range m.Artifacts {
		if a.Platform == platform {
			return a, true
		}
	}
	return Artifact{}, false
}

// RunsOn says whether the release works on a database that has these migrations applied, and if not, why. A later schema is fine
// as long as nothing that the release needs was dropped; that is what the phases of migrations promise.
func (m Manifest) RunsOn(applied []schema.Migration) (bool, string) {
	have := make(map[int64]bool, len(applied))
	for _, a := range applied {
		have[a.Version] = true
		if a.Phase == schema.Contract && a.Needs > m.Schema.Head {
			return false, fmt.Sprintf("migration %d %s dropped what %s needs", a.Version, a.Name, m.Version)
		}
	}
	for _, need := range m.Schema.Migrations {
		if !have[need.Version] {
			return false, fmt.Sprintf("%s needs migration %d %s", m.Version, need.Version, need.Name)
		}
	}
	return true, ""
}

func configHash(settings map[string]string) string {
	if settings == nil {
		settings = map[string]string{}
	}
	sum := sha256.Sum256(mustJSON(settings)) // encoding/json sorts the keys
	return hex.EncodeToString(sum[:])
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("release: a plain value does not marshal: %v", err)) // only a programming error gets here
	}
	return b
}
