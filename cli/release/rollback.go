package release

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/ledger"
)

// PlanRollback computes what going back to an earlier release would do. The code goes back, the schema stays: the phases of
// migrations promise that the earlier release works on it, and where they do not, the plan is refused.
//
// Without a version it goes to the release that ran before. beforeRun, when not 0, goes to what ran before that run, and puts an end
// to the run when it is the unfinished one.
func PlanRollback(ctx context.Context, e *Environment, version string, beforeRun int) (*Plan, error) {
	now, err := observe(ctx, e)
	if err != nil {
		return nil, err
	}
	unfinished := now.State.Unfinished
	if beforeRun == 0 && unfinished != nil && version == "" {
		beforeRun = unfinished.Number
	}
	if beforeRun != 0 {
		if version, err = releaseBefore(ctx, e, beforeRun); err != nil {
			return nil, err
		}
	}
	if version == "" {
		if len(now.State.Previous) == 0 {
			return nil, fault.Code(fault.Hint(fmt.Errorf("no release ran in %s before %s", e.Name, orNothing(now.State.Release)),
				"assistctl history "+e.Name), fault.Refused)
		}
		version = now.State.Previous[0]
	}
	p, err := planRollbackTo(ctx, e, now, version)
	if err != nil {
		return nil, err
	}
	if unfinished != nil {
		p.Abandon = unfinished.Number
	}
	return p, nil
}

func planRollbackTo(ctx context.Context, e *Environment, now Observed, version string) (*Plan, error) {
	m, err := e.Releases.Get(ctx, version)
	if err != nil {
		return nil, err
	}
	if err := e.Target.Install(ctx, m, opener(ctx, e.Releases, m)); err != nil {
		return nil, fmt.Errorf("bring %s to %s: %w", m.Version, e.Name, err)
	}
	mig, err := e.Schema.Plan(ctx, m)
	if err != nil {
		return nil, fmt.Errorf("schema of %s: %w", e.Name, err)
	}
	now.Schema = mig.Current
	p := &Plan{
		Kind: ledger.KindRollback, To: e.Name, Release: m.Version, Content: m.Content(), Before: now.State.Release,
		Schema: mig.Current, Head: mig.Current, Replicas: now.Running.Want,
		Verify: VerifyPlan{Window: e.Limits.VerifyWindow, ErrorRate: e.Limits.ErrorRate, P95Before: now.Traffic.P95},
		Undo:   "the rollback stops where it is, for you to look at",
		Now:    now,
	}
	fits := Gate{Name: GateFits, Verdict: Yes, Detail: fmt.Sprintf("%s works on schema %d", m.Version, mig.Current)}
	if ok, why := m.RunsOn(mig.Applied); !ok {
		fits.Verdict, fits.Detail = No, why+fmt.Sprintf(" (its data is in a backup: assistctl backup list %s)", e.Name)
	}
	lease, err := leaseGate(ctx, e)
	p.Gates = []Gate{fits, lease}
	return p, err
}

// releaseBefore is what an environment ran before a run.
func releaseBefore(ctx context.Context, e *Environment, number int) (string, error) {
	run, err := e.Ledger.Run(ctx, number)
	if err != nil {
		return "", fault.Code(fault.Hint(err, "assistctl history "+e.Name), fault.NotFound)
	}
	var plan Plan
	if err := json.Unmarshal(run.Plan, &plan); err != nil {
		return "", fmt.Errorf("plan of run %d: %w", number, err)
	}
	if plan.Before == "" {
		return "", fault.Code(fault.Hint(fmt.Errorf("nothing ran in %s before %s %d", e.Name, run.Kind, number),
			fmt.Sprintf("assistctl promote --resume %d --env %s", number, e.Name)), fault.Refused)
	}
	return plan.Before, nil
}

// abandon puts an end to the unfinished run that a rollback takes the place of.
func abandon(ctx context.Context, e *Environment, lease *ledger.Lease, p *Plan) error {
	run, err := e.Ledger.Resume(ctx, lease, p.Abandon)
	if err != nil {
		return err
	}
	return run.End(ctx, ledger.OutcomeAbandoned, Ending{Release: p.Before, Schema: p.Schema, Reason: "rolled back by the operator"})
}

// Purpose says in one line what a plan's run does; the lease shows it to others.
func (p *Plan) Purpose() string {
	switch p.Kind {
	case ledger.KindPromotion:
		return fmt.Sprintf("promote %s from %s to %s", p.Release, p.From, p.To)
	case ledger.KindRollback:
		return fmt.Sprintf("roll %s back to %s", p.To, p.Release)
	default:
		return fmt.Sprintf("deploy %s to %s", p.Release, p.To)
	}
}

// stillHolds refuses a plan whose environment has changed since: what was shown and agreed to is what is done.
func (p *Plan) stillHolds(ctx context.Context, to *Environment) error {
	s, err := StateOf(ctx, to.Ledger)
	if err != nil {
		return err
	}
	unfinished := 0
	if s.Unfinished != nil {
		unfinished = s.Unfinished.Number
	}
	if s.Release != p.Before || unfinished != p.Abandon {
		return fault.Code(fault.Hint(fmt.Errorf("%s has changed since the plan was made: it ran %s then and runs %s now", to.Name, orNothing(p.Before), orNothing(s.Release)),
			"run the command again to see the new plan"), fault.Refused)
	}
	return nil
}
