package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/smart-assistant/platform/cli/backup"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/ledger"
	"github.com/smart-assistant/platform/cli/release"
	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/cli/target/kubernetes"
)

// What becomes of a restore that did not come to its end: it is resumed, given up, or its run ends as failed.

// goOn resumes or abandons the restore that never ended.
func (o *restoreOptions) goOn(ctx context.Context, env *environment, state release.State) error {
	u := state.Unfinished
	if u == nil || u.Kind != ledger.KindRestore {
		return fault.Code(fault.Hint(fmt.Errorf("no restore of %s is unfinished", o.env), "assistctl history "+o.env), fault.NotFound)
	}
	var record restoreRecord
	if err := json.Unmarshal(u.Plan, &record); err != nil {
		return fmt.Errorf("plan of restore %d: %w", u.Number, err)
	}
	lease, err := env.ledger.Acquire(ctx, "restore "+record.Restore.Backup.ID+" in "+o.env)
	if err != nil {
		return err
	}
	defer giveBack(ctx, lease)
	ctx = lease.Context(ctx)
	run, err := env.ledger.Resume(ctx, lease, u.Number)
	if err != nil {
		return err
	}
	if o.resume {
		return o.execute(ctx, env, lease, run, record)
	}
	return o.end(ctx, env, lease, run, record)
}

// end puts an end to a restore wherever it was: what is live stays live, comes up again, and nothing else of the restore is left.
func (o *restoreOptions) end(ctx context.Context, env *environment, lease *ledger.Lease, run *ledger.Run, record restoreRecord) error {
	if err := env.endReplaced(ctx, lease, record); err != nil {
		return err
	}
	swapped, err := env.site.Live(ctx, record.Restore.Folder) // asked of the place, not of the journal: it may have died in between
	if err != nil {
		return err
	}
	live, reason := "the data that was live", "ended by the operator"
	if swapped {
		live, reason = "the restored data", "ended by the operator, after the restored data went live"
	}
	steps := o.app.waiting()
	defer steps.Close()
	steps.StepStarted("start")
	place, err := env.restorePlace(ctx, record.Release, lease.Fence())
	awaited := false
	if err == nil {
		awaited, err = place.Revive(kubernetes.OnWait(ctx, steps.waits))
	}
	steps.ended(err, "the database is ready")
	if ctx.Err() != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	down := err // data that is damaged does not come up: another restore is what helps, so this one must be able to end
	if err := env.site.Discard(ctx, record.Restore.Folder); err != nil {
		return err
	}
	if err := run.End(ctx, ledger.OutcomeAbandoned, release.Ending{Release: record.Release, Reason: reason}); err != nil {
		return err
	}
	if down != nil {
		return fault.Code(fault.Hint(fmt.Errorf("restore %d has ended, and %s does not come up on %s: %w", run.Number(), o.env, live, down),
			"assistctl backup restore "+o.env), fault.Stuck)
	}
	said := fmt.Sprintf("Restore %d has ended; %s runs on %s.", run.Number(), o.env, live)
	if !awaited {
		said += fmt.Sprintf("\n  its service was not waited for:  assistctl status %s", o.env)
	}
	if swapped && record.Restore.Aside != "" {
		said += fmt.Sprintf("\n  what was there before:  assistctl backup aside %s", o.env)
	}
	return o.app.say(nil, said)
}

// failed ends a run that failed before the live data was touched; one that was interrupted, or got further, stays open to be resumed. So does
// one of which nothing is known but that somebody did not answer: hours of work are not thrown away for that.
func (o *restoreOptions) failed(ctx context.Context, env *environment, run *ledger.Run, record restoreRecord, cause error) error {
	touched := false
	for _, s := range run.State().Steps {
		touched = touched || s.Name == "stop"
	}
	unanswered := fault.CodeOf(cause) == fault.Unreachable
	if ctx.Err() == nil && !touched && !unanswered {
		if err := env.site.Discard(ctx, record.Restore.Folder); err != nil { // before the end: an end says that nothing is left to do
			cause = errors.Join(cause, err)
		}
		if err := run.End(ctx, ledger.OutcomeFailed, release.Ending{Release: record.Release, Reason: cause.Error()}); err != nil {
			return errors.Join(cause, err)
		}
		return fmt.Errorf("%s was left as it is: %w", o.env, cause)
	}
	text, code := "its data and its API are as they were", fault.Stuck
	_, unready := errors.AsType[*target.RolloutError](cause)
	again, replacing := errors.AsType[*backup.ReplaceError](cause)
	switch {
	case ctx.Err() == nil && unready:
		text = fmt.Sprintf("the service does not become ready, and the database of %s runs on %s", o.env, env.liveData(ctx, record))
	case ctx.Err() == nil && replacing && again.Down == nil:
		text, code = fmt.Sprintf("%s serves again, on %s", o.env, env.liveData(ctx, record)), fault.Failed
	case !touched && unanswered:
		code = fault.Unreachable
	case touched:
		text = fmt.Sprintf("nothing is lost, but %s is DOWN (it answers 503) until one of these is run", o.env)
	}
	text = fmt.Sprintf("restore %d of %s stopped; %s", run.Number(), o.env, text)
	next := release.ResumeHint(o.env, ledger.KindRestore, 0)
	if ctx.Err() != nil {
		return fault.Code(fault.Hint(errors.New(text), next), fault.Interrupted)
	}
	return fault.Code(fault.Hint(fmt.Errorf("%s: %w", text, cause), next), code)
}

// liveData says on which data the environment runs, after the place and not after the journal: the answer to a swap may have been lost.
func (e *environment) liveData(ctx context.Context, record restoreRecord) string {
	switch swapped, err := e.site.Live(ctx, record.Restore.Folder); {
	case err != nil:
		return fmt.Sprintf("the restored data or on what was live before: it does not say (%v)", err)
	case swapped:
		return "the restored data"
	}
	return "the data that was live before; what is written there goes aside if the restore is resumed"
}

// endReplaced puts an end to the run whose place the restore takes. It comes after the restore's begin, so that there is always one of the two
// that says what to go on with.
func (e *environment) endReplaced(ctx context.Context, lease *ledger.Lease, record restoreRecord) error {
	if record.Abandon == 0 {
		return nil
	}
	return e.endUnfinished(ctx, lease, record.Abandon, release.Ending{Release: record.Release, Reason: "a restore took its place"})
}

// giveBack releases a lease, also when the command was interrupted. One that cannot be given back expires by itself.
func giveBack(ctx context.Context, lease *ledger.Lease) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = lease.Release(ctx)
}
