package local

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/target"
)

// operations lets one change of the environment happen at a time. A rollout gives way to whatever comes next, the others are waited for.
type operations struct {
	mu      sync.Mutex
	current *operation
}

type operation struct {
	yields bool
	cancel context.CancelCauseFunc
	done   chan struct{}
}

var errReplaced = target.ErrReplaced

// begin waits for its turn. The returned context ends when a later operation wants the turn, if this one yields.
func (o *operations) begin(ctx context.Context, yields bool) (context.Context, func(), error) {
	for {
		o.mu.Lock()
		before := o.current
		if before == nil {
			turn, cancel := context.WithCancelCause(context.Background())
			mine := &operation{yields: yields, cancel: cancel, done: make(chan struct{})}
			o.current = mine
			o.mu.Unlock()
			return turn, func() { o.end(mine) }, nil
		}
		o.mu.Unlock()
		if before.yields {
			before.cancel(errReplaced)
		}
		select {
		case <-before.done:
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
}

func (o *operations) end(mine *operation) {
	o.mu.Lock()
	o.current = nil
	o.mu.Unlock()
	mine.cancel(nil)
	close(mine.done)
}

// take is begin for an operation that does not yield.
func (o *operations) take(ctx context.Context) (release func(), err error) {
	_, release, err = o.begin(ctx, false)
	return release, err
}

// rollout is a deployment under way.
type rollout struct {
	deployment target.Deployment
	want       int // replicas
	began      time.Time

	mu      sync.Mutex
	events  []event
	ended   bool
	err     error
	changed chan struct{} // closed and replaced at each change
}

// event is one call of target.Progress.
type event struct {
	Ready  int    `json:"ready"`
	Want   int    `json:"want"`
	Detail string `json:"detail"`
}

func (r *rollout) report(ready int, detail string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, event{ready, r.want, detail})
	r.announce()
}

func (r *rollout) finish(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended, r.err = true, err
	r.announce()
}

func (r *rollout) announce() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// after returns the events from the nth on, and a channel that closes when there are more or the rollout has ended.
func (r *rollout) after(n int) (events []event, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events[n:], r.changed
}

// result is the rollout's error, once it has ended.
func (r *rollout) result() (ended bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended, r.err
}

func (r *rollout) view() target.Rollout {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := target.Rollout{Build: r.deployment.Build, Began: r.began, Ended: r.ended}
	if len(r.events) > 0 {
		last := r.events[len(r.events)-1]
		v.Updated, v.Detail = last.Ready, last.Detail
	}
	if r.err != nil {
		v.Error = r.err.Error()
	}
	return v
}

// deploy begins a rollout, or joins the one that does the same already. It goes on without its caller.
func (s *supervisor) deploy(ctx context.Context, d target.Deployment) (*rollout, error) {
	if err := s.admitDeployment(d); err != nil {
		return nil, err
	}
	if err := s.env.verifyBuild(d.Build); err != nil {
		return nil, err
	}
	s.mu.Lock()
	current, want := s.rollout, s.want
	s.mu.Unlock()
	if current != nil && key(current.deployment) == key(d) && current.want == want {
		return current, nil
	}
	turn, release, err := s.turn.begin(ctx, true)
	if err != nil {
		return nil, err
	}
	if err := s.admitDeployment(d); err != nil { // somebody with a newer lease may have been waiting as well
		release()
		return nil, err
	}
	s.mu.Lock()
	r := &rollout{deployment: d, want: s.want, began: s.now(), changed: make(chan struct{})}
	s.rollout = r
	s.mu.Unlock()
	go func() {
		defer release()
		err := s.roll(turn, r)
		s.mu.Lock()
		s.rollout = nil
		s.mu.Unlock()
		r.finish(err)
	}()
	return r, nil
}

// admitDeployment checks the fencing number, and remembers a new one.
func (s *supervisor) admitDeployment(d target.Deployment) error {
	s.mu.Lock()
	fence, stopped := s.state.Fence, s.state.Stopped
	s.mu.Unlock()
	if d.Fence < fence {
		return fmt.Errorf("deploy %s with fencing number %d: %w: %d", d.Build.Version, d.Fence, target.ErrFenced, fence)
	}
	if stopped {
		return fault.Hint(fmt.Errorf("deploy %s: the database is stopped for a restore", d.Build.Version),
			"finish the restore first: assistctl backup restore "+s.env.Name()+" --resume")
	}
	if d.Fence == fence {
		return nil
	}
	return s.update(func(st *state) { st.Fence = max(st.Fence, d.Fence) })
}

// roll makes the environment run the rollout's deployment and commits to it. When that fails, it makes it run again what it ran before.
func (s *supervisor) roll(ctx context.Context, r *rollout) error {
	d := r.deployment
	s.log.Info("rollout begins", "version", d.Build.Version, "replicas", r.want, "fence", d.Fence)
	err := s.settle(ctx, d, r.want, d.Canary, r.report)
	if err == nil {
		return s.update(func(st *state) { st.Deployment, st.Rollout = &d, nil })
	}
	if ctx.Err() != nil {
		return fmt.Errorf("deploy %s: %w", d.Build.Version, context.Cause(ctx))
	}
	s.log.Error("rollout failed", "version", d.Build.Version, "error", err)
	failed := r.view()
	failed.Ended, failed.Error = true, err.Error()
	s.mu.Lock()
	before := s.state.Deployment
	s.mu.Unlock()
	err = errors.Join(err, s.update(func(st *state) { st.Rollout = &failed }))
	if before == nil {
		return err
	}
	r.report(0, "back to "+before.Build.Version)
	if backErr := s.settle(ctx, *before, r.want, false, func(int, string) {}); backErr != nil && ctx.Err() == nil {
		return errors.Join(err, fmt.Errorf("go back to %s: %w", before.Build.Version, backErr))
	}
	return err
}

// settle replaces replicas one at a time until as many as wanted run d, and no others. There is always one more than wanted before one is taken away.
func (s *supervisor) settle(ctx context.Context, d target.Deployment, want int, canary bool, report func(ready int, detail string)) error {
	done, _ := s.sorted(d)
	for i, r := range done { // those that run d already
		if err := s.awaitReady(ctx, r); err != nil {
			return err
		}
		canary = false
		report(i+1, r.name+" is ready")
	}
	for {
		done, others := s.sorted(d)
		switch {
		case len(done) < want:
			r, err := s.newReplica(d)
			if err != nil {
				return err
			}
			report(len(done), r.name+" starts")
			if err := s.introduce(ctx, r, canary); err != nil {
				return errors.Join(err, s.retire(r))
			}
			canary = false
			report(len(done)+1, r.name+" is ready")
			if len(done)+1+len(others) > want && len(others) > 0 {
				if err := s.replace(others[0], len(done)+1, report); err != nil {
					return err
				}
			}
		case len(others) > 0:
			if err := s.replace(others[0], len(done), report); err != nil {
				return err
			}
		case len(done) > want:
			if err := s.retire(done[len(done)-1]); err != nil {
				return err
			}
		default:
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

func (s *supervisor) replace(old *replica, ready int, report func(int, string)) error {
	report(ready, old.name+" drains")
	return s.retire(old)
}

// introduce starts a replica and gives it traffic once it is ready and, as the canary, has passed the build's own smoke test.
func (s *supervisor) introduce(ctx context.Context, r *replica, canary bool) error {
	s.enlist(r)
	if err := s.awaitReady(ctx, r); err != nil {
		return err
	}
	if canary {
		if err := s.smoke(ctx, r); err != nil {
			return err
		}
	}
	r.admit()
	return nil
}

// sorted returns the replicas that run d, and the others, those first that do not serve.
func (s *supervisor) sorted(d target.Deployment) (same, others []*replica) {
	var idle, serving []*replica
	for _, r := range s.fleet() {
		switch {
		case key(r.deployment) == key(d):
			same = append(same, r)
		case r.look().State == ready:
			serving = append(serving, r)
		default:
			idle = append(idle, r)
		}
	}
	return same, append(idle, serving...)
}

// hopeless is how often a new replica may end before it is ever ready.
const hopeless = 3

// awaitReady waits until the replica is ready, and gives up when it ends again and again or the time is over.
func (s *supervisor) awaitReady(ctx context.Context, r *replica) error {
	deadline := time.NewTimer(s.env.config.ReadyTimeout)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		view := r.look()
		switch {
		case view.State == ready:
			return nil
		case view.Ends >= hopeless:
			return s.gaveUp(r, fmt.Sprintf("ended %d times before it was ready: %s", view.Ends, view.Detail))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline.C:
			return s.gaveUp(r, fmt.Sprintf("is not ready after %s: %s", s.env.config.ReadyTimeout, view.Detail))
		}
	}
}

func (s *supervisor) gaveUp(r *replica, reason string) error {
	return &target.RolloutError{Build: r.deployment.Build, Replica: r.name, Reason: reason, Log: r.logTail()}
}

// smoke runs the build's own smoke test against one replica, past the proxy.
func (s *supervisor) smoke(ctx context.Context, r *replica) error {
	ctx, cancel := context.WithTimeout(ctx, s.env.config.ReadyTimeout)
	defer cancel()
	said := tailWriter{limit: 2000}
	err := s.env.exec(ctx, r.deployment.Build, r.deployment.Settings, nil, []string{"smoke", "--url", "http://" + r.address().addr}, &said, &said)
	if err == nil {
		return nil
	}
	reason := "failed its smoke test before it got traffic: " + err.Error()
	if exit := new(target.ExitError); errors.As(err, &exit) {
		reason = "failed its smoke test before it got traffic: " + strings.ReplaceAll(said.String(), "\n", "; ")
	}
	return s.gaveUp(r, reason)
}

// bringUp makes the environment run what it ran before: it adopts what still runs and starts the rest once the database is ready.
func (s *supervisor) bringUp(ctx context.Context, patient bool) error {
	s.mu.Lock()
	deployment, want := s.state.Deployment, s.want
	left := maps.Clone(s.state.Processes)
	for _, r := range s.replicas {
		delete(left, r.name)
	}
	s.mu.Unlock()
	if deployment == nil {
		return s.awaitDatabase(ctx, patient)
	}
	for name, rec := range left {
		if rec.Deployment == key(*deployment) && rec.alive() {
			r := s.replica(name, *deployment, rec)
			r.admit()
			s.enlist(r)
		}
	}
	if err := s.awaitDatabase(ctx, patient); err != nil {
		return err
	}
	for n := len(s.fleet()); n < want; n++ {
		r, err := s.newReplica(*deployment)
		if err != nil {
			return err
		}
		r.admit()
		s.enlist(r)
	}
	for extra := s.fleet(); len(extra) > want; extra = extra[1:] {
		if err := s.retire(extra[0]); err != nil {
			return err
		}
	}
	return nil
}

// crashLoop is how often in a row the server may end before somebody who waits for it is told.
const crashLoop = 5

// awaitDatabase waits until the database answers: as long as ctx lasts when it is patient.
func (s *supervisor) awaitDatabase(ctx context.Context, patient bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	s.mu.Lock()
	database := s.database
	s.mu.Unlock()
	for view := database.look(); view.State != ready; view = database.look() {
		// A server that ends again and again before it is ready will not come up by waiting. The keeper goes on trying: whoever repairs
		// the data does not have to say so.
		if view.Ends >= crashLoop && view.Detail != "" && !patient {
			return fmt.Errorf("the database does not come up: %s", view.Detail)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
