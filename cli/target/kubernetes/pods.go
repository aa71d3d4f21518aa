package kubernetes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/smart-assistant/platform/cli/target"
)

// What happens to a pod that assistctl has made: its beginning, its log, its end.

const pollEvery = 250 * time.Millisecond

// begun waits until the pod of a Job runs or has ended, and returns its name.
func (c *cluster) begun(ctx context.Context, job string, patience time.Duration) (string, error) {
	deadline := time.Now().Add(patience)
	for {
		pods, err := c.client.CoreV1().Pods(c.namespace()).List(ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + job})
		if err != nil {
			return "", ended(ctx, err)
		}
		why := "it has no pod; kubectl -n " + c.namespace() + " describe job " + job
		for i := range pods.Items {
			p := &pods.Items[i]
			if hasBegun(p) {
				return p.Name, nil
			}
			if err := noImage(p); err != nil {
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

// noImage is ErrNoBuild for a pod whose image cannot be had. One failed attempt may be a registry's mood; after it the kubelet backs off.
func noImage(p *corev1.Pod) error {
	for _, s := range p.Status.ContainerStatuses {
		w := s.State.Waiting
		if w == nil {
			continue
		}
		switch w.Reason {
		case "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull":
			return fmt.Errorf("%w: image %s: %s", target.ErrNoBuild, s.Image, w.Message)
		}
	}
	return nil
}

// waitsFor says why a pod does not run yet.
func waitsFor(p *corev1.Pod) string {
	for _, s := range append(p.Status.InitContainerStatuses, p.Status.ContainerStatuses...) {
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
	for tries := 0; ; tries++ {
		stream, err := c.client.CoreV1().Pods(c.namespace()).GetLogs(pod, &corev1.PodLogOptions{Follow: true, SinceTime: since}).Stream(ctx)
		if err == nil {
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
		if tries >= 20 || apierrors.IsNotFound(getErr) {
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
	for {
		p, err := c.client.CoreV1().Pods(c.namespace()).Get(ctx, pod, metav1.GetOptions{})
		if err != nil {
			return nil, ended(ctx, err)
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
