package providers

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const poll = 400 * time.Millisecond

// state is what a look at a live object says: whether it is ready, what it waits for, and an error when it will never be.
type state struct {
	ready  bool
	reason string
}

// readiness is how one kind is looked at. A kind without an entry is ready when it is there.
type readiness func(ctx context.Context, c *cluster, o *unstructured.Unstructured) (state, error)

var readinesses = map[schema.GroupKind]readiness{
	{Group: "apps", Kind: "Deployment"}:                               deploymentReady,
	{Group: "apps", Kind: "StatefulSet"}:                              statefulSetReady,
	{Group: "apps", Kind: "DaemonSet"}:                                daemonSetReady,
	{Group: "batch", Kind: "Job"}:                                     jobReady,
	{Kind: "Pod"}:                                                     podReady,
	{Kind: "PersistentVolumeClaim"}:                                   claimReady,
	{Kind: "Service"}:                                                 serviceReady,
	{Group: "networking.k8s.io", Kind: "Ingress"}:                     ingressReady,
	{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}: definitionReady,
}

func skipped(o *unstructured.Unstructured) bool {
	return o.GetAnnotations()["pulumi.com/skipAwait"] == "true"
}

// wait returns the object as it is when it is ready. On failure it returns the object as it was last seen, and why it is not ready,
// in lines that name the pods that are at fault.
func (c *cluster) wait(ctx context.Context, o *unstructured.Unstructured, patience time.Duration) (*unstructured.Unstructured, error) {
	look, ok := readinesses[o.GroupVersionKind().GroupKind()]
	if !ok || skipped(o) {
		return o, nil
	}
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	what := fmt.Sprintf("%s %s", o.GetKind(), idOf(o.GetNamespace(), o.GetName()))
	for {
		s, err := look(ctx, c, o)
		if err != nil {
			return o, errors.Join(append([]error{fmt.Errorf("%s failed: %w", what, err)}, c.faults(context.WithoutCancel(ctx), o)...)...)
		}
		if s.ready {
			return o, nil
		}
		select {
		case <-ctx.Done():
			return o, fmt.Errorf("%s: the wait was cancelled: %s", what, s.reason)
		case <-limit.C:
			return o, errors.Join(append([]error{fmt.Errorf("%s was not ready within %s: %s", what, patience, s.reason)}, c.faults(ctx, o)...)...)
		case <-tick.C:
		}
		now, err := c.get(ctx, o.GroupVersionKind(), o.GetNamespace(), o.GetName())
		if apierrors.IsNotFound(err) {
			return o, fmt.Errorf("%s was deleted while it was waited for", what)
		}
		if err == nil { // else the server may come back
			o = now
		}
	}
}

// waitGone returns when no object of the name is there.
func (c *cluster) waitGone(ctx context.Context, kind schema.GroupVersionKind, namespace, name string, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		o, err := c.get(ctx, kind, namespace, name)
		if apierrors.IsNotFound(err) {
			return nil
		}
		select {
		case <-ctx.Done():
			if o != nil {
				return fmt.Errorf("%s %s is still there after %s; finalizers %v", kind.Kind, idOf(namespace, name), patience, o.GetFinalizers())
			}
			return fmt.Errorf("%s %s: %w", kind.Kind, idOf(namespace, name), err)
		case <-tick.C:
		}
	}
}

func number(o *unstructured.Unstructured, missing int64, field ...string) int64 {
	if n, ok, _ := unstructured.NestedInt64(o.Object, field...); ok {
		return n
	}
	return missing
}

// condition is the status and the reason of one of an object's conditions.
func condition(o *unstructured.Unstructured, kind string) (status, reason, message string) {
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range conditions {
		m, _ := c.(map[string]any)
		if m["type"] != kind {
			continue
		}
		status, _ = m["status"].(string)
		reason, _ = m["reason"].(string)
		message, _ = m["message"].(string)
	}
	return status, reason, message
}

func observed(o *unstructured.Unstructured) bool {
	return number(o, 0, "status", "observedGeneration") >= o.GetGeneration()
}

func deploymentReady(_ context.Context, _ *cluster, o *unstructured.Unstructured) (state, error) {
	if !observed(o) {
		return state{reason: "the controller has not seen the change"}, nil
	}
	if _, reason, message := condition(o, "Progressing"); reason == "ProgressDeadlineExceeded" {
		return state{}, errors.New("the rollout made no progress within its deadline: " + message)
	}
	want := number(o, 1, "spec", "replicas")
	updated, total, available := number(o, 0, "status", "updatedReplicas"), number(o, 0, "status", "replicas"), number(o, 0, "status", "availableReplicas")
	return state{
		ready:  updated == want && total == want && available == want,
		reason: fmt.Sprintf("%d of %d replicas are new, %d are available, %d exist", updated, want, available, total),
	}, nil
}

func statefulSetReady(_ context.Context, _ *cluster, o *unstructured.Unstructured) (state, error) {
	if !observed(o) {
		return state{reason: "the controller has not seen the change"}, nil
	}
	want := number(o, 1, "spec", "replicas")
	updated, ready := number(o, 0, "status", "updatedReplicas"), number(o, 0, "status", "readyReplicas")
	current, _, _ := unstructured.NestedString(o.Object, "status", "currentRevision")
	update, _, _ := unstructured.NestedString(o.Object, "status", "updateRevision")
	return state{
		ready:  ready == want && number(o, 0, "status", "replicas") == want && (current == update || updated == want),
		reason: fmt.Sprintf("%d of %d replicas are ready, %d are new", ready, want, updated),
	}, nil
}

func daemonSetReady(_ context.Context, _ *cluster, o *unstructured.Unstructured) (state, error) {
	want := number(o, 0, "status", "desiredNumberScheduled")
	updated, available := number(o, 0, "status", "updatedNumberScheduled"), number(o, 0, "status", "numberAvailable")
	return state{ready: observed(o) && updated == want && available == want, reason: fmt.Sprintf("%d of %d pods are available", available, want)}, nil
}

func jobReady(_ context.Context, _ *cluster, o *unstructured.Unstructured) (state, error) {
	if status, reason, message := condition(o, "Failed"); status == "True" {
		return state{}, fmt.Errorf("%s: %s", reason, message)
	}
	status, _, _ := condition(o, "Complete")
	return state{ready: status == "True", reason: "the job is not complete"}, nil
}

func podReady(_ context.Context, _ *cluster, o *unstructured.Unstructured) (state, error) {
	phase, _, _ := unstructured.NestedString(o.Object, "status", "phase")
	if phase == "Failed" {
		return state{}, errors.New("the pod failed")
	}
	status, _, _ := condition(o, "Ready")
	return state{ready: phase == "Succeeded" || status == "True", reason: "the pod is " + phase + " and not ready"}, nil
}

// claimReady waits for a volume, unless the class makes one only for a pod.
func claimReady(ctx context.Context, c *cluster, o *unstructured.Unstructured) (state, error) {
	phase, _, _ := unstructured.NestedString(o.Object, "status", "phase")
	if phase == "Bound" {
		return state{ready: true}, nil
	}
	if name, _, _ := unstructured.NestedString(o.Object, "spec", "storageClassName"); name != "" {
		class, err := c.get(ctx, schema.GroupVersionKind{Group: "storage.k8s.io", Version: "v1", Kind: "StorageClass"}, "", name)
		if err == nil {
			if mode, _, _ := unstructured.NestedString(class.Object, "volumeBindingMode"); mode == "WaitForFirstConsumer" {
				return state{ready: true}, nil
			}
		}
	}
	return state{reason: "no volume is bound"}, nil
}

// serviceReady waits for a ready endpoint, as the real provider does, where the service selects pods and has an address of its own.
func serviceReady(ctx context.Context, c *cluster, o *unstructured.Unstructured) (state, error) {
	kind, _, _ := unstructured.NestedString(o.Object, "spec", "type")
	address, _, _ := unstructured.NestedString(o.Object, "spec", "clusterIP")
	selector, _, _ := unstructured.NestedStringMap(o.Object, "spec", "selector")
	if kind == "LoadBalancer" {
		if outside, _, _ := unstructured.NestedSlice(o.Object, "status", "loadBalancer", "ingress"); len(outside) == 0 {
			return state{reason: "it has no load balancer"}, nil
		}
	}
	if kind == "ExternalName" || address == "None" || len(selector) == 0 {
		return state{ready: true}, nil
	}
	ready, err := c.endpoints(ctx, o.GetNamespace(), o.GetName())
	if err != nil {
		return state{reason: err.Error()}, nil //nolint:nilerr // the server may answer next time
	}
	return state{ready: ready, reason: "no ready pod is behind it (a service that may be without pods needs the annotation pulumi.com/skipAwait)"}, nil
}

func (c *cluster) endpoints(ctx context.Context, namespace, service string) (bool, error) {
	client, err := c.client(schema.GroupVersionKind{Group: "discovery.k8s.io", Version: "v1", Kind: "EndpointSlice"}, namespace)
	if err != nil {
		return false, err
	}
	slices, err := client.List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + service})
	if err != nil {
		return false, fmt.Errorf("listing the endpoints of %s: %w", service, err)
	}
	for _, slice := range slices.Items {
		endpoints, _, _ := unstructured.NestedSlice(slice.Object, "endpoints")
		for _, e := range endpoints {
			m, _ := e.(map[string]any)
			if ready, _, _ := unstructured.NestedBool(m, "conditions", "ready"); ready {
				return true, nil
			}
		}
	}
	return false, nil
}

// ingressReady waits for an address, as the real provider does.
func ingressReady(_ context.Context, _ *cluster, o *unstructured.Unstructured) (state, error) {
	outside, _, _ := unstructured.NestedSlice(o.Object, "status", "loadBalancer", "ingress")
	return state{ready: len(outside) > 0, reason: "its controller gave it no address (where none does, it needs the annotation pulumi.com/skipAwait)"}, nil
}

func definitionReady(_ context.Context, _ *cluster, o *unstructured.Unstructured) (state, error) {
	status, _, _ := condition(o, "Established")
	return state{ready: status == "True", reason: "it is not established"}, nil
}
