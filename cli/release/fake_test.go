package release

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/ledger"
	"github.com/smart-assistant/platform/cli/objectstore"
	"github.com/smart-assistant/platform/service/schema"
)

// place is an environment whose processes are numbers: it keeps what a real target keeps (what is deployed, what was migrated, which
// backups exist) over any number of operators that come and die, and counts what was done to it. The real targets are tested where they
// are; here the order of events is.
type place struct {
	mu       sync.Mutex
	version  string
	want     int
	fence    int64
	schema   []schema.Migration
	backups  map[string]Snapshot // by key
	deployed []string            // versions, in order of rollouts that changed something
	applied  map[int64]int       // how often each migration ran

	failDeploy  string // a version whose rollout fails
	failSmoke   string // a version whose smoke test fails
	failMigrate bool
	away        bool // nobody looks after the processes any more
	traffic     Traffic
}

func newPlace(want int) *place {
	return &place{want: want, backups: map[string]Snapshot{}, applied: map[int64]int{}, traffic: Traffic{Requests: 100, P95: 20 * time.Millisecond}}
}

func (p *place) Running(context.Context) (Running, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := Running{Up: true, URL: "http://127.0.0.1", Version: p.version, Want: p.want, Database: true}
	if p.version != "" {
		r.Ready, r.Current = p.want, p.want
	}
	return r, nil
}

func (p *place) Traffic(context.Context, time.Duration, string) (Traffic, error) {
	return p.traffic, nil
}

func (p *place) Install(_ context.Context, m Manifest, open func(Artifact) (io.ReadCloser, error)) error {
	r, err := open(m.Artifacts[0])
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}

func (p *place) Deploy(_ context.Context, m Manifest, fence int64, progress func(ready, want int)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.away {
		return fmt.Errorf("prod: %w", ErrAway)
	}
	if fence < p.fence {
		return errors.New("fenced")
	}
	p.fence = fence
	if m.Version == p.failDeploy {
		return errors.New("replica 1 never got ready")
	}
	if p.version != m.Version {
		p.version = m.Version
		p.deployed = append(p.deployed, m.Version)
	}
	progress(p.want, p.want)
	return nil
}

func (p *place) Smoke(_ context.Context, m Manifest) error {
	if m.Version == p.failSmoke {
		return errors.New("profile read back differs")
	}
	return nil
}

func (p *place) Newest(context.Context) (Snapshot, bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var newest Snapshot
	for _, s := range p.backups {
		if s.Taken.After(newest.Taken) {
			newest = s
		}
	}
	return newest, !newest.Taken.IsZero(), nil
}

func (p *place) Take(_ context.Context, key string, _ time.Duration, _ Contents, _ func(int64, int64)) (Snapshot, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s, ok := p.backups[key]; ok {
		return s, nil
	}
	s := Snapshot{ID: "p-" + key, Taken: time.Now(), Raw: 2e9, Stored: 3e8}
	p.backups[key] = s
	return s, nil
}

func (p *place) Plan(_ context.Context, m Manifest) (MigrationPlan, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	plan := MigrationPlan{Applied: append([]schema.Migration(nil), p.schema...)}
	for _, a := range p.schema {
		plan.Current = max(plan.Current, a.Version)
	}
	for _, mig := range m.Schema.Migrations {
		if mig.Version > plan.Current {
			plan.Pending = append(plan.Pending, mig)
		}
	}
	return plan, nil
}

func (p *place) Up(ctx context.Context, m Manifest, _ func(int, int)) ([]Applied, error) {
	plan, _ := p.Plan(ctx, m)
	p.mu.Lock()
	defer p.mu.Unlock()
	var applied []Applied
	for _, mig := range plan.Pending {
		if p.failMigrate {
			return applied, fmt.Errorf("migration %d: lock timeout", mig.Version)
		}
		p.schema = append(p.schema, mig)
		p.applied[mig.Version]++
		applied = append(applied, Applied{Version: mig.Version, Name: mig.Name, Took: time.Millisecond})
	}
	return applied, nil
}

// manifest makes a release with migrations 1 … head.
func manifest(t testing.TB, version string, head int64) (Manifest, []byte) {
	t.Helper()
	binary := []byte("the binary of " + version)
	sum := sha256.Sum256(binary)
	m := Manifest{
		Version: version, Commit: "c0ffee", Created: time.Now().UTC(), CreatedBy: "test",
		Artifacts: []Artifact{{Platform: "linux/amd64", SHA256: hex.EncodeToString(sum[:]), Size: int64(len(binary))}},
		Schema:    schema.Manifest{Head: head},
	}
	for v := int64(1); v <= head; v++ {
		m.Schema.Migrations = append(m.Schema.Migrations, schema.Migration{Version: v, Name: fmt.Sprintf("m%d", v), Phase: "expand", SHA256: "00"})
	}
	m, err := NewManifest(m)
	if err != nil {
		t.Fatal(err)
	}
	return m, binary
}

type bytesFile struct{ *bytes.Reader }

func (bytesFile) Close() error { return nil }

func create(t testing.TB, c *Catalog, version string, head int64) {
	t.Helper()
	m, binary := manifest(t, version, head)
	if _, err := c.Create(t.Context(), m, func(Artifact) (io.ReadSeekCloser, error) { return bytesFile{bytes.NewReader(binary)}, nil }); err != nil {
		t.Fatal(err)
	}
}

func environment(name string, store objectstore.Store, p *place) *Environment {
	return &Environment{
		Name:     name,
		Ledger:   ledger.Open(store, ledger.Options{Environment: name, Actor: "anna@test", TTL: 30 * time.Second}),
		Releases: &Catalog{Store: store, Environment: name},
		Target:   p, Backups: p, Schema: p,
		Limits: Limits{ErrorRate: 0.005, KeepSnapshot: 90 * 24 * time.Hour, BackupMaxAge: 26 * time.Hour},
	}
}

// quiet is a Progress that keeps the words.
type quiet struct{ lines []string }

func (q *quiet) StepStarted(string)                        {}
func (q *quiet) StepProgress(string, int64, int64, string) {}
func (q *quiet) StepDone(name, detail string)              { q.lines = append(q.lines, "✓ "+name+" "+detail) }

func (q *quiet) StepFailed(name string, err error) {
	q.lines = append(q.lines, "✗ "+name+" "+err.Error())
}
