package kubernetes

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/target/kubernetes/podcall"
)

// The restore pod is the one that mounts the database's volume beside the database: the stack's PodTemplate `restore`, with the assistctl of
// the release in it. There is one in an environment, by its name. It is made when it is needed, adopted when it is there, and goes by itself
// when nobody has asked it for anything for a while.

const (
	restoreName     = "restore" // PodTemplate, pod, container and component
	installName     = "install" // the init container that brings assistctl
	assistctlImage  = "assistctl"
	annotationOf    = "assistant/template" // hash of what the pod was made from
	annotationPod   = "assistant/pod"      // the pod's podcall.PodVariable
	restoreDeadline = 5 * time.Minute      // for the pod to be there
)

// restorePod makes sure that the pod runs, on the node of the database when that runs: the volume may be one that one node mounts.
func (e *Environment) restorePod(ctx context.Context) (*cluster, *corev1.Pod, error) {
	c, err := e.reach(ctx)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, restoreDeadline, fmt.Errorf("the restore pod does not run after %s", restoreDeadline))
	defer cancel()
	pod, err := c.ensureRestorePod(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("restore pod of %s: %w", e.Name(), unreachable(ended(ctx, err)))
	}
	return c, pod, nil
}

func (c *cluster) ensureRestorePod(ctx context.Context) (*corev1.Pod, error) {
	var made types.UID // by this call
	for {
		want, err := c.newRestorePod(ctx)
		if err != nil {
			return nil, err
		}
		pod, err := c.pod(ctx, restoreName)
		if apierrors.IsNotFound(err) {
			pod, err = c.client.CoreV1().Pods(c.namespace()).Create(ctx, want, metav1.CreateOptions{})
			if apierrors.IsAlreadyExists(err) {
				continue // somebody else was faster
			}
			if err == nil {
				made = pod.UID
			}
		}
		if err != nil {
			return nil, err
		}
		if pod.UID == made && pod.Status.Phase == corev1.PodFailed {
			return nil, fmt.Errorf("it has failed: %s", lastWordsOf(pod))
		}
		if c.unusable(pod, want) {
			gone, err := c.endRestorePod(ctx, pod)
			if err != nil {
				return nil, err
			}
			if !gone {
				return nil, fault.Hint(fmt.Errorf("pod %s of another time does not end%s", pod.Name, c.nodeOf(ctx, pod)),
					"only once that machine is known to be off:  "+c.forget(pod))
			}
			continue
		}
		if podReady(pod) && pod.Status.PodIP != "" {
			return pod, nil
		}
		if err := c.noImage(pod); err != nil {
			return nil, err
		}
		waits(ctx, "restore pod: "+waitsFor(pod))
		if err := pause(ctx, pollEvery); err != nil {
			return nil, errors.Join(err, errors.New(waitsFor(pod)))
		}
	}
}

// lastWordsOf says why a pod has failed.
func lastWordsOf(p *corev1.Pod) string {
	for _, s := range append(p.Status.InitContainerStatuses, p.Status.ContainerStatuses...) {
		if t := s.State.Terminated; t != nil && t.ExitCode != 0 {
			return strings.TrimSpace(fmt.Sprintf("container %s ended with status %d (%s) %s", s.Name, t.ExitCode, t.Reason, t.Message))
		}
	}
	return strings.TrimSpace(p.Status.Reason + " " + p.Status.Message)
}

// unusable reports whether a pod has ended, is ending, was made from something else, or is where the volume cannot be.
func (c *cluster) unusable(pod, want *corev1.Pod) bool {
	node := want.Spec.NodeSelector[corev1.LabelHostname]
	return pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed ||
		pod.Annotations[annotationOf] != want.Annotations[annotationOf] ||
		node != "" && pod.Spec.NodeSelector[corev1.LabelHostname] != node && pod.Spec.NodeName != node
}

// newRestorePod fills in the stack's template.
func (c *cluster) newRestorePod(ctx context.Context) (*corev1.Pod, error) {
	template, err := c.template(ctx, restoreName)
	if err != nil {
		return nil, err
	}
	image := c.releaseImage(assistctlImage)
	if image == "" {
		return nil, fault.Code(fault.Hint(errors.New("no release runs, whose assistctl would do the work"), "assistctl deploy "+c.out.Name+" <release>"), fault.Refused)
	}
	for i := range template.Spec.InitContainers {
		if template.Spec.InitContainers[i].Name == installName {
			template.Spec.InitContainers[i].Image = image
		}
	}
	template.Spec.RestartPolicy = corev1.RestartPolicyNever // one that waited for nobody has ended
	made := sha256.Sum256([]byte(mustJSON(template)))
	node, err := c.databaseNode(ctx)
	if err != nil {
		return nil, err
	}
	if node != "" {
		template.Spec.NodeSelector = map[string]string{corev1.LabelHostname: node}
		template.Spec.Affinity = nil
	}
	pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
	pod.Name, pod.Namespace = restoreName, c.namespace()
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	token := rand.Text()
	pod.Annotations[annotationOf], pod.Annotations[annotationPod] = hex.EncodeToString(made[:8]), token
	run := container(&pod.Spec, restoreName)
	run.Env = append(run.Env, corev1.EnvVar{Name: podcall.PodVariable, Value: token})
	return pod, nil
}

// databaseNode is the node of the database's pod, "" when there is none.
func (c *cluster) databaseNode(ctx context.Context) (string, error) {
	pods, err := c.databasePods(ctx)
	if err != nil {
		return "", err
	}
	for _, p := range pods {
		if p.Spec.NodeName != "" && p.DeletionTimestamp == nil {
			node, err := c.client.CoreV1().Nodes().Get(ctx, p.Spec.NodeName, metav1.GetOptions{})
			if apierrors.IsForbidden(err) {
				return p.Spec.NodeName, nil // who may not look at nodes has clusters where the two are the same, or almost always
			}
			if err != nil {
				return "", err
			}
			return node.Labels[corev1.LabelHostname], nil
		}
	}
	return "", nil
}

func (c *cluster) databasePods(ctx context.Context) ([]corev1.Pod, error) {
	set, err := c.client.AppsV1().StatefulSets(c.namespace()).Get(ctx, c.statefulSet(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	pods, err := c.client.CoreV1().Pods(c.namespace()).List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(set.Spec.Selector.MatchLabels).String()})
	if err != nil {
		return nil, err
	}
	return pods.Items, nil
}

// leaveVolume takes the restore pod away, and waits until it is gone: the volume is then free for a node of the database's choice. One whose
// node has died is not waited for beyond its time: whoever was at work in it has lost its caller and ended, too.
func (e *Environment) leaveVolume(ctx context.Context) error {
	c, err := e.reach(ctx)
	if err != nil {
		return err
	}
	pod, err := c.pod(ctx, restoreName)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err == nil {
		_, err = c.endRestorePod(ctx, pod)
	}
	if err != nil {
		return fmt.Errorf("end the restore pod of %s: %w", e.Name(), unreachable(ended(ctx, err)))
	}
	return nil
}

// endRestorePod reports whether the pod has gone; else it is on a node that has died.
func (c *cluster) endRestorePod(ctx context.Context, pod *corev1.Pod) (gone bool, err error) {
	if pod.DeletionTimestamp == nil {
		err := c.client.CoreV1().Pods(c.namespace()).Delete(ctx, pod.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(pod.UID))})
		if err != nil && !apierrors.IsNotFound(err) {
			return false, err
		}
	}
	for told := (leaving{}); ; {
		now, err := c.pod(ctx, pod.Name)
		if apierrors.IsNotFound(err) || err == nil && now.UID != pod.UID {
			return true, nil
		}
		if err != nil || told.overdue(now) {
			return false, err
		}
		waits(ctx, "pod "+pod.Name+" ends")
		if err := pause(ctx, pollEvery); err != nil {
			return false, err
		}
	}
}

// hasGone reports whether a pod that was there has ended or is about to.
func (c *cluster) hasGone(ctx context.Context, pod *corev1.Pod) bool {
	now, err := c.pod(ctx, pod.Name)
	return apierrors.IsNotFound(err) || err == nil && (now.UID != pod.UID || now.DeletionTimestamp != nil || now.Status.Phase != corev1.PodRunning)
}

// inPod runs a verb of `assistctl inside` there. The connection ends with ctx, and with it the verb.
func (c *cluster) inPod(ctx context.Context, pod *corev1.Pod, verb string, request any, heard podcall.Listener, result any) error {
	other := tail{limit: 2000}
	heard.Other = func(line string) { _, _ = other.Write([]byte(line + "\n")) }
	err := podcall.Call(ctx, func(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
		return c.execIn(ctx, pod.Name, restoreName, []string{container(&pod.Spec, restoreName).Command[0], "inside", verb}, stdin, stdout, &other)
	}, request, heard, result)
	if _, ended := errors.AsType[utilexec.ExitError](err); ended && other.String() != "" {
		err = fmt.Errorf("%w: %s", err, other.String())
	}
	if err != nil {
		return fmt.Errorf("%s on the volume of %s: %w", verb, c.out.Name, err)
	}
	return nil
}

// execIn runs a command in a running container, as `kubectl exec -i` does.
func (c *cluster) execIn(ctx context.Context, pod, in string, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	request := c.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(c.namespace()).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: in, Command: args, Stdin: true, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	websocket, err := remotecommand.NewWebSocketExecutor(c.rest, "GET", request.URL().String())
	if err != nil {
		return err
	}
	spdy, err := remotecommand.NewSPDYExecutor(c.rest, "POST", request.URL())
	if err != nil {
		return err
	}
	run, err := remotecommand.NewFallbackExecutor(websocket, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return err
	}
	err = run.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: stdin, Stdout: stdout, Stderr: stderr})
	if err != nil && strings.Contains(err.Error(), "container not found") {
		return fmt.Errorf("pod %s has ended: %w", pod, err)
	}
	return err
}
