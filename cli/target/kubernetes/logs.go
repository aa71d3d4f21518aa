package kubernetes

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/target"
)

func labelSet(m map[string]string) labels.Set { return m }

// Logs implements target.Target, with what the pods that are there have logged, and the failed replica of the last rollout. Where the
// stack has a log store, older lines are there.
func (e *Environment) Logs(ctx context.Context, q target.LogQuery, w io.Writer) error {
	c, err := e.reach(ctx)
	if err != nil {
		return err
	}
	lines, found, err := c.logged(ctx, q)
	if err != nil {
		return fmt.Errorf("logs of %s: %w", e.Name(), unreachable(ended(ctx, err)))
	}
	if !found && !q.Follow {
		return fault.Code(fault.Hint(fmt.Errorf("logs of %s: nothing was logged that fits", e.Name()), "assistctl status "+e.Name()), fault.NotFound)
	}
	out := &lineWriter{w: w, alone: q.Component != "" && q.Component != "replicas"}
	for _, l := range lines {
		if err := out.write(l); err != nil {
			return err
		}
	}
	if !q.Follow {
		return nil
	}
	return c.tailAll(ctx, q, e.now(), out)
}

// logLine is a line with the time that the container's runtime noted.
type logLine struct {
	at   time.Time
	from string
	text string
}

type lineWriter struct {
	mu    sync.Mutex
	w     io.Writer
	alone bool // one component is asked for, and lines need not say whose they are
}

func (o *lineWriter) write(l logLine) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.alone {
		l.text = l.from + " | " + l.text
	}
	_, err := io.WriteString(o.w, l.text+"\n")
	return err
}

// selected reports whether a pod's log is asked for. A component is named by the pod's label or by the pod itself.
func selected(p *corev1.Pod, q target.LogQuery) bool {
	component := p.Labels[labelComponent]
	service := component == apiName || component == canaryComponent
	if q.Release != "" && (!service || p.Annotations[annotationRelease] != q.Release) {
		return false
	}
	return q.Component == "" || q.Component == p.Name || q.Component == component || q.Component == "replicas" && service
}

func (c *cluster) selectPods(ctx context.Context, q target.LogQuery) ([]corev1.Pod, error) {
	pods, err := c.client.CoreV1().Pods(c.namespace()).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool { return !selected(&p, q) || !hasBegun(&p) }), nil
}

// logged are the lines until now, oldest first.
func (c *cluster) logged(ctx context.Context, q target.LogQuery) (lines []logLine, found bool, err error) {
	pods, err := c.selectPods(ctx, q)
	if err != nil {
		return nil, false, err
	}
	var unread error
	for i := range pods {
		for _, run := range pods[i].Spec.Containers {
			some, err := c.podLines(ctx, &pods[i], run.Name, q)
			if err != nil { // its node is away, or it is gone by now: the others have something to say
				unread = errors.Join(unread, fmt.Errorf("pod %s: %w", pods[i].Name, err))
				some = []logLine{{time.Time{}, pods[i].Name, "(its log cannot be read: " + oneLine(err.Error()) + ")"}}
			} else {
				found = true
			}
			lines = append(lines, some...)
		}
	}
	if unread != nil && !found {
		return nil, false, unread
	}
	record, _, err := c.load(ctx)
	if err != nil {
		return nil, false, err
	}
	if some := failedLines(record.Failed, q); len(some) > 0 && !slices.ContainsFunc(pods, func(p corev1.Pod) bool { return p.Name == record.Failed.Replica }) {
		lines, found = append(lines, some...), true
	}
	slices.SortStableFunc(lines, func(a, b logLine) int { return a.at.Compare(b.at) })
	return lines, found, nil
}

// failedLines are what the failed replica of the last rollout has logged.
func failedLines(f *failure, q target.LogQuery) []logLine {
	if f == nil || q.Release != "" && q.Release != f.Rollout.Build.Version ||
		q.Component != "" && q.Component != "replicas" && q.Component != f.Replica {
		return nil
	}
	var lines []logLine
	for text := range strings.Lines(f.Log) {
		at, text := stamped(strings.TrimRight(text, "\n"))
		if at.IsZero() || !at.Before(q.Since) {
			lines = append(lines, logLine{at, f.Replica, text})
		}
	}
	if q.Tail > 0 && len(lines) > q.Tail {
		lines = lines[len(lines)-q.Tail:]
	}
	return lines
}

// podLines are a container's lines. Lines from before its last restart come first where the cluster still has them.
func (c *cluster) podLines(ctx context.Context, p *corev1.Pod, name string, q target.LogQuery) ([]logLine, error) {
	options := corev1.PodLogOptions{Container: name, Timestamps: true}
	if !q.Since.IsZero() {
		options.SinceTime = &metav1.Time{Time: q.Since}
	}
	var all []logLine
	for _, previous := range []bool{true, false} {
		if previous && !restarted(p, name) {
			continue
		}
		options.Previous = previous
		stream, err := c.client.CoreV1().Pods(c.namespace()).GetLogs(p.Name, &options).Stream(ctx)
		if err != nil {
			if previous || !hasBegun(p) {
				continue
			}
			return nil, err
		}
		err = eachLine(stream, func(text string) error {
			at, text := stamped(text)
			if !at.Before(q.Since) { // the API counts in whole seconds
				all = append(all, logLine{at, p.Name, text})
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if q.Tail > 0 && len(all) > q.Tail {
		all = all[len(all)-q.Tail:]
	}
	return all, nil
}

func restarted(p *corev1.Pod, name string) bool {
	for _, s := range p.Status.ContainerStatuses {
		if s.Name == name {
			return s.RestartCount > 0
		}
	}
	return false
}

func eachLine(stream io.ReadCloser, do func(text string) error) error {
	defer stream.Close() //nolint:errcheck // only read
	for lines := bufio.NewReader(stream); ; {
		text, err := lines.ReadString('\n')
		if text = strings.TrimRight(text, "\n"); text != "" || err == nil {
			if err := do(text); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// stamped takes the time off a line that the cluster has put before it.
func stamped(line string) (time.Time, string) {
	stamp, text, ok := strings.Cut(line, " ")
	if at, err := time.Parse(time.RFC3339Nano, stamp); ok && err == nil {
		return at, text
	}
	return time.Time{}, line
}

func unstamped(log string) string {
	var b strings.Builder
	for line := range strings.Lines(log) {
		_, text := stamped(line)
		b.WriteString(text)
	}
	return b.String()
}

// tailAll follows the pods that are there and those that appear, until ctx ends.
func (c *cluster) tailAll(ctx context.Context, q target.LogQuery, from time.Time, out *lineWriter) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var followers sync.WaitGroup
	defer followers.Wait()
	defer cancel(nil)
	if q.Since.After(from) {
		from = q.Since
	}
	followed := map[string]bool{}
	for {
		pods, err := c.selectPods(ctx, q)
		if err == nil {
			for i := range pods {
				p := &pods[i]
				for _, run := range p.Spec.Containers {
					key := fmt.Sprint(p.UID, run.Name, restarts(p, run.Name))
					if followed[key] {
						continue
					}
					followed[key] = true
					followers.Go(func() {
						if err := c.tailOne(ctx, p.Name, run.Name, from, out); err != nil {
							cancel(err)
						}
					})
				}
			}
		}
		select {
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
				return cause
			}
			return nil
		case <-time.After(time.Second):
		}
	}
}

func restarts(p *corev1.Pod, name string) int32 {
	for _, s := range p.Status.ContainerStatuses {
		if s.Name == name {
			return s.RestartCount
		}
	}
	return 0
}

// tailOne follows one container. Its error is the writer's: a log that ends is a pod that ended.
func (c *cluster) tailOne(ctx context.Context, pod, name string, from time.Time, out *lineWriter) error {
	since := metav1.NewTime(from)
	stream, err := c.client.CoreV1().Pods(c.namespace()).GetLogs(pod, &corev1.PodLogOptions{
		Container: name, Follow: true, Timestamps: true, SinceTime: &since,
	}).Stream(ctx)
	if err != nil {
		return nil //nolint:nilerr // gone meanwhile
	}
	var failed error
	_ = eachLine(stream, func(text string) error {
		at, text := stamped(text)
		if at.Before(from) {
			return nil
		}
		failed = out.write(logLine{at, pod, text})
		return failed
	})
	return failed
}

// lastLines is the end of what a replica has logged, with the cluster's times: that of the run before, when the one that runs is too young
// to have said anything.
func (c *cluster) lastLines(ctx context.Context, p *corev1.Pod) string {
	lines, bytes := int64(tailLines), int64(mostLog)
	read := func(previous bool) string {
		raw, err := c.client.CoreV1().Pods(c.namespace()).GetLogs(p.Name, &corev1.PodLogOptions{
			Container: serviceImage, TailLines: &lines, LimitBytes: &bytes, Previous: previous, Timestamps: true,
		}).DoRaw(ctx)
		if err != nil {
			return ""
		}
		return string(raw)
	}
	if restarts(p, serviceImage) > 0 {
		return read(true) + read(false)
	}
	return read(false)
}
