package graph

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// Taken out one at a time: each probe, limit, policy, encryption setting … The check that guards it finds something that it did not find
// before; and no check is without a mutation that it notices, so that none is there for show.
func TestMutations(t *testing.T) {
	byName := map[string][]Check{}
	unproven := map[string]bool{}
	for _, c := range Checks() {
		byName[c.Name] = append(byName[c.Name], c)
		unproven[c.Name] = true
	}
	total := 0
	for _, variant := range []string{"prod", "dev", "prod-existing"} {
		g := graphOf(t, variant)
		decoded := NewView(g).decoded
		before := map[string]map[Finding]bool{}
		for name, checks := range byName {
			before[name] = setOf(Inspect(g, checks))
		}
		mutations := Mutations(g)
		total += len(mutations)
		for _, m := range mutations {
			checks := byName[m.Guard]
			if checks == nil {
				t.Fatalf("%s: there is no check %s", m.Name, m.Guard)
			}
			changed := newView(m.On(g), decoded)
			if !news(changed.inspect(checks), before[m.Guard]) {
				t.Errorf("%s: %s: %s does not notice it (others that do: %s)", variant, m.Name, m.Guard, noticed(changed, byName, before))
				continue
			}
			delete(unproven, m.Guard)
		}
		if !slices.Equal(Inspect(g, Checks()), Inspect(graphOf(t, variant), Checks())) {
			t.Fatal("mutations changed the graph that they began with")
		}
	}
	for name := range unproven {
		t.Errorf("%s: no mutation shows that it can fail", name)
	}
	t.Logf("%d mutations, %d checks", total, len(byName))
}

func setOf(found []Finding) map[Finding]bool {
	set := map[Finding]bool{}
	for _, f := range found {
		set[f] = true
	}
	return set
}

func news(found []Finding, before map[Finding]bool) bool {
	return slices.ContainsFunc(found, func(f Finding) bool { return !before[f] })
}

func noticed(v *View, byName map[string][]Check, before map[string]map[Finding]bool) string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		if news(v.inspect(byName[name]), before[name]) {
			names = append(names, name)
		}
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, ", ")
}

// The same for kube-score, which is a program: a few of each kind.
func TestMutationsThatKubeScoreNotices(t *testing.T) {
	g := graphOf(t, "prod")
	found, err := Score(g)
	if err != nil {
		t.Fatal(err)
	}
	before := setOf(found)
	at := func(kind, name string) *Resource {
		r := g.Find(Object(kind, name))
		if len(r) != 1 {
			t.Fatalf("%d objects are %s %s", len(r), kind, name)
		}
		return r[0]
	}
	api, set, job := at("Deployment", "api"), at("StatefulSet", "postgres"), at("CronJob", "backup")
	spec := func(path ...any) []any { return slices.Concat([]any{"spec", "template", "spec"}, path) }
	for _, c := range []struct {
		on *Resource
		mutation
	}{
		{api, drop("container-resources", spec("containers", 0, "resources", "limits")...)},
		{api, drop("container-ephemeral-storage-request-and-limit", spec("containers", 0, "resources", "limits", "ephemeral-storage")...)},
		{api, drop("pod-probes", spec("containers", 0, "readinessProbe")...)},
		{api, change("container-image-tag", "nginx:latest", spec("containers", 0, "image")...)},
		{api, drop("container-security-context-readonlyrootfilesystem", spec("containers", 0, "securityContext", "readOnlyRootFilesystem")...)},
		{api, change("container-security-context-privileged", true, spec("containers", 0, "securityContext", "privileged")...)},
		{api, change("container-security-context-user-group-id", 5.0, spec("containers", 0, "securityContext", "runAsUser")...)},
		{api, mutation{"without seccomp", "container-seccomp-profile", everywhere("seccompProfile", "", func(p ...any) []any { return spec(p...) }).apply}},
		{api, drop("pod-topology-spread-constraints", spec("topologySpreadConstraints", 0, "labelSelector")...)},
		{api, change("deployment-targeted-by-hpa-does-not-have-replicas-configured", 3.0, "spec", "replicas")},
		{api, change("deployment-strategy", "Recreate", "spec", "strategy", "type")},
		{api, change("deployment-pod-selector-labels-match-template-metadata-labels", "x", "spec", "template", "metadata", "labels", "app.kubernetes.io/name")},
		{api, change("label-values", "not valid!", "metadata", "labels", "app.kubernetes.io/name")},
		{api, change("environment-variable-key-duplication", []any{map[string]any{"name": "A"}, map[string]any{"name": "A"}}, spec("containers", 0, "env")...)},
		{set, change("statefulset-has-servicename", "nobody", "spec", "serviceName")},
		{set, change("statefulset-pod-selector-labels-match-template-metadata-labels", "x", "spec", "template", "metadata", "labels", "app.kubernetes.io/name")},
		{job, drop("cronjob-has-deadline", "spec", "startingDeadlineSeconds")},
		{job, drop("cronjob-restartpolicy", "spec", "jobTemplate", "spec", "template", "spec", "restartPolicy")},
		{at("PodDisruptionBudget", "api"), remove("deployment-has-poddisruptionbudget")},
		{at("PodDisruptionBudget", "api"), drop("poddisruptionbudget-has-policy", "spec", "maxUnavailable")},
		{at("HorizontalPodAutoscaler", "api"), change("horizontalpodautoscaler-has-target", "nobody", "spec", "scaleTargetRef", "name")},
		{at("HorizontalPodAutoscaler", "api"), change("horizontalpodautoscaler-replicas", 1.0, "spec", "minReplicas")},
		{at("Ingress", "api"), change("ingress-targets-service", "nobody", "spec", "rules", 0, "http", "paths", 0, "backend", "service", "name")},
		{at("Service", "postgres"), change("service-targets-pod", "nobody", "spec", "selector", "app.kubernetes.io/name")},
		{at("Service", "postgres"), change("service-type", "NodePort", "spec", "type")},
		{at("NetworkPolicy", "valkey"), change("networkpolicy-targets-pod", "nobody", "spec", "podSelector", "matchLabels", "app.kubernetes.io/name")},
	} {
		changed := Mutation{Apply: func(g *Graph) { c.apply(g, g.own(c.on.URN)) }}.On(g)
		found, err := Score(changed)
		if err != nil {
			t.Fatal(err)
		}
		guarded := slices.ContainsFunc(found, func(f Finding) bool { return f.Check == "kube-score/"+c.guard && !before[f] })
		if !guarded {
			t.Errorf("%s: %s: kube-score/%s does not notice it", c.on, c.name, c.guard)
		}
	}
}

func ExampleFinding() {
	fmt.Println(Finding{Check: "kube-linter/host-pid", Object: "Deployment api", Message: "it shares the node's processes"})
	// Output: kube-linter/host-pid: Deployment api: it shares the node's processes
}
