package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/smart-assistant/platform/cli/terminal"
)

// takeSnapshot backs the environment up before anything changes. The run's own key makes a second attempt find the first one's backup.
func (x *execution) takeSnapshot(ctx context.Context) (any, string, error) {
	key := fmt.Sprintf("%s-%d", x.plan.Kind, x.run.Number())
	about := Contents{Release: x.plan.Before, Schema: x.plan.Schema, Run: x.run.Number()}
	s, err := x.to.Backups.Take(ctx, key, x.plan.Snapshot.Keep, about, func(done, total int64) {
		x.Progress.StepProgress(StepSnapshot, done, total, "B")
	})
	if err != nil {
		return nil, "", fmt.Errorf("back up %s: %w", x.to.Name, err)
	}
	detail := fmt.Sprintf("%s   %s → %s   %s", s.ID, terminal.Bytes(s.Raw), terminal.Bytes(s.Stored), terminal.Duration(s.Took))
	return s, detail, nil
}

// copyRelease brings the manifest and the binary, unchanged, to the environment's own bucket.
func (x *execution) copyRelease(ctx context.Context) (any, string, error) {
	if err := x.from.Releases.CopyTo(ctx, x.to.Releases, x.manifest); err != nil {
		return nil, "", err
	}
	return nil, fmt.Sprintf("%s from %s", x.manifest.Version, x.from.Name), nil
}

type migrateResult struct {
	Schema  int64         `json:"schema"`
	Applied []Applied     `json:"applied,omitempty"`
	Took    time.Duration `json:"took"`
}

// migrate runs the migrations of the release's own build.
func (x *execution) migrate(ctx context.Context) (any, string, error) {
	if err := x.install(ctx, x.manifest); err != nil {
		return nil, "", err
	}
	began := x.now()
	applied, err := x.to.Schema.Up(ctx, x.manifest, func(done, total int) {
		x.Progress.StepProgress(StepMigrate, int64(done), int64(total), "migrations")
	})
	result := migrateResult{Schema: max(x.plan.Schema, x.manifest.Schema.Head), Applied: applied, Took: x.now().Sub(began)}
	if err != nil {
		for _, a := range applied {
			x.schema = max(x.schema, a.Version)
		}
		return nil, "", err
	}
	switch len(applied) {
	case 0:
		return result, fmt.Sprintf("nothing to do, schema %d", result.Schema), nil
	case 1:
		return result, fmt.Sprintf("%d %s   %s", applied[0].Version, applied[0].Name, terminal.Duration(result.Took)), nil
	}
	return result, fmt.Sprintf("%d migrations   %s", len(applied), terminal.Duration(result.Took)), nil
}

// deploy rolls the release out.
func (x *execution) deploy(ctx context.Context) (any, string, error) {
	return x.rollOut(ctx, StepDeploy, x.manifest)
}

// rollBack rolls the release that ran before out again. It looks only at what is needed to serve: whether the environment was in
// order before is not this run's question.
func (x *execution) rollBack(ctx context.Context) (any, string, error) {
	before, err := x.to.Releases.Get(ctx, x.plan.Before)
	if err != nil {
		return nil, "", err
	}
	return x.rollOut(ctx, StepRollBack, before)
}

func (x *execution) rollOut(ctx context.Context, name string, m Manifest) (any, string, error) {
	if err := x.install(ctx, m); err != nil {
		return nil, "", err
	}
	began := x.now()
	err := x.to.Target.Deploy(ctx, m, x.lease.Fence(), func(ready, want int) {
		x.Progress.StepProgress(name, int64(ready), int64(want), "replicas")
	})
	if err != nil {
		return nil, "", err
	}
	r, err := x.to.Target.Running(ctx)
	if err != nil {
		return nil, "", err
	}
	if r.Version != m.Version || r.Current+r.Starting < r.Want { // the autoscaler may have asked for more meanwhile
		return nil, "", fmt.Errorf("%d/%d ready on %s after the rollout", r.Current, r.Want, m.Version)
	}
	took := x.now().Sub(began)
	return map[string]any{"replicas": r.Current, "took": took}, fmt.Sprintf("%d/%d ready on %s    %s", r.Current, r.Want, m.Version, terminal.Duration(took)), nil
}

func (x *execution) install(ctx context.Context, m Manifest) error {
	if err := x.to.Target.Install(ctx, m, opener(ctx, x.to.Releases, m)); err != nil {
		return fmt.Errorf("bring %s to %s: %w", m.Version, x.to.Name, err)
	}
	return nil
}

func opener(ctx context.Context, c *Catalog, m Manifest) func(Artifact) (io.ReadCloser, error) {
	return func(a Artifact) (io.ReadCloser, error) { return c.Open(ctx, m, a) }
}

const (
	verifyTick      = 500 * time.Millisecond
	smokeEvery      = 10 * time.Second
	troublePatience = time.Minute // with what says nothing about the release
	enoughRequests  = 20          // before this many, one failure says little about a rate
)

type verifyResult struct {
	Window   time.Duration `json:"window"`
	Requests int64         `json:"requests"`
	Failed   int64         `json:"failed"`
	P95      time.Duration `json:"p95"`
	Smokes   int           `json:"smokes"`
}

// verify watches the release at work: ready on all replicas, of this version, its smoke test passing at the start, now and then and at
// the end, and the share of failed requests below the limit all along. What says nothing about the release may pass, and the window is
// longer by that: a connection that is lost, a replica that starts because the autoscaler or a node's end wants another.
func (x *execution) verify(ctx context.Context) (any, string, error) {
	began := x.now()
	v := verifyResult{Window: x.plan.Verify.Window}
	var smoked, troubled time.Time
	for {
		now := x.now()
		last := now.Sub(began) >= v.Window
		smoke := last || smoked.IsZero() || now.Sub(smoked) >= smokeEvery
		err := x.look(ctx, &v, now.Sub(began), last, smoke)
		switch {
		case err == nil && last:
			return v, v.describe(x.plan.Verify.P95Before), nil
		case err == nil && smoke:
			smoked, troubled = now, time.Time{}
		case err == nil:
			troubled = time.Time{}
		case !mayPass(err), !troubled.IsZero() && now.Sub(troubled) > troublePatience:
			return nil, "", err
		case troubled.IsZero():
			troubled = now
		}
		x.Progress.StepProgress(StepVerify, int64(min(now.Sub(began), v.Window).Seconds()), int64(v.Window.Seconds()), "s")
		wait := verifyTick
		if rest := v.Window - now.Sub(began); rest > 0 {
			wait = min(wait, rest)
		}
		if err := x.sleep(ctx, wait); err != nil {
			return nil, "", err
		}
	}
}

// look is one look of a verification, that has lasted so long.
func (x *execution) look(ctx context.Context, v *verifyResult, since time.Duration, last, smoke bool) error {
	if err := x.checkReady(ctx); err != nil {
		return err
	}
	if smoke {
		if err := x.to.Target.Smoke(ctx, x.manifest); err != nil {
			return fmt.Errorf("smoke test: %w", err)
		}
		v.Smokes++
	}
	t, err := x.to.Target.Traffic(ctx, since+time.Second, x.manifest.Version)
	if err != nil {
		return fmt.Errorf("traffic of %s: %w", x.to.Name, err)
	}
	v.Requests, v.Failed, v.P95 = t.Requests, t.Failed, t.P95
	if t.Rate() > x.plan.Verify.ErrorRate && (last || t.Requests >= enoughRequests) {
		return fmt.Errorf("error rate %s (limit %s) after %s: %s", terminal.Percent(t.Rate()), terminal.Percent(x.plan.Verify.ErrorRate), terminal.Duration(since), t.Worst)
	}
	if last && t.Requests == 0 {
		return errors.New("no request reached the release, not even the smoke test's: there is nothing to judge by")
	}
	return nil
}

var (
	errStarting = errors.New("others start")
	errNotUp    = errors.New("it is not up")
)

// mayPass reports whether an error says nothing about the release, and may be gone at the next look.
func mayPass(err error) bool {
	return errors.Is(err, errStarting) || errors.Is(err, ErrAway) && !errors.Is(err, errNotUp)
}

func (x *execution) checkReady(ctx context.Context) error {
	r, err := x.to.Target.Running(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("status of %s: %w", x.to.Name, err)
	case !r.Up:
		return fmt.Errorf("status of %s: %w: %w", x.to.Name, ErrAway, errNotUp)
	case r.Version == x.manifest.Version && r.Current < r.Want && r.Current+r.Starting >= r.Want:
		return fmt.Errorf("%d/%d ready on %s, %w: %s", r.Current, r.Want, x.manifest.Version, errStarting, orNothing(r.Detail))
	case r.Version != x.manifest.Version || r.Current < r.Want:
		return fmt.Errorf("%d/%d ready on %s: %s", r.Current, r.Want, x.manifest.Version, orNothing(r.Detail))
	}
	return nil
}

func (v verifyResult) describe(before time.Duration) string {
	p95 := fmt.Sprintf("p95 %s", terminal.Duration(v.P95))
	if before > 0 {
		p95 = fmt.Sprintf("p95 %s → %s", terminal.Duration(before), terminal.Duration(v.P95))
	}
	return fmt.Sprintf("%s, %s requests, %d failed, %s", terminal.Duration(v.Window), terminal.Count(v.Requests), v.Failed, p95)
}
