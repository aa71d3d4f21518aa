package graph

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
)

// workloadChecks are what the issue asks of workloads and no linter knows.
func workloadChecks() []Check {
	return slices.Concat(podChecks(), apiChecks(), databaseChecks(), jobChecks())
}

var releaseImage = regexp.MustCompile(`/(assistd|assistctl)@sha256:[0-9a-f]{64}$`)

func podChecks() []Check {
	labels := []string{"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component", "app.kubernetes.io/part-of", "app.kubernetes.io/managed-by"}
	return []Check{
		{Name: "workload/labels", Run: func(v *View) []Finding {
			var found findings
			for _, r := range v.Find((*Resource).IsObject) {
				for _, l := range labels {
					if String(r.Inputs, "metadata", "labels", l) == "" {
						found.say(r, "no label %s", l)
					}
				}
				if instance := String(r.Inputs, "metadata", "labels", "app.kubernetes.io/instance"); instance != v.Environment {
					found.say(r, "its instance is %q", instance)
				}
			}
			return found
		}},
		eachPod("workload/labels", func(v *View, p Pod) string {
			for _, l := range labels {
				if p.Labels[l] == "" {
					return "its pods have no label " + l
				}
			}
			return ""
		}),
		eachPod("workload/token", func(_ *View, p Pod) string {
			if p.Spec.AutomountServiceAccountToken == nil || *p.Spec.AutomountServiceAccountToken {
				return "its pods get a token for the API server"
			}
			return ""
		}),
		{Name: "workload/token", Run: func(v *View) []Finding {
			var found findings
			for _, a := range v.ServiceAccounts {
				if a.AutomountServiceAccountToken == nil || *a.AutomountServiceAccountToken {
					found.on("ServiceAccount "+a.Name, "pods get its token unless they say no")
				}
			}
			return found
		}},
		{Name: "workload/account", Run: func(v *View) []Finding {
			var found findings
			users := map[string]string{}
			for _, p := range v.Pods {
				component := p.Component()
				if component == "canary" {
					component = "api" // the same program with the same rights
				}
				if other := users[p.Spec.ServiceAccountName]; other != "" && other != component {
					found.say(p, "it shares the account %s with %s", p.Spec.ServiceAccountName, other)
				}
				users[p.Spec.ServiceAccountName] = component
			}
			return found
		}},
		eachPod("workload/service-links", func(_ *View, p Pod) string {
			if p.Spec.EnableServiceLinks == nil || *p.Spec.EnableServiceLinks {
				return "it gets the addresses of every service as variables"
			}
			return ""
		}),
		eachContainer("workload/ephemeral-storage", func(_ Pod, c corev1.Container) string {
			if c.Resources.Limits.StorageEphemeral().IsZero() || c.Resources.Requests.StorageEphemeral().IsZero() {
				return "it may fill the node's disk"
			}
			return ""
		}),
		eachPod("workload/scratch", func(_ *View, p Pod) string {
			for _, volume := range p.Spec.Volumes {
				if volume.EmptyDir != nil && (volume.EmptyDir.SizeLimit == nil || volume.EmptyDir.SizeLimit.IsZero()) {
					return fmt.Sprintf("volume %s has no limit", volume.Name)
				}
			}
			return ""
		}),
		eachPod("workload/read-only-configuration", func(_ *View, p Pod) string {
			for _, volume := range p.Spec.Volumes {
				if volume.ConfigMap == nil {
					continue
				}
				for _, c := range p.AllContainers() {
					if slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == volume.Name && !m.ReadOnly }) {
						return fmt.Sprintf("container %s mounts the configuration %s for writing", c.Name, volume.Name)
					}
				}
			}
			return ""
		}),
		eachPod("workload/spread", spreadsOut),
		eachContainer("workload/startup", func(p Pod, c corev1.Container) string {
			if p.Long() && c.StartupProbe == nil {
				return "no startup probe: a slow start is taken for a death"
			}
			return ""
		}),
		eachPod("workload/group", func(_ *View, p Pod) string {
			if c := p.Spec.SecurityContext; c == nil || c.FSGroup == nil || c.RunAsGroup == nil || *c.RunAsGroup == 0 {
				return "its volumes and files belong to nobody in particular"
			}
			return ""
		}),
	}
}

// spreadsOut wants the pods of what runs for good on different nodes and zones.
func spreadsOut(_ *View, p Pod) string {
	if !p.Long() {
		return ""
	}
	for _, key := range []string{"kubernetes.io/hostname", "topology.kubernetes.io/zone"} {
		if !slices.ContainsFunc(p.Spec.TopologySpreadConstraints, func(c corev1.TopologySpreadConstraint) bool {
			return c.TopologyKey == key && c.MaxSkew == 1 && selects(c.LabelSelector, p.Labels)
		}) {
			return "nothing spreads it over " + key
		}
	}
	return ""
}

// wanted are the replicas that an environment must keep.
var wanted = map[string]int32{"dev": 1, "staging": 2, "prod": 3}

func apiChecks() []Check {
	api := func(name string, question func(*View, appsv1.Deployment) string) Check {
		return Check{Name: "api/" + name, Run: func(v *View) []Finding {
			var found findings
			for _, d := range v.Deployments {
				if d.Name != "api" {
					continue
				}
				if message := question(v, d); message != "" {
					found.on("Deployment api", "%s", message)
				}
			}
			return found
		}}
	}
	return []Check{
		api("replicas", func(v *View, d appsv1.Deployment) string {
			h := scaler(v, d.Name)
			if h == nil {
				return "no autoscaler"
			}
			least := wanted[v.Environment]
			if h.Spec.MinReplicas == nil || *h.Spec.MinReplicas < least || h.Spec.MaxReplicas < *h.Spec.MinReplicas {
				return fmt.Sprintf("fewer than %d replicas", least)
			}
			if d.Spec.Replicas != nil {
				return "its replicas are said twice: the autoscaler's number would be reset at every update"
			}
			if len(h.Spec.Metrics) == 0 {
				return "the autoscaler looks at nothing"
			}
			return ""
		}),
		api("rollout", func(_ *View, d appsv1.Deployment) string {
			r := d.Spec.Strategy.RollingUpdate
			if r == nil || r.MaxUnavailable == nil || r.MaxUnavailable.IntValue() != 0 || r.MaxSurge == nil || r.MaxSurge.IntValue() < 1 {
				return "a rollout takes a replica away before another one serves"
			}
			if d.Spec.ProgressDeadlineSeconds == nil {
				return "a rollout that is stuck is not noticed"
			}
			return ""
		}),
		api("budget", func(v *View, d appsv1.Deployment) string {
			if wanted[v.Environment] < 2 {
				return "" // one would block the drain of its node
			}
			if !slices.ContainsFunc(v.Budgets, func(b policyv1.PodDisruptionBudget) bool { return selects(b.Spec.Selector, d.Spec.Template.Labels) }) {
				return "no PodDisruptionBudget: a drain may take all replicas"
			}
			return ""
		}),
		api("drain", func(_ *View, d appsv1.Deployment) string { return drains(d.Spec.Template.Spec) }),
		api("probes", func(_ *View, d appsv1.Deployment) string {
			c := d.Spec.Template.Spec.Containers[0]
			path := func(p *corev1.Probe) string {
				if p == nil || p.HTTPGet == nil {
					return ""
				}
				return p.HTTPGet.Path
			}
			if path(c.ReadinessProbe) != "/ready" || path(c.LivenessProbe) != "/health" || path(c.StartupProbe) != "/health" {
				return "want /health for startup and liveness, /ready for readiness: a database that is away is no reason to restart"
			}
			return ""
		}),
		api("image", func(_ *View, d appsv1.Deployment) string {
			for _, c := range d.Spec.Template.Spec.Containers {
				if !releaseImage.MatchString(c.Image) {
					return "its image is not the release's, by digest: " + c.Image
				}
			}
			return ""
		}),
		api("annotations", func(_ *View, d appsv1.Deployment) string {
			a := d.Spec.Template.Annotations
			if a["assistant/release"] == "" || a["assistant/commit"] == "" || !strings.HasSuffix(d.Spec.Template.Spec.Containers[0].Image, "@sha256:"+a["assistant/digest"]) {
				return "its pods do not say which release they are"
			}
			return ""
		}),
	}
}

// drains wants time for routers to hear of a pod's end, for the service's own drain, and for both before it is killed.
func drains(spec corev1.PodSpec) string {
	c := spec.Containers[0]
	if c.Lifecycle == nil || c.Lifecycle.PreStop == nil || c.Lifecycle.PreStop.Sleep == nil || c.Lifecycle.PreStop.Sleep.Seconds < 3 {
		return "no preStop sleep: requests that are routed to it while it ends fail"
	}
	timeout := 30 * time.Second // the service's default
	for _, e := range c.Env {
		if e.Name == "ASSISTD_DRAIN_TIMEOUT" {
			if d, err := time.ParseDuration(e.Value); err == nil {
				timeout = d
			}
		}
	}
	need := c.Lifecycle.PreStop.Sleep.Seconds + int64(timeout.Seconds())
	if spec.TerminationGracePeriodSeconds == nil || *spec.TerminationGracePeriodSeconds <= need {
		return fmt.Sprintf("it is killed while it drains: it needs more than %d s", need)
	}
	return ""
}

func jobChecks() []Check {
	job := func(name string, question func(batchv1.CronJob) string) Check {
		return each("jobs/"+name, func(v *View) []batchv1.CronJob { return v.CronJobs }, func(c batchv1.CronJob) string { return "CronJob " + c.Name },
			func(_ *View, c batchv1.CronJob) string { return question(c) })
	}
	return []Check{
		job("one-at-a-time", func(c batchv1.CronJob) string {
			if c.Spec.ConcurrencyPolicy != batchv1.ForbidConcurrent {
				return "two may run at once"
			}
			return ""
		}),
		job("ends", func(c batchv1.CronJob) string {
			s := c.Spec.JobTemplate.Spec
			if s.ActiveDeadlineSeconds == nil || s.BackoffLimit == nil || c.Spec.StartingDeadlineSeconds == nil {
				return "a run that hangs, or fails again and again, goes on for ever"
			}
			return ""
		}),
		job("time-zone", func(c batchv1.CronJob) string {
			if c.Spec.TimeZone == nil {
				return "its schedule depends on the controller's time zone"
			}
			return ""
		}),
		job("runs", func(c batchv1.CronJob) string {
			container := c.Spec.JobTemplate.Spec.Template.Spec.Containers[0]
			if !releaseImage.MatchString(container.Image) || !slices.Equal(container.Args, []string{"inside", c.Name}) {
				return fmt.Sprintf("it runs %s %v", container.Image, container.Args)
			}
			return ""
		}),
	}
}
