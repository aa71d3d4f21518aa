package kubernetes

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/smart-assistant/platform/cli/target"
)

// live is the service as the cluster has it now.
type live struct {
	deployment *appsv1.Deployment // nil before the first release
	pods       []corev1.Pod       // of the Deployment, oldest first, starting and draining ones too
	newest     string             // pod-template-hash of the replicas that the Deployment wants; "" while it has none
}

// revision is the annotation by which a Deployment and its newest ReplicaSet know each other.
const revision = "deployment.kubernetes.io/revision"

// look asks the cluster what runs.
func (c *cluster) look(ctx context.Context) (live, error) {
	var l live
	d, err := c.client.AppsV1().Deployments(c.namespace()).Get(ctx, apiName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return l, nil
	}
	if err != nil {
		return l, unreachable(fmt.Errorf("look at the replicas in %s: %w", c.namespace(), ended(ctx, err)))
	}
	l.deployment = d
	selector := metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(d.Spec.Selector)}
	sets, err := c.client.AppsV1().ReplicaSets(c.namespace()).List(ctx, selector)
	if err != nil {
		return l, unreachable(fmt.Errorf("look at the replicas in %s: %w", c.namespace(), ended(ctx, err)))
	}
	for _, s := range sets.Items {
		if s.Annotations[revision] == d.Annotations[revision] && metav1.IsControlledBy(&s, d) {
			l.newest = s.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
		}
	}
	pods, err := c.client.CoreV1().Pods(c.namespace()).List(ctx, selector)
	if err != nil {
		return l, unreachable(fmt.Errorf("look at the replicas in %s: %w", c.namespace(), ended(ctx, err)))
	}
	l.pods = slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool { return over(&p) })
	slices.SortFunc(l.pods, func(a, b corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
	return l, nil
}

// over reports whether a pod has ended for good: evicted, or shut down with its node. The cluster keeps it for whoever wants to look, and
// has made another in its place.
func over(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded
}

// scale asks for so many replicas. Nobody waits for it: whoever watches sees it, and the autoscaler does the same a little later.
func (c *cluster) scale(ctx context.Context, replicas int) {
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas)
	_, _ = c.client.AppsV1().Deployments(c.namespace()).Patch(ctx, apiName, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: userAgent}, "scale")
}

// seen reports whether the Deployment's controller has taken note of the newest specification.
func (l live) seen() bool {
	return l.deployment != nil && l.deployment.Status.ObservedGeneration >= l.deployment.Generation && l.newest != ""
}

func (l live) want() int {
	if l.deployment == nil || l.deployment.Spec.Replicas == nil {
		return 1
	}
	return int(*l.deployment.Spec.Replicas)
}

// updated are the pods that run what the Deployment wants.
func (l live) updated() []corev1.Pod {
	var some []corev1.Pod
	for _, p := range l.pods {
		if l.seen() && p.Labels[appsv1.DefaultDeploymentUniqueLabelKey] == l.newest && p.DeletionTimestamp == nil {
			some = append(some, p)
		}
	}
	return some
}

func ready(pods []corev1.Pod) (n int) {
	for i := range pods {
		if podReady(&pods[i]) {
			n++
		}
	}
	return n
}

// complete reports whether all replicas run what the Deployment wants, and no others are left.
func (l live) complete() bool {
	return l.seen() && len(l.pods) == l.want() && ready(l.updated()) == l.want()
}

// runs reports whether the Deployment wants the build.
func (l live) runs(b target.Build) bool {
	if l.deployment == nil {
		return false
	}
	now := buildOf(l.deployment.Spec.Template.Annotations)
	return now.SHA256 == b.SHA256 && now.Version == b.Version
}

func nonNil(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// buildOf reads the annotations of a Deployment's template, and so of its pods.
func buildOf(annotations map[string]string) target.Build {
	return target.Build{Version: annotations[annotationRelease], Commit: annotations[annotationCommit], SHA256: annotations[annotationDigest]}
}

// settingsOf reads what settings a template was made with; never nil.
func settingsOf(annotations map[string]string) map[string]string {
	settings := map[string]string{}
	_ = json.Unmarshal([]byte(annotations[annotationSettings]), &settings) // without the annotation there are none
	return nonNil(settings)
}

// replica is a pod as the contract shows it.
func replica(p *corev1.Pod) target.Replica {
	r := target.Replica{Name: p.Name, Build: buildOf(p.Annotations), Ready: podReady(p), Address: p.Status.PodIP, Since: p.CreationTimestamp.Time}
	if digest := runningDigest(p); digest != "" {
		r.Build.SHA256 = digest
	}
	for _, s := range p.Status.ContainerStatuses {
		r.Restarts += int(s.RestartCount)
	}
	switch {
	case p.DeletionTimestamp != nil:
		r.State, r.Since = "draining", p.DeletionTimestamp.Time
	case r.Ready:
		r.State = "ready"
	case crashing(p):
		r.State, r.Detail = "backoff", why(p)
	case !started(p):
		r.State, r.Detail = "starting", why(p)
	default:
		r.State, r.Detail = "unready", why(p)
	}
	if p.DeletionTimestamp == nil {
		for _, condition := range p.Status.Conditions {
			if condition.Type == corev1.PodReady && !condition.LastTransitionTime.IsZero() {
				r.Since = condition.LastTransitionTime.Time
			}
		}
	}
	return r
}

// runningDigest is what the container really runs: the digest in the image's own name where the specification pins one. A runtime's image ID
// may be the digest of something else (of the platform's manifest in a list), so that only a pinned name is compared.
func runningDigest(p *corev1.Pod) string {
	if len(p.Spec.Containers) == 0 {
		return ""
	}
	_, digest, pinned := strings.Cut(container(&p.Spec, serviceImage).Image, "@sha256:")
	if !pinned {
		return ""
	}
	return digest
}

// started reports whether the pod's containers have come through their startup probes.
func started(p *corev1.Pod) bool {
	for _, s := range p.Status.ContainerStatuses {
		if s.Started == nil || !*s.Started {
			return false
		}
	}
	return len(p.Status.ContainerStatuses) > 0
}

func crashing(p *corev1.Pod) bool {
	for _, s := range p.Status.ContainerStatuses {
		if s.State.Waiting != nil && s.State.Waiting.Reason == "CrashLoopBackOff" {
			return true
		}
	}
	return false
}

// ends is how often the pod's containers have ended.
func ends(p *corev1.Pod) int {
	n := 0
	for _, s := range p.Status.ContainerStatuses {
		n += int(s.RestartCount)
		if s.State.Running == nil && (s.State.Terminated != nil || s.LastTerminationState.Terminated != nil) {
			n++ // the restart that it waits for is not counted yet
		}
	}
	return n
}

// why says what keeps a pod from being ready, as far as the cluster knows.
func why(p *corev1.Pod) string {
	for _, s := range p.Status.ContainerStatuses {
		t := s.State.Terminated
		if t == nil && (s.State.Waiting != nil || s.RestartCount > 0) {
			t = s.LastTerminationState.Terminated
		}
		if t == nil {
			continue
		}
		text := fmt.Sprintf("ended with status %d", t.ExitCode)
		if t.Reason != "" && t.Reason != "Error" && t.Reason != "Completed" {
			text += " (" + t.Reason + ")"
		}
		if last := strings.TrimSpace(t.Message); last != "" {
			text += ": " + last
		}
		return text
	}
	return waitsFor(p)
}
