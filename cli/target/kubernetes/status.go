package kubernetes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/smart-assistant/platform/cli/target"
)

// Status implements target.Target: what the stack says of the environment, and what the cluster shows. An environment is up when its
// database is meant to run: it is not before `pulumi up`, after `pulumi destroy`, and while somebody has scaled it to zero.
func (e *Environment) Status(ctx context.Context) (target.Status, error) {
	s := target.Status{Environment: e.Name()}
	c, err := e.reach(ctx)
	if errors.Is(err, target.ErrDown) {
		s.Database.Detail = err.Error()
		return s, nil
	}
	if err != nil {
		return s, err
	}
	s.URL, s.Want = c.out.URL, c.out.Replicas
	record, _, err := c.load(ctx)
	if err != nil {
		return s, err
	}
	if s.Up, s.Paused, err = c.up(ctx); err != nil {
		return s, err
	}
	now, err := c.look(ctx)
	if err != nil {
		return s, err
	}
	if err := c.components(ctx, &s); err != nil {
		return s, err
	}
	if s.Jobs, err = c.jobs(ctx); err != nil {
		return s, err
	}
	s.Fence = record.Fence
	if now.deployment != nil {
		s.Want = max(s.Want, now.want())
	}
	for i := range now.pods {
		r := replica(&now.pods[i])
		s.Replicas = append(s.Replicas, r)
		if r.Ready {
			s.Ready++
		}
	}
	s.Build, s.Settings = deployed(now, record)
	s.Rollout = under(now, record, e.now())
	return s, nil
}

// up reports whether the environment is meant to run, and why it does not at the moment when a restore has stopped it.
func (c *cluster) up(ctx context.Context) (up bool, paused string, err error) {
	database, err := c.client.AppsV1().StatefulSets(c.namespace()).Get(ctx, c.statefulSet(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, "", nil
	}
	if err != nil {
		return false, "", unreachable(fmt.Errorf("look at the database of %s: %w", c.out.Name, ended(ctx, err)))
	}
	paused = database.Annotations[annotationPaused]
	if paused == "" {
		api, err := c.client.AppsV1().Deployments(c.namespace()).Get(ctx, apiName, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return false, "", unreachable(fmt.Errorf("look at the replicas of %s: %w", c.out.Name, ended(ctx, err)))
		}
		if err == nil {
			paused = api.Annotations[annotationPaused]
		}
	}
	return paused != "" || database.Spec.Replicas == nil || *database.Spec.Replicas > 0, paused, nil
}

func (c *cluster) statefulSet() string { return cmp.Or(c.out.Database.StatefulSet, "postgres") }

// deployed is the release whose rollout ended well last: what all replicas run, or else what was noted.
func deployed(now live, r record) (*target.Build, map[string]string) {
	if now.deployment != nil && (now.complete() || r.Deployed == nil && r.Turn == nil && r.Failed == nil && len(now.pods) == 0) {
		if b := buildOf(now.deployment.Spec.Template.Annotations); b.SHA256 != "" {
			return &b, settingsOf(now.deployment.Spec.Template.Annotations)
		}
	}
	if r.Deployed == nil {
		return nil, nil
	}
	of := r.Deployed.Release
	return &target.Build{Version: of.Version, Commit: of.Commit, SHA256: strings.TrimPrefix(of.Images[serviceImage], "sha256:")}, of.Settings
}

// abandoned is how old a holder's last beat may be, by its own clock, to be taken for alive in what is shown.
const abandoned = time.Minute

// under is the rollout that is under way, or the last one when it failed.
func under(now live, r record, at time.Time) *target.Rollout {
	if t := r.Turn; t != nil && at.Sub(t.Seen) < abandoned && !t.Holder.dead() {
		return &target.Rollout{Build: t.Build, Began: t.Began, Detail: t.Detail, Updated: t.Updated}
	}
	if now.deployment != nil && now.want() > 0 && (!now.seen() || len(now.updated()) < now.want() || ready(now.updated()) < now.want() && r.Turn != nil) {
		return &target.Rollout{
			Build: buildOf(now.deployment.Spec.Template.Annotations), Began: now.deployment.CreationTimestamp.Time,
			Updated: ready(now.updated()), Detail: "the cluster replaces the replicas; nobody watches",
		}
	}
	if r.Failed != nil {
		failed := r.Failed.Rollout
		return &failed
	}
	return nil
}

// components fills in the environment's other workloads, the database among them.
func (c *cluster) components(ctx context.Context, s *target.Status) error {
	sets, err := c.client.AppsV1().StatefulSets(c.namespace()).List(ctx, metav1.ListOptions{})
	if err != nil {
		return unreachable(fmt.Errorf("look at the components of %s: %w", c.out.Name, ended(ctx, err)))
	}
	deployments, err := c.client.AppsV1().Deployments(c.namespace()).List(ctx, metav1.ListOptions{})
	if err != nil {
		return unreachable(fmt.Errorf("look at the components of %s: %w", c.out.Name, ended(ctx, err)))
	}
	pods, err := c.client.CoreV1().Pods(c.namespace()).List(ctx, metav1.ListOptions{})
	if err != nil {
		return unreachable(fmt.Errorf("look at the components of %s: %w", c.out.Name, ended(ctx, err)))
	}
	s.Database.Detail = "there is no database"
	for _, set := range sets.Items {
		one := componentOf(set.Name, set.Spec.Replicas, set.Spec.Selector, pods.Items)
		s.Components = append(s.Components, one)
		if set.Name == c.statefulSet() {
			s.Database = target.Health{Reachable: one.State == running, Detail: databaseDetail(set, one)}
		}
	}
	for _, d := range deployments.Items {
		if d.Name != apiName {
			s.Components = append(s.Components, componentOf(d.Name, d.Spec.Replicas, d.Spec.Selector, pods.Items))
		}
	}
	slices.SortFunc(s.Components, func(a, b target.Component) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

func databaseDetail(set appsv1.StatefulSet, one target.Component) string {
	switch {
	case one.State == running:
		return ""
	case one.Detail != "":
		return one.Detail
	case set.Spec.Replicas != nil && *set.Spec.Replicas == 0:
		return "it is scaled to zero"
	}
	return "it is " + one.State
}

const running = "running"

// componentOf sums up a workload's pods: it runs when all that it wants are ready.
func componentOf(name string, want *int32, selector *metav1.LabelSelector, pods []corev1.Pod) target.Component {
	one := target.Component{Name: name, State: "stopped"}
	wanted := 1
	if want != nil {
		wanted = int(*want)
	}
	match, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		one.Detail = err.Error()
		return one
	}
	up := 0
	for i := range pods {
		p := &pods[i]
		if !match.Matches(labelSet(p.Labels)) || over(p) {
			continue
		}
		r := replica(p)
		one.Restarts += r.Restarts
		if one.Since.IsZero() || r.Since.After(one.Since) {
			one.Since = r.Since
		}
		if r.Ready {
			up++
			continue
		}
		one.Detail = r.Detail
		if r.State == "backoff" {
			one.State = "backoff"
		}
	}
	switch {
	case wanted > 0 && up >= wanted:
		one.State, one.Detail = running, ""
	case wanted > 0 && one.State != "backoff":
		one.State = "starting"
	}
	return one
}

// jobs are the last runs of the scheduled jobs.
func (c *cluster) jobs(ctx context.Context) ([]target.JobResult, error) {
	scheduled, err := c.client.BatchV1().CronJobs(c.namespace()).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, unreachable(fmt.Errorf("look at the scheduled jobs of %s: %w", c.out.Name, ended(ctx, err)))
	}
	runs, err := c.client.BatchV1().Jobs(c.namespace()).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, unreachable(fmt.Errorf("look at the scheduled jobs of %s: %w", c.out.Name, ended(ctx, err)))
	}
	all := make([]target.JobResult, 0, len(scheduled.Items))
	for i := range scheduled.Items {
		all = append(all, jobResult(&scheduled.Items[i], runs.Items))
	}
	slices.SortFunc(all, func(a, b target.JobResult) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// jobResult is how a CronJob's newest run went.
func jobResult(job *batchv1.CronJob, runs []batchv1.Job) target.JobResult {
	r := target.JobResult{Name: job.Name}
	if job.Status.LastSuccessfulTime != nil {
		r.LastOK = job.Status.LastSuccessfulTime.Time
	}
	var last *batchv1.Job
	for i := range runs {
		run := &runs[i]
		if !metav1.IsControlledBy(run, job) || run.Status.StartTime == nil {
			continue
		}
		if last == nil || run.Status.StartTime.After(last.Status.StartTime.Time) {
			last = run
		}
		if run.Status.CompletionTime != nil && run.Status.CompletionTime.After(r.LastOK) {
			r.LastOK = run.Status.CompletionTime.Time
		}
	}
	if last == nil {
		return r
	}
	r.Began, r.Running = last.Status.StartTime.Time, true
	for _, condition := range last.Status.Conditions {
		if condition.Status != corev1.ConditionTrue {
			continue
		}
		switch condition.Type { //nolint:exhaustive // the others say that it is about to
		case batchv1.JobComplete:
			r.Running, r.Took = false, condition.LastTransitionTime.Sub(r.Began)
		case batchv1.JobFailed:
			r.Running, r.Took = false, condition.LastTransitionTime.Sub(r.Began)
			r.Error = cmp.Or(condition.Message, condition.Reason, "it failed")
		}
	}
	return r
}
