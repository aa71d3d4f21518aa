package ledger_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/ledger"
	"github.com/smart-assistant/platform/cli/objectstore"
	"github.com/smart-assistant/platform/cli/objectstore/objectstoretest"
)

func begin(t *testing.T, l *ledger.Ledger, lease *ledger.Lease) *ledger.Run {
	t.Helper()
	run, err := l.Begin(t.Context(), lease, ledger.KindPromotion, map[string]string{"release": "v2"})
	if err != nil {
		t.Fatalf("Begin: %v", err)
	}
	return run
}

// does is a step that counts its runs and returns a result.
func does(n *atomic.Int64, result any) func(context.Context) (any, error) {
	return func(context.Context) (any, error) { n.Add(1); return result, nil }
}

func mustStep(t *testing.T, r *ledger.Run, name string, do func(context.Context) (any, error)) json.RawMessage {
	t.Helper()
	result, err := r.Step(t.Context(), name, do)
	if err != nil {
		t.Fatalf("Step %s: %v", name, err)
	}
	return result
}

// wantStored checks that what the run says of itself is what a stranger reads.
func wantStored(t *testing.T, store objectstore.Store, r *ledger.Run) ledger.RunState {
	t.Helper()
	stored, err := as("reader", store).Run(t.Context(), r.Number())
	if err != nil {
		t.Fatal(err)
	}
	if here := r.State(); !reflect.DeepEqual(here, stored) {
		t.Errorf("the run is %+v\nthe ledger says %+v", here, stored)
	}
	return stored
}

func TestRun(t *testing.T) {
	store := objectstoretest.S3(t)
	anna := as("anna", store)
	lease := acquire(t, anna, "promote v2")
	run := begin(t, anna, lease)
	var n atomic.Int64
	if got := mustStep(t, run, "snapshot", does(&n, map[string]int{"bytes": 7})); string(got) != `{"bytes":7}` {
		t.Errorf("result %s", got)
	}
	if got := mustStep(t, run, "migrate", does(&n, nil)); got != nil {
		t.Errorf("result %s", got)
	}
	if got := mustStep(t, run, "snapshot", does(&n, "never")); string(got) != `{"bytes":7}` || n.Load() != 2 {
		t.Errorf("a step that is done ran again: %s", got)
	}
	boom := errors.New("boom")
	for i := range 2 {
		if _, err := run.Step(t.Context(), "deploy", func(context.Context) (any, error) { return nil, boom }); !errors.Is(err, boom) {
			t.Fatalf("Step: %v", err)
		}
		if run.Attempts("deploy") != i+1 {
			t.Errorf("%d attempts, want %d", run.Attempts("deploy"), i+1)
		}
	}
	if err := run.Note(t.Context(), "deploy", ledger.PhaseDone, "only a note"); err != nil {
		t.Fatal(err)
	}
	if _, err := as("ben", store).Append(t.Context(), ledger.Entry{Kind: ledger.KindApproval, Run: run.Number(), Phase: ledger.PhaseEnd}); err != nil {
		t.Fatal(err)
	}
	if left, err := anna.Unfinished(t.Context()); err != nil || len(left) != 1 || left[0].Number != 1 {
		t.Errorf("Unfinished: %+v, %v", left, err)
	}
	for range 2 {
		if err := run.End(t.Context(), ledger.OutcomeRolledBack, "why"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := run.Step(t.Context(), "more", does(&n, nil)); !errors.Is(err, ledger.ErrEnded) {
		t.Errorf("a step after the end: %v", err)
	}

	state, err := anna.Run(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if state.Kind != ledger.KindPromotion || state.Actor != "anna" || string(state.Plan) != `{"release":"v2"}` || state.Began.IsZero() || state.Ended.IsZero() ||
		state.Outcome != ledger.OutcomeRolledBack || string(state.Detail) != `"why"` || len(state.Entries) != 12 {
		t.Errorf("run: %+v", state)
	}
	var steps []string
	for _, s := range state.Steps {
		steps = append(steps, fmt.Sprint(s.Name, " ", s.Phase, " ", s.Attempts, " ", s.Err, s.Interrupted))
	}
	if want := []string{"snapshot done 1 false", "migrate done 1 false", "deploy failed 2 boomfalse"}; !reflect.DeepEqual(steps, want) {
		t.Errorf("steps %q, want %q", steps, want)
	}
	if left, err := anna.Unfinished(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("Unfinished: %+v, %v", left, err)
	}
	if second := begin(t, anna, lease); second.Number() != 2 {
		t.Errorf("the second run has number %d", second.Number())
	}
	if runs, err := as("ben", store).Runs(t.Context()); err != nil || len(runs) != 2 {
		t.Errorf("Runs: %+v, %v", runs, err)
	}
}

func TestResumeAfterAKill(t *testing.T) {
	t.Parallel()
	server := objectstoretest.Server(t)
	// The process dies with its nth entry, before or after it is written, and another resumes.
	for _, after := range []bool{false, true} {
		for n := int64(1); dieAndResume(t, objectstoretest.Bucket(t, server, fmt.Sprintf("%v-%d", after, n)), n, after); n++ {
			if n > 8 {
				t.Fatal("an undisturbed run has 8 entries: begin, three times start and done, end")
			}
		}
	}
}

// dieAndResume reports whether the process got to its nth entry.
func dieAndResume(t *testing.T, store objectstore.Store, n int64, after bool) bool {
	t.Helper()
	dead := false
	nth := objectstoretest.Nth(n, objectstoretest.On(objectstoretest.Put, "ledger/"))
	mortal := &objectstoretest.Intercepted{Store: store, Around: func(_ context.Context, op objectstoretest.Op, key string, call func() error) error {
		if nth(op, key) {
			dead = true
			if after {
				_ = call()
			}
			runtime.Goexit() // nothing comes after it, as after SIGKILL
		}
		return call()
	}}
	first := as("anna", mortal)
	lease := acquire(t, first, "promote")
	var ran [3]atomic.Int64
	var undisturbed error
	var process sync.WaitGroup
	process.Go(func() {
		run, err := first.Begin(t.Context(), lease, ledger.KindPromotion, n)
		if err == nil {
			err = threeSteps(t.Context(), run, &ran)
		}
		undisturbed = err
	})
	process.Wait()
	if undisturbed != nil {
		t.Fatalf("until entry %d: %v", n, undisturbed)
	}

	ben := as("ben", objectstoretest.Later(store, time.Minute))
	second := acquire(t, ben, "resume")
	left, err := ben.Unfinished(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range left {
		resumed, err := ben.Resume(t.Context(), second, u.Number)
		if err != nil {
			t.Fatal(err)
		}
		if err := threeSteps(t.Context(), resumed, &ran); err != nil {
			t.Fatal(err)
		}
	}
	runs, err := as("ben", store).Runs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	began := 1
	if n == 1 && dead && !after {
		began = 0
	}
	if len(runs) != began {
		t.Fatalf("entry %d, after %v: %d runs, want %d", n, after, len(runs), began)
	}
	for _, run := range runs {
		wantFinished(t, run, &ran)
	}
	if err := second.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	return dead
}

func threeSteps(ctx context.Context, run *ledger.Run, ran *[3]atomic.Int64) error {
	for i := range ran {
		if _, err := run.Step(ctx, fmt.Sprint("step ", i), does(&ran[i], i)); err != nil {
			return err
		}
	}
	return run.End(ctx, ledger.OutcomeCommitted, nil)
}

func wantFinished(t *testing.T, state ledger.RunState, ran *[3]atomic.Int64) {
	t.Helper()
	if state.Outcome != ledger.OutcomeCommitted || len(state.Steps) != 3 {
		t.Fatalf("run: %+v", state)
	}
	for i, s := range state.Steps {
		// A start may be on record without the step having run, and never the other way round.
		if n := int(ran[i].Load()); s.Phase != ledger.PhaseDone || string(s.Result) != fmt.Sprint(i) || n < 1 || n > s.Attempts || s.Attempts > 2 {
			t.Errorf("step %d ran %d times: %+v", i, n, s)
		}
	}
}

func TestTwoWritersOfOneRun(t *testing.T) {
	store := objectstoretest.S3(t)
	anna, ben := as("anna", store), as("ben", objectstoretest.Later(store, time.Minute))
	run := begin(t, anna, acquire(t, anna, "promote"))
	var n atomic.Int64
	mustStep(t, run, "snapshot", does(&n, 1))

	// Anna is in the middle of a step when Ben takes over; she has not noticed yet.
	stale := make(chan error)
	started, goOn := make(chan struct{}), make(chan struct{})
	go func() {
		_, err := run.Step(t.Context(), "migrate", func(context.Context) (any, error) {
			close(started)
			<-goOn
			return "by anna", nil
		})
		stale <- err
	}()
	<-started
	lease := acquire(t, ben, "resume")
	resumed, err := ben.Resume(t.Context(), lease, run.Number())
	if err != nil {
		t.Fatal(err)
	}
	close(goOn)
	if err := <-stale; !errors.Is(err, ledger.ErrFenced) || fault.CodeOf(err) != fault.Held {
		t.Fatalf("the stale writer's step ended with %v", err)
	}
	if got := mustStep(t, resumed, "migrate", does(&n, "by ben")); string(got) != `"by ben"` || resumed.Attempts("migrate") != 2 {
		t.Errorf("result %s after %d attempts", got, resumed.Attempts("migrate"))
	}
	if err := run.Note(t.Context(), "migrate", "", "still here"); !errors.Is(err, ledger.ErrFenced) {
		t.Errorf("the stale writer's note: %v", err)
	}
	if err := run.End(t.Context(), ledger.OutcomeFailed, nil); !errors.Is(err, ledger.ErrFenced) {
		t.Errorf("the stale writer's end: %v", err)
	}
	if err := resumed.End(t.Context(), ledger.OutcomeCommitted, nil); err != nil {
		t.Fatal(err)
	}
	for _, e := range wantStored(t, store, resumed).Entries {
		if (e.Actor == "anna") != (e.Fence < lease.Fence()) {
			t.Errorf("entry %d is %s's under fence %d", e.Seq, e.Actor, e.Fence)
		}
	}
}

func TestResumeSeesWhatTheStaleWriterDidLast(t *testing.T) {
	store := objectstoretest.S3(t)
	anna := as("anna", store)
	run := begin(t, anna, acquire(t, anna, "promote"))
	var n atomic.Int64
	var once sync.Once
	// Between Ben's look at the chain and his resume entry, Anna finishes a step.
	between := objectstoretest.Hooked(store, objectstoretest.On(objectstoretest.Put, "ledger/"), func() {
		once.Do(func() { mustStep(t, run, "snapshot", does(&n, "by anna")) })
	})
	ben := as("ben", objectstoretest.Later(between, time.Minute))
	resumed, err := ben.Resume(t.Context(), acquire(t, ben, "resume"), run.Number())
	if err != nil {
		t.Fatal(err)
	}
	if got := mustStep(t, resumed, "snapshot", does(&n, "by ben")); string(got) != `"by anna"` || n.Load() != 1 {
		t.Errorf("the step was done and ran again: %s", got)
	}
	wantStored(t, store, resumed)
}

func TestBeginNumbersAnewAfterAConflict(t *testing.T) {
	store := objectstoretest.S3(t)
	anna := as("anna", store)
	stale := acquire(t, anna, "promote")
	var once sync.Once
	between := objectstoretest.Hooked(store, objectstoretest.On(objectstoretest.Put, "ledger/"), func() {
		once.Do(func() { begin(t, anna, stale) })
	})
	ben := as("ben", objectstoretest.Later(between, time.Minute))
	if run := begin(t, ben, acquire(t, ben, "promote")); run.Number() != 2 {
		t.Errorf("two runs have number %d", run.Number())
	}
}

func TestInterruptedStep(t *testing.T) {
	store := objectstoretest.S3(t)
	anna := as("anna", store)
	run := begin(t, anna, acquire(t, anna, "promote"))
	ctx, interrupt := context.WithCancel(t.Context())
	_, err := run.Step(ctx, "deploy", func(ctx context.Context) (any, error) {
		interrupt()
		<-ctx.Done()
		return nil, errors.New("deploy stopped half way")
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Step: %v", err)
	}
	step := wantStored(t, store, run).Steps[0]
	if step.Phase != ledger.PhaseFailed || !step.Interrupted || step.Err == "" {
		t.Errorf("the journal says %+v", step)
	}
	// What is done is done, also when Ctrl-C comes at the last moment.
	ctx, interrupt = context.WithCancel(t.Context())
	if _, err := run.Step(ctx, "deploy", func(context.Context) (any, error) { interrupt(); return nil, nil }); err != nil {
		t.Errorf("Step: %v", err)
	}
	if step := wantStored(t, store, run).Steps[0]; step.Phase != ledger.PhaseDone || step.Interrupted || step.Err != "" || step.Attempts != 2 {
		t.Errorf("the journal says %+v", step)
	}
	if _, err := run.Step(ctx, "verify", func(context.Context) (any, error) { t.Error("it runs"); return nil, nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("a step under a cancelled context: %v", err)
	}
}

func TestLeaseLostDuringAStep(t *testing.T) {
	t.Parallel()
	store := objectstoretest.S3(t)
	var down atomic.Bool
	l := impatient("anna", objectstoretest.Blocked(store, objectstoretest.While(&down, objectstoretest.On(objectstoretest.Put, "lease"))))
	lease := acquire(t, l, "promote")
	run := begin(t, l, lease)
	_, err := run.Step(t.Context(), "deploy", func(ctx context.Context) (any, error) {
		down.Store(true)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	if !errors.Is(err, ledger.ErrLeaseLost) || fault.CodeOf(err) != fault.Held {
		t.Errorf("Step: %v (code %d)", err, fault.CodeOf(err))
	}
	if step := wantStored(t, store, run).Steps[0]; step.Phase != ledger.PhaseFailed || !step.Interrupted {
		t.Errorf("the journal says %+v", step)
	}
	if _, err := run.Step(t.Context(), "verify", func(context.Context) (any, error) { t.Error("it runs"); return nil, nil }); !errors.Is(err, ledger.ErrLeaseLost) {
		t.Errorf("the next step: %v", err)
	}
	if _, err := l.Begin(t.Context(), lease, ledger.KindDeploy, nil); !errors.Is(err, ledger.ErrLeaseLost) {
		t.Errorf("Begin: %v", err)
	}
}

func TestStepWhoseEndCannotBeWritten(t *testing.T) {
	t.Parallel()
	store := objectstoretest.S3(t)
	var down atomic.Bool
	anna := as("anna", objectstoretest.ErrorBefore(store, objectstoretest.While(&down, objectstoretest.On(objectstoretest.Put, "ledger/"))))
	lease := acquire(t, anna, "promote")
	run := begin(t, anna, lease)
	if _, err := run.Step(t.Context(), "deploy", func(context.Context) (any, error) { down.Store(true); return 1, nil }); !errors.Is(err, objectstoretest.ErrInjected) {
		t.Errorf("Step: %v", err)
	}
	if state := run.State(); state.Steps[0].Phase != ledger.PhaseStart {
		t.Errorf("the run says %+v", state.Steps[0])
	}
	down.Store(false)
	var n atomic.Int64
	mustStep(t, run, "deploy", does(&n, 2))
	if n.Load() != 1 || run.Attempts("deploy") != 2 {
		t.Errorf("the step ran %d times more, %d attempts", n.Load(), run.Attempts("deploy"))
	}
	wantStored(t, store, run)
}

func TestResumeRefuses(t *testing.T) {
	store := objectstoretest.S3(t)
	anna := as("anna", store)
	lease := acquire(t, anna, "promote")
	run := begin(t, anna, lease)
	if err := run.End(t.Context(), ledger.OutcomeAbandoned, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := anna.Resume(t.Context(), lease, 1); !errors.Is(err, ledger.ErrEnded) || fault.CodeOf(err) != fault.Refused {
		t.Errorf("Resume of a run that ended: %v", err)
	}
	if _, err := anna.Resume(t.Context(), lease, 7); !errors.Is(err, ledger.ErrNoRun) || fault.CodeOf(err) != fault.NotFound {
		t.Errorf("Resume of no run: %v", err)
	}
	if _, err := anna.Run(t.Context(), 7); !errors.Is(err, ledger.ErrNoRun) {
		t.Errorf("Run of no run: %v", err)
	}
	if len(entries(t, store)) != 2 {
		t.Error("a refused resume left an entry")
	}
}
