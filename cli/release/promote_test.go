package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/ledger"
	"github.com/smart-assistant/platform/cli/objectstore"
	"github.com/smart-assistant/platform/cli/objectstore/objectstoretest"
)

// mortal is the view of a bucket that a process has which dies at its nth ledger entry: before the entry is written, or after it was
// and before the answer came. From then on nothing that it does reaches the bucket.
type mortal struct {
	objectstore.Store
	mu     sync.Mutex
	left   int // entries until death; below zero it lives for ever
	before bool
	dead   bool
}

var errDead = errors.New("killed")

func (m *mortal) die(key string) (now, after bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return true, false
	}
	if !strings.HasPrefix(key, "ledger/") || m.left < 0 {
		return false, false
	}
	m.left--
	if m.left >= 0 {
		return false, false
	}
	m.dead = true
	return m.before, !m.before
}

func (m *mortal) Put(ctx context.Context, key string, body io.ReadSeeker, c objectstore.Condition) (objectstore.Attributes, error) {
	now, after := m.die(key)
	if now {
		return objectstore.Attributes{}, errDead
	}
	at, err := m.Store.Put(ctx, key, body, c)
	if after {
		return objectstore.Attributes{}, errDead
	}
	return at, err
}

func (m *mortal) Get(ctx context.Context, key string) (io.ReadCloser, objectstore.Attributes, error) {
	if now, _ := m.die(""); now {
		return nil, objectstore.Attributes{}, errDead
	}
	return m.Store.Get(ctx, key)
}

// stage is staging with v1 and v2, and prod with v1, everything verified.
type stage struct {
	stagingStore, prodStore objectstore.Store
	staging, prod           *place
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{stagingStore: objectstoretest.S3(t), prodStore: objectstoretest.S3(t), staging: newPlace(1), prod: newPlace(3)}
	from, to := s.environments(s.prodStore)
	create(t, from.Releases, "v1", 1)
	create(t, from.Releases, "v2", 3)
	s.run(t, func(ctx context.Context, o *Operator) (*Result, error) {
		return deployNow(ctx, o, from, "v1")
	})
	s.run(t, func(ctx context.Context, o *Operator) (*Result, error) { return promoteNow(ctx, o, from, to) })
	if _, err := s.prod.Take(t.Context(), "nightly", 0, Contents{}, nil); err != nil {
		t.Fatal(err)
	}
	s.run(t, func(ctx context.Context, o *Operator) (*Result, error) { return deployNow(ctx, o, from, "v2") })
	return s
}

func (s *stage) environments(prod objectstore.Store) (from, to *Environment) {
	from, to = environment("staging", s.stagingStore, s.staging), environment("prod", prod, s.prod)
	to.Ledger = ledger.Open(prod, ledger.Options{Environment: "prod", Actor: "anna@test"})
	return from, to
}

func (s *stage) run(t *testing.T, do func(ctx context.Context, o *Operator) (*Result, error)) *Result {
	t.Helper()
	r, err := do(t.Context(), &Operator{Progress: &quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func deployNow(ctx context.Context, o *Operator, e *Environment, version string) (*Result, error) {
	plan, err := PlanDeploy(ctx, e, version)
	if err != nil {
		return nil, err
	}
	return o.Apply(ctx, plan, nil, e)
}

func promoteNow(ctx context.Context, o *Operator, from, to *Environment) (*Result, error) {
	plan, err := PlanPromotion(ctx, from, to, time.Now())
	if err != nil {
		return nil, err
	}
	return o.Apply(ctx, plan, from, to)
}

// end is what matters once a run is over.
type end struct {
	Release, Runs string
	Previous      []string
	Outcomes      []string
	Schema        int
	Snapshots     int
	Migrated      map[int64]int
	Unfinished    bool
}

func (s *stage) end(t *testing.T) end {
	t.Helper()
	_, to := s.environments(s.prodStore)
	state, err := StateOf(t.Context(), to.Ledger)
	if err != nil {
		t.Fatal(err)
	}
	runs, err := to.Ledger.Runs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e := end{
		Release: state.Release, Runs: s.prod.version, Previous: state.Previous, Schema: len(s.prod.schema),
		Snapshots: len(s.prod.backups), Migrated: s.prod.applied, Unfinished: state.Unfinished != nil,
	}
	for _, r := range runs {
		e.Outcomes = append(e.Outcomes, r.Kind+" "+r.Outcome)
	}
	return e
}

func TestKilledAtEveryEntry(t *testing.T) {
	scenarios := map[string]struct {
		prepare func(*stage)
		want    end
	}{
		"good release": {
			prepare: func(*stage) {},
			want: end{
				Release: "v2", Runs: "v2", Previous: []string{"v1"}, Outcomes: []string{"promotion committed", "promotion committed"},
				Schema: 3, Snapshots: 2, Migrated: map[int64]int{1: 1, 2: 1, 3: 1},
			},
		},
		"broken release": {
			prepare: func(s *stage) { s.prod.failSmoke = "v2" },
			want: end{
				Release: "v1", Runs: "v1", Outcomes: []string{"promotion committed", "promotion rolled-back"},
				Schema: 3, Snapshots: 2, Migrated: map[int64]int{1: 1, 2: 1, 3: 1},
			},
		},
	}
	for name, sc := range scenarios {
		for _, before := range []bool{false, true} {
			for n := range 14 {
				t.Run(fmt.Sprintf("%s/before=%v/%d", name, before, n), func(t *testing.T) {
					t.Parallel()
					s := newStage(t)
					sc.prepare(s)
					died := s.promoteUntil(t, n, before)
					s.resume(t, died)
					if got := s.end(t); !sameEnd(got, sc.want) {
						t.Errorf("killed at entry %d:\n got %+v\nwant %+v", n, got, sc.want)
					}
				})
			}
		}
	}
}

// sameEnd ignores the difference between no list and an empty one.
func sameEnd(a, b end) bool {
	if len(a.Previous) == 0 && len(b.Previous) == 0 {
		a.Previous, b.Previous = nil, nil
	}
	return reflect.DeepEqual(a, b)
}

// promoteUntil runs the promotion in a process that dies at its nth entry, and reports whether it died at all.
func (s *stage) promoteUntil(t *testing.T, n int, before bool) bool {
	t.Helper()
	view := &mortal{Store: s.prodStore, left: n, before: before}
	from, to := s.environments(view)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := promoteNow(ctx, &Operator{Progress: &quiet{}}, from, to)
	var ended *RunError
	if !view.dead && err != nil && !(errors.As(err, &ended) && ended.Outcome == ledger.OutcomeRolledBack) {
		t.Fatalf("undisturbed promotion: %v", err)
	}
	return view.dead
}

// resume does what an operator would: resume what is unfinished, else, when nothing had begun, promote again.
func (s *stage) resume(t *testing.T, died bool) {
	t.Helper()
	if !died {
		return
	}
	from, to := s.environments(objectstoretest.Later(s.prodStore, time.Minute)) // the dead process's lease has run out
	state, err := StateOf(t.Context(), to.Ledger)
	if err != nil {
		t.Fatal(err)
	}
	runs, err := to.Ledger.Runs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	o := &Operator{Progress: &quiet{}}
	switch {
	case state.Unfinished != nil:
		_, err = o.Resume(t.Context(), to, state.Unfinished.Number, func(string) (*Environment, error) { return from, nil })
	case len(runs) == 1: // it died before its first entry
		_, err = promoteNow(t.Context(), o, from, to)
	default: // the last entry was written, only its answer was lost
		return
	}
	var ended *RunError
	if err != nil && !(errors.As(err, &ended) && ended.Outcome == ledger.OutcomeRolledBack) {
		t.Fatalf("resume: %v", err)
	}
}

func TestTwoAtOnce(t *testing.T) {
	s := newStage(t)
	from, to := s.environments(s.prodStore)
	plan, err := PlanPromotion(t.Context(), from, to, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, 2)
	for range 2 {
		_, to := s.environments(s.prodStore)
		go func() {
			_, err := (&Operator{Progress: &quiet{}}).Apply(t.Context(), plan, from, to)
			errs <- err
		}()
	}
	won := 0
	for range 2 {
		err := <-errs
		var held *ledger.HeldError
		switch {
		case err == nil:
			won++
		case errors.As(err, &held):
			if fault.CodeOf(err) != fault.Held || held.Purpose != plan.Purpose() {
				t.Errorf("held: code %d, purpose %q", fault.CodeOf(err), held.Purpose)
			}
		case fault.CodeOf(err) == fault.Refused: // it came after the winner had finished: the plan no longer holds
		default:
			t.Errorf("loser: %v", err)
		}
	}
	if won != 1 {
		t.Errorf("%d promotions won", won)
	}
}

func TestFailedMigrationLeavesTheOldRelease(t *testing.T) {
	s := newStage(t)
	s.prod.failMigrate = true
	from, to := s.environments(s.prodStore)
	_, err := promoteNow(t.Context(), &Operator{Progress: &quiet{}}, from, to)
	var run *RunError
	if !errors.As(err, &run) || run.Outcome != ledger.OutcomeFailed || run.Step != StepMigrate || run.Release != "v1" {
		t.Fatalf("got %v", err)
	}
	if s.prod.version != "v1" {
		t.Errorf("prod runs %s", s.prod.version)
	}
	s.prod.failMigrate = false
	if _, err := promoteNow(t.Context(), &Operator{Progress: &quiet{}}, from, to); err != nil {
		t.Errorf("second try: %v", err)
	}
}

func TestRollbackAndWhatCameBefore(t *testing.T) {
	s := newStage(t)
	from, to := s.environments(s.prodStore)
	s.run(t, func(ctx context.Context, o *Operator) (*Result, error) { return promoteNow(ctx, o, from, to) })
	plan, err := PlanRollback(t.Context(), to, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.Check(); err != nil || plan.Release != "v1" {
		t.Fatalf("plan goes to %s: %v", plan.Release, err)
	}
	s.run(t, func(ctx context.Context, o *Operator) (*Result, error) { return o.Apply(ctx, plan, nil, to) })
	if s.prod.version != "v1" || len(s.prod.schema) != 3 {
		t.Errorf("prod runs %s on %d migrations", s.prod.version, len(s.prod.schema))
	}
	if _, err := PlanRollback(t.Context(), to, "", 0); fault.CodeOf(err) != fault.Refused {
		t.Errorf("rollback beyond the first release: %v", err)
	}
}

func TestFailedRollbackSaysWhatRuns(t *testing.T) {
	s := newStage(t)
	from, to := s.environments(s.prodStore)
	s.run(t, func(ctx context.Context, o *Operator) (*Result, error) { return promoteNow(ctx, o, from, to) })
	s.prod.failSmoke = "v1"
	plan, err := PlanRollback(t.Context(), to, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = (&Operator{Progress: &quiet{}}).Apply(t.Context(), plan, nil, to)
	var run *RunError
	if !errors.As(err, &run) || run.Release != "v1" || !run.Unverified || fault.CodeOf(err) != fault.Stuck {
		t.Errorf("got %v", err)
	}
	if state, err := StateOf(t.Context(), to.Ledger); err != nil || state.Release != "v1" || !state.Verified.IsZero() {
		t.Errorf("the ledger says %+v, %v", state, err)
	}
}

func TestTargetThatGoesAwayIsNoVerdict(t *testing.T) {
	s := newStage(t)
	from, to := s.environments(s.prodStore)
	s.prod.away = true
	_, err := promoteNow(t.Context(), &Operator{Progress: &quiet{}}, from, to)
	var run *RunError
	if !errors.As(err, &run) || run.Outcome != "" || run.Step != StepDeploy {
		t.Fatalf("got %v", err)
	}
	s.prod.away = false
	r, err := (&Operator{Progress: &quiet{}}).Resume(t.Context(), to, run.Run, func(string) (*Environment, error) { return nil, errors.New("staging is not needed any more") })
	if err != nil || r.Outcome != ledger.OutcomeCommitted || s.prod.version != "v2" {
		t.Errorf("resumed: %+v, %v", r, err)
	}
}

func TestRollbackLeavesARestoreAlone(t *testing.T) {
	s := newStage(t)
	_, to := s.environments(s.prodStore)
	lease, err := to.Ledger.Acquire(t.Context(), "restore")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := to.Ledger.Begin(t.Context(), lease, ledger.KindRestore, struct{}{}); err != nil {
		t.Fatal(err)
	}
	if err := lease.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = PlanRollback(t.Context(), to, "v1", 0)
	if fault.CodeOf(err) != fault.Refused || !strings.Contains(fault.HintOf(err), "backup restore prod --resume") {
		t.Errorf("got %v, hint %q", err, fault.HintOf(err))
	}
}

func TestReleaseIsMadeOnce(t *testing.T) {
	c := &Catalog{Store: objectstoretest.S3(t), Environment: "dev"}
	m, binary := manifest(t, "v1", 1)
	open := func(Artifact) (io.ReadSeekCloser, error) { return bytesFile{bytes.NewReader(binary)}, nil }
	for i, want := range []bool{true, false} {
		m.Created = m.Created.Add(time.Hour)
		if created, err := c.Create(t.Context(), m, open); err != nil || created != want {
			t.Fatalf("call %d: created %v, %v", i, created, err)
		}
	}
	m.Commit = "other"
	var exists *ExistsError
	if _, err := c.Create(t.Context(), m, open); !errors.As(err, &exists) || fault.CodeOf(err) != fault.Refused || exists.Differs[0] != "commit" {
		t.Errorf("other content: %v", err)
	}
}

func TestForeignBinaryIsRefused(t *testing.T) {
	store := objectstoretest.S3(t)
	c := &Catalog{Store: store, Environment: "dev"}
	create(t, c, "v1", 1)
	m, binary := manifest(t, "v1", 1)
	binary[0] ^= 1
	if _, err := store.Put(t.Context(), artifactKey(m.Artifacts[0].SHA256), bytes.NewReader(binary), objectstore.Always()); err != nil {
		t.Fatal(err)
	}
	err := c.CopyTo(t.Context(), &Catalog{Store: objectstoretest.S3(t), Environment: "prod"}, m)
	if fault.CodeOf(err) != fault.Damaged || !strings.Contains(err.Error(), m.Artifacts[0].SHA256) {
		t.Errorf("got %v", err)
	}
}
