package graph

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

type (
	policy         = networkingv1.NetworkPolicy
	serviceAccount = corev1.ServiceAccount
)

func keysOf[A, B any](a map[string]A, b map[string]B) []string {
	return slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
}

// selects says whether a selector matches labels; an empty one matches all, a nil one none.
func selects(selector *metav1.LabelSelector, on map[string]string) bool {
	s, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && s.Matches(labels.Set(on))
}

// hasPort says whether a port, by number or name, is one of the pod's.
func hasPort(p Pod, port intstr.IntOrString) bool {
	for _, c := range p.Spec.Containers {
		for _, own := range c.Ports {
			if port.Type == intstr.String && own.Name == port.StrVal || port.Type == intstr.Int && own.ContainerPort == port.IntVal {
				return true
			}
		}
	}
	return false
}

func linterProbes() []Check {
	port := func(name string, probe func(corev1.Container) *corev1.Probe) Check {
		return eachContainer("kube-linter/"+name, func(p Pod, c corev1.Container) string {
			asked := probe(c)
			if asked == nil {
				return ""
			}
			want := intstr.IntOrString{}
			switch {
			case asked.HTTPGet != nil:
				want = asked.HTTPGet.Port
			case asked.TCPSocket != nil:
				want = asked.TCPSocket.Port
			case asked.GRPC != nil:
				want = intstr.FromInt32(asked.GRPC.Port)
			default:
				return ""
			}
			if !hasPort(p, want) {
				return fmt.Sprintf("it is asked on port %s, which it does not have", want.String())
			}
			return ""
		})
	}
	probe := func(name, message string, of func(corev1.Container) *corev1.Probe) Check {
		return eachPod("kube-linter/"+name, func(_ *View, p Pod) string {
			for _, c := range p.Spec.Containers {
				if p.Long() && of(c) == nil {
					return fmt.Sprintf("container %s: %s", c.Name, message)
				}
			}
			return ""
		})
	}
	liveness := func(c corev1.Container) *corev1.Probe { return c.LivenessProbe }
	readiness := func(c corev1.Container) *corev1.Probe { return c.ReadinessProbe }
	startup := func(c corev1.Container) *corev1.Probe { return c.StartupProbe }
	return []Check{
		probe("no-liveness-probe", "no liveness probe", liveness),
		probe("no-readiness-probe", "no readiness probe", readiness),
		port("liveness-port", liveness), port("readiness-port", readiness), port("startup-port", startup),
	}
}

func deploymentName(d appsv1.Deployment) string { return "Deployment " + d.Name }

func linterWorkloads() []Check {
	deployment := func(name string, question func(*View, appsv1.Deployment) string) Check {
		return each("kube-linter/"+name, func(v *View) []appsv1.Deployment { return v.Deployments }, deploymentName, question)
	}
	budget := func(name string, question func(*View, policyv1.PodDisruptionBudget) string) Check {
		return each("kube-linter/"+name, func(v *View) []policyv1.PodDisruptionBudget { return v.Budgets },
			func(b policyv1.PodDisruptionBudget) string { return "PodDisruptionBudget " + b.Name }, question)
	}
	when := func(wrong bool, message string) string {
		if wrong {
			return message
		}
		return ""
	}
	return []Check{
		deployment("minimum-three-replicas", func(v *View, d appsv1.Deployment) string {
			return when(d.Spec.Replicas != nil && *d.Spec.Replicas < 3 && scaler(v, d.Name) == nil, "fewer than three replicas")
		}),
		deployment("no-rolling-update-strategy", func(_ *View, d appsv1.Deployment) string {
			return when(d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType, "it is not updated one after the other")
		}),
		deployment("mismatching-selector", func(_ *View, d appsv1.Deployment) string {
			return when(!selects(d.Spec.Selector, d.Spec.Template.Labels), "it does not select its own pods")
		}),
		each("kube-linter/mismatching-selector", func(v *View) []appsv1.StatefulSet { return v.StatefulSets },
			func(s appsv1.StatefulSet) string { return "StatefulSet " + s.Name },
			func(_ *View, s appsv1.StatefulSet) string {
				return when(!selects(s.Spec.Selector, s.Spec.Template.Labels), "it does not select its own pods")
			}),
		deployment("no-anti-affinity", func(v *View, d appsv1.Deployment) string {
			many := d.Spec.Replicas != nil && *d.Spec.Replicas > 1 || scaler(v, d.Name) != nil
			return when(many && !keepsApart(d.Spec.Template.Spec, d.Spec.Template.Labels), "nothing keeps its replicas on different nodes")
		}),
		each("kube-linter/hpa-minimum-three-replicas", func(v *View) []autoscalingv2.HorizontalPodAutoscaler { return v.Autoscalers },
			func(h autoscalingv2.HorizontalPodAutoscaler) string { return "HorizontalPodAutoscaler " + h.Name },
			func(_ *View, h autoscalingv2.HorizontalPodAutoscaler) string {
				return when(h.Spec.MinReplicas == nil || *h.Spec.MinReplicas < 3, "it may go below three replicas")
			}),
		budget("pdb-min-available", func(v *View, b policyv1.PodDisruptionBudget) string {
			if b.Spec.MinAvailable == nil {
				return ""
			}
			n := replicasOf(v, b.Spec.Selector)
			least, err := intstr.GetScaledValueFromIntOrPercent(b.Spec.MinAvailable, n, true)
			return when(err != nil || least >= n, "it lets no pod go, so that a node cannot be drained")
		}),
		budget("pdb-max-unavailable", func(v *View, b policyv1.PodDisruptionBudget) string {
			if b.Spec.MaxUnavailable == nil {
				return ""
			}
			n := replicasOf(v, b.Spec.Selector)
			most, err := intstr.GetScaledValueFromIntOrPercent(b.Spec.MaxUnavailable, n, true)
			return when(err != nil || most < 1, "it lets no pod go, so that a node cannot be drained")
		}),
		budget("pdb-unhealthy-pod-eviction-policy", func(_ *View, b policyv1.PodDisruptionBudget) string {
			return when(b.Spec.UnhealthyPodEvictionPolicy == nil, "unhealthyPodEvictionPolicy is not said: a broken pod may block a drain")
		}),
		{Name: "kube-linter/job-ttl-seconds-after-finished", Run: func(v *View) []Finding {
			var found findings
			for _, c := range v.CronJobs { // a CronJob keeps its last Jobs itself
				if c.Spec.SuccessfulJobsHistoryLimit == nil || c.Spec.FailedJobsHistoryLimit == nil {
					found.on("CronJob "+c.Name, "it does not say how many finished jobs it keeps")
				}
			}
			for _, j := range v.Jobs {
				if j.Spec.TTLSecondsAfterFinished == nil {
					found.on("Job "+j.Name, "it stays for ever when it is done")
				}
			}
			return found
		}},
	}
}

func scaler(v *View, deployment string) *autoscalingv2.HorizontalPodAutoscaler {
	for i, h := range v.Autoscalers {
		if t := h.Spec.ScaleTargetRef; t.Kind == "Deployment" && t.Name == deployment {
			return &v.Autoscalers[i]
		}
	}
	return nil
}

// replicasOf counts the pods that run at least, for a selector.
func replicasOf(v *View, selector *metav1.LabelSelector) int {
	n := 0
	for _, p := range v.Pods {
		if !p.Long() || !selects(selector, p.Labels) {
			continue
		}
		replicas := int(p.Replicas)
		if h := scaler(v, p.Name); h != nil && h.Spec.MinReplicas != nil {
			replicas = int(*h.Spec.MinReplicas)
		}
		n += replicas
	}
	return n
}

// keepsApart says whether replicas are kept or preferred on different nodes: by anti-affinity, or by a spread constraint.
func keepsApart(spec corev1.PodSpec, own map[string]string) bool {
	const node = "kubernetes.io/hostname"
	for _, c := range spec.TopologySpreadConstraints {
		if c.TopologyKey == node && selects(c.LabelSelector, own) {
			return true
		}
	}
	if spec.Affinity == nil || spec.Affinity.PodAntiAffinity == nil {
		return false
	}
	anti := spec.Affinity.PodAntiAffinity
	terms := slices.Clone(anti.RequiredDuringSchedulingIgnoredDuringExecution)
	for _, t := range anti.PreferredDuringSchedulingIgnoredDuringExecution {
		terms = append(terms, t.PodAffinityTerm)
	}
	return slices.ContainsFunc(terms, func(t corev1.PodAffinityTerm) bool { return t.TopologyKey == node && selects(t.LabelSelector, own) })
}

func linterDangling() []Check {
	matched := func(v *View, namespace string, selector *metav1.LabelSelector) bool {
		return slices.ContainsFunc(v.Pods, func(p Pod) bool { return p.Namespace == namespace && selects(selector, p.Labels) })
	}
	return []Check{
		{Name: "kube-linter/dangling-horizontalpodautoscaler", Run: func(v *View) []Finding {
			var found findings
			for _, h := range v.Autoscalers {
				if len(v.Find(Object(h.Spec.ScaleTargetRef.Kind, h.Spec.ScaleTargetRef.Name))) == 0 {
					found.on("HorizontalPodAutoscaler "+h.Name, "%s %s is not there", h.Spec.ScaleTargetRef.Kind, h.Spec.ScaleTargetRef.Name)
				}
			}
			return found
		}},
		each("kube-linter/dangling-ingress", func(v *View) []networkingv1.Ingress { return v.Ingresses },
			func(i networkingv1.Ingress) string { return "Ingress " + i.Name }, danglingIngress),
		{Name: "kube-linter/dangling-networkpolicy", Run: func(v *View) []Finding {
			var found findings
			for _, n := range v.Policies {
				if !matched(v, n.Namespace, &n.Spec.PodSelector) {
					found.on("NetworkPolicy "+n.Name, "it selects no pod")
				}
			}
			return found
		}},
		{Name: "kube-linter/dangling-networkpolicypeer-podselector", Run: func(v *View) []Finding {
			var found findings
			for _, n := range v.Policies {
				for _, peer := range peersOf(n) {
					// Pods of other namespaces are not ours to know.
					if peer.PodSelector != nil && peer.NamespaceSelector == nil && !matched(v, n.Namespace, peer.PodSelector) {
						found.on("NetworkPolicy "+n.Name, "a peer is no pod: %s", metav1.FormatLabelSelector(peer.PodSelector))
					}
				}
			}
			return found
		}},
		{Name: "kube-linter/dangling-service", Run: func(v *View) []Finding {
			var found findings
			for _, s := range v.Services {
				if !matched(v, s.Namespace, &metav1.LabelSelector{MatchLabels: s.Spec.Selector}) {
					found.on("Service "+s.Name, "it selects no pod")
				}
			}
			return found
		}},
		{Name: "kube-linter/invalid-target-ports", Run: invalidTargetPorts},
		{Name: "kube-linter/dangling-servicemonitor", Run: danglingMonitors},
	}
}

func danglingIngress(v *View, i networkingv1.Ingress) string {
	for _, rule := range i.Spec.Rules {
		if rule.HTTP == nil {
			return "a rule has no paths"
		}
		for _, path := range rule.HTTP.Paths {
			s := path.Backend.Service
			if s == nil || !slices.ContainsFunc(v.Services, func(own corev1.Service) bool {
				return own.Name == s.Name && own.Namespace == i.Namespace && slices.ContainsFunc(own.Spec.Ports, func(p corev1.ServicePort) bool {
					return p.Name == s.Port.Name && p.Name != "" || p.Port == s.Port.Number
				})
			}) {
				return "a path leads to no Service"
			}
		}
	}
	return ""
}

func peersOf(n policy) []networkingv1.NetworkPolicyPeer {
	var peers []networkingv1.NetworkPolicyPeer
	for _, r := range n.Spec.Ingress {
		peers = append(peers, r.From...)
	}
	for _, r := range n.Spec.Egress {
		peers = append(peers, r.To...)
	}
	return peers
}

func invalidTargetPorts(v *View) []Finding {
	var found findings
	for _, s := range v.Services {
		for _, p := range v.Pods {
			if !p.Long() || p.Namespace != s.Namespace || !selects(&metav1.LabelSelector{MatchLabels: s.Spec.Selector}, p.Labels) {
				continue
			}
			for _, port := range s.Spec.Ports {
				target := port.TargetPort
				if target == (intstr.IntOrString{}) {
					target = intstr.FromInt32(port.Port)
				}
				if !hasPort(p, target) {
					found.on("Service "+s.Name, "%s has no port %s", p, target.String())
				}
			}
		}
	}
	return found
}

func danglingMonitors(v *View) []Finding {
	var found findings
	for _, r := range v.Find(func(r *Resource) bool { return r.Kind() == "ServiceMonitor" || r.Kind() == "PodMonitor" }) {
		var selector metav1.LabelSelector
		if err := decode(At(r.Inputs, "spec", "selector"), &selector); err != nil {
			found.say(r, "its selector: %v", err)
			continue
		}
		services := slices.ContainsFunc(v.Services, func(s corev1.Service) bool { return r.Kind() == "ServiceMonitor" && selects(&selector, s.Labels) })
		pods := slices.ContainsFunc(v.Pods, func(p Pod) bool { return r.Kind() == "PodMonitor" && selects(&selector, p.Labels) })
		if !services && !pods {
			found.say(r, "it selects nothing")
		}
	}
	return found
}

func linterAccess() []Check {
	rules := func(name, message string, wrong func(rbacv1.PolicyRule) bool) Check {
		return Check{Name: "kube-linter/" + name, Run: func(v *View) []Finding {
			var found findings
			for _, r := range v.Roles {
				if slices.ContainsFunc(r.Rules, wrong) {
					found.on("Role "+r.Name, "%s", message)
				}
			}
			for _, r := range v.ClusterRoles {
				if slices.ContainsFunc(r.Rules, wrong) {
					found.on("ClusterRole "+r.Name, "%s", message)
				}
			}
			return found
		}}
	}
	some := func(have []string, wanted ...string) bool {
		return slices.ContainsFunc(have, func(s string) bool { return s == "*" || slices.Contains(wanted, s) })
	}
	return []Check{
		rules("access-to-secrets", "it may read or write Secrets", func(r rbacv1.PolicyRule) bool {
			return some(r.Resources, "secrets") && some(r.Verbs, "get", "list", "watch", "create", "delete", "update", "patch")
		}),
		rules("access-to-create-pods", "it may make pods", func(r rbacv1.PolicyRule) bool {
			return some(r.Resources, "pods", "deployments", "statefulsets", "replicasets", "cronjobs", "jobs", "daemonsets") && some(r.Verbs, "create")
		}),
		rules("wildcard-in-rules", "it may do more than it names", func(r rbacv1.PolicyRule) bool { return some(r.Resources) || some(r.Verbs) || some(r.APIGroups) }),
		{Name: "kube-linter/cluster-admin-role-binding", Run: func(v *View) []Finding {
			var found findings
			for _, b := range v.ClusterBindings {
				if b.RoleRef.Name == "cluster-admin" {
					found.on("ClusterRoleBinding "+b.Name, "it gives everything")
				}
			}
			return found
		}},
		each("kube-linter/exposed-services", func(v *View) []corev1.Service { return v.Services }, func(s corev1.Service) string { return "Service " + s.Name },
			func(_ *View, s corev1.Service) string {
				if s.Spec.Type != "" && s.Spec.Type != corev1.ServiceTypeClusterIP {
					return "it is open to outside of the cluster: " + string(s.Spec.Type)
				}
				return ""
			}),
		{Name: "kube-linter/use-namespace", Run: func(v *View) []Finding {
			var found findings
			for _, r := range v.Find((*Resource).IsObject) {
				if !clusterScoped[r.Kind()] && (r.Namespace() == "" || r.Namespace() == "default") {
					found.say(r, "it is in no namespace of ours")
				}
			}
			return found
		}},
		{Name: "kube-linter/no-extensions-v1beta", Run: func(v *View) []Finding {
			var found findings
			for _, r := range v.Find((*Resource).IsObject) {
				if version := String(r.Inputs, "apiVersion"); strings.HasPrefix(version, "extensions/v1beta") {
					found.say(r, "%s is no longer there", version)
				}
			}
			return found
		}},
		{Name: "kube-linter/schema-validation", Run: func(v *View) []Finding { return v.undecodable }},
	}
}

var clusterScoped = map[string]bool{
	"Namespace": true, "StorageClass": true, "ClusterRole": true, "ClusterRoleBinding": true, "PriorityClass": true, "IngressClass": true,
	"ClusterIssuer": true, "CustomResourceDefinition": true, "PersistentVolume": true,
}
