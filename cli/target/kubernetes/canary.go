package kubernetes

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/smart-assistant/platform/cli/target"
)

const (
	canaryComponent = "canary" // not `api`: the Service does not select it, and it gets no traffic
	servicePort     = "http"
	tailLines       = 200 // of a failed replica's log
)

// canary starts one replica of the build beside those that serve, and has the build's own smoke test judge it. It is gone afterwards.
func (r *rollout) canary(ctx context.Context) error {
	if err := r.c.sweepCanaries(ctx); err != nil {
		return fmt.Errorf("deploy %s: %w", r.d.Build.Version, err)
	}
	pod, err := r.c.newCanary(ctx, r.d, r.canaryLimit(ctx)+r.e.config.ExecTimeout+10*time.Minute)
	if err != nil {
		return fmt.Errorf("deploy %s: start a canary: %w", r.d.Build.Version, unreachable(err))
	}
	defer r.c.deletePod(ctx, pod.Name)
	r.tell(0, r.c.out.Replicas, pod.Name+" starts, without traffic")
	if pod, err = r.awaitCanary(ctx, pod.Name); err != nil {
		return err
	}
	r.tell(0, r.c.out.Replicas, pod.Name+" is tested, without traffic")
	url := "http://" + net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(portNamed(pod, servicePort, 8080)))
	var out, errOut bytes.Buffer
	smoke := inside{build: r.d.Build, settings: r.d.Settings, args: []string{"smoke", "--version", r.d.Build.Version, "--url", url}}
	err = r.e.exec(ctx, r.c, smoke, &out, &errOut)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if errors.Is(err, target.ErrUnreachable) {
		return fmt.Errorf("deploy %s: %w", r.d.Build.Version, err)
	}
	reason := "failed its smoke test before it got traffic: "
	if exit := new(target.ExitError); errors.As(err, &exit) {
		reason += oneLine(out.String() + "\n" + errOut.String())
	} else {
		reason += err.Error()
	}
	return r.c.explain(ctx, &target.RolloutError{Build: r.d.Build, Replica: pod.Name, Reason: reason})
}

// portNamed is a port of the service's container.
func portNamed(p *corev1.Pod, name string, otherwise int) int {
	for _, port := range container(&p.Spec, serviceImage).Ports {
		if port.Name == name {
			return int(port.ContainerPort)
		}
	}
	return otherwise
}

// sweepCanaries ends those that were left behind. The caller has the turn: no other deployment is under way.
func (c *cluster) sweepCanaries(ctx context.Context) error {
	left, err := c.client.CoreV1().Pods(c.namespace()).List(ctx, metav1.ListOptions{LabelSelector: labelComponent + "=" + canaryComponent})
	if err != nil {
		return unreachable(fmt.Errorf("look for canaries in %s: %w", c.namespace(), ended(ctx, err)))
	}
	for _, p := range left.Items {
		if p.DeletionTimestamp == nil {
			c.deletePod(ctx, p.Name)
		}
	}
	return nil
}

// newCanary makes the pod, from the template of the Deployment's own.
func (c *cluster) newCanary(ctx context.Context, d target.Deployment, longest time.Duration) (*corev1.Pod, error) {
	template, err := c.template(ctx, apiName)
	if err != nil {
		return nil, err
	}
	settings := c.merged(d.Settings)
	fill(template, c.image(serviceImage, "sha256:"+d.Build.SHA256), settings, nil)
	labels := maps.Clone(template.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[labelComponent], labels[labelManagedBy] = canaryComponent, "assistctl"
	annotations := maps.Clone(template.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	maps.Copy(annotations, map[string]string{
		annotationRelease: d.Build.Version, annotationCommit: d.Build.Commit, annotationDigest: d.Build.SHA256, annotationSettings: mustJSON(settings),
	})
	template.Spec.RestartPolicy = corev1.RestartPolicyAlways
	deadline := int64(longest.Seconds()) // when its caller is killed, and nobody sweeps it
	template.Spec.ActiveDeadlineSeconds = &deadline
	return c.client.CoreV1().Pods(c.namespace()).Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "canary-" + strings.ToLower(rand.Text()[:8]), Labels: labels, Annotations: annotations},
		Spec:       template.Spec,
	}, metav1.CreateOptions{})
}

// canaryLimit is how long the canary may take to be ready.
func (r *rollout) canaryLimit(ctx context.Context) time.Duration {
	if r.e.config.ReadyTimeout != 0 {
		return r.e.config.ReadyTimeout
	}
	return r.c.readyTimeout(ctx)
}

// awaitCanary waits until the canary is ready.
func (r *rollout) awaitCanary(ctx context.Context, name string) (*corev1.Pod, error) {
	limit := r.canaryLimit(ctx)
	failed := func(reason string) error {
		return r.c.explain(ctx, &target.RolloutError{Build: r.d.Build, Replica: name, Reason: reason})
	}
	for deadline := time.Now().Add(limit); ; {
		p, err := r.c.pod(ctx, name)
		if err != nil {
			return nil, unreachable(ended(ctx, err))
		}
		switch {
		case podReady(p):
			return p, nil
		case r.c.noImage(p) != nil:
			return nil, fmt.Errorf("deploy %s: %w", r.d.Build.Version, r.c.noImage(p))
		case ends(p) >= endless:
			return nil, failed(fmt.Sprintf("ended %d times before it was ready: %s", ends(p), why(p)))
		case time.Now().After(deadline):
			return nil, failed(fmt.Sprintf("is not ready after %s: %s", limit, why(p)))
		}
		if err := pause(ctx, pollEvery); err != nil {
			return nil, err
		}
	}
}

// readyTimeout is how long the Deployment lets a replica take, and what Kubernetes lets it by default before there is one.
func (c *cluster) readyTimeout(ctx context.Context) time.Duration {
	if now, err := c.look(ctx); err == nil && now.deployment != nil && now.deployment.Spec.ProgressDeadlineSeconds != nil {
		return time.Duration(*now.deployment.Spec.ProgressDeadlineSeconds) * time.Second
	}
	return 10 * time.Minute
}

func (c *cluster) pod(ctx context.Context, name string) (*corev1.Pod, error) {
	return c.client.CoreV1().Pods(c.namespace()).Get(ctx, name, metav1.GetOptions{})
}

// deletePod ends a pod, also when the caller's context has ended.
func (c *cluster) deletePod(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	grace := int64(podGrace.Seconds())
	_ = c.client.CoreV1().Pods(c.namespace()).Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: &grace}) // swept by the next canary
}
