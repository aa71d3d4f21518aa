package graph

import (
	"fmt"
	"slices"
	"strings"
)

// Waiver says that a finding is meant, and why. One that nothing needs any more fails the test.
type Waiver struct {
	Check  string
	Object string // "Deployment valkey"; a * at the end matches the rest
	In     string // the variants, separated by spaces; "" is all
	Reason string
}

// Waivers is the one place where exceptions stand.
func Waivers() []Waiver {
	const (
		elsewhere = "its pods are made by a controller or a chart, and so are not in the graph"
		one       = "one pod with counters and caches that may be lost: a second one would count apart from the first, and the service works without it"
		image     = "the user is the one that the official image made, and to whom the files on the volume belong"
		same      = "it has one question that tells whether it serves; liveness waits longer for the answer than readiness does"
		small     = "fewer replicas than prod are what staging and dev save on; the check holds for prod"
	)
	return []Waiver{
		{Check: "kube-linter/dangling-networkpolicy", Object: "NetworkPolicy acme-solver", Reason: elsewhere},
		{Check: "kube-linter/dangling-networkpolicy", Object: "NetworkPolicy operator-webhook", Reason: elsewhere},
		{Check: "kube-linter/dangling-networkpolicy", Object: "NetworkPolicy same-namespace", Reason: elsewhere},
		{Check: "kube-linter/dangling-networkpolicypeer-podselector", Object: "NetworkPolicy same-namespace", Reason: elsewhere},
		{Check: "kube-linter/dangling-servicemonitor", Object: "PodMonitor cert-manager", Reason: elsewhere},
		{Check: "kube-linter/env-var-secret", Object: "StatefulSet open-webui", Reason: "SECRETS_DIR is the path of a folder"},
		{Check: "kube-linter/hpa-minimum-three-replicas", Object: "HorizontalPodAutoscaler api", In: "dev staging staging-existing", Reason: small},
		{Check: "kube-linter/minimum-three-replicas", Object: "Deployment valkey", Reason: one},
		{Check: "kube-linter/no-rolling-update-strategy", Object: "Deployment valkey", Reason: one},
		{
			Check: "kube-linter/read-secret-from-env-var", Object: "StatefulSet s3",
			Reason: "versitygw takes its root account from its environment and nowhere else; it is a reference to a Secret, not the value, and in dev only",
		},

		{Check: "kube-score/container-security-context-user-group-id", Object: "StatefulSet postgres", Reason: image},
		{Check: "kube-score/container-security-context-user-group-id", Object: "Pod restore", Reason: image},
		{Check: "kube-score/container-security-context-user-group-id", Object: "Deployment valkey", Reason: image},
		{
			Check: "kube-score/deployment-has-host-podantiaffinity", Object: "Deployment api",
			Reason: "it knows anti-affinity only; workload/spread wants constraints over nodes and zones, which also hold for more replicas than nodes",
		},
		{Check: "kube-score/deployment-has-poddisruptionbudget", Object: "Deployment api", In: "dev", Reason: "of one replica it would block the drain of a node"},
		{Check: "kube-score/deployment-replicas", Object: "Deployment valkey", Reason: one},
		{Check: "kube-score/deployment-strategy", Object: "Deployment valkey", Reason: one},
		{Check: "kube-score/horizontalpodautoscaler-replicas", Object: "HorizontalPodAutoscaler api", In: "dev", Reason: small},
		{Check: "kube-score/networkpolicy-targets-pod", Object: "NetworkPolicy acme-solver", Reason: elsewhere},
		{Check: "kube-score/networkpolicy-targets-pod", Object: "NetworkPolicy operator-webhook", Reason: elsewhere},
		{Check: "kube-score/networkpolicy-targets-pod", Object: "NetworkPolicy same-namespace", Reason: elsewhere},
		{Check: "kube-score/pod-probes-identical", Object: "Deployment valkey", Reason: same},
		{Check: "kube-score/pod-probes-identical", Object: "StatefulSet open-webui", Reason: same},
		{Check: "kube-score/pod-probes-identical", Object: "StatefulSet s3", Reason: same},
		{Check: "kube-score/statefulset-has-servicename", Object: "StatefulSet s3", Reason: "one pod, reached by its Service; nobody asks for it by a name of its own"},
	}
}

// Waive returns what no waiver covers, and marks the waivers that were needed.
func Waive(variant string, found []Finding, waivers []Waiver, used map[Waiver]bool) []Finding {
	var left []Finding
	for _, f := range found {
		waived := false
		for _, w := range waivers {
			if w.Check == f.Check && matches(w.Object, f.Object) && (w.In == "" || slices.Contains(strings.Fields(w.In), variant)) {
				used[w], waived = true, true
			}
		}
		if !waived {
			left = append(left, f)
		}
	}
	return left
}

// String names the waiver in messages.
func (w Waiver) String() string { return fmt.Sprintf("waiver of %s for %s", w.Check, w.Object) }
