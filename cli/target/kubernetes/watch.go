package kubernetes

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/smart-assistant/platform/cli/target"
)

// watcher follows a rollout.
type watcher struct {
	r      *rollout
	upDone bool
	upErr  error

	ready stall     // of replicas that are, since the Deployment has changed
	late  int       // how often in a row the cluster has given up waiting
	drain time.Time // only old replicas have been left since; zero when new ones are still missing
}

// watcher allows a little more than the Deployment does: the cluster's own verdict says more. There is none where the Deployment was complete
// before, as after a scale from zero.
func (r *rollout) watcher(ctx context.Context) *watcher {
	return &watcher{r: r, ready: stall{limit: cmp.Or(r.e.config.ReadyTimeout, r.c.readyTimeout(ctx)+patienceForEnds), since: time.Now()}}
}

const watchEvery = 500 * time.Millisecond

// until watches until Pulumi is done and the replicas are replaced, or there is no hope, which it returns.
func (w *watcher) until(ctx context.Context, done <-chan error) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case w.upErr = <-done:
			w.upDone, done = true, nil
			if w.upErr != nil {
				return nil
			}
		case <-tick.C:
		}
		now, err := w.r.c.look(ctx)
		if err != nil {
			if w.upDone && ctx.Err() == nil {
				return err
			}
			continue // Pulumi finds out by itself when the cluster has gone
		}
		if !now.runs(w.r.d.Build) || !now.seen() {
			w.ready.since = time.Now()
			continue
		}
		n := ready(now.updated())
		want := w.r.want(now)
		w.r.tell(n, want, w.detail(now))
		switch {
		case now.want() < want: // a new Deployment begins with one replica, and the autoscaler takes its time
			w.r.c.scale(ctx, want)
		case w.upDone && w.replaced(now):
			w.r.tell(want, want, "all replicas run "+w.r.d.Build.Version)
			return nil
		}
		if failed := w.hopeless(now); failed != nil {
			return w.explain(ctx, failed)
		}
	}
}

// replaced reports whether all replicas are new ones and the old ones are gone. One whose node has died never goes; it serves nobody, and
// is not waited for beyond its own time.
func (w *watcher) replaced(now live) bool {
	if now.complete() {
		return true
	}
	if !now.seen() || ready(now.updated()) < now.want() {
		w.drain = time.Time{}
		return false
	}
	if w.drain.IsZero() {
		w.drain = time.Now()
	}
	allowed := patienceForEnds
	for _, p := range now.pods {
		if grace := p.Spec.TerminationGracePeriodSeconds; grace != nil && p.DeletionTimestamp != nil {
			allowed = max(allowed, patienceForEnds+time.Duration(*grace)*time.Second)
		}
	}
	return time.Since(w.drain) > allowed
}

// detail says what happens now.
func (w *watcher) detail(now live) string {
	for _, p := range now.updated() {
		if !podReady(&p) {
			return p.Name + " starts"
		}
	}
	for _, p := range now.pods {
		if p.DeletionTimestamp != nil {
			return p.Name + " drains"
		}
	}
	return fmt.Sprintf("%d of %d replicas run %s", ready(now.updated()), w.r.want(now), w.r.d.Build.Version)
}

// endless is how often a new replica may end before it is ever ready.
const endless = 3

// hopeless finds a replica that will not become ready.
func hopeless(now live, b target.Build) *target.RolloutError {
	for _, p := range now.updated() {
		if n := ends(&p); n >= endless && !podReady(&p) {
			return &target.RolloutError{Build: b, Replica: p.Name, Reason: fmt.Sprintf("ended %d times before it was ready: %s", n, why(&p))}
		}
	}
	return nil
}

// timedOut is the cluster's own verdict: no replica has become ready for as long as the Deployment allows. The verdict on a rollout stands
// for a moment when the next one begins.
func timedOut(now live, b target.Build) *target.RolloutError {
	for _, condition := range now.deployment.Status.Conditions {
		if condition.Type != appsv1.DeploymentProgressing || condition.Status != corev1.ConditionFalse || !now.seen() {
			continue
		}
		return late(now, b, "is not ready in time")
	}
	return nil
}

// late blames the first replica that is not ready, or the Deployment when it has not come to have one.
func late(now live, b target.Build, reason string) *target.RolloutError {
	for _, p := range now.updated() {
		if !podReady(&p) {
			return &target.RolloutError{Build: b, Replica: p.Name, Reason: reason + ": " + why(&p)}
		}
	}
	return &target.RolloutError{Build: b, Replica: apiName, Reason: reason + ": the cluster makes no replica (quota, admission or scheduling)"}
}

// verdicts is how often in a row a rollout has to be found timed out.
const verdicts = 4

func (w *watcher) hopeless(now live) *target.RolloutError {
	if failed := hopeless(now, w.r.d.Build); failed != nil {
		return failed
	}
	failed := timedOut(now, w.r.d.Build)
	if failed == nil {
		w.late = 0
	} else if w.late++; w.late >= verdicts {
		return failed
	}
	if n := ready(now.updated()); w.ready.over(n) && n < w.r.want(now) {
		return late(now, w.r.d.Build, fmt.Sprintf("is not ready after %s", w.ready.limit))
	}
	return nil
}

// blame finds out which replica made Pulumi give up: nil when none did (Pulumi may have been killed), and an error when the cluster does
// not say.
func (w *watcher) blame(ctx context.Context, gaveUp error) (*target.RolloutError, error) {
	now, err := w.r.c.look(ctx)
	if err != nil || !now.runs(w.r.d.Build) {
		return nil, err
	}
	for _, failed := range []*target.RolloutError{hopeless(now, w.r.d.Build), timedOut(now, w.r.d.Build)} {
		if failed != nil {
			return w.explain(ctx, failed), nil
		}
	}
	if ready(now.updated()) < now.want() && strings.Contains(gaveUp.Error(), "Deployment") {
		return w.explain(ctx, late(now, w.r.d.Build, "is not ready")), nil
	}
	return nil, nil
}

func (w *watcher) explain(ctx context.Context, failed *target.RolloutError) *target.RolloutError {
	return w.r.c.explain(ctx, failed)
}

// explain adds what the replica itself says: its answer to the readiness probe, of which the cluster tells no more than the status, and the
// end of its log.
func (c *cluster) explain(ctx context.Context, failed *target.RolloutError) *target.RolloutError {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	pod, err := c.pod(ctx, failed.Replica)
	if err != nil {
		return failed
	}
	if answer := c.probe(ctx, pod); answer != "" && !strings.Contains(failed.Reason, answer) {
		failed.Reason += ": " + answer
	}
	failed.Log = c.lastLines(ctx, pod)
	return failed
}

// probe asks the pod what its readiness probe asks, and returns the answer when that is a refusal.
func (c *cluster) probe(ctx context.Context, p *corev1.Pod) string {
	probe := container(&p.Spec, serviceImage).ReadinessProbe
	if probe == nil || probe.HTTPGet == nil || !started(p) {
		return ""
	}
	port := portNamed(p, probe.HTTPGet.Port.StrVal, probe.HTTPGet.Port.IntValue())
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	answer, err := c.get(ctx, p.Name, port, probe.HTTPGet.Path)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close() //nolint:errcheck // only read
	if answer.StatusCode < http.StatusBadRequest {
		return ""
	}
	said, _ := io.ReadAll(io.LimitReader(answer.Body, 1000)) // what has come is enough
	return oneLine(fmt.Sprintf("%s %s", answer.Status, said))
}

// get asks a pod over HTTP. The caller closes the answer's body.
func (c *cluster) get(ctx context.Context, pod string, port int, path string) (*http.Response, error) {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dialPod(ctx, pod, port) },
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+pod+path, nil)
	if err != nil {
		return nil, err
	}
	return (&http.Client{Transport: transport}).Do(request)
}
