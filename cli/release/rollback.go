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
	if unfinished != nil {
		if holder, err := e.Ledger.Holder(ctx); err == nil && holder != nil { // it is being driven right now
			return nil, heldError(e.Name, holder)
		}
	}
	if unfinished != nil && !changesRelease(unfinished.Kind) { // a restore or a migration has to come to its own end first
		return nil, unfinishedError(e.Name, unfinished)
	}
	if beforeRun == 0 && unfinished != nil && version == "" {
		beforeRun = unfinished.Number
	}
	if beforeRun != 0 {
		if version, err = releaseBefore(ctx, e, beforeRun); err != nil {
			return nil, err
		}
	}
	if version == "" && unfinished == nil && now.Running.Version != "" && now.Running.Version != now.State.Release {
		version = now.State.Release // what runs is not what the ledger says: going back is going there
	}
	if version == "" {
		if len(now.State.Previous) == 0 {
			return nil, fault.Code(fault.Hint(noneBefore(e.Name, now.State.Release),
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
		Seen: now.State.Last, Schema: mig.Current, Head: mig.Current, Replicas: now.Running.Want,
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
	if err != nil {
		return nil, err
	}
	return p, p.preview(ctx, m, e)
}

func noneBefore(env, release string) error {
	if release == "" {
		return fmt.Errorf("no release has run in %s yet", env)
	}
	return fmt.Errorf("no release ran in %s before %s", env, release)
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

// changesRelease reports whether runs of a kind bring a release, so that a rollback can take their place.
func changesRelease(kind string) bool {
	return kind == ledger.KindPromotion || kind == ledger.KindDeploy || kind == ledger.KindRollback
}

// endEarlier puts an end to the unfinished run that a rollback takes the place of. It is a step of the rollback, which is in the ledger
// by then: whoever is killed here leaves a run that says what was meant.
func (x *execution) endEarlier(ctx context.Context) (any, string, error) {
	name := fmt.Sprintf("run %d", x.plan.Abandon)
	earlier, err := x.to.Ledger.Run(ctx, x.plan.Abandon)
	if err != nil {
		return nil, "", err
	}
	if earlier.Outcome != "" {
		return nil, name + " had ended", nil
	}
	run, err := x.to.Ledger.Resume(ctx, x.lease, x.plan.Abandon)
	if err != nil {
		return nil, "", err
	}
	ending := Ending{Release: x.plan.Before, Schema: x.plan.Schema, Reason: "rolled back by the operator"}
	return nil, name + " ended", run.End(ctx, ledger.OutcomeAbandoned, ending)
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
func (p *Plan) stillHolds(ctx context.Context, from, to *Environment) error {
	s, err := StateOf(ctx, to.Ledger)
	if err != nil {
		return err
	}
	unfinished := 0
	if s.Unfinished != nil {
		unfinished = s.Unfinished.Number
	}
	if s.Last != p.Seen || unfinished != p.Abandon {
		return changedError(to.Name)
	}
	if from == nil {
		return nil
	}
	if s, err = StateOf(ctx, from.Ledger); err != nil {
		return err
	}
	if s.Release != p.Release {
		return changedError(from.Name)
	}
	return nil
}

func changedError(env string) error {
	return fault.Code(fault.Hint(fmt.Errorf("%s has changed since the plan was made", env), "run the command again to see the new plan"), fault.Refused)
}
