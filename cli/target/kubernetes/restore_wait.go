package kubernetes

import (
	"cmp"
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/smart-assistant/platform/cli/target"
)

// What a restore waits for. Each wait says for what, and ends when nothing gets better.

type waitKey struct{}

// OnWait returns a context under which a restore tells what it waits for, again and again while it waits.
func OnWait(ctx context.Context, tell func(what string)) context.Context {
	return context.WithValue(ctx, waitKey{}, tell)
}

func waits(ctx context.Context, what string) {
	if tell, ok := ctx.Value(waitKey{}).(func(string)); ok {
		tell(what)
	}
}

// stall ends a wait when nothing has got better for long.
type stall struct {
	limit time.Duration
	best  int
	since time.Time
}

// stall allows as long as a new replica may take.
func (e *Environment) stall(ctx context.Context, c *cluster) *stall {
	return &stall{limit: cmp.Or(e.config.ReadyTimeout, c.readyTimeout(ctx)), since: time.Now()}
}

// over reports whether to end. Better is more than ever before.
func (s *stall) over(n int) bool {
	if n > s.best {
		s.best, s.since = n, time.Now()
	}
	return time.Since(s.since) >= s.limit
}

// untilDatabaseReady waits for the database's pod. A server that recovers may take as long as it likes: the kubelet sees that it lives.
func (c *cluster) untilDatabaseReady(ctx context.Context, s *stall) error {
	for {
		pods, err := c.databasePods(ctx)
		if err != nil {
			return err
		}
		far, what := 0, "the StatefulSet "+c.statefulSet()+" makes no pod"
		for i := range pods {
			pod := &pods[i]
			if podReady(pod) && pod.DeletionTimestamp == nil {
				return nil
			}
			if err := noImage(pod); err != nil {
				return err
			}
			if crashing(pod) {
				return fmt.Errorf("the database does not come up: %s", why(pod))
			}
			far, what = stage(pod), pod.Name+": "+why(pod)
		}
		if far == recovers {
			s.since, what = time.Now(), "the database recovers"
		}
		if s.over(far) {
			return fmt.Errorf("the database is not ready after %s: %s", s.limit, what)
		}
		waits(ctx, what)
		if err := pause(ctx, pollEvery); err != nil {
			return err
		}
	}
}

// recovers is the stage of a server that answers and lets nobody in yet: its startup probe has passed, and its readiness probe has not.
const recovers = 4

// stage is how far a pod has come.
func stage(p *corev1.Pod) int {
	switch {
	case p.DeletionTimestamp != nil:
		return 0
	case started(p):
		return recovers
	case hasBegun(p):
		return 3
	case p.Spec.NodeName != "":
		return 2
	}
	return 1
}

// untilReplicasReady waits for all replicas, as long as they are the build that has to run; false says that they are not. Replicas that do not
// become ready are a *target.RolloutError.
func (c *cluster) untilReplicasReady(ctx context.Context, b target.Build, s *stall) (bool, error) {
	for {
		now, err := c.look(ctx)
		if err != nil {
			return false, err
		}
		if !now.runs(b) {
			return false, nil
		}
		if now.complete() {
			return true, nil
		}
		for i := range now.pods {
			if crashing(&now.pods[i]) {
				return false, nil // a deployment says what is wrong
			}
		}
		n := ready(now.updated())
		if s.over(n) {
			return false, c.explain(ctx, late(now, b, fmt.Sprintf("is not ready after %s", s.limit)))
		}
		waits(ctx, fmt.Sprintf("%d of %d replicas are ready", n, now.want()))
		if err := pause(ctx, pollEvery); err != nil {
			return false, err
		}
	}
}
