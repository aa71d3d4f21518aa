package release

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/objectstore"
)

// Catalog keeps releases in an environment's bucket:
//
//	releases/<version>/manifest.json          written last, with If-None-Match: *
//	releases/artifacts/<sha256>               binaries, by content
//
// Each environment holds all that it needs to run, so that no environment depends on another's bucket.
type Catalog struct {
	Store       objectstore.Store
	Environment string
}

func manifestKey(version string) string { return "releases/" + version + "/manifest.json" }
func artifactKey(sha string) string     { return "releases/artifacts/" + sha }

// ExistsError says that a version was made before with other content.
type ExistsError struct {
	Version string
	Differs []string // what differs, in words
}

func (e *ExistsError) Error() string {
	return fmt.Sprintf("release %s exists already with other content: %s", e.Version, strings.Join(e.Differs, ", "))
}

// Create writes a release once. The same content again is no error (created is false then); other content under the same version
// is an *ExistsError. artifacts opens each binary by its SHA-256.
func (c *Catalog) Create(ctx context.Context, m Manifest, artifacts func(Artifact) (io.ReadSeekCloser, error)) (created bool, err error) {
	if err := m.Validate(); err != nil {
		return false, fault.Code(err, fault.Usage)
	}
	if old, err := c.Get(ctx, m.Version); err == nil {
		return false, sameContent(old, m)
	} else if !errors.Is(err, objectstore.ErrNotExist) {
		return false, err
	}
	for _, a := range m.Artifacts {
		if err := c.putArtifact(ctx, a, artifacts); err != nil {
			return false, fmt.Errorf("release %s: %w", m.Version, err)
		}
	}
	_, err = c.Store.Put(ctx, manifestKey(m.Version), bytes.NewReader(mustJSON(m)), objectstore.IfAbsent())
	if err == nil {
		return true, nil
	}
	// Somebody was faster, or our own answer got lost: what is there decides.
	old, getErr := c.Get(ctx, m.Version)
	if getErr != nil {
		return false, fmt.Errorf("write release %s to %s: %w", m.Version, c.Environment, err)
	}
	return false, sameContent(old, m)
}

func sameContent(old, m Manifest) error {
	if old.Content() == m.Content() {
		return nil
	}
	var differs []string
	note := func(what string, a, b any) {
		if x, y := mustJSON(a), mustJSON(b); !bytes.Equal(x, y) {
			differs = append(differs, what)
		}
	}
	note("commit", old.Commit, m.Commit)
	note("binary", old.Artifacts, m.Artifacts)
	note("images", old.Images, m.Images)
	note("schema", old.Schema, m.Schema)
	note("settings", old.Settings, m.Settings)
	err := &ExistsError{Version: m.Version, Differs: differs}
	return fault.Code(fault.Hint(err, "give the new content a version of its own; a release never changes (assistctl release show "+m.Version+")"), fault.Refused)
}

func (c *Catalog) putArtifact(ctx context.Context, a Artifact, open func(Artifact) (io.ReadSeekCloser, error)) error {
	if at, err := c.Store.Stat(ctx, artifactKey(a.SHA256)); err == nil && at.Size == a.Size {
		return nil
	}
	f, err := open(a)
	if err != nil {
		return fmt.Errorf("open the binary for %s: %w", a.Platform, err)
	}
	defer f.Close()
	// The key is the content's hash: whoever wrote it wrote these bytes.
	_, err = c.Store.Put(ctx, artifactKey(a.SHA256), f, objectstore.Always())
	if err != nil {
		return fmt.Errorf("write the binary for %s: %w", a.Platform, err)
	}
	return nil
}

// Get reads and validates a release. It returns an error that wraps objectstore.ErrNotExist when there is none of this version.
func (c *Catalog) Get(ctx context.Context, version string) (Manifest, error) {
	r, _, err := c.Store.Get(ctx, manifestKey(version))
	if err != nil {
		err = fmt.Errorf("release %s in %s: %w", version, c.Environment, err)
		if errors.Is(err, objectstore.ErrNotExist) {
			err = fault.Code(fault.Hint(err, "assistctl release list"), fault.NotFound)
		}
		return Manifest{}, err
	}
	defer r.Close()
	raw, err := io.ReadAll(io.LimitReader(r, 1<<20))
	if err != nil {
		return Manifest{}, fmt.Errorf("read release %s: %w", version, err)
	}
	return ParseManifest(raw, version)
}

// ParseManifest decodes a manifest and refuses one that is not valid or not of the version that it is kept under.
func ParseManifest(raw []byte, version string) (Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return Manifest{}, fault.Code(fmt.Errorf("%s: %w", manifestKey(version), err), fault.Damaged)
	}
	if err := m.Validate(); err != nil {
		return Manifest{}, fault.Code(fmt.Errorf("%s: %w", manifestKey(version), err), fault.Damaged)
	}
	if m.Version != version {
		return Manifest{}, fault.Code(fmt.Errorf("%s holds release %s", manifestKey(version), m.Version), fault.Damaged)
	}
	return m, nil
}

// List returns all releases, newest first.
func (c *Catalog) List(ctx context.Context) ([]Manifest, error) {
	var all []Manifest
	for at, err := range c.Store.List(ctx, "releases/v") {
		if err != nil {
			return nil, fmt.Errorf("list releases of %s: %w", c.Environment, err)
		}
		version, ok := strings.CutSuffix(strings.TrimPrefix(at.Key, "releases/"), "/manifest.json")
		if !ok {
			continue
		}
		m, err := c.Get(ctx, version)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b Manifest) int { return b.Created.Compare(a.Created) })
	return all, nil
}

// Open reads a release's binary. The reader fails at the end when the bytes are not those that the manifest names.
func (c *Catalog) Open(ctx context.Context, m Manifest, a Artifact) (io.ReadCloser, error) {
	r, at, err := c.Store.Get(ctx, artifactKey(a.SHA256))
	if err != nil {
		return nil, fmt.Errorf("binary of release %s: %w", m.Version, err)
	}
	if at.Size != a.Size {
		r.Close()
		return nil, fault.Code(fmt.Errorf("%s is %d bytes long, the manifest of %s says %d", artifactKey(a.SHA256), at.Size, m.Version, a.Size), fault.Damaged)
	}
	return &checkedReader{ReadCloser: r, hash: sha256.New(), want: a.SHA256, name: artifactKey(a.SHA256)}, nil
}

// CopyTo brings a release unchanged into another environment's catalog. It is idempotent.
func (c *Catalog) CopyTo(ctx context.Context, to *Catalog, m Manifest) error {
	_, err := to.Create(ctx, m, func(a Artifact) (io.ReadSeekCloser, error) { return c.spool(ctx, m, a) })
	if err != nil {
		return fmt.Errorf("copy release %s from %s to %s: %w", m.Version, c.Environment, to.Environment, err)
	}
	return nil
}

// spool checks a binary into an unnamed temporary file: Put must be able to rewind, and nothing unchecked may be written.
func (c *Catalog) spool(ctx context.Context, m Manifest, a Artifact) (io.ReadSeekCloser, error) {
	r, err := c.Open(ctx, m, a)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	f, err := os.CreateTemp("", "assistctl-artifact-*")
	if err != nil {
		return nil, err
	}
	os.Remove(f.Name()) // the open file keeps the bytes; a kill leaves nothing behind
	if _, err = io.Copy(f, r); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

type checkedReader struct {
	io.ReadCloser
	hash interface {
		io.Writer
		Sum([]byte) []byte
	}
	want, name string
}

func (r *checkedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	_, _ = r.hash.Write(p[:n]) // a hash.Hash never fails
	if err == io.EOF {
		if got := hex.EncodeToString(r.hash.Sum(nil)); got != r.want {
			return n, fault.Code(fmt.Errorf("%s holds other bytes than its name says (%s)", r.name, got), fault.Damaged)
		}
	}
	return n, err
}
