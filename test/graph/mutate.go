package graph

import (
	"fmt"
	"slices"
	"strings"
)

// Mutation takes one thing out of a graph, or breaks it. The check that guards it must find something that it did not find before.
type Mutation struct {
	Name  string
	Guard string // the check's name
	Apply func(*Graph)
}

// Mutations of a graph are generated from what is in it: each probe of each container, each limit, each policy's each rule. So a component
// that is added is tried as well.
func Mutations(g *Graph) []Mutation {
	var all []Mutation
	for _, r := range g.Resources {
		for _, m := range slices.Concat(optionMutations(g, r), objectMutations(r), podMutations(r), policyMutations(r), amazonMutations(r)) {
			all = append(all, Mutation{Name: r.String() + ": " + m.name, Guard: m.guard, Apply: func(g *Graph) {
				m.apply(g, g.own(r.URN))
			}})
		}
	}
	return slices.Concat(all, outputMutations(), itemMutations(g))
}

// mutation is one of a resource.
type mutation struct {
	name, guard string
	apply       func(*Graph, *Resource)
}

// own replaces a resource of a graph, whose resources may be shared with another one, by a copy.
func (g *Graph) own(urn string) *Resource {
	for i, r := range g.Resources {
		if r.URN == urn {
			one := (&Graph{Resources: []*Resource{r}}).Clone()
			g.Resources = slices.Clone(g.Resources)
			g.Resources[i] = one.Resources[0]
			return one.Resources[0]
		}
	}
	panic("graph: no resource " + urn)
}

// On returns the graph with the mutation; the original is as it was.
func (m Mutation) On(g *Graph) *Graph {
	changed := *g
	changed.Resources = slices.Clone(g.Resources)
	m.Apply(&changed)
	return &changed
}

// drop takes a property out.
func drop(guard string, path ...any) mutation {
	return mutation{"without " + dotted(path), guard, func(_ *Graph, r *Resource) { put(r.Inputs, nil, path...) }}
}

// change gives a property another value.
func change(guard string, value any, path ...any) mutation {
	return mutation{fmt.Sprintf("%s: %v", dotted(path), value), guard, func(_ *Graph, r *Resource) { put(r.Inputs, value, path...) }}
}

// remove takes the resource out of the graph.
func remove(guard string) mutation {
	return mutation{"gone", guard, func(g *Graph, r *Resource) {
		g.Resources = slices.DeleteFunc(g.Resources, func(x *Resource) bool { return x == r })
	}}
}

func dotted(path []any) string {
	var parts []string
	for _, p := range path {
		parts = append(parts, fmt.Sprint(p))
	}
	return strings.Join(parts, ".")
}

// put sets a value in nested maps and lists, making maps on the way; nil takes it out.
func put(in, value any, path ...any) {
	for _, step := range path[:len(path)-1] {
		next := At(in, step)
		if next == nil {
			next = map[string]any{}
			put(in, next, step)
		}
		in = next
	}
	if s, ok := in.(Secret); ok {
		in = s.Value
	}
	switch last := path[len(path)-1].(type) {
	case string:
		m, ok := in.(map[string]any)
		switch {
		case !ok:
			panic(fmt.Sprintf("graph: %v is in no map", path))
		case value == nil:
			delete(m, last)
		default:
			m[last] = value
		}
	case int:
		l, ok := in.([]any)
		if !ok || last >= len(l) {
			panic(fmt.Sprintf("graph: %v is in no list", path))
		}
		l[last] = value
	}
}

// optionMutations take away what keeps data.
func optionMutations(g *Graph, r *Resource) []mutation {
	v := &View{Graph: g}
	switch {
	case madeAnew(r):
		all := []mutation{{"protected", "protection/anew", func(_ *Graph, r *Resource) { r.Protect = true }}}
		if v.protected() && r.RetainOnDelete {
			all = append(all, mutation{"not retained", "protection/versions", func(_ *Graph, r *Resource) { r.RetainOnDelete = false }})
		}
		return all
	case !v.protected() || !v.holdsData(r):
		return nil
	}
	return []mutation{
		{"not protected", "protection/protect", func(_ *Graph, r *Resource) { r.Protect = false }},
		{"not retained", "protection/retain", func(_ *Graph, r *Resource) { r.RetainOnDelete = false }},
	}
}

// outputMutations show what nobody may see, and add what belongs to nothing.
func outputMutations() []Mutation {
	return []Mutation{
		{"outputs: a password in clear", "secrets/clear", func(g *Graph) {
			g.Outputs = map[string]any{"environment": g.Outputs["environment"], "password": g.Known[0]}
		}},
		{"a resource outside of every component", "issue/components", func(g *Graph) {
			g.Resources = append(slices.Clone(g.Resources), &Resource{URN: "urn:pulumi:x::y::aws:sns/topic:Topic::t", Type: "aws:sns/topic:Topic", Name: "t", Custom: true})
		}},
		{"outputs: a secret where assistctl reads", "secrets/outputs", func(g *Graph) {
			g.Outputs = map[string]any{"environment": map[string]any{"namespace": Secret{"x"}}}
		}},
	}
}

// objectMutations are of Kubernetes objects that are no pods.
func objectMutations(r *Resource) []mutation {
	if !r.IsObject() {
		return nil
	}
	all := []mutation{
		drop("workload/labels", "metadata", "labels", "app.kubernetes.io/component"),
		change("kube-linter/schema-validation", "x", "nonsense"),
	}
	if !typed[r.Kind()] {
		all = all[:1]
	}
	if !clusterScoped[r.Kind()] {
		all = append(all, change("kube-linter/use-namespace", "default", "metadata", "namespace"))
	}
	switch r.Kind() {
	case "Namespace":
		if strings.HasPrefix(r.ObjectName(), "assistant-") {
			for _, mode := range []string{"enforce", "audit", "warn"} {
				all = append(all, drop("pod-security/namespace", "metadata", "labels", "pod-security.kubernetes.io/"+mode))
			}
		}
	case "ServiceAccount":
		all = append(all, drop("workload/token", "automountServiceAccountToken"))
	case "Secret":
		all = append(all, mutation{"in clear", "secrets/place", func(_ *Graph, r *Resource) {
			r.Inputs["stringData"] = Reveal(r.Inputs["stringData"])
		}})
	case "ConfigMap":
		all = append(all, mutation{"with a password", "secrets/place", func(g *Graph, r *Resource) { put(r.Inputs, Secret{g.Known[0]}, "data", "password") }})
	case "Service":
		all = append(all, change("kube-linter/dangling-service", "nobody", "spec", "selector", "app.kubernetes.io/component"),
			change("kube-linter/exposed-services", "NodePort", "spec", "type"))
		if r.ObjectName() != "api-metrics" {
			all = append(all, change("kube-linter/invalid-target-ports", "nowhere", "spec", "ports", 0, "targetPort"))
		}
	case "HorizontalPodAutoscaler":
		if Number(r.Inputs, "spec", "minReplicas") > 2 {
			all = append(all, change("api/replicas", 1.0, "spec", "minReplicas"), change("kube-linter/hpa-minimum-three-replicas", 2.0, "spec", "minReplicas"))
		}
		all = append(all, drop("api/replicas", "spec", "minReplicas"), drop("api/replicas", "spec", "metrics"),
			change("kube-linter/dangling-horizontalpodautoscaler", "nobody", "spec", "scaleTargetRef", "name"), remove("api/replicas"))
	case "PodDisruptionBudget":
		all = append(all, remove("api/budget"), change("kube-linter/pdb-max-unavailable", 0.0, "spec", "maxUnavailable"),
			drop("kube-linter/pdb-unhealthy-pod-eviction-policy", "spec", "unhealthyPodEvictionPolicy"), change("kube-linter/pdb-min-available", "100%", "spec", "minAvailable"))
	case "ClusterRole":
		rules := func(group, resource, verb string) []any {
			return []any{map[string]any{"apiGroups": []any{group}, "resources": []any{resource}, "verbs": []any{verb}}}
		}
		all = append(all, change("kube-linter/access-to-secrets", rules("", "secrets", "get"), "rules"), change("kube-linter/access-to-create-pods", rules("", "pods", "create"), "rules"),
			change("kube-linter/wildcard-in-rules", rules("*", "nodes", "get"), "rules"))
	case "ClusterRoleBinding":
		all = append(all, change("kube-linter/cluster-admin-role-binding", "cluster-admin", "roleRef", "name"))
	case "ServiceMonitor":
		all = append(all, change("kube-linter/dangling-servicemonitor", "nobody", "spec", "selector", "matchLabels", "app.kubernetes.io/name"))
	case "StorageClass":
		all = append(all, drop("aws/storage-class", "parameters", "encrypted"), drop("aws/storage-class", "parameters", "kmsKeyId"),
			change("aws/storage-class", "gp2", "parameters", "type"), change("protection/volumes", "Delete", "reclaimPolicy"))
	}
	return slices.Concat(all, edgeMutations(r), wholeMutations(r), workloadMutations(r))
}

// typed are the kinds that view.go reads by their type.
var typed = map[string]bool{
	"Deployment": true, "StatefulSet": true, "CronJob": true, "PodTemplate": true, "Service": true, "ServiceAccount": true, "ConfigMap": true, "Namespace": true,
	"Ingress": true, "NetworkPolicy": true, "HorizontalPodAutoscaler": true, "PodDisruptionBudget": true, "Secret": true,
}

// wholeMutations take an object away.
func wholeMutations(r *Resource) []mutation {
	switch r.Kind() {
	case "ServiceAccount":
		return []mutation{remove("kube-linter/non-existent-service-account")}
	case "ConfigMap", "Secret":
		if r.Namespace() == "monitoring" || strings.Contains(r.ObjectName(), "dashboard") || r.ObjectName() == "api-tls" || strings.HasPrefix(r.ObjectName(), "bucket-") {
			return nil // mounted by charts, or optional: issueMutations has them
		}
		return []mutation{remove("kube-linter/env-value-from")}
	}
	return nil
}

func edgeMutations(r *Resource) []mutation {
	switch r.Kind() {
	case "Ingress":
		all := []mutation{
			drop("ingress/class", "spec", "ingressClassName"), drop("ingress/entry", "metadata", "annotations", entryPoints),
			drop("kube-linter/dangling-ingress", "spec", "rules", 0, "http"), change("kube-linter/no-extensions-v1beta", "extensions/v1beta1", "apiVersion"),
		}
		if String(r.Inputs, "metadata", "annotations", entryPoints) == "websecure" {
			return append(all, drop("ingress/tls", "spec", "tls"), drop("ingress/tls", "spec", "tls", 0, "secretName"),
				drop("ingress/rate-limit", "metadata", "annotations", middlewares))
		}
		return append(all, remove("ingress/redirect"), drop("ingress/redirect", "metadata", "annotations", middlewares))
	case "Middleware":
		if Map(r.Inputs, "spec", "rateLimit") != nil {
			return []mutation{remove("ingress/rate-limit"), drop("ingress/rate-limit", "spec", "rateLimit", "average"), drop("ingress/rate-limit", "spec", "rateLimit", "burst")}
		}
		return []mutation{remove("ingress/redirect"), change("ingress/redirect", false, "spec", "redirectScheme", "permanent")}
	case "Certificate":
		return []mutation{remove("ingress/tls"), drop("ingress/tls", "spec", "issuerRef"), drop("ingress/tls", "spec", "dnsNames")}
	}
	return nil
}

func workloadMutations(r *Resource) []mutation {
	name := r.ObjectName()
	line := func(key, from, to string) mutation {
		return mutation{from + " → " + to, "database/tls", func(_ *Graph, r *Resource) {
			put(r.Inputs, strings.ReplaceAll(String(r.Inputs, "data", key), from, to), "data", key)
		}}
	}
	switch {
	case r.Kind() == "Deployment" && name == "api":
		return []mutation{
			change("api/replicas", 3.0, "spec", "replicas"), drop("api/rollout", "spec", "strategy"), change("kube-linter/no-rolling-update-strategy", "Recreate", "spec", "strategy", "type"),
			change("api/rollout", 1.0, "spec", "strategy", "rollingUpdate", "maxUnavailable"), drop("api/rollout", "spec", "progressDeadlineSeconds"),
			drop("api/annotations", "spec", "template", "metadata", "annotations", "assistant/release"),
			drop("api/drain", "spec", "template", "spec", "terminationGracePeriodSeconds"),
			drop("api/drain", "spec", "template", "spec", "containers", 0, "lifecycle"),
			change("api/probes", "/health", "spec", "template", "spec", "containers", 0, "readinessProbe", "httpGet", "path"),
			drop("kube-linter/no-anti-affinity", "spec", "template", "spec", "topologySpreadConstraints"),
			{"two replicas and no autoscaler", "kube-linter/minimum-three-replicas", func(g *Graph, r *Resource) {
				put(r.Inputs, 2.0, "spec", "replicas")
				g.Resources = slices.DeleteFunc(g.Resources, func(x *Resource) bool { return x.Kind() == "HorizontalPodAutoscaler" })
			}},
			change("api/image", "registry.example.com/assistd:v1", "spec", "template", "spec", "containers", 0, "image"),
		}
	case r.Kind() == "StatefulSet":
		all := []mutation{
			drop("protection/claims", "spec", "persistentVolumeClaimRetentionPolicy"),
			change("protection/claims", "Delete", "spec", "persistentVolumeClaimRetentionPolicy", "whenDeleted"),
			change("protection/claims", "Delete", "spec", "persistentVolumeClaimRetentionPolicy", "whenScaled"),
		}
		if At(r.Inputs, "spec", "volumeClaimTemplates", 0, "spec", "storageClassName") != nil {
			all = append(all, drop("aws/storage-class-used", "spec", "volumeClaimTemplates", 0, "spec", "storageClassName"))
		}
		if name != "postgres" {
			return all
		}
		return append(all,
			change("database/identity", "postgres", "spec", "serviceName"), change("database/identity", 2.0, "spec", "replicas"),
			drop("database/volume", "spec", "volumeClaimTemplates"), drop("database/shutdown", "spec", "template", "spec", "terminationGracePeriodSeconds"),
			change("database/recovery", []any{"pg_isready"}, "spec", "template", "spec", "containers", 0, "livenessProbe", "exec", "command"),
			change("database/recovery", 3.0, "spec", "template", "spec", "containers", 0, "startupProbe", "failureThreshold"),
			drop("database/configuration", "spec", "template", "metadata", "annotations"))
	case r.Kind() == "ConfigMap" && name == "postgres":
		return []mutation{
			line("postgresql.conf", "ssl = on", "ssl = off"), line("postgresql.conf", "ssl_min_protocol_version", "# none"),
			line("postgresql.conf", "scram-sha-256", "md5"), line("pg_hba.conf", "hostssl", "host"), line("pg_hba.conf", "scram-sha-256", "trust"),
		}
	case r.Kind() == "Secret" && name == "assistd":
		return []mutation{{"sslmode=require", "database/tls", func(_ *Graph, r *Resource) {
			url, _ := Reveal(At(r.Inputs, "stringData", "database-url")).(string)
			put(r.Inputs, Secret{strings.Replace(url, "verify-full", "require", 1)}, "stringData", "database-url")
		}}}
	case r.Kind() == "Secret" && name == "postgres":
		return []mutation{{"one password for all", "database/passwords", func(_ *Graph, r *Resource) {
			put(r.Inputs, At(r.Inputs, "stringData", "service-password"), "stringData", "superuser-password")
		}}}
	case r.Kind() == "CronJob":
		return []mutation{
			drop("jobs/one-at-a-time", "spec", "concurrencyPolicy"), drop("jobs/ends", "spec", "startingDeadlineSeconds"), drop("jobs/time-zone", "spec", "timeZone"),
			drop("jobs/ends", "spec", "jobTemplate", "spec", "activeDeadlineSeconds"), drop("jobs/ends", "spec", "jobTemplate", "spec", "backoffLimit"),
			drop("kube-linter/job-ttl-seconds-after-finished", "spec", "successfulJobsHistoryLimit"),
			change("jobs/runs", []any{"inside", "install"}, "spec", "jobTemplate", "spec", "template", "spec", "containers", 0, "args"),
		}
	}
	return nil
}
