package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
)

// Outcomes of a run.
const (
	OutcomeCommitted  = "committed"
	OutcomeRolledBack = "rolled-back"
	OutcomeFailed     = "failed"
	OutcomeAbandoned  = "abandoned"
)

// RunState is what the ledger says about one run.
type RunState struct {
	Number  int             `json:"number"`
	Kind    string          `json:"kind"`
	Actor   string          `json:"actor"` // who began it
	Plan    json.RawMessage `json:"plan,omitempty"`
	Began   time.Time       `json:"began"`
	Ended   time.Time       `json:"ended,omitzero"`    // zero while unfinished
	Outcome string          `json:"outcome,omitempty"` // "" while unfinished
	Detail  json.RawMessage `json:"detail,omitempty"`  // what End was given
	Steps   []StepState     `json:"steps"`
	Entries []Entry         `json:"entries,omitempty"`
}

// StepState is one step of a run. Steps are in the order of their first starts.
type StepState struct {
	Name        string          `json:"name"`
	Phase       string          `json:"phase"` // PhaseStart: it is running, or its process was killed; PhaseDone; PhaseFailed
	Started     time.Time       `json:"started"`
	Ended       time.Time       `json:"ended,omitzero"`
	Attempts    int             `json:"attempts"`
	Result      json.RawMessage `json:"result,omitempty"`
	Err         string          `json:"error,omitempty"`
	Interrupted bool            `json:"interrupted,omitempty"` // it failed because its context was cancelled
}

// failure is the data of a failed step.
type failure struct {
	Error       string `json:"error"`
	Interrupted bool   `json:"interrupted,omitempty"`
}

// ending is the data of a run's end.
type ending struct {
	Outcome string          `json:"outcome"`
	Detail  json.RawMessage `json:"detail,omitempty"`
}

// Runs returns every run, oldest first.
func (l *Ledger) Runs(ctx context.Context) ([]RunState, error) {
	links, err := l.chain(ctx)
	if err != nil {
		return nil, err
	}
	return fold(links)
}

// Unfinished returns the runs without an end, oldest first.
func (l *Ledger) Unfinished(ctx context.Context) ([]RunState, error) {
	runs, err := l.Runs(ctx)
	return slices.DeleteFunc(runs, func(r RunState) bool { return !r.Ended.IsZero() }), err
}

// Run returns one run, or ErrNoRun.
func (l *Ledger) Run(ctx context.Context, number int) (RunState, error) {
	links, err := l.chain(ctx)
	if err != nil {
		return RunState{}, err
	}
	return l.find(links, number)
}

func (l *Ledger) find(links []link, number int) (RunState, error) {
	runs, err := fold(links)
	if err != nil {
		return RunState{}, err
	}
	for _, r := range runs {
		if r.Number == number {
			return r, nil
		}
	}
	return RunState{}, fault.Code(fault.Hint(fmt.Errorf("run %d of %s: %w", number, l.opts.Environment, ErrNoRun),
		"assistctl history "+l.opts.Environment+" lists the runs"), fault.NotFound)
}

// fold reads the runs out of the entries.
func fold(links []link) ([]RunState, error) {
	var runs []RunState
	at := map[int]int{} // run number → index
	for _, k := range links {
		e := k.entry
		if e.Run == 0 {
			continue
		}
		i, known := at[e.Run]
		if !known {
			if e.Phase != PhaseBegin {
				return nil, damaged(fmt.Errorf("%s is of run %d, which never began: %w", keyOf(e.Seq), e.Run, ErrDamaged))
			}
			i = len(runs)
			at[e.Run] = i
			runs = append(runs, RunState{Number: e.Run, Kind: e.Kind, Actor: e.Actor, Plan: e.Data, Began: e.Time, Steps: []StepState{}})
		}
		if err := runs[i].apply(e); err != nil {
			return nil, damaged(fmt.Errorf("%s: %w: %w", keyOf(e.Seq), err, ErrDamaged))
		}
	}
	return runs, nil
}

// apply takes one of the run's entries in. Entries of another kind (an approval, a note) and those after the end change nothing.
func (s *RunState) apply(e Entry) error {
	s.Entries = append(s.Entries, e)
	if e.Kind != s.Kind || !s.Ended.IsZero() {
		return nil
	}
	switch e.Phase {
	case PhaseStart:
		step := s.step(e.Step)
		if step == nil {
			s.Steps = append(s.Steps, StepState{Name: e.Step})
			step = s.step(e.Step)
		}
		*step = StepState{Name: e.Step, Phase: PhaseStart, Started: e.Time, Attempts: step.Attempts + 1}
	case PhaseDone, PhaseFailed:
		step := s.step(e.Step)
		if step == nil {
			return fmt.Errorf("step %q ends before it starts", e.Step)
		}
		step.Phase, step.Ended = e.Phase, e.Time
		if e.Phase == PhaseDone {
			step.Result = e.Data
			return nil
		}
		var f failure
		if err := json.Unmarshal(e.Data, &f); err != nil {
			return fmt.Errorf("failure of step %q: %w", e.Step, err)
		}
		step.Err, step.Interrupted = f.Error, f.Interrupted
	case PhaseEnd:
		var end ending
		if err := json.Unmarshal(e.Data, &end); err != nil {
			return fmt.Errorf("end of the run: %w", err)
		}
		s.Ended, s.Outcome, s.Detail = e.Time, end.Outcome, end.Detail
	}
	return nil
}

func (s *RunState) step(name string) *StepState {
	for i := range s.Steps {
		if s.Steps[i].Name == name {
			return &s.Steps[i]
		}
	}
	return nil
}
