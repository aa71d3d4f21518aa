package release

import (
	"context"
	"fmt"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/ledger"
	"github.com/smart-assistant/platform/service/schema"
)

// Plan is what a promotion, a deploy or a rollback will do: a value, computed before anything changes, shown, written to the ledger,
// and the only thing that execution looks at. A resumed run goes on with the plan that it began with.
type Plan struct {
	Kind     string          `json:"kind"`
	From     string          `json:"from,omitempty"` // the environment that the release comes from; "" for deploy and rollback
	To       string          `json:"to"`
	Release  string          `json:"release"`
	Content  string          `json:"content"`          // Manifest.Content of Release: a run never brings anything else
	Before   string          `json:"before,omitempty"` // the release that runs now, and that a failed verification goes back to
	Snapshot *SnapshotPlan   `json:"snapshot,omitempty"`
	Pending  []PlannedChange `json:"pending,omitempty"` // migrations, in order
	Schema   int64           `json:"schema"`            // of the database now
	Head     int64           `json:"head"`              // of the database afterwards
	Replicas int             `json:"replicas"`
	Changes  []Change        `json:"changes,omitempty"` // of the infrastructure, all of them the release's own
	Verify   VerifyPlan      `json:"verify"`
	Undo     string          `json:"undo"`              // what happens when verification fails, in words
	Seen     int             `json:"seen"`              // newest run of To when the plan was made: it holds only as long as no other follows
	Abandon  int             `json:"abandon,omitempty"` // an unfinished run that this rollback puts an end to
	Reason   string          `json:"reason,omitempty"`

	// What the plan was computed from, for the reader and the gates; a run does not need it.
	Now     Observed `json:"-"`
	Source  Observed `json:"-"`
	Gates   []Gate   `json:"gates,omitempty"`
	Skipped []string `json:"skipped,omitempty"` // gates that the operator overrode; Reason says why
}

// Observed is an environment as a plan found it.
type Observed struct {
	State   State
	Running Running
	Traffic Traffic
	Schema  int64
}

// SnapshotPlan says what is kept before anything changes.
type SnapshotPlan struct {
	Keep   time.Duration `json:"keep"`
	Expect time.Duration `json:"expect"` // 0 when there is nothing to judge by
}

// PlannedChange is a pending migration and how long it took where the release comes from.
type PlannedChange struct {
	schema.Migration
	Took  time.Duration `json:"took,omitempty"`
	Where string        `json:"where,omitempty"`
}

// VerifyPlan says what a release must hold after the rollout.
type VerifyPlan struct {
	Window    time.Duration `json:"window"`
	ErrorRate float64       `json:"errorRate"`
	P95Before time.Duration `json:"p95Before,omitempty"`
}

// PlanPromotion computes what bringing from's release to the next environment would do.
func PlanPromotion(ctx context.Context, from, to *Environment, now time.Time) (*Plan, error) {
	source, err := observe(ctx, from)
	if err != nil {
		return nil, err
	}
	if source.State.Release == "" {
		return nil, fault.Code(fault.Hint(fmt.Errorf("nothing runs in %s: there is no release to promote", from.Name),
			"assistctl deploy "+from.Name+" <release>"), fault.Refused)
	}
	m, err := from.Releases.Get(ctx, source.State.Release)
	if err != nil {
		return nil, err
	}
	p, err := planChange(ctx, ledger.KindPromotion, m, to, to.Releases, from.Releases)
	if err != nil {
		return nil, err
	}
	p.From, p.Source = from.Name, source
	if !p.empty() {
		p.Snapshot = &SnapshotPlan{Keep: to.Limits.KeepSnapshot}
		if newest, ok, err := to.Backups.Newest(ctx); err == nil && ok {
			p.Snapshot.Expect = newest.Took
		}
	}
	if runs, err := from.Ledger.Runs(ctx); err == nil {
		took := migrationTimes(runs)
		for i, c := range p.Pending {
			p.Pending[i].Took, p.Pending[i].Where = took[c.Version], from.Name
		}
	}
	p.Gates, err = promotionGates(ctx, p, m, from, to, now)
	return p, err
}

// PlanDeploy computes what bringing a release into the first environment would do.
func PlanDeploy(ctx context.Context, to *Environment, version string) (*Plan, error) {
	m, err := to.Releases.Get(ctx, version)
	if err != nil {
		return nil, err
	}
	p, err := planChange(ctx, ledger.KindDeploy, m, to, to.Releases, to.Releases)
	if err != nil {
		return nil, err
	}
	p.Gates, err = deployGates(ctx, p, m, to)
	return p, err
}

// observe looks at an environment: its ledger, what runs, and what its users see.
func observe(ctx context.Context, e *Environment) (Observed, error) {
	var o Observed
	var err error
	if o.State, err = StateOf(ctx, e.Ledger); err != nil {
		return o, fmt.Errorf("ledger of %s: %w", e.Name, err)
	}
	if o.Running, err = e.Target.Running(ctx); err != nil {
		return o, fmt.Errorf("status of %s: %w", e.Name, err)
	}
	if !o.Running.Up {
		return o, fault.Code(fault.Hint(fmt.Errorf("%s is not up", e.Name), e.WayUp), fault.Unreachable)
	}
	if o.Traffic, err = e.Target.Traffic(ctx, time.Hour, ""); err != nil {
		return o, fmt.Errorf("traffic of %s: %w", e.Name, err)
	}
	return o, nil
}

// planChange is what promotion and deploy have in common. Its releases may not have arrived in to's catalog yet: then source holds them.
func planChange(ctx context.Context, kind string, m Manifest, to *Environment, own, source *Catalog) (*Plan, error) {
	now, err := observe(ctx, to)
	if err != nil {
		return nil, err
	}
	if u := now.State.Unfinished; u != nil {
		if holder, err := to.Ledger.Holder(ctx); err == nil && holder != nil { // it is being driven right now
			return nil, heldError(to.Name, holder)
		}
		return nil, unfinishedError(to.Name, u)
	}
	// The release's own build says what it would migrate, so it has to be there. Nothing runs from it yet.
	if err := to.Target.Install(ctx, m, opener(ctx, source, m)); err != nil {
		return nil, fmt.Errorf("bring %s to %s: %w", m.Version, to.Name, err)
	}
	mig, err := to.Schema.Plan(ctx, m)
	if err != nil {
		return nil, fmt.Errorf("migrations of %s against %s: %w", m.Version, to.Name, err)
	}
	now.Schema = mig.Current
	p := &Plan{
		Kind: kind, To: to.Name, Release: m.Version, Content: m.Content(), Before: now.State.Release, Seen: now.State.Last,
		Schema: mig.Current, Head: max(mig.Current, m.Schema.Head), Replicas: now.Running.Want,
		Verify: VerifyPlan{Window: to.Limits.VerifyWindow, ErrorRate: to.Limits.ErrorRate, P95Before: now.Traffic.P95},
		Now:    now,
	}
	for _, pending := range mig.Pending {
		p.Pending = append(p.Pending, PlannedChange{Migration: pending})
	}
	p.Gates = []Gate{driftGate(mig)}
	if err := p.preview(ctx, m, to); err != nil {
		return nil, err
	}
	p.Undo, err = undoPlan(ctx, p, mig, own)
	return p, err
}

// undoPlan decides, before anything changes, what a failed verification goes back to.
func undoPlan(ctx context.Context, p *Plan, mig MigrationPlan, own *Catalog) (string, error) {
	if p.Before == "" {
		return "nothing ran before: the environment stays as it is, for you to look at", nil
	}
	before, err := own.Get(ctx, p.Before)
	if err != nil {
		return "", err
	}
	after := append([]schema.Migration(nil), mig.Applied...)
	for _, c := range p.Pending {
		after = append(after, c.Migration)
	}
	ok, why := before.RunsOn(after)
	gate := Gate{Name: GateFits, Verdict: Yes, Detail: fmt.Sprintf("%s works on schema %d", p.Before, p.Head)}
	if !ok {
		gate.Verdict, gate.Detail = No, why
	}
	p.Gates = append(p.Gates, gate)
	if !ok {
		return fmt.Sprintf("there is no way back: %s", why), nil
	}
	return fmt.Sprintf("back to %s (it works on schema %d)", p.Before, p.Head), nil
}

// empty reports whether there is nothing in the environment that a promotion could harm: no release has run there, and the database
// has no schema.
func (p *Plan) empty() bool { return p.Before == "" && p.Now.Running.Version == "" && p.Schema == 0 }

// heldError says who is at work.
func heldError(env string, holder *ledger.Holder) error {
	return fault.Code(fault.Hint(&ledger.HeldError{Holder: *holder, Environment: env}, "assistctl status --watch shows when it is done"), fault.Held)
}

func unfinishedError(env string, u *ledger.RunState) error {
	return fault.Code(fault.Hint(fmt.Errorf("%s %d of %s was begun at %s by %s and never ended", u.Kind, u.Number, env, u.Began.Local().Format("15:04:05"), u.Actor),
		ResumeHint(env, u.Kind, u.Number)), fault.Refused)
}

// ResumeHint names the ways out of a run that stopped.
func ResumeHint(env, kind string, number int) string {
	switch kind {
	case ledger.KindRestore:
		return fmt.Sprintf("go on:        assistctl backup restore %s --resume\nor end it:    assistctl backup restore %s --abandon", env, env)
	case ledger.KindMigrate:
		return "go on:   assistctl migrate up " + env
	}
	return fmt.Sprintf("go on:   assistctl promote --resume %d --env %s\ngo back: assistctl rollback %s --to-before %d", number, env, env, number)
}
