package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/smart-assistant/platform/cli/target"
)

// A restore stops what runs and starts it again. What was there before stands in annotations of the objects themselves, written before
// anything is scaled, so that any process can go on or go back: why it is stopped, and how many replicas there were. An autoscaler leaves
// a Deployment without replicas alone.

// fieldManager signs our changes: a stack that says the same has no conflict with them.
const fieldManager = "assistctl"

// restoring is what the API's callers and `assistctl status` are told.
const restoring = "the database is being restored"

// scaled is what the two kinds of objects have in common.
type scaled struct {
	metav1.ObjectMeta
	replicas *int32
	patch    func(ctx context.Context, patch []byte) error
}

// api is the service's Deployment; nil before the first release.
func (c *cluster) api(ctx context.Context) (*scaled, error) {
	deployments := c.client.AppsV1().Deployments(c.namespace())
	d, err := deployments.Get(ctx, apiName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // there is none, which is an answer
	}
	if err != nil {
		return nil, err
	}
	return &scaled{d.ObjectMeta, d.Spec.Replicas, func(ctx context.Context, patch []byte) error {
		_, err := deployments.Patch(ctx, apiName, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
		return err
	}}, nil
}

func (c *cluster) database(ctx context.Context) (*scaled, error) {
	sets := c.client.AppsV1().StatefulSets(c.namespace())
	s, err := sets.Get(ctx, c.statefulSet(), metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return &scaled{s.ObjectMeta, s.Spec.Replicas, func(ctx context.Context, patch []byte) error {
		_, err := sets.Patch(ctx, c.statefulSet(), types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
		return err
	}}, nil
}

// change patches annotations (nil takes one away) and, unless it is nil, the number of replicas.
func (s *scaled) change(ctx context.Context, annotations map[string]*string, replicas *int32) error {
	patch := map[string]any{"metadata": map[string]any{"annotations": annotations}}
	if replicas != nil {
		patch["spec"] = map[string]any{"replicas": *replicas}
	}
	content, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	return s.patch(ctx, content)
}

// park notes how many replicas there are and scales to none. What was parked before keeps its note.
func (s *scaled) park(ctx context.Context, otherwise int32) error {
	none := int32(0)
	if s.Annotations[annotationPaused] == "" {
		was := otherwise
		if s.replicas != nil && *s.replicas > 0 {
			was = *s.replicas
		}
		count, reason := strconv.Itoa(int(was)), restoring
		return s.change(ctx, map[string]*string{annotationPaused: &reason, annotationReplicas: &count}, &none)
	}
	if s.replicas != nil && *s.replicas == 0 {
		return nil
	}
	return s.change(ctx, nil, &none)
}

// unpark brings the replicas back. The notes go with it: it is one change.
func (s *scaled) unpark(ctx context.Context, otherwise int32) error {
	if s.Annotations[annotationPaused] == "" && s.replicas != nil && *s.replicas > 0 {
		return nil
	}
	n := otherwise
	if was, err := strconv.Atoi(s.Annotations[annotationReplicas]); err == nil && was > 0 {
		n = int32(was) //nolint:gosec // our own note
	}
	return s.change(ctx, map[string]*string{annotationPaused: nil, annotationReplicas: nil}, &n)
}

// Stop takes the replicas away, so that the entrance answers 503 once requests in flight have ended, and then the database, and waits until
// their pods are gone. A replica whose node has died serves nobody and is not waited for beyond its time. It stays so until Start.
func (e *Environment) Stop(ctx context.Context) error {
	c, err := e.reach(ctx)
	if err != nil {
		return err
	}
	if err := e.stop(ctx, c); err != nil {
		return fmt.Errorf("stop %s: %w", e.Name(), unreachable(ended(ctx, err)))
	}
	return nil
}

func (e *Environment) stop(ctx context.Context, c *cluster) error {
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	database, err := c.database(ctx)
	if err != nil {
		return err
	}
	if api != nil {
		if err := api.park(ctx, int32(max(c.out.Replicas, 1))); err != nil { //nolint:gosec // a number of replicas
			return fmt.Errorf("scale the API down: %w", err)
		}
		now := func(ctx context.Context) ([]corev1.Pod, error) {
			l, err := c.look(ctx)
			return l.pods, err
		}
		if err := c.untilGone(ctx, now, true); err != nil {
			return fmt.Errorf("wait for the API's replicas to end: %w", err)
		}
	}
	if err := database.park(ctx, 1); err != nil {
		return fmt.Errorf("scale the database down: %w", err)
	}
	if err := c.untilGone(ctx, c.databasePods, false); err != nil { // two servers on one volume are worse than a wait
		return fmt.Errorf("wait for the database to end: %w", err)
	}
	return nil
}

// alive are the pods whose containers have not all ended for good.
func alive(pods []corev1.Pod) []corev1.Pod {
	return slices.DeleteFunc(slices.Clone(pods), func(p corev1.Pod) bool {
		return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	})
}

// refuseRunning makes sure that no server runs on the volume, nor will by itself.
func (c *cluster) refuseRunning(ctx context.Context) error {
	database, err := c.database(ctx)
	if err != nil {
		return unreachable(ended(ctx, err))
	}
	if database.Annotations[annotationPaused] == "" || database.replicas == nil || *database.replicas != 0 {
		return errors.New("the database was not stopped for a restore")
	}
	pods, err := c.databasePods(ctx)
	if err != nil {
		return unreachable(ended(ctx, err))
	}
	if left := alive(pods); len(left) > 0 {
		return fmt.Errorf("the database's pod %s is still there", left[0].Name)
	}
	return nil
}

// StartWith undoes Stop, with the deployment that has to run from then on, whatever was deployed last, and returns when the database and all
// replicas are ready. Without a build (SHA256 is empty) the database runs and no replica. A lower fencing number than one seen before is
// target.ErrFenced; replicas that do not become ready on a database that has are a *target.RolloutError.
func (e *Environment) StartWith(ctx context.Context, d target.Deployment) error {
	return e.startWith(ctx, d, true)
}

// Revive is StartWith for who gives a restore up: it returns when the database is ready, and the replicas come by themselves. Whether the
// service is ready on data that no restore has changed is not the restore's business, and must not keep it from ending.
func (e *Environment) Revive(ctx context.Context, d target.Deployment) error {
	return e.startWith(ctx, d, false)
}

func (e *Environment) startWith(ctx context.Context, d target.Deployment, await bool) error {
	c, err := e.reach(ctx)
	if err == nil {
		err = e.start(ctx, c, d, await)
	}
	if err != nil {
		return fmt.Errorf("start %s: %w", e.Name(), unreachable(ended(ctx, err)))
	}
	return nil
}

func (e *Environment) start(ctx context.Context, c *cluster, d target.Deployment, await bool) error {
	err := c.update(ctx, func(r *record) error {
		if d.Fence < r.Fence {
			return fmt.Errorf("fencing number %d: %w: %d", d.Fence, target.ErrFenced, r.Fence)
		}
		r.Fence = d.Fence
		return nil
	})
	if err != nil {
		return err
	}
	if err := e.leaveVolume(ctx); err != nil { // else the database's pod could not mount it on another node
		return err
	}
	database, err := c.database(ctx)
	if err != nil {
		return err
	}
	if err := database.unpark(ctx, 1); err != nil {
		return fmt.Errorf("scale the database up: %w", err)
	}
	if err := c.untilDatabaseReady(ctx, e.stall(ctx, c)); err != nil {
		return err
	}
	return e.startReplicas(ctx, c, d, await)
}

func (e *Environment) startReplicas(ctx context.Context, c *cluster, d target.Deployment, await bool) error {
	api, err := c.api(ctx)
	if err != nil || api == nil && d.Build.SHA256 == "" {
		return err
	}
	if d.Build.SHA256 == "" {
		return api.change(ctx, map[string]*string{annotationPaused: nil, annotationReplicas: nil}, nil)
	}
	done := false // where nothing was ever deployed
	if api != nil {
		if err := api.unpark(ctx, int32(max(c.out.Replicas, 1))); err != nil { //nolint:gosec // a number of replicas
			return fmt.Errorf("scale the API up: %w", err)
		}
		if done, err = c.comesUp(ctx, d.Build, await, e.stall(ctx, c)); err != nil {
			return err
		}
	}
	if done {
		return nil
	}
	return e.Deploy(ctx, d, func(_, _ int, detail string) { waits(ctx, detail) })
}

// comesUp reports whether the replicas are the build that has to run. It waits until they are ready, unless nobody awaits that.
func (c *cluster) comesUp(ctx context.Context, b target.Build, await bool, s *stall) (bool, error) {
	if await {
		return c.untilReplicasReady(ctx, b, s)
	}
	now, err := c.look(ctx)
	return now.runs(b), err
}
