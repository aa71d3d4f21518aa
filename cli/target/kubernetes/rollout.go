package kubernetes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/cli/target/kubernetes/outputs"
)

// rollout is one call of Deploy that has the turn.
type rollout struct {
	e       *Environment
	c       *cluster
	d       target.Deployment
	release *outputs.Release // what d is, as the stack's settings say it
	turn    *driver
	began   time.Time
	tell    func(ready, want int, detail string)
}

// Deploy implements target.Target. Who reads from the top sees what happens:
//
//   - the fencing number is checked and raised, and the turn is taken;
//   - what runs already is left alone;
//   - the image is tried before anything changes: by the canary, which has to pass the build's own smoke test, or else by `version`;
//   - the stack's settings name the release, and `pulumi up` makes it so, one replica at a time;
//   - a rollout that fails is undone in the same way, and remembered.
//
// When ctx ends, Pulumi is asked to end and what it began stays as it is: the Deployment goes on by itself, and the next Deploy finishes
// the rest. When the process is killed, the next one takes the turn over.
func (e *Environment) Deploy(ctx context.Context, d target.Deployment, progress target.Progress) error {
	c, err := e.again(ctx)
	if err != nil {
		return fmt.Errorf("deploy %s: %w", d.Build.Version, err)
	}
	if err := e.admit(ctx, c, d); err != nil {
		return fmt.Errorf("deploy %s: %w", d.Build.Version, err)
	}
	turnCtx, turn, err := e.begin(ctx, c, d)
	if err != nil {
		return err
	}
	if turn.waited { // for one that has changed what the stack says
		if c, err = e.again(ctx); err != nil {
			return errors.Join(fmt.Errorf("deploy %s: %w", d.Build.Version, err), turn.end(ctx, nil))
		}
	}
	r := &rollout{e: e, c: c, d: d, release: releaseOf(d), turn: turn, began: e.now().UTC(), tell: teller(turn, progress)}
	err = r.run(turnCtx)
	if lost := context.Cause(turnCtx); lost != nil && (errors.Is(err, context.Canceled) || errors.Is(err, lost)) {
		err = fmt.Errorf("deploy %s: %w", d.Build.Version, lost)
	}
	kept := r.remember(err)
	if failed := new(target.RolloutError); errors.As(err, &failed) {
		failed.Log = unstamped(failed.Log)
	}
	return errors.Join(err, turn.end(ctx, kept))
}

// run does it.
func (r *rollout) run(ctx context.Context) error {
	former, done, err := r.before(ctx)
	if err != nil || done {
		return err
	}
	if err := r.tryOut(ctx); err != nil {
		return err
	}
	if err := r.e.setReleaseKey(ctx, r.release); err != nil {
		return fmt.Errorf("deploy %s: %w", r.d.Build.Version, err)
	}
	err = r.roll(ctx)
	if err == nil {
		r.e.know(r.release)
		return nil
	}
	if ctx.Err() != nil || errors.Is(err, target.ErrUnreachable) {
		return err
	}
	return errors.Join(err, r.undo(ctx, former))
}

// admit refuses what cannot be deployed to now.
func (e *Environment) admit(ctx context.Context, c *cluster, d target.Deployment) error {
	record, _, err := c.load(ctx)
	if err != nil {
		return err
	}
	if d.Fence < record.Fence {
		return fmt.Errorf("fencing number %d: %w: %d", d.Fence, target.ErrFenced, record.Fence)
	}
	if d.Build.SHA256 == "" {
		return fmt.Errorf("%w: the release has no image of %s", target.ErrNoBuild, serviceImage)
	}
	up, reason, err := c.up(ctx)
	switch {
	case err != nil:
		return err
	case reason != "":
		return fault.Hint(fmt.Errorf("the database is stopped: %s", reason), "finish the restore first: assistctl backup restore "+e.Name()+" --resume")
	case !up:
		return e.down("its namespace is not there, or its database is scaled to zero")
	}
	return nil
}

// before looks at what runs: whether there is anything to do, and what to go back to when it fails.
func (r *rollout) before(ctx context.Context) (former *outputs.Release, done bool, err error) {
	now, err := r.c.look(ctx)
	if err != nil {
		return nil, false, err
	}
	key, err := r.e.ReleaseKey(ctx)
	if err != nil {
		return nil, false, err
	}
	same := sameRelease(key, r.release) && sameRelease(r.c.out.Release, r.release) && now.runs(r.d.Build)
	if same && r.turn.before == nil && now.complete() && now.want() >= r.c.out.Replicas {
		r.tell(now.want(), now.want(), "all replicas run "+r.d.Build.Version)
		return nil, true, nil
	}
	record, _, err := r.c.load(ctx)
	if err != nil {
		return nil, false, err
	}
	if record.Deployed != nil {
		return &record.Deployed.Release, false, nil
	}
	return r.c.out.Release, false, nil // brought up by hand, with the release in its settings
}

// tryOut makes sure that the image is there and runs, before anything changes.
func (r *rollout) tryOut(ctx context.Context) error {
	now, err := r.c.look(ctx)
	if err != nil {
		return err
	}
	r.tell(0, r.want(now), "tries the image of "+r.d.Build.Version)
	if r.d.Canary && ready(now.updated()) > 0 && now.runs(r.d.Build) {
		return nil // replicas of it serve already: a lost deployment is finished
	}
	if r.d.Canary {
		return r.canary(ctx)
	}
	err = r.e.exec(ctx, r.c, inside{build: r.d.Build, settings: r.d.Settings, args: []string{"version"}}, nil, nil)
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("deploy %s: %w", r.d.Build.Version, err)
	}
	return err
}

// want is how many replicas there are to be: what the stack says at least, and more where the autoscaler has made more.
func (r *rollout) want(now live) int {
	if now.deployment == nil {
		return r.c.out.Replicas
	}
	return max(now.want(), r.c.out.Replicas)
}

// roll runs `pulumi up` and watches the replicas meanwhile. It gives up before Pulumi does when there is no hope.
func (r *rollout) roll(ctx context.Context) error {
	upCtx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	done := make(chan error, 1)
	go func() {
		done <- r.e.up(upCtx, "assistctl: "+r.d.Build.Version, r.turn.before, func(detail string) { r.turn.report(0, detail) })
	}()
	w := r.watcher(ctx)
	hopeless := w.until(ctx, done)
	if hopeless != nil {
		giveUp(hopeless)
	}
	err := w.upErr
	if !w.upDone {
		err = <-done
	}
	var failed *target.RolloutError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(hopeless, &failed):
		return failed
	case hopeless != nil:
		return hopeless
	case err != nil:
		failed, away := w.blame(ctx, err)
		if failed != nil { // Pulumi has given up waiting: say why there was to wait, not that
			return failed
		}
		return fmt.Errorf("deploy %s: %w", r.d.Build.Version, cmp.Or(away, err)) // a cluster that is away is no verdict
	}
	return nil
}

// undo makes the environment what it was. The replicas that served have not been touched: there is one more than wanted before one is
// taken away.
func (r *rollout) undo(ctx context.Context, former *outputs.Release) error {
	what := "nothing"
	if former != nil {
		what = former.Version
	}
	r.turn.report(0, "back to "+what)
	err := r.e.setReleaseKey(ctx, former)
	if err == nil {
		err = r.e.up(ctx, "assistctl: back to "+what, r.turn.before, func(string) {})
	}
	if err == nil {
		r.e.know(former)
		err = r.settle(ctx)
	}
	if err != nil {
		return fmt.Errorf("go back to %s: %w", what, err)
	}
	return nil
}

// settle waits until no replica is left that is not wanted any more.
func (r *rollout) settle(ctx context.Context) error {
	w, better := r.watcher(ctx), r.e.stall(ctx, r.c)
	for {
		now, err := r.c.look(ctx)
		if err != nil {
			return err
		}
		if now.deployment == nil || w.replaced(now) {
			return nil
		}
		if failed := hopeless(now, r.d.Build); failed != nil && len(now.updated()) == len(now.pods) {
			return failed
		}
		if better.over(ready(now.updated())) {
			return late(now, r.d.Build, fmt.Sprintf("is not ready after %s", better.limit))
		}
		if err := pause(ctx, pollEvery); err != nil {
			return err
		}
	}
}

// remember says what the record keeps of how it went.
func (r *rollout) remember(err error) func(*record) {
	var failed *target.RolloutError
	switch {
	case err == nil:
		return func(rec *record) {
			rec.Deployed, rec.Failed = &installed{Release: *r.release, At: r.e.now().UTC()}, nil
		}
	case errors.As(err, &failed):
		it := &failure{
			Rollout: target.Rollout{Build: r.d.Build, Began: r.began, Ended: true, Error: err.Error()},
			Replica: failed.Replica, Log: failed.Log,
		}
		return func(rec *record) { rec.Failed = it }
	}
	return nil
}

// releaseOf is a deployment as the stack's settings say it.
func releaseOf(d target.Deployment) *outputs.Release {
	images := map[string]string{serviceImage: "sha256:" + d.Build.SHA256}
	for name, digest := range d.Images {
		if name != serviceImage {
			images[name] = digest
		}
	}
	return &outputs.Release{Version: d.Build.Version, Commit: d.Build.Commit, Images: images, Settings: nonNil(d.Settings)}
}

// teller passes progress on, to the caller and to the record. What counts as ready does not go back: a replica that loses its readiness
// for a moment is no news to whoever counts.
func teller(turn *driver, progress target.Progress) func(ready, want int, detail string) {
	var last string
	most := 0
	return func(ready, want int, detail string) {
		most = max(most, ready)
		turn.report(most, detail)
		line := fmt.Sprint(most, want, detail)
		if progress != nil && line != last {
			progress(most, want, detail)
		}
		last = line
	}
}

// again is reach, with what the stack says now: another process may have changed it.
func (e *Environment) again(ctx context.Context) (*cluster, error) {
	e.mu.Lock()
	e.cluster = nil
	e.mu.Unlock()
	return e.reach(ctx)
}

func oneLine(text string) string { return strings.ReplaceAll(strings.TrimSpace(text), "\n", "; ") }
