package graph

import "slices"

// templateOf is the path to a resource's pod template.
func templateOf(r *Resource) []any {
	switch r.Kind() {
	case "Deployment", "StatefulSet", "DaemonSet", "Job":
		return []any{"spec", "template"}
	case "CronJob":
		return []any{"spec", "jobTemplate", "spec", "template"}
	case "PodTemplate":
		return []any{"template"}
	}
	return nil
}

// podMutations are of a pod template: of the pod, of each container, each volume and each mount.
func podMutations(r *Resource) []mutation {
	template := templateOf(r)
	if template == nil {
		return nil
	}
	at := func(path ...any) []any { return slices.Concat(template, []any{"spec"}, path) }
	long := r.Kind() == "Deployment" || r.Kind() == "StatefulSet"
	const restricted = "pod-security/restricted"
	all := []mutation{
		change("kube-linter/host-network", true, at("hostNetwork")...), change("kube-linter/host-pid", true, at("hostPID")...), change("kube-linter/host-ipc", true, at("hostIPC")...),
		drop("workload/token", at("automountServiceAccountToken")...), drop("workload/service-links", at("enableServiceLinks")...),
		drop("kube-linter/default-service-account", at("serviceAccountName")...), change("kube-linter/non-existent-service-account", "nobody", at("serviceAccountName")...),
		change("kube-linter/run-as-non-root", 0.0, at("securityContext", "runAsUser")...), drop("kube-linter/run-as-non-root", at("securityContext", "runAsUser")...),
		change("kube-linter/deprecated-service-account-field", "other", at("serviceAccount")...), change("kube-linter/non-isolated-pod", "default", "metadata", "namespace"),
		drop("workload/group", at("securityContext", "fsGroup")...),
		change(restricted, []any{map[string]any{"name": "kernel.msgmax", "value": "1"}}, at("securityContext", "sysctls")...),
		change("kube-linter/unsafe-sysctls", []any{map[string]any{"name": "kernel.msgmax", "value": "1"}}, at("securityContext", "sysctls")...),
		drop("workload/labels", slices.Concat(template, []any{"metadata", "labels", "app.kubernetes.io/part-of"})...),
		drop("workload/labels", slices.Concat(template, []any{"metadata", "labels"})...),
		hostFolder("/", "kube-linter/sensitive-host-mounts", at), hostFolder("/var/run/docker.sock", "kube-linter/docker-sock", at), hostFolder("/srv", restricted, at), hostFolder("/srv", "kube-linter/writable-host-mount", at),
		everywhere("seccompProfile", restricted, at), everywhere("runAsNonRoot", restricted, at), everywhere("runAsNonRoot", "kube-linter/run-as-non-root", at),
	}
	if r.ObjectName() == "valkey" {
		all = append(all, change("workload/account", "api", at("serviceAccountName")...))
	}
	if long {
		all = append(all, change("kube-linter/restart-policy", "Never", at("restartPolicy")...),
			change("kube-linter/mismatching-selector", "other", slices.Concat(template, []any{"metadata", "labels", "app.kubernetes.io/name"})...))
		for i := range List(r.Inputs, at("topologySpreadConstraints")...) {
			all = append(all, change("workload/spread", map[string]any{}, at("topologySpreadConstraints", i)...))
		}
		all = append(all, drop("workload/spread", at("topologySpreadConstraints")...))
	}
	for _, list := range []string{"initContainers", "containers"} {
		for i, c := range List(r.Inputs, at(list)...) {
			all = append(all, containerMutations(c, long, func(path ...any) []any { return at(slices.Concat([]any{list, i}, path)...) })...)
		}
	}
	return append(all, volumeMutations(r, at)...)
}

func containerMutations(c any, long bool, at func(...any) []any) []mutation {
	const restricted = "pod-security/restricted"
	all := []mutation{
		drop("kube-linter/unset-cpu-requirements", at("resources", "limits", "cpu")...), drop("kube-linter/unset-cpu-requirements", at("resources", "requests", "cpu")...),
		drop("kube-linter/unset-memory-requirements", at("resources", "limits", "memory")...), drop("kube-linter/unset-memory-requirements", at("resources", "requests", "memory")...),
		drop("workload/ephemeral-storage", at("resources", "limits", "ephemeral-storage")...), drop("workload/ephemeral-storage", at("resources", "requests", "ephemeral-storage")...),
		drop("kube-linter/unset-memory-requirements", at("resources")...),
		drop("kube-linter/privilege-escalation-container", at("securityContext", "allowPrivilegeEscalation")...), drop(restricted, at("securityContext", "allowPrivilegeEscalation")...),
		drop("kube-linter/no-read-only-root-fs", at("securityContext", "readOnlyRootFilesystem")...),
		drop("kube-linter/drop-net-raw-capability", at("securityContext", "capabilities")...), drop(restricted, at("securityContext", "capabilities")...),
		change(restricted, []any{"SYS_ADMIN"}, at("securityContext", "capabilities", "add")...),
		change("kube-linter/privileged-container", true, at("securityContext", "privileged")...), change(restricted, true, at("securityContext", "privileged")...),
		change("kube-linter/unsafe-proc-mount", "Unmasked", at("securityContext", "procMount")...), change(restricted, "Unmasked", at("securityContext", "procMount")...),
		change(restricted, map[string]any{"type": "Unconfined"}, at("securityContext", "seccompProfile")...),
		change(restricted, false, at("securityContext", "runAsNonRoot")...), change(restricted, 0.0, at("securityContext", "runAsUser")...),
		drop("kube-linter/no-read-only-root-fs", at("securityContext")...),
		change("kube-linter/latest-tag", "nginx:latest", at("image")...), change("kube-linter/latest-tag", "nginx", at("image")...),
		change("kube-linter/ssh-port", []any{map[string]any{"containerPort": 22.0}}, at("ports")...), change("kube-linter/privileged-ports", []any{map[string]any{"containerPort": 80.0}}, at("ports")...),
		change("kube-linter/duplicate-env-var", []any{map[string]any{"name": "A"}, map[string]any{"name": "A"}}, at("env")...),
		change("kube-linter/env-var-secret", []any{map[string]any{"name": "MY_SECRET", "value": "x"}}, at("env")...),
		change("kube-linter/read-secret-from-env-var", []any{map[string]any{"name": "A", "valueFrom": map[string]any{"secretKeyRef": map[string]any{"name": "postgres", "key": "tls.key"}}}}, at("env")...),
		change("kube-linter/env-value-from", []any{map[string]any{"name": "A", "valueFrom": map[string]any{"configMapKeyRef": map[string]any{"name": "nobody", "key": "x"}}}}, at("env")...),
		{dotted(at("env")) + " with a password", "secrets/place", func(g *Graph, r *Resource) {
			put(r.Inputs, []any{map[string]any{"name": "A", "value": Secret{g.Known[0]}}}, at("env")...)
		}},
	}
	if !long {
		return all
	}
	all = append(all, drop("kube-linter/no-liveness-probe", at("livenessProbe")...), drop("kube-linter/no-readiness-probe", at("readinessProbe")...), drop("workload/startup", at("startupProbe")...))
	for probe, guard := range map[string]string{"livenessProbe": "kube-linter/liveness-port", "readinessProbe": "kube-linter/readiness-port", "startupProbe": "kube-linter/startup-port"} {
		for _, how := range []string{"httpGet", "tcpSocket"} {
			if Map(c, probe, how) != nil {
				all = append(all, change(guard, 9.0, at(probe, how, "port")...))
			}
		}
	}
	return all
}

// hostFolder mounts a folder of the node.
func hostFolder(path, guard string, at func(...any) []any) mutation {
	return mutation{"with the node's " + path, guard, func(_ *Graph, r *Resource) {
		volumes := slices.Clone(List(r.Inputs, at("volumes")...))
		put(r.Inputs, append(volumes, map[string]any{"name": "node", "hostPath": map[string]any{"path": path}}), at("volumes")...)
	}}
}

// everywhere drops a field of the security context from the pod and all its containers, which stand in for one another.
func everywhere(field, guard string, at func(...any) []any) mutation {
	return mutation{"nowhere " + field, guard, func(_ *Graph, r *Resource) {
		put(r.Inputs, nil, at("securityContext", field)...)
		for _, list := range []string{"initContainers", "containers"} {
			for i := range List(r.Inputs, at(list)...) {
				put(r.Inputs, nil, at(list, i, "securityContext", field)...)
			}
		}
	}}
}

func volumeMutations(r *Resource, at func(...any) []any) []mutation {
	var all []mutation
	secret, config := map[string]bool{}, map[string]bool{}
	for i, volume := range List(r.Inputs, at("volumes")...) {
		name := String(volume, "name")
		switch {
		case Map(volume, "emptyDir") != nil:
			all = append(all, drop("workload/scratch", at("volumes", i, "emptyDir", "sizeLimit")...))
		case Map(volume, "secret") != nil:
			secret[name] = true
			all = append(all, change("secrets/files", 420.0, at("volumes", i, "secret", "defaultMode")...), drop("secrets/files", at("volumes", i, "secret", "defaultMode")...))
		case Map(volume, "configMap") != nil:
			config[name] = true
		}
	}
	for _, list := range []string{"initContainers", "containers"} {
		for i, c := range List(r.Inputs, at(list)...) {
			for j, m := range List(c, "volumeMounts") {
				switch name := String(m, "name"); {
				case secret[name]:
					all = append(all, drop("secrets/files", at(list, i, "volumeMounts", j, "readOnly")...))
				case config[name]:
					all = append(all, drop("workload/read-only-configuration", at(list, i, "volumeMounts", j, "readOnly")...))
				}
			}
		}
	}
	return all
}

// policyMutations take a NetworkPolicy away, each of its rules, and open it.
func policyMutations(r *Resource) []mutation {
	if r.Kind() != "NetworkPolicy" || r.Namespace() == "monitoring" || r.ObjectName() == "acme-solver" {
		return nil // those of pods that are not in the graph: the golden lists have them
	}
	guard := "network/paths"
	if r.ObjectName() == "default-deny" {
		guard = "network/default-deny"
	}
	var all []mutation
	if labels := Map(r.Inputs, "spec", "podSelector", "matchLabels"); labels != nil {
		all = append(all, change("kube-linter/dangling-networkpolicy", "nobody", "spec", "podSelector", "matchLabels", "app.kubernetes.io/name"))
	}
	if At(r.Inputs, "spec", "ingress", 0, "from", 0, "podSelector") != nil && At(r.Inputs, "spec", "ingress", 0, "from", 0, "namespaceSelector") == nil {
		all = append(all, change("kube-linter/dangling-networkpolicypeer-podselector", "nobody", "spec", "ingress", 0, "from", 0, "podSelector", "matchLabels", "app.kubernetes.io/name"))
	}
	if r.ObjectName() != "default-deny" {
		open := func(direction string) mutation {
			return mutation{direction + " from and to everywhere", guard, func(_ *Graph, r *Resource) {
				put(r.Inputs, append(slices.Clone(List(r.Inputs, "spec", direction)), map[string]any{}), "spec", direction)
			}}
		}
		all = append(all, open("egress"))
		if r.ObjectName() != "names" {
			all = append(all, open("ingress"))
		}
	}
	for _, direction := range []string{"ingress", "egress"} {
		for i, rule := range List(r.Inputs, "spec", direction) {
			all = append(all, mutation{dotted([]any{"without", direction, i}), guard, func(_ *Graph, r *Resource) {
				put(r.Inputs, slices.Delete(slices.Clone(List(r.Inputs, "spec", direction)), i, i+1), "spec", direction)
			}})
			for _, part := range []string{"ports", "from", "to"} {
				if List(rule, part) != nil {
					all = append(all, drop(guard, "spec", direction, i, part))
				}
			}
		}
	}
	if len(List(r.Inputs, "spec", "ingress"))+len(List(r.Inputs, "spec", "egress")) > 0 || guard == "network/default-deny" {
		all = append(all, remove(guard))
	}
	return all
}
