package kubernetes

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

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

// leaving are pods that were told to end, with when this process first saw that: its clock need not be the cluster's.
type leaving map[types.UID]time.Time

// patienceForEnds is added to the time that a pod's own end may take.
const patienceForEnds = 30 * time.Second

// overdue reports whether a pod should have ended: its node has died, and nobody there says that it has.
func (l leaving) overdue(p *corev1.Pod) bool {
	if p.DeletionTimestamp == nil {
		return false
	}
	if l[p.UID].IsZero() {
		l[p.UID] = time.Now()
	}
	allowed := patienceForEnds
	if p.DeletionGracePeriodSeconds != nil {
		allowed += time.Duration(*p.DeletionGracePeriodSeconds) * time.Second
	}
	return time.Since(l[p.UID]) > allowed
}

// stuck says why an overdue pod does not end, and what helps.
func (c *cluster) stuck(ctx context.Context, p *corev1.Pod) string {
	return fmt.Sprintf("pod %s does not end%s; only once that machine is known to be off: %s", p.Name, c.nodeOf(ctx, p), c.forget(p))
}

// forget is the command by which the cluster forgets a pod whose end nobody can report.
func (c *cluster) forget(p *corev1.Pod) string {
	return fmt.Sprintf("kubectl -n %s delete pod %s --force --grace-period=0", c.namespace(), p.Name)
}

func (c *cluster) nodeOf(ctx context.Context, p *corev1.Pod) string {
	node, err := c.client.CoreV1().Nodes().Get(ctx, p.Spec.NodeName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return ": its node " + p.Spec.NodeName + " is gone"
	}
	if err == nil {
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status != corev1.ConditionTrue {
				return ": its node " + p.Spec.NodeName + " is NotReady"
			}
		}
	}
	return " on node " + p.Spec.NodeName
}

// untilGone waits until no pod is alive. One whose node has died is given up when forsake says so, and else waited for, and told.
func (c *cluster) untilGone(ctx context.Context, list func(context.Context) ([]corev1.Pod, error), forsake bool) error {
	told := leaving{}
	for {
		pods, err := list(ctx)
		if err != nil {
			return err
		}
		what := ""
		for _, p := range alive(pods) {
			switch overdue := told.overdue(&p); {
			case overdue && !forsake:
				what = c.stuck(ctx, &p)
			case !overdue:
				what = "pod " + p.Name + " ends"
			}
		}
		if what == "" {
			return nil
		}
		waits(ctx, what)
		if err := pause(ctx, pollEvery); err != nil {
			return err
		}
	}
}

// untilDatabaseReady waits for the database's pod. A server that recovers may take as long as it likes: the kubelet sees that it lives.
func (c *cluster) untilDatabaseReady(ctx context.Context, s *stall) error {
	told := leaving{}
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
			if err := c.noImage(pod); err != nil {
				return err
			}
			if crashing(pod) {
				return fmt.Errorf("the database does not come up: %s", why(pod))
			}
			far, what = stage(pod), pod.Name+": "+why(pod)
			if told.overdue(pod) {
				what = c.stuck(ctx, pod)
			}
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
	told := leaving{}
	for {
		now, err := c.look(ctx)
		if err != nil {
			return false, err
		}
		now.pods = slices.DeleteFunc(now.pods, func(p corev1.Pod) bool { return told.overdue(&p) })
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
