package kubernetes

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/smart-assistant/platform/cli/target"
)

// What happens to a pod that assistctl has made: its beginning, its log, its end.

const pollEvery = 250 * time.Millisecond

// unseen is how long what runs in a cluster may be out of sight, because the API server or the way to it is away, before somebody is told.
const unseen = 2 * time.Minute

// sight counts how long it has been.
type sight struct{ last time.Time }

// lost reports whether an error is one too many. No error is sight; what an API server says for good is believed at once.
func (s *sight) lost(err error) bool {
	if err == nil || s.last.IsZero() {
		s.last = time.Now()
	}
	return err != nil && (!passing(err) || time.Since(s.last) > unseen)
}

// passing reports whether an error may be gone the next time: the way to the API server, or what is behind it, is away.
func passing(err error) bool {
	return errors.Is(unreachable(err), target.ErrUnreachable) || apierrors.IsInternalError(err) || apierrors.IsTooManyRequests(err)
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

// begun waits until the pod of a Job runs or has ended, and returns its name.
func (c *cluster) begun(ctx context.Context, job string, patience time.Duration) (string, error) {
	deadline := time.Now().Add(patience)
	var eyes sight
	for {
		pods, err := c.client.CoreV1().Pods(c.namespace()).List(ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + job})
		if eyes.lost(err) || ctx.Err() != nil {
			return "", ended(ctx, err)
		}
		if err != nil {
			if err := pause(ctx, time.Second); err != nil {
				return "", err
			}
			continue
		}
		why := "it has no pod; kubectl -n " + c.namespace() + " describe job " + job
		for i := range pods.Items {
			p := &pods.Items[i]
			if hasBegun(p) {
				return p.Name, nil
			}
			if err := c.noImage(p); err != nil {
				return "", err
			}
			why = waitsFor(p)
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("its pod has not begun after %s: %s", patience, why)
		}
		if err := pause(ctx, pollEvery); err != nil {
			return "", err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// ended is the context's own error when that is why a request failed.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// hasBegun reports whether the pod's first container runs or ran.
func hasBegun(p *corev1.Pod) bool {
	for _, s := range p.Status.ContainerStatuses {
		if s.State.Running != nil || s.State.Terminated != nil {
			return true
		}
	}
	return false
}

// noImage is ErrNoBuild for a pod whose image cannot be had. A registry that does not answer, or has answered too much, is asked again for a
// while; one that says that there is no such image is believed.
func (c *cluster) noImage(p *corev1.Pod) error {
	for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		w := s.State.Waiting
		if w == nil {
			continue
		}
		final := false
		switch w.Reason {
		case "InvalidImageName", "ErrImageNeverPull":
			final = true
		case "ImagePullBackOff":
			final = noSuchImage.MatchString(w.Message) || time.Since(p.CreationTimestamp.Time) > c.pull
		}
		if final {
			return fmt.Errorf("%w: image %s: %s", target.ErrNoBuild, s.Image, w.Message)
		}
	}
	return nil
}

// pullPatience is enough for the kubelet to ask four times.
const pullPatience = 2 * time.Minute

// noSuchImage is how registries say so (the OCI distribution specification's codes) and runtimes pass it on.
var noSuchImage = regexp.MustCompile(`(?i)not ?found|manifest[ _]unknown|name[ _]unknown|denied|unauthorized`)

// waitsFor says why a pod does not run yet.
func waitsFor(p *corev1.Pod) string {
	for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if w := s.State.Waiting; w != nil && w.Reason != "PodInitializing" {
			if w.Message == "" {
				return w.Reason
			}
			return w.Reason + ": " + w.Message
		}
	}
	for _, condition := range p.Status.Conditions {
		if condition.Status == corev1.ConditionFalse && condition.Message != "" {
			return condition.Message
		}
	}
	return "pod " + p.Name + " is " + string(p.Status.Phase)
}

// follow copies a pod's log until the pod has ended. A stream that breaks off is taken up again where it was.
func (c *cluster) follow(ctx context.Context, pod string, w io.Writer) error {
	var since *metav1.Time
	seen := &skipping{to: w}
	var eyes sight
	for {
		stream, err := c.client.CoreV1().Pods(c.namespace()).GetLogs(pod, &corev1.PodLogOptions{Follow: true, SinceTime: since}).Stream(ctx)
		opened := err == nil
		if opened {
			seen.skip = seen.passed // a new stream begins at the start
			_, err = io.Copy(seen, stream)
			_ = stream.Close()
		}
		if seen.err != nil {
			return seen.err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		p, getErr := c.client.CoreV1().Pods(c.namespace()).Get(ctx, pod, metav1.GetOptions{})
		if getErr == nil && err == nil && terminated(p) != nil {
			return nil
		}
		trouble := getErr
		if trouble == nil && !opened {
			trouble = apierrors.NewInternalError(err) // the node's matter, whatever it says
		}
		if eyes.lost(trouble) { // a stream may break off as often as it likes
			return errors.Join(fmt.Errorf("the log of pod %s broke off", pod), err, getErr)
		}
		if err := pause(ctx, pollEvery); err != nil {
			return err
		}
	}
}

// skipping passes on what comes after the bytes that were passed on before.
type skipping struct {
	to           io.Writer
	skip, passed int64
	err          error // of to
}

func (s *skipping) Write(p []byte) (int, error) {
	fresh := p
	if s.skip > 0 {
		n := min(s.skip, int64(len(p)))
		s.skip -= n
		fresh = p[n:]
	}
	if len(fresh) == 0 {
		return len(p), nil
	}
	n, err := s.to.Write(fresh)
	s.passed += int64(n)
	s.err = err
	return len(p), err
}

func terminated(p *corev1.Pod) *corev1.ContainerStateTerminated {
	for _, s := range p.Status.ContainerStatuses {
		if s.State.Terminated != nil {
			return s.State.Terminated
		}
	}
	return nil
}

// ended waits for the end of a pod's container and returns how it went.
func (c *cluster) ended(ctx context.Context, pod string) (*corev1.ContainerStateTerminated, error) {
	var eyes sight
	for {
		p, err := c.client.CoreV1().Pods(c.namespace()).Get(ctx, pod, metav1.GetOptions{})
		switch {
		case eyes.lost(err) || ctx.Err() != nil:
			return nil, ended(ctx, err)
		case err != nil:
			if err := pause(ctx, time.Second); err != nil {
				return nil, err
			}
			continue
		}
		if t := terminated(p); t != nil {
			return t, nil
		}
		if p.Status.Phase == corev1.PodFailed {
			return nil, fmt.Errorf("pod %s was ended: %s %s", pod, p.Status.Reason, p.Status.Message)
		}
		if err := pause(ctx, pollEvery); err != nil {
			return nil, err
		}
	}
}

// deleteJob ends a Job with its pod, also when the caller's context has ended.
func (c *cluster) deleteJob(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	background := metav1.DeletePropagationBackground
	_ = c.client.BatchV1().Jobs(c.namespace()).Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &background}) // else it ends by its time to live
}

// tail keeps the end of what is written.
type tail struct {
	limit int
	kept  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - t.limit; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(bytes.TrimSpace(t.kept)) }
