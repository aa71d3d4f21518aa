package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
)

// Run is a run that this process drives under its lease. Its steps may run side by side.
type Run struct {
	ledger *Ledger
	lease  *Lease
	number int
	kind   string

	mu    sync.Mutex
	state RunState
}

// Begin starts a new run of a kind, with its plan, under the lease. Runs are numbered 1, 2, 3 … in each environment.
func (l *Ledger) Begin(ctx context.Context, lease *Lease, kind string, plan any) (*Run, error) {
	data, err := encodeData(plan)
	if err != nil {
		return nil, fmt.Errorf("begin %s: plan: %w", kind, err)
	}
	return l.open(ctx, lease, Entry{Kind: kind, Phase: PhaseBegin, Data: data}, func(e *Entry, before []link) error {
		runs, err := fold(before)
		e.Run = len(runs) + 1
		return err
	})
}

// Resume goes on with an unfinished run under a new lease. Whoever drove it before cannot write to the ledger any more.
// It returns ErrNoRun or ErrEnded when there is nothing to go on with.
func (l *Ledger) Resume(ctx context.Context, lease *Lease, number int) (*Run, error) {
	return l.open(ctx, lease, Entry{Run: number, Phase: PhaseResume}, func(e *Entry, before []link) error {
		run, err := l.find(before, number)
		if err != nil {
			return err
		}
		if !run.Ended.IsZero() {
			return fault.Code(fmt.Errorf("resume run %d of %s: %w (%s)", number, l.opts.Environment, ErrEnded, run.Outcome), fault.Refused)
		}
		e.Kind = run.Kind
		return nil
	})
}

// open writes the entry from which this process drives a run.
func (l *Ledger) open(ctx context.Context, lease *Lease, e Entry, complete func(*Entry, []link) error) (*Run, error) {
	if err := lease.lost(); err != nil {
		return nil, err
	}
	e.Fence = lease.Fence()
	written, before, err := l.append(ctx, e, complete)
	if err != nil {
		return nil, err
	}
	state, err := l.find(append(before, link{entry: written}), written.Run)
	if err != nil {
		return nil, err
	}
	return &Run{ledger: l, lease: lease, number: written.Run, kind: written.Kind, state: state}, nil
}

// Number returns the run's number.
func (r *Run) Number() int { return r.number }

// State returns the run as it is now. The caller may keep it.
func (r *Run) State() RunState {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.state
	s.Steps, s.Entries = slices.Clone(s.Steps), slices.Clone(s.Entries)
	return s
}

// Attempts returns how often the step was started, in this process and before.
func (r *Run) Attempts(name string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.state.step(name); s != nil {
		return s.Attempts
	}
	return 0
}

// Step journals a step's start, runs it, and journals its result or failure. A step that is done returns its recorded result
// without running. A step that was started and not finished runs again: do must bear that.
//
// The context that do gets ends with the lease. When it is cancelled the step's end is written all the same, within a few seconds, and
// the error is the context's cause (ErrLeaseLost, context.Canceled) beside that of do.
func (r *Run) Step(ctx context.Context, name string, do func(ctx context.Context) (any, error)) (json.RawMessage, error) {
	r.mu.Lock()
	before, ended := r.state.step(name), !r.state.Ended.IsZero()
	var result json.RawMessage
	done := before != nil && before.Phase == PhaseDone
	if done {
		result = before.Result
	}
	r.mu.Unlock()
	switch {
	case done:
		return result, nil
	case ended:
		return nil, fmt.Errorf("step %s of run %d: %w", name, r.number, ErrEnded)
	}
	ctx, cancel := context.WithCancel(r.lease.Context(ctx))
	defer cancel()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := r.write(ctx, Entry{Kind: r.kind, Step: name, Phase: PhaseStart}); err != nil {
		return nil, err
	}
	value, err := do(ctx)
	if err == nil {
		result, err = encodeData(value)
	}
	if err != nil {
		return nil, r.failed(ctx, name, err)
	}
	return result, r.writeAnyway(ctx, Entry{Kind: r.kind, Step: name, Phase: PhaseDone, Data: result})
}

// failed journals a step's failure and returns it.
func (r *Run) failed(ctx context.Context, name string, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	data, encodeErr := encodeData(failure{Error: err.Error(), Interrupted: ctx.Err() != nil})
	if encodeErr != nil {
		return errors.Join(err, encodeErr)
	}
	if writeErr := r.writeAnyway(ctx, Entry{Kind: r.kind, Step: name, Phase: PhaseFailed, Data: data}); writeErr != nil {
		return errors.Join(err, writeErr)
	}
	return err
}

// Note appends an entry of the run that tells something and decides nothing.
func (r *Run) Note(ctx context.Context, step, phase string, data any) error {
	raw, err := encodeData(data)
	if err != nil {
		return fmt.Errorf("note of step %s: %w", step, err)
	}
	return r.write(ctx, Entry{Kind: KindNote, Step: step, Phase: phase, Data: raw})
}

// End closes the run. Detail is kept with the outcome. A run that has ended stays as it is.
func (r *Run) End(ctx context.Context, outcome string, detail any) error {
	if !r.State().Ended.IsZero() {
		return nil
	}
	raw, err := encodeData(detail)
	if err != nil {
		return fmt.Errorf("end of run %d: %w", r.number, err)
	}
	data, err := encodeData(ending{Outcome: outcome, Detail: raw})
	if err != nil {
		return fmt.Errorf("end of run %d: %w", r.number, err)
	}
	return r.writeAnyway(ctx, Entry{Kind: r.kind, Phase: PhaseEnd, Data: data})
}

// write appends an entry of the run and takes it into the state.
func (r *Run) write(ctx context.Context, e Entry) error {
	e.Run, e.Fence = r.number, r.lease.Fence()
	written, err := r.ledger.Append(ctx, e)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.apply(written)
}

// grace is how long the journal may take to record what has happened once the context is cancelled.
const grace = 5 * time.Second

// writeAnyway is write for what has already happened: a cancelled context leaves it a little time.
func (r *Run) writeAnyway(ctx context.Context, e Entry) error {
	write, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(grace, cancel)
		context.AfterFunc(write, func() { timer.Stop() })
	})
	defer stop()
	return r.write(write, e)
}

// lost is why the lease cannot be used any more, nil while it can.
func (le *Lease) lost() error { return context.Cause(le.life) }

// encodeData makes an entry's data; nothing makes none.
func encodeData(value any) (json.RawMessage, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	if string(raw) == "null" {
		return nil, nil
	}
	return raw, nil
}
