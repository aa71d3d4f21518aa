package providers

import (
	"context"
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// faults says what is wrong with the pods of a workload, a line for each thing, and adds the warnings about the workload itself.
func (c *cluster) faults(ctx context.Context, o *unstructured.Unstructured) []error {
	found := map[string]bool{}
	selector, ok, _ := unstructured.NestedStringMap(o.Object, "spec", "selector", "matchLabels")
	if ok {
		client, err := c.client(schema.GroupVersionKind{Version: "v1", Kind: "Pod"}, o.GetNamespace())
		if err != nil {
			return []error{err}
		}
		pods, err := client.List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(selector).String()})
		if err != nil {
			return []error{fmt.Errorf("listing the pods of %s: %w", o.GetName(), err)}
		}
		for _, pod := range pods.Items {
			for _, fault := range podFaults(&pod) {
				found[fmt.Sprintf("pod %s: %s", pod.GetName(), fault)] = true
			}
		}
	}
	for _, message := range c.warnings(ctx, o) {
		found[message] = true
	}
	var faults []error
	for _, line := range slices.Sorted(maps.Keys(found)) {
		faults = append(faults, fmt.Errorf("%s", line))
	}
	return faults
}

func podFaults(pod *unstructured.Unstructured) []string {
	var faults []string
	if status, reason, message := condition(pod, "PodScheduled"); status == "False" {
		faults = append(faults, reason+": "+message)
	}
	for _, field := range []string{"initContainerStatuses", "containerStatuses"} {
		containers, _, _ := unstructured.NestedSlice(pod.Object, "status", field)
		for _, s := range containers {
			m, _ := s.(map[string]any)
			faults = append(faults, containerFaults(m)...)
		}
	}
	return faults
}

func containerFaults(status map[string]any) []string {
	var faults []string
	name, _, _ := unstructured.NestedString(status, "name")
	if reason, _, _ := unstructured.NestedString(status, "state", "waiting", "reason"); reason != "" && reason != "ContainerCreating" && reason != "PodInitializing" {
		message, _, _ := unstructured.NestedString(status, "state", "waiting", "message")
		faults = append(faults, fmt.Sprintf("container %s: %s: %s", name, reason, message))
	}
	for _, when := range []string{"state", "lastState"} {
		code, ok, _ := unstructured.NestedInt64(status, when, "terminated", "exitCode")
		if !ok || code == 0 {
			continue
		}
		message, _, _ := unstructured.NestedString(status, when, "terminated", "message")
		faults = append(faults, fmt.Sprintf("container %s exited with status %d %s", name, code, message))
	}
	if ready, _, _ := unstructured.NestedBool(status, "ready"); !ready {
		if _, running, _ := unstructured.NestedMap(status, "state", "running"); running {
			faults = append(faults, fmt.Sprintf("container %s runs and is not ready", name))
		}
	}
	return faults
}

// warnings are the events about one object.
func (c *cluster) warnings(ctx context.Context, o *unstructured.Unstructured) []string {
	client, err := c.client(schema.GroupVersionKind{Version: "v1", Kind: "Event"}, o.GetNamespace())
	if err != nil {
		return nil
	}
	events, err := client.List(ctx, metav1.ListOptions{FieldSelector: "type=Warning,involvedObject.uid=" + string(o.GetUID())})
	if err != nil {
		return nil
	}
	var messages []string
	for _, e := range events.Items {
		reason, _, _ := unstructured.NestedString(e.Object, "reason")
		message, _, _ := unstructured.NestedString(e.Object, "message")
		messages = append(messages, reason+": "+message)
	}
	return messages
}
