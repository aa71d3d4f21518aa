// Package release owns releases and what brings them from one environment to the next: manifests and their catalog, the plan of a
// promotion, its gates, its execution, resumption and rollback.
//
// It does not own how any of that is done in a place: it declares the few interfaces that it needs (environment.go), and the command
// package fills them in. The order of events is this file's: promotion, deploy and rollback are one flow over one kind of plan.
//
//	plan → gates → lease → snapshot → copy → migrate → deploy → verify → commit, or roll back
//
// Every step is journalled in the environment's ledger before and after, and every step may be run again: whoever dies at any point
// leaves a run that Resume takes to the same end.
package release

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/ledger"
	"github.com/smart-assistant/platform/cli/objectstore"
)

// Names of steps, as the ledger, the plan and the terminal show them.
const (
	StepEarlier  = "earlier run"
	StepSnapshot = "snapshot"
	StepCopy     = "copy"
	StepMigrate  = "migrate"
	StepDeploy   = "deploy"
	StepVerify   = "verify"
	StepRollBack = "roll back"
)

// Operator carries out plans. The zero clock is the system's.
type Operator struct {
	Progress Progress
	Now      func() time.Time
	Sleep    func(ctx context.Context, d time.Duration) error
}

// Result is how a run ended.
type Result struct {
	Run      int           `json:"run"`
	Kind     string        `json:"kind"`
	To       string        `json:"to"`
	Outcome  string        `json:"outcome"`
	Release  string        `json:"release"` // that the environment runs now
	Schema   int64         `json:"schema"`
	Snapshot string        `json:"snapshot,omitempty"`
	Failed   string        `json:"failed,omitempty"` // the step
	Cause    string        `json:"cause,omitempty"`
	Took     time.Duration `json:"took"`
}

// Apply carries out a plan. It acquires the environment's lease, makes sure that nothing happened since the plan was made, and runs
// the steps. from is nil except for a promotion. An error that leaves a run behind is a *RunError.
func (o *Operator) Apply(ctx context.Context, plan *Plan, from, to *Environment) (*Result, error) {
	if err := plan.Check(); err != nil {
		return nil, err
	}
	lease, err := to.Ledger.Acquire(ctx, plan.Purpose())
	if err != nil {
		return nil, err
	}
	defer release(ctx, lease)
	ctx = lease.Context(ctx)
	if err := plan.stillHolds(ctx, from, to); err != nil {
		return nil, err
	}
	run, err := to.Ledger.Begin(ctx, lease, plan.Kind, plan)
	if err != nil {
		return nil, err
	}
	return o.execute(ctx, plan, run, lease, from, to)
}

// Resume goes on with a run that was interrupted, to the end that its plan says. environments finds the others by name.
func (o *Operator) Resume(ctx context.Context, to *Environment, number int, environments func(string) (*Environment, error)) (*Result, error) {
	state, err := to.Ledger.Run(ctx, number)
	if err != nil {
		return nil, fault.Code(fault.Hint(err, "assistctl history "+to.Name), fault.NotFound)
	}
	if state.Outcome != "" {
		return nil, fault.Code(fault.Hint(fmt.Errorf("%s %d of %s has ended already: %s", state.Kind, number, to.Name, state.Outcome),
			fmt.Sprintf("assistctl history %s %d", to.Name, number)), fault.Refused)
	}
	var plan Plan
	if err := json.Unmarshal(state.Plan, &plan); err != nil {
		return nil, fmt.Errorf("plan of run %d: %w", number, err)
	}
	var from *Environment
	if plan.From != "" && !stepDone(state, StepCopy) { // once the release has been copied, the environment that it came from is not needed
		if from, err = environments(plan.From); err != nil {
			return nil, err
		}
	}
	lease, err := to.Ledger.Acquire(ctx, plan.Purpose())
	if err != nil {
		return nil, err
	}
	defer release(ctx, lease)
	ctx = lease.Context(ctx)
	run, err := to.Ledger.Resume(ctx, lease, number)
	if err != nil {
		return nil, err
	}
	return o.execute(ctx, &plan, run, lease, from, to)
}

// step is one part of a run.
type step struct {
	name string
	do   func(ctx context.Context) (result any, detail string, err error)
}

// execution is a run under way.
type execution struct {
	*Operator
	plan     *Plan
	manifest Manifest
	run      *ledger.Run
	lease    *ledger.Lease
	from, to *Environment
	schema   int64  // of the database, as far as the run knows
	snapshot string // id, once there is one
}

// execute runs a plan's steps from wherever the journal says it is.
func (o *Operator) execute(ctx context.Context, plan *Plan, run *ledger.Run, lease *ledger.Lease, from, to *Environment) (*Result, error) {
	x := &execution{Operator: o, plan: plan, run: run, lease: lease, from: from, to: to, schema: plan.Schema}
	var err error
	if x.manifest, err = x.find(ctx); err != nil {
		return nil, x.stopped(ctx, err, "")
	}
	for _, s := range x.steps() {
		cause := x.failedBefore(s.name)
		if cause == nil {
			cause = x.do(ctx, s)
		}
		if cause != nil {
			return x.fail(ctx, s.name, cause)
		}
	}
	return x.end(ctx, ledger.OutcomeCommitted, plan.Release, "", nil)
}

// steps are the plan in order of execution.
func (x *execution) steps() []step {
	var all []step
	if x.plan.Abandon != 0 {
		all = append(all, step{StepEarlier, x.endEarlier})
	}
	if x.plan.Snapshot != nil {
		all = append(all, step{StepSnapshot, x.takeSnapshot})
	}
	if x.plan.From != "" {
		all = append(all, step{StepCopy, x.copyRelease})
	}
	if x.plan.Kind != ledger.KindRollback {
		all = append(all, step{StepMigrate, x.migrate})
	}
	return append(all, step{StepDeploy, x.deploy}, step{StepVerify, x.verify})
}

// fail decides what a failed step means. Up to the deployment the old release has been serving all along, so there is nothing to undo;
// from there on the old release comes back.
func (x *execution) fail(ctx context.Context, name string, cause error) (*Result, error) {
	if ctx.Err() != nil || errors.Is(cause, ErrAway) {
		return nil, x.stopped(ctx, cause, name)
	}
	deployed := name == StepDeploy || name == StepVerify
	if !deployed || x.plan.Before == "" || x.plan.Kind == ledger.KindRollback {
		return x.end(ctx, ledger.OutcomeFailed, x.runs(ctx), name, cause)
	}
	if err := x.do(ctx, step{StepRollBack, x.rollBack}); err != nil {
		if ctx.Err() != nil || errors.Is(err, ErrAway) {
			return nil, x.stopped(ctx, err, StepRollBack)
		}
		return nil, x.stuck(cause, err)
	}
	return x.end(ctx, ledger.OutcomeRolledBack, x.plan.Before, name, cause)
}

// do journals and runs one step and tells the observer.
func (x *execution) do(ctx context.Context, s step) error {
	x.Progress.StepStarted(s.name)
	var detail string
	recorded, err := x.run.Step(ctx, s.name, func(ctx context.Context) (any, error) {
		result, said, err := s.do(ctx)
		detail = said
		return result, err
	})
	if err != nil {
		x.Progress.StepFailed(s.name, err)
		return err
	}
	if detail == "" {
		detail = "done before"
	}
	x.recall(s.name, recorded)
	x.Progress.StepDone(s.name, detail)
	return nil
}

// recall takes over what a step found out, whether it ran now or in an earlier attempt.
func (x *execution) recall(name string, recorded json.RawMessage) {
	switch name {
	case StepSnapshot:
		var s Snapshot
		if json.Unmarshal(recorded, &s) == nil {
			x.snapshot = s.ID
		}
	case StepMigrate:
		var m migrateResult
		if json.Unmarshal(recorded, &m) == nil {
			x.schema = m.Schema
		}
	}
}

// failedBefore reports a failure that an earlier attempt of this run came to and did not get to act on. Steps before the deployment
// are worth another try; a release that failed to come up or to verify is not.
func (x *execution) failedBefore(name string) error {
	if name != StepDeploy && name != StepVerify {
		return nil
	}
	for _, s := range x.run.State().Steps {
		if s.Name == name && s.Phase == ledger.PhaseFailed && !s.Interrupted && !strings.Contains(s.Err, ErrAway.Error()) {
			return errors.New(s.Err)
		}
	}
	return nil
}

// end closes the run.
func (x *execution) end(ctx context.Context, outcome, runs, failed string, cause error) (*Result, error) {
	ending := Ending{Release: runs, Schema: x.schema}
	if cause != nil {
		ending.Reason = failed + ": " + cause.Error()
	}
	if err := x.run.End(ctx, outcome, ending); err != nil {
		return nil, x.stopped(ctx, err, failed)
	}
	state := x.run.State()
	r := &Result{
		Run: x.run.Number(), Kind: x.plan.Kind, To: x.to.Name, Outcome: outcome, Release: runs, Schema: x.schema,
		Snapshot: x.snapshot, Failed: failed, Took: x.now().Sub(state.Began),
	}
	if cause == nil {
		return r, nil
	}
	r.Cause = cause.Error()
	return r, x.failed(r, cause)
}

// find returns the plan's release, unchanged since it was planned.
func (x *execution) find(ctx context.Context) (Manifest, error) {
	m, err := x.to.Releases.Get(ctx, x.plan.Release)
	if errors.Is(err, objectstore.ErrNotExist) && x.from != nil {
		m, err = x.from.Releases.Get(ctx, x.plan.Release)
	}
	if err != nil {
		return m, err
	}
	if m.Content() != x.plan.Content {
		return m, fault.Code(fmt.Errorf("release %s is not the one that was planned", m.Version), fault.Damaged)
	}
	return m, nil
}

// runs is the release that serves, as the target says it; the plan's word is for a target that does not answer.
func (x *execution) runs(ctx context.Context) string {
	if r, err := x.to.Target.Running(ctx); err == nil && r.Version != "" {
		return r.Version
	}
	return x.plan.Before
}

func stepDone(run ledger.RunState, name string) bool {
	return slices.ContainsFunc(run.Steps, func(s ledger.StepState) bool { return s.Name == name && s.Phase == ledger.PhaseDone })
}

func (o *Operator) now() time.Time {
	if o.Now == nil {
		return time.Now()
	}
	return o.Now()
}

func (o *Operator) sleep(ctx context.Context, d time.Duration) error {
	if o.Sleep != nil {
		return o.Sleep(ctx, d)
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// release gives the lease back, also when the run was cancelled. A lease that cannot be given back expires by itself.
func release(ctx context.Context, lease *ledger.Lease) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = lease.Release(ctx)
}
