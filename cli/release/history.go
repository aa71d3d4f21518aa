package release

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/smart-assistant/platform/cli/ledger"
)

// Ending is what a run's last entry says: which release the environment runs from then on.
type Ending struct {
	Release string `json:"release"`          // "" when none runs
	Schema  int64  `json:"schema,omitempty"` // head of the database
	Reason  string `json:"reason,omitempty"` // why it failed
}

// State is what the ledger says of an environment.
type State struct {
	Release    string           `json:"release"` // that it runs; "" before the first
	Run        int              `json:"run"`     // that brought it
	Last       int              `json:"last"`    // newest run, of whatever kind and however it ended
	Since      time.Time        `json:"since,omitzero"`
	Verified   time.Time        `json:"verified,omitzero"`  // when Release last passed verification here
	Previous   []string         `json:"previous,omitempty"` // releases that ran before, newest first, each that a rollback can go back to
	Refused    string           `json:"refused,omitempty"`  // the release whose promotion or deployment here failed, when that is the last that was tried
	Unfinished *ledger.RunState `json:"-"`                  // a run that nobody ended
}

// StateOf reads an environment's ledger, all of it, and checks its chain on the way.
func StateOf(ctx context.Context, l *ledger.Ledger) (State, error) {
	runs, err := l.Runs(ctx)
	if err != nil {
		return State{}, err
	}
	return fold(runs)
}

// fold replays the runs. The releases form a stack: a promotion or deploy puts one on, a rollback takes off down to where it goes.
func fold(runs []ledger.RunState) (State, error) {
	var s State
	var stack []string
	for i := range runs {
		run := &runs[i]
		s.Last = run.Number
		if run.Outcome == "" {
			s.Unfinished = run
			continue
		}
		if run.Kind == ledger.KindPromotion || run.Kind == ledger.KindDeploy {
			s.Refused = refused(run)
		}
		var end Ending
		if len(run.Detail) > 0 {
			if err := json.Unmarshal(run.Detail, &end); err != nil {
				return State{}, fmt.Errorf("end of run %d: %w", run.Number, err)
			}
		}
		if run.Outcome == ledger.OutcomeFailed && end.Release != "" && end.Release != s.Release {
			// It failed after its release had come up and there was nothing to go back to: it runs, unverified.
			s.Release, s.Run, s.Since, s.Verified = end.Release, run.Number, run.Ended, time.Time{}
			stack = append(stack, end.Release)
			continue
		}
		if run.Outcome != ledger.OutcomeCommitted || end.Release == "" {
			continue
		}
		switch run.Kind {
		case ledger.KindPromotion, ledger.KindDeploy:
			if len(stack) == 0 || stack[len(stack)-1] != end.Release {
				stack = append(stack, end.Release)
			}
		case ledger.KindRollback, ledger.KindRestore:
			if at := lastIndex(stack, end.Release); at >= 0 {
				stack = stack[:at+1]
			} else {
				stack = append(stack, end.Release)
			}
		default:
			continue
		}
		if s.Release != end.Release {
			s.Since = run.Ended
		}
		s.Release, s.Run = end.Release, run.Number
		if run.Kind != ledger.KindRestore {
			s.Verified = run.Ended
		}
	}
	if n := len(stack); n > 0 {
		s.Previous = slices.Clone(stack[:n-1])
		slices.Reverse(s.Previous)
	}
	return s, nil
}

// refused is the release that a promotion or deploy tried and that did not pass.
func refused(run *ledger.RunState) string {
	var plan Plan
	if run.Outcome == ledger.OutcomeCommitted || run.Outcome == ledger.OutcomeAbandoned || json.Unmarshal(run.Plan, &plan) != nil {
		return ""
	}
	return plan.Release
}

func lastIndex(stack []string, release string) int {
	for i, s := range slices.Backward(stack) {
		if s == release {
			return i
		}
	}
	return -1
}

// migrationTimes finds how long each migration took in an environment, from the results of its migrate steps.
func migrationTimes(runs []ledger.RunState) map[int64]time.Duration {
	took := map[int64]time.Duration{}
	for _, run := range runs {
		for _, step := range run.Steps {
			if step.Name != StepMigrate || len(step.Result) == 0 {
				continue
			}
			var done migrateResult
			if json.Unmarshal(step.Result, &done) != nil {
				continue // an older shape: times are a service, not a need
			}
			for _, a := range done.Applied {
				took[a.Version] = a.Took
			}
		}
	}
	return took
}
