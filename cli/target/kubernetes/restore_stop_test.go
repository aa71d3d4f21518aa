package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/cli/target/kubernetes/outputs"
)

// parked is a cluster of objects without controllers: what is scaled stays as the test leaves it.
func parkable(replicas int32) (*Environment, *cluster) {
	one := int32(1)
	labels := map[string]string{"app": "postgres"}
	out := outputs.Outputs{
		Name: "prod", Namespace: "assistant-prod", Replicas: 3, Images: outputs.Images{Registry: "r"},
		Database: outputs.Database{StatefulSet: "postgres"},
		Release:  &outputs.Release{Version: "v1", Images: map[string]string{"assistctl": "sha256:c0ffee"}},
	}
	client := fake.NewClientset(
		&appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Name: apiName, Namespace: out.Namespace},
			Spec:       appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "api"}}},
		},
		&appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Name: "postgres", Namespace: out.Namespace},
			Spec:       appsv1.StatefulSetSpec{Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: labels}},
		},
		&corev1.PodTemplate{
			ObjectMeta: metav1.ObjectMeta{Name: restoreName, Namespace: out.Namespace},
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
				InitContainers: []corev1.Container{{Name: installName}}, Containers: []corev1.Container{{Name: restoreName, Command: []string{"/program/assistctl"}}},
			}},
		},
		&batchv1.CronJob{
			ObjectMeta: metav1.ObjectMeta{Name: backupCronJob, Namespace: out.Namespace},
			Spec: batchv1.CronJobSpec{JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{
				Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: assistctlImage, Args: []string{"inside", "backup"}}}},
			}}}},
		},
	)
	c := &cluster{out: out, client: client}
	return &Environment{config: Config{Environment: "prod"}, now: time.Now, cluster: c}, c
}

// How many replicas there were is written down before they go, once, and comes back whoever asks.
func TestStopRemembersInTheCluster(t *testing.T) {
	e, c := parkable(5)
	ctx := t.Context()
	if err := c.refuseRunning(ctx); err == nil {
		t.Error("a database that nobody has stopped may be replaced")
	}
	for range 2 {
		if err := e.Stop(ctx); err != nil {
			t.Fatal(err)
		}
	}
	api, err := c.api(ctx)
	if err != nil || *api.replicas != 0 || api.Annotations[annotationPaused] == "" || api.Annotations[annotationReplicas] != "5" {
		t.Errorf("api is %+v, %v", api, err)
	}
	database, err := c.database(ctx)
	if err != nil || *database.replicas != 0 || database.Annotations[annotationReplicas] != "1" {
		t.Errorf("database is %+v, %v", database, err)
	}
	if err := c.refuseRunning(ctx); err != nil {
		t.Errorf("a stopped database: %v", err)
	}
	for range 2 {
		if api, err = c.api(ctx); err != nil {
			t.Fatal(err)
		}
		if err := api.unpark(ctx, 3); err != nil {
			t.Fatal(err)
		}
	}
	if api, err = c.api(ctx); err != nil || *api.replicas != 5 || api.Annotations[annotationPaused] != "" || api.Annotations[annotationReplicas] != "" {
		t.Errorf("api is %+v, %v", api, err)
	}
}

// Stop returns when the last container has ended, and not before; a swap looks again.
func TestStopWaitsForThePods(t *testing.T) {
	e, c := parkable(1)
	pods := c.client.CoreV1().Pods(c.namespace())
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "postgres-0", Labels: map[string]string{"app": "postgres"}}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}
	if _, err := pods.Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 600*time.Millisecond)
	defer cancel()
	if err := e.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("stopped with a database that runs: %v", err)
	}
	if err := c.refuseRunning(t.Context()); err == nil || !strings.Contains(err.Error(), "postgres-0") {
		t.Errorf("a swap under a server that runs: %v", err)
	}
	pod.Status.Phase = corev1.PodSucceeded
	if _, err := pods.UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(e.Stop(t.Context()), c.refuseRunning(t.Context())); err != nil {
		t.Error(err)
	}
}

// Who has a lower fencing number than somebody before starts nothing.
func TestStartIsFenced(t *testing.T) {
	e, c := parkable(1)
	ctx := t.Context()
	if err := errors.Join(e.Stop(ctx), c.update(ctx, func(r *record) error { r.Fence = 7; return nil })); err != nil {
		t.Fatal(err)
	}
	if err := e.StartWith(ctx, target.Deployment{Fence: 6}); !errors.Is(err, target.ErrFenced) {
		t.Errorf("started by one whose lease was taken: %v", err)
	}
	if database, err := c.database(ctx); err != nil || *database.replicas != 0 {
		t.Errorf("the database was scaled up: %+v, %v", database, err)
	}
}

// A pod on a node that has died never goes. What it keeps from ending is waited for no longer than its own time, but for a database's server,
// of which a person has to know that it is off.
func TestNodesThatDied(t *testing.T) {
	dead := func(name, app string) corev1.Pod {
		grace := int64(60)
		return corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Name: name, UID: types.UID(name), Labels: map[string]string{"app": app}, Finalizers: []string{"test/held"},
				DeletionTimestamp: &metav1.Time{Time: time.Now()}, DeletionGracePeriodSeconds: &grace,
			},
			Spec: corev1.PodSpec{NodeName: "node-7"}, Status: corev1.PodStatus{Phase: corev1.PodRunning},
		}
	}
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "node-7"},
		Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown}}},
	}
	for _, app := range []string{"api", "postgres", restoreName} {
		t.Run(app, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, c := parkable(1)
				c.make(t, dead(app, app))
				if _, err := c.client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				told := ""
				err := errors.Join(e.Stop(OnWait(ctx, func(what string) { told = what })), e.leaveVolume(ctx))
				force := "kubectl -n assistant-prod delete pod " + app + " --force --grace-period=0"
				if app == "postgres" {
					if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(told, "node-7 is NotReady") || !strings.Contains(told, force) {
						t.Errorf("stop: %v, it waited for %q", err, told)
					}
					return
				}
				if err != nil {
					t.Errorf("it waited for %q: %v", told, err)
				}
				if app != restoreName {
					return
				}
				if _, _, err := e.restorePod(ctx); err == nil || !strings.Contains(err.Error(), "node-7 is NotReady") || !strings.Contains(fault.HintOf(err), force) {
					t.Errorf("restore pod: %v, next: %s", err, fault.HintOf(err))
				}
			})
		})
	}
}

// make adds pods to a cluster without controllers.
func (c *cluster) make(t *testing.T, pods ...corev1.Pod) {
	t.Helper()
	for i := range pods {
		if _, err := c.client.CoreV1().Pods(c.namespace()).Create(t.Context(), &pods[i], metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func databasePod(change func(*corev1.Pod)) corev1.Pod {
	return testPod("postgres-0", "", false, func(p *corev1.Pod) {
		p.Labels = map[string]string{"app": "postgres"}
		change(p)
	})
}

// A start ends when nothing gets better, and says what it waited for. A server that recovers is not such a thing.
func TestStartGivesUp(t *testing.T) {
	for name, test := range map[string]struct {
		pods   []corev1.Pod
		waits  string
		failed bool
	}{
		"without a pod": {nil, "makes no pod", true},
		"a pod that no node takes": {[]corev1.Pod{databasePod(func(p *corev1.Pod) {
			p.Status = corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{
				{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "volume node affinity conflict"},
			}}
		})}, "volume node affinity conflict", true},
		"a volume that does not come": {[]corev1.Pod{databasePod(func(p *corev1.Pod) {
			p.Spec.NodeName = "n"
			p.Status = corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{
				State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}},
			}}}
		})}, "ContainerCreating", true},
		"a recovery": {[]corev1.Pod{databasePod(func(*corev1.Pod) {})}, "recovers", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, c := parkable(1)
				c.make(t, test.pods...)
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
				defer cancel()
				told := ""
				err := e.StartWith(OnWait(ctx, func(what string) { told = what }), target.Deployment{Fence: 1})
				if gaveUp := !errors.Is(err, context.DeadlineExceeded); gaveUp != test.failed || gaveUp && !strings.Contains(err.Error(), test.waits) {
					t.Errorf("start: %v", err)
				}
				if !strings.Contains(told, test.waits) {
					t.Errorf("it waits for %q", told)
				}
			})
		})
	}
}

// Replicas that answer 503 for ever keep a restore from succeeding, and not one that is given up from ending.
func TestReplicasThatAreNeverReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testCluster(objects(2, testPod("a", "new", true, nil), testPod("b", "new", false, nil))...)
		e := &Environment{config: Config{Environment: "prod", ReadyTimeout: 10 * time.Minute}, now: time.Now, cluster: c}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
		defer cancel()
		d := target.Deployment{Build: target.Build{Version: "v2", SHA256: newDigest}, Fence: 1}
		told := ""
		err := e.StartWith(OnWait(ctx, func(what string) { told = what }), d)
		if late := new(target.RolloutError); !errors.As(err, &late) || late.Replica != "b" || told != "1 of 2 replicas are ready" {
			t.Errorf("start: %v, it waited for %q", err, told)
		}
		began := time.Now()
		if err := e.Revive(ctx, d); err != nil || time.Since(began) > time.Second {
			t.Errorf("revived after %s: %v", time.Since(began), err)
		}
	})
}

func TestRestorePodIsTheReleasesOwn(t *testing.T) {
	_, c := parkable(1)
	ctx := t.Context()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "ip-10-0-1-2", Labels: map[string]string{corev1.LabelHostname: "host-2"}}}
	server := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "postgres-0", Labels: map[string]string{"app": "postgres"}}, Spec: corev1.PodSpec{NodeName: node.Name}}
	elsewhere, err := c.newRestorePod(ctx)
	if err != nil || elsewhere.Spec.NodeSelector != nil {
		t.Fatalf("without a database it wants %v, %v", elsewhere, err)
	}
	_, err = c.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
	_, err2 := c.client.CoreV1().Pods(c.namespace()).Create(ctx, server, metav1.CreateOptions{})
	pod, err3 := c.newRestorePod(ctx)
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	if pod.Spec.InitContainers[0].Image != "r/assistctl@sha256:c0ffee" || pod.Spec.NodeSelector[corev1.LabelHostname] != "host-2" || pod.Spec.RestartPolicy != corev1.RestartPolicyNever {
		t.Errorf("made %+v", pod.Spec)
	}
	there := pod.DeepCopy()
	there.Spec.NodeSelector, there.Spec.NodeName = nil, "host-2" // made while no database ran
	if c.unusable(there, pod) || !c.unusable(elsewhere, pod) {
		t.Error("a pod beside the database is not adopted, or one elsewhere is")
	}
	for what, change := range map[string]func(p *corev1.Pod){
		"has ended":             func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded },
		"is ending":             func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: time.Now()} },
		"is of another release": func(p *corev1.Pod) { p.Annotations[annotationOf] = "other" },
	} {
		other := there.DeepCopy()
		if change(other); !c.unusable(other, pod) {
			t.Errorf("a pod that %s is used", what)
		}
	}
	c.out.Release = nil
	if _, err := c.newRestorePod(ctx); fault.CodeOf(err) != fault.Refused || fault.HintOf(err) == "" {
		t.Errorf("without a release: %v", err)
	}
}

func TestJobsComeFromTheSchedule(t *testing.T) {
	e, c := parkable(1)
	ctx := t.Context()
	options, err := json.Marshal(map[string]string{"Key": "promotion-7"})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(e.RunJob(ctx, backupCronJob), c.jobFrom(ctx, backupCronJob, "snapshot", nil, "--options", string(options))); err != nil {
		t.Fatal(err)
	}
	jobs, err := c.client.BatchV1().Jobs(c.namespace()).List(ctx, metav1.ListOptions{})
	if err != nil || len(jobs.Items) != 2 {
		t.Fatalf("%v, %v", jobs, err)
	}
	for _, j := range jobs.Items {
		args := strings.Join(j.Spec.Template.Spec.Containers[0].Args, " ")
		if scheduled := len(j.OwnerReferences) == 1; scheduled && args != "inside backup" || !scheduled && (args != `inside backup --options {"Key":"promotion-7"}` || *j.Spec.BackoffLimit != 0) {
			t.Errorf("%s runs %q, %+v", j.Name, args, j.Spec)
		}
	}
	if err := e.RunJob(ctx, "prune"); fault.CodeOf(err) != fault.Refused || fault.HintOf(err) == "" {
		t.Errorf("a schedule that is not there: %v", err)
	}
	// A Job that has ended makes room for the next of its name.
	done := jobs.Items[0].DeepCopy()
	done.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue}}
	if _, err := c.client.BatchV1().Jobs(c.namespace()).UpdateStatus(ctx, done, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{done.Name, jobs.Items[1].Name} {
		if err := c.clearFinished(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := c.client.BatchV1().Jobs(c.namespace()).List(ctx, metav1.ListOptions{}); err != nil || len(left.Items) != 1 || left.Items[0].Name == done.Name {
		t.Errorf("left are %v, %v", left, err)
	}
}

func TestWriterSecret(t *testing.T) {
	e, _ := parkable(1)
	ctx := t.Context()
	w := e.Writer()
	if _, err := w.Read(ctx); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing reads as %v", err)
	}
	for _, content := range []string{"one", "two"} {
		if err := w.Replace(ctx, []byte(content)); err != nil {
			t.Fatal(err)
		}
		if got, err := w.Read(ctx); err != nil || string(got) != content {
			t.Errorf("read %q, %v, want %q", got, err, content)
		}
	}
}
