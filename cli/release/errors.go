package release

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/ledger"
)

// RunError is a run that did not get where its plan wanted to go. Its text says what the environment runs now.
type RunError struct {
	Kind    string
	To      string
	Run     int
	Outcome string // "" when the run has not ended and can be resumed
	Step    string // that failed or was under way
	Release string // that the environment runs
	Schema  int64
	// Unverified says that Release came up in this run, failed, and serves because there is nothing to go back to.
	Unverified bool
	Cause      error
}

func (e *RunError) Unwrap() error { return e.Cause }

func (e *RunError) Error() string {
	runs := "nothing"
	if e.Release != "" {
		runs = fmt.Sprintf("%s on schema %d", e.Release, e.Schema)
	}
	name := fmt.Sprintf("%s %d", e.Kind, e.Run)
	switch {
	case e.Outcome == ledger.OutcomeRolledBack:
		return fmt.Sprintf("%s failed at %s and was rolled back: %s runs %s, which %s supports", name, e.Step, e.To, runs, e.Release)
	case e.Outcome == ledger.OutcomeFailed && e.Release == "":
		return fmt.Sprintf("%s failed at %s: no release ran in %s before, so there is none to go back to", name, e.Step, e.To)
	case e.Outcome == ledger.OutcomeFailed && e.Unverified:
		return fmt.Sprintf("%s failed at %s: %s runs %s all the same, unverified; somebody has to look", name, e.Step, e.To, runs)
	case e.Outcome == ledger.OutcomeFailed:
		return fmt.Sprintf("%s failed at %s: %s runs %s, as before", name, e.Step, e.To, runs)
	case e.Step == StepRollBack:
		return fmt.Sprintf("%s could not be rolled back: somebody has to look at %s", name, e.To)
	case e.Step == "":
		return fmt.Sprintf("%s stopped. Nothing is lost; %s runs %s", name, e.To, runs)
	default:
		return fmt.Sprintf("%s stopped during %s. Nothing is lost; %s runs %s", name, e.Step, e.To, runs)
	}
}

// stopped is a run that was interrupted: Ctrl-C, a lost lease, a bucket out of reach. It can be resumed.
func (x *execution) stopped(ctx context.Context, cause error, during string) error {
	look, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := error(&RunError{Kind: x.plan.Kind, To: x.to.Name, Run: x.run.Number(), Step: during, Release: x.runs(look), Schema: x.schema, Cause: cause})
	code := fault.CodeOf(cause)
	if errors.Is(context.Cause(ctx), context.Canceled) {
		code = fault.Interrupted
	} else {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	return fault.Code(fault.Hint(err, ResumeHint(x.to.Name, x.plan.Kind, x.run.Number())), code)
}

// failed is a run that ended badly and in order.
func (x *execution) failed(r *Result, cause error) error {
	err := &RunError{Kind: r.Kind, To: r.To, Run: r.Run, Outcome: r.Outcome, Step: r.Failed, Release: r.Release, Schema: r.Schema, Cause: cause}
	err.Unverified = r.Outcome == ledger.OutcomeFailed && r.Release == x.plan.Release && r.Release != x.plan.Before
	hints := []string{fmt.Sprintf("logs of the failed replicas:   assistctl history %s %d --logs", r.To, r.Run)}
	if r.Snapshot != "" {
		hints = append(hints, fmt.Sprintf("the snapshot before it:        %s (kept)", r.Snapshot))
	}
	code := fault.Failed
	if r.Outcome == ledger.OutcomeRolledBack {
		code = fault.RolledBack
	}
	if r.Kind == ledger.KindRollback || err.Unverified || r.Release == "" && r.Failed == StepVerify {
		code = fault.Stuck
	}
	return fault.Code(fault.Hint(err, strings.Join(hints, "\n")), code)
}

// stuck is a run whose rollback failed too. It stays open: a resume tries the rollback again.
func (x *execution) stuck(cause, rollback error) error {
	err := &RunError{Kind: x.plan.Kind, To: x.to.Name, Run: x.run.Number(), Step: StepRollBack, Release: x.plan.Before, Schema: x.schema, Cause: cause}
	return fault.Code(fault.Hint(fmt.Errorf("%w: it failed because of %w, and the rollback because of %w", err, cause, rollback),
		fmt.Sprintf("try the rollback again:  assistctl promote --resume %d --env %s\nsee what runs:           assistctl status", x.run.Number(), x.to.Name)), fault.Stuck)
}
