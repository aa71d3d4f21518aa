package command

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/backup"
	"github.com/smart-assistant/platform/cli/config"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/ledger"
	"github.com/smart-assistant/platform/cli/objectstore/objectstoretest"
	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/cli/terminal"
)

// endSite is a place as the end of a restore sees it.
type endSite struct {
	site
	swapped bool // the restored data is live
	lost    error
	calls   []string
}

func (s *endSite) Live(context.Context, string) (bool, error) { return s.swapped, s.lost }

func (s *endSite) Discard(context.Context, string) error {
	s.calls = append(s.calls, "discard")
	return nil
}

func (s *endSite) Revive(context.Context, target.Deployment) error {
	s.calls = append(s.calls, "revive")
	return nil
}

// restoringTest is an environment in the middle of a restore.
type restoringTest struct {
	*restoreOptions
	place *endSite
	env   *environment
	lease *ledger.Lease
	run   *ledger.Run
	out   func() string
}

func newRestoring(t *testing.T) *restoringTest {
	t.Helper()
	io, out, _ := terminal.Test(terminal.TestOptions{})
	place := &endSite{}
	r := &restoringTest{restoreOptions: &restoreOptions{app: &App{IO: io, Now: time.Now}, env: "prod"}, place: place, out: out.String}
	r.env = &environment{
		app: r.app, site: place, config: config.Environment{Name: "prod"},
		ledger: ledger.Open(objectstoretest.S3(t), ledger.Options{Environment: "prod", Actor: "anna@laptop"}),
	}
	var err error
	if r.lease, err = r.env.ledger.Acquire(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { giveBack(context.Background(), r.lease) })
	if r.run, err = r.env.ledger.Begin(t.Context(), r.lease, ledger.KindRestore, nil); err != nil {
		t.Fatal(err)
	}
	return r
}

// reached journals a step that was begun.
func (r *restoringTest) reached(t *testing.T, step string) {
	t.Helper()
	if _, err := r.run.Step(t.Context(), step, func(context.Context) (any, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
}

// Who reads that a restore stopped learns whether something is written meanwhile, and to which data.
func TestStoppedRestoreSaysWhatServes(t *testing.T) {
	r := newRestoring(t)
	r.reached(t, "stop")
	cause, unready := errors.New("the volume is away"), &target.RolloutError{Reason: "answers 503"}
	for name, test := range map[string]struct {
		err     error
		swapped bool
		lost    error
		code    int
		says    string
	}{
		"it is down":                      {cause, false, nil, fault.Stuck, "prod is DOWN"},
		"nothing came up":                 {&backup.ReplaceError{Cause: cause, Down: errors.New("no space")}, false, nil, fault.Stuck, "prod is DOWN"},
		"the old data serves":             {&backup.ReplaceError{Cause: cause}, false, nil, fault.Failed, "prod serves again, on the data that was live before; what is written there goes aside"},
		"the restored data serves":        {&backup.ReplaceError{Cause: cause}, true, nil, fault.Failed, "prod serves again, on the restored data"},
		"nobody knows which":              {&backup.ReplaceError{Cause: cause}, false, errors.New("away"), fault.Failed, "does not say"},
		"the old data, without a service": {&backup.ReplaceError{Cause: cause, Down: unready}, false, nil, fault.Stuck, "the database of prod runs on the data that was live"},
		"the restored data, without":      {unready, true, nil, fault.Stuck, "the database of prod runs on the restored data"},
	} {
		r.place.swapped, r.place.lost = test.swapped, test.lost
		err := r.failed(t.Context(), r.env, r.run, restoreRecord{}, test.err)
		if fault.CodeOf(err) != test.code || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "DOWN") != strings.Contains(test.says, "DOWN") {
			t.Errorf("%s: code %d, %v", name, fault.CodeOf(err), err)
		}
		if !errors.Is(err, test.err) || !strings.Contains(fault.HintOf(err), "--resume") {
			t.Errorf("%s: %v, next: %s", name, err, fault.HintOf(err))
		}
	}
}

// Somebody who does not answer is no reason to throw away what was fetched; what is wrong with the backup is.
func TestRestoreWithoutAnAnswerStaysOpen(t *testing.T) {
	r := newRestoring(t)
	r.reached(t, "fetch")
	away := fmt.Errorf("restore, fetch: %w", fault.Code(errors.New("the pod gave no answer"), fault.Unreachable))
	err := r.failed(t.Context(), r.env, r.run, restoreRecord{}, away)
	if fault.CodeOf(err) != fault.Unreachable || !strings.Contains(fault.HintOf(err), "--resume") || !strings.Contains(err.Error(), "as they were") {
		t.Errorf("code %d: %v, next: %s", fault.CodeOf(err), err, fault.HintOf(err))
	}
	if outcome := r.run.State().Outcome; outcome != "" || len(r.place.calls) > 0 {
		t.Errorf("the run ended as %q after %v", outcome, r.place.calls)
	}
	err = r.failed(t.Context(), r.env, r.run, restoreRecord{}, fault.Code(errors.New("base.tar is damaged"), fault.Damaged))
	if outcome := r.run.State().Outcome; fault.CodeOf(err) != fault.Damaged || outcome != ledger.OutcomeFailed || strings.Join(r.place.calls, " ") != "discard" {
		t.Errorf("%v: the run ended as %q after %v", err, outcome, r.place.calls)
	}
}

// A restore that is given up ends whether or not the service comes up, and says that nobody looked.
func TestAbandonDoesNotWaitForTheService(t *testing.T) {
	r := newRestoring(t)
	if err := r.end(t.Context(), r.env, r.lease, r.run, restoreRecord{}); err != nil {
		t.Fatal(err)
	}
	if state := r.run.State(); state.Outcome != ledger.OutcomeAbandoned || strings.Join(r.place.calls, " ") != "revive discard" {
		t.Errorf("it ended as %q, after %v", state.Outcome, r.place.calls)
	}
	if said := r.out(); !strings.Contains(said, "prod runs on the data that was live") || !strings.Contains(said, "not waited for:  assistctl status prod") {
		t.Errorf("it says %s", said)
	}
}
