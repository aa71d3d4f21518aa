package backup_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/backup"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/objectstore"
	"github.com/smart-assistant/platform/cli/objectstore/objectstoretest"
	"github.com/smart-assistant/platform/cli/postgres"
	"github.com/smart-assistant/platform/cli/postgres/postgrestest"
)

// A restore that dies at any step, before it, or after it and before the journal knows, and is then called again, ends as one that
// was left alone: with the rows of the backup served, and the data that was live kept aside.
func TestRestoreResumes(t *testing.T) {
	source := postgrestest.Start(t)
	fill(t, source, 500)
	r := repository(t, objectstoretest.S3(t))
	taken := take(t, r, source, backup.TakeOptions{Kind: backup.Manual})
	want := sum(t, source)
	check := func(ctx context.Context, url string) (string, error) { return "2 tables", nil }

	steps := []string{"fetch", "recover", "stop", "swap", "start"}
	for i := -1; i < 2*len(steps); i++ {
		name, deadStep, late := "undisturbed", "", false
		if i >= 0 {
			deadStep, late = steps[i/2], i%2 == 1
			name = fmt.Sprintf("%s, late %v", deadStep, late)
		}
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, r, taken.ID)
			execute(t, p.live, "drop table emails")
			plan, err := r.PlanRestore(t.Context(), taken.ID, p, backup.RestoreOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if plan.Needed < taken.RawBytes || plan.Free < plan.Needed || plan.Seconds <= 0 || !plan.LostAfter.Equal(taken.Consistent) || plan.Aside == "" {
				t.Errorf("plan is %+v", plan)
			}
			journal := &memory{dieAt: deadStep, late: late}
			_, err = r.Restore(t.Context(), plan, p, journal, check, quiet{})
			if (err != nil) != (i >= 0) || err != nil && !errors.Is(err, errDied) {
				t.Fatalf("restore: %v", err)
			}
			if err != nil { // another process goes on, with what was recorded
				recorded, err := json.Marshal(plan)
				if err != nil {
					t.Fatal(err)
				}
				var read backup.RestorePlan
				if err := json.Unmarshal(recorded, &read); err != nil {
					t.Fatal(err)
				}
				if _, err = r.Restore(t.Context(), read, p, &memory{done: journal.done}, check, quiet{}); err != nil {
					t.Fatal(err)
				}
			}
			if got := sum(t, p.live); got != want {
				t.Errorf("live rows are %s, want %s", got, want)
			}
			if _, err := os.Stat(filepath.Join(p.dir, plan.Aside, "PG_VERSION")); err != nil {
				t.Errorf("what was live is gone: %v", err)
			}
		})
	}
}

// A backup that recovers, but not to what was expected, never becomes live.
func TestRestoreStopsWhenTheCheckFails(t *testing.T) {
	source := postgrestest.Start(t)
	fill(t, source, 500)
	r := repository(t, objectstoretest.S3(t))
	taken := take(t, r, source, backup.TakeOptions{Kind: backup.Manual})
	p := newPlace(t, r, taken.ID)
	execute(t, p.live, "insert into emails values (-1, 'today', 'only')")
	want := sum(t, p.live)
	plan, err := r.PlanRestore(t.Context(), taken.ID, p, backup.RestoreOptions{BytesPerSecond: 1e9})
	if err != nil {
		t.Fatal(err)
	}
	wrong := errors.New("schema 41 is older than the release needs")
	_, err = r.Restore(t.Context(), plan, p, &memory{}, func(context.Context, string) (string, error) { return "", wrong }, quiet{})
	if !errors.Is(err, wrong) || !strings.Contains(fault.HintOf(err), "untouched") || slices.Contains(p.calls, "stop") {
		t.Errorf("restore: %v after %v", err, p.calls)
	}
	if got := sum(t, p.live); got != want {
		t.Errorf("live rows are %s, want %s", got, want)
	}
}

func TestPlanRefuses(t *testing.T) {
	server := postgrestest.Start(t)
	r := repository(t, objectstoretest.S3(t))
	taken := take(t, r, server, backup.TakeOptions{Kind: backup.Manual})
	other := &fakePlace{dir: t.TempDir(), t: t, system: taken.SystemIdentifier + 1, free: 1 << 40}
	if _, err := r.PlanRestore(t.Context(), taken.ID, other, backup.RestoreOptions{}); fault.CodeOf(err) != fault.Refused || fault.HintOf(err) == "" {
		t.Errorf("another system: %v", err)
	}
	if plan, err := r.PlanRestore(t.Context(), taken.ID, other, backup.RestoreOptions{OtherSystem: true}); err != nil || !plan.OtherLives {
		t.Errorf("another system, allowed: %+v, %v", plan, err)
	}
	damaged := &fakePlace{dir: t.TempDir(), t: t, damaged: true, free: 1 << 40}
	if _, err := r.PlanRestore(t.Context(), taken.ID, damaged, backup.RestoreOptions{}); fault.CodeOf(err) != fault.Refused || !strings.Contains(err.Error(), "too damaged") {
		t.Errorf("data that does not say of which system it is: %v", err)
	}
	plan, err := r.PlanRestore(t.Context(), taken.ID, damaged, backup.RestoreOptions{OtherSystem: true})
	if err != nil || len(plan.Backup.Archives) != len(taken.Archives) {
		t.Fatalf("planned %+v, %v", plan, err)
	}
	for _, a := range plan.Backup.Archives {
		if len(a.Objects) > 0 { // a record has to fit into a ledger entry
			t.Errorf("the plan holds %d objects", len(a.Objects))
		}
	}
	full := &fakePlace{dir: t.TempDir(), t: t, system: taken.SystemIdentifier, free: taken.RawBytes}
	if _, err := r.PlanRestore(t.Context(), taken.ID, full, backup.RestoreOptions{}); fault.CodeOf(err) != fault.Refused || fault.HintOf(err) == "" {
		t.Errorf("no room: %v", err)
	}
	if calls := append(other.calls, full.calls...); len(calls) > 0 {
		t.Errorf("planning called %v", calls)
	}
}

// When the swap fails, what is live is served again, and the error says whether it is.
func TestFailedSwapStartsTheOldData(t *testing.T) {
	server := postgrestest.Start(t)
	r := repository(t, objectstoretest.S3(t))
	taken := take(t, r, server, backup.TakeOptions{Kind: backup.Manual})
	p := &fakePlace{dir: t.TempDir(), t: t, store: r.Store, free: 1 << 40, system: taken.SystemIdentifier, swapError: errors.New("no such device")}
	plan, err := r.PlanRestore(t.Context(), taken.ID, p, backup.RestoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p.startError = range []error{nil, errors.New("no space left on device")} {
		p.calls = nil
		_, err = r.Restore(t.Context(), plan, p, &memory{}, nil, quiet{})
		if !errors.Is(err, p.swapError) || !slices.Equal(p.calls, []string{"unpack", "own", "try", "stop", "stop", "swap", "start"}) {
			t.Errorf("restore: %v after %v", err, p.calls)
		}
		if again := new(backup.ReplaceError); !errors.As(err, &again) || !errors.Is(again.Down, p.startError) || p.startError != nil && !errors.Is(err, p.startError) {
			t.Errorf("start %v, and the error is %#v", p.startError, err)
		}
	}
}

var errDied = errors.New("killed")

// memory is a journal that may die at a step: before it is done, or after, before that is recorded.
type memory struct {
	done  map[string]json.RawMessage
	dieAt string
	late  bool
}

func (m *memory) Step(ctx context.Context, name string, do func(ctx context.Context) (any, error)) (json.RawMessage, error) {
	if result, ok := m.done[name]; ok {
		return result, nil
	}
	if m.dieAt == name && !m.late {
		return nil, errDied
	}
	result, err := do(ctx)
	if err != nil {
		return nil, err
	}
	if m.dieAt == name {
		return nil, errDied
	}
	recorded, err := json.Marshal(result)
	if m.done == nil {
		m.done = map[string]json.RawMessage{}
	}
	m.done[name] = recorded
	return recorded, err
}

// fakePlace is a place without servers.
type fakePlace struct {
	t          testing.TB
	dir        string
	store      objectstore.Store
	system     uint64
	damaged    bool // the live data does not say of which system it is
	free       int64
	swapError  error
	startError error
	calls      []string
}

func (p *fakePlace) call(name string) { p.calls = append(p.calls, name) }

func (p *fakePlace) SystemIdentifier(context.Context) (uint64, bool, error) {
	return p.system, p.system != 0 || p.damaged, nil
}

func (p *fakePlace) Free(context.Context) (int64, error) {
	if p.free == 0 {
		return 1 << 40, nil
	}
	return p.free, nil
}

func (p *fakePlace) Unpack(ctx context.Context, q backup.UnpackRequest, progress func(int64)) (string, backup.Unpacked, error) {
	p.call("unpack")
	handed, err := json.Marshal(q) // as to another machine
	if err != nil {
		return "", backup.Unpacked{}, err
	}
	var read backup.UnpackRequest
	if err := json.Unmarshal(handed, &read); err != nil {
		return "", backup.Unpacked{}, err
	}
	return read.Into(ctx, p.store, room{p}, time.Now, progress)
}

// room is the folder that holds the place's data directories.
type room struct{ *fakePlace }

func (r room) Prepare(_ context.Context, name string) (string, error) {
	dir := filepath.Join(r.dir, name)
	return dir, errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700))
}

func (r room) Own(_ context.Context, dir string) error {
	r.call("own")
	own(r.t, dir)
	return nil
}

func (p *fakePlace) Try(context.Context, string, func(context.Context, string) error) error {
	p.call("try")
	return nil
}
func (p *fakePlace) Stop(context.Context) error { p.call("stop"); return nil }
func (p *fakePlace) Swap(context.Context, string, string) error {
	p.call("swap")
	return p.swapError
}
func (p *fakePlace) Start(context.Context) error { p.call("start"); return p.startError }

// place is a live server, and room beside it.
type place struct {
	fakePlace
	live *postgrestest.Server
}

// newPlace serves a copy of the backup, as the live data of the same system.
func newPlace(t *testing.T, r *backup.Repository, id string) *place {
	t.Helper()
	dir := unpack(t, r, id)
	p := &place{fakePlace: fakePlace{t: t, store: r.Store, dir: filepath.Dir(dir)}}
	p.live = serve(t, dir)
	return p
}

func (p *place) SystemIdentifier(ctx context.Context) (uint64, bool, error) {
	control, err := postgres.ReadControl(ctx, p.live.Binaries, p.live.DataDir, nil)
	return control.SystemIdentifier, true, err
}

func (p *place) Try(ctx context.Context, dir string, check func(ctx context.Context, url string) error) error {
	verifyBackupOnce(p.t, dir)
	scratch := postgrestest.New(p.t)
	scratch.DataDir = dir
	if err := startSomewhere(ctx, p.t, scratch); err != nil {
		return err
	}
	return errors.Join(check(ctx, scratch.URL("postgres")), scratch.Stop(ctx, postgres.Fast))
}

func (p *place) Stop(ctx context.Context) error {
	p.call("stop")
	return p.live.Stop(ctx, postgres.Fast)
}

func (p *place) Swap(_ context.Context, dir, aside string) error {
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil // done before
	}
	if pid, runs := p.live.PID(); runs {
		p.t.Errorf("the live data is replaced below the running server %d", pid)
	}
	return errors.Join(os.Rename(p.live.DataDir, filepath.Join(p.dir, aside)), os.Rename(dir, p.live.DataDir))
}

func (p *place) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return startSomewhere(ctx, p.t, p.live)
}

// verifyBackupOnce lets pg_verifybackup look at a folder on which no server has run yet.
func verifyBackupOnce(t testing.TB, dir string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, "backup_label")); err == nil {
		verifyBackup(t, dir)
	}
}
