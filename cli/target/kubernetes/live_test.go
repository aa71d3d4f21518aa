package kubernetes

import (
	"cmp"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/cli/target/kubernetes/outputs"
)

const (
	oldDigest = "1111111111111111111111111111111111111111111111111111111111111111"
	newDigest = "2222222222222222222222222222222222222222222222222222222222222222"
)

func marks(version, digest string) map[string]string {
	return map[string]string{annotationRelease: version, annotationDigest: digest, annotationSettings: `{"GREETING":"hello"}`}
}

// testPod is a replica; change makes it what a test wants.
func testPod(name, hash string, ready bool, change func(*corev1.Pod)) corev1.Pod {
	digest, version := oldDigest, "v1"
	if hash == "new" {
		digest, version = newDigest, "v2"
	}
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	p := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "assistant-prod", Annotations: marks(version, digest),
			Labels: map[string]string{labelComponent: apiName, appsv1.DefaultDeploymentUniqueLabelKey: hash},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: serviceImage, Image: "registry/assistd@sha256:" + digest}}},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: "10.0.0.1", Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: status}},
			ContainerStatuses: []corev1.ContainerStatus{{
				Name: serviceImage, Started: new(true), State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
			}},
		},
	}
	if change != nil {
		change(&p)
	}
	return p
}

func testDeployment(generation int64) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{
			Name: apiName, Namespace: "assistant-prod", UID: "api-uid", Generation: 2, Annotations: map[string]string{revision: "2"},
		},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{labelComponent: apiName}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: marks("v2", newDigest)}},
		},
		Status: appsv1.DeploymentStatus{ObservedGeneration: generation},
	}
}

func testSets() []runtime.Object {
	var all []runtime.Object
	for hash, number := range map[string]string{"old": "1", "new": "2"} {
		all = append(all, &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{
			Name: "api-" + hash, Namespace: "assistant-prod", Annotations: map[string]string{revision: number},
			Labels:          map[string]string{labelComponent: apiName, appsv1.DefaultDeploymentUniqueLabelKey: hash},
			OwnerReferences: []metav1.OwnerReference{{UID: "api-uid", Controller: new(true)}},
		}})
	}
	return all
}

// testCluster is a cluster with these objects, and a database that runs.
func testCluster(objects ...runtime.Object) *cluster {
	database := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "postgres", Namespace: "assistant-prod"},
		Spec:       appsv1.StatefulSetSpec{Replicas: new(int32(1)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{labelComponent: "postgres"}}},
	}
	pod := testPod("postgres-0", "", true, func(p *corev1.Pod) { p.Labels = map[string]string{labelComponent: "postgres"} })
	return &cluster{
		client: fake.NewClientset(append(objects, database, &pod)...), wayUp: "pulumi up --stack prod",
		out: outputs.Outputs{
			Name: "prod", Namespace: "assistant-prod", URL: "https://api.example.com", Replicas: 2, Images: outputs.Images{Registry: "registry"},
			Settings: map[string]string{"REGION": "eu"}, Database: outputs.Database{StatefulSet: "postgres"},
		},
	}
}

func objects(generation int64, pods ...corev1.Pod) []runtime.Object {
	all := append(testSets(), testDeployment(generation))
	for i := range pods {
		all = append(all, &pods[i])
	}
	return all
}

func TestComplete(t *testing.T) {
	drains := func(p *corev1.Pod) {
		p.DeletionTimestamp, p.Finalizers = &metav1.Time{Time: time.Unix(1, 0)}, []string{"test/held"}
	}
	for name, test := range map[string]struct {
		generation int64
		pods       []corev1.Pod
		complete   bool
		updated    int
	}{
		"all new":                    {2, []corev1.Pod{testPod("a", "new", true, nil), testPod("b", "new", true, nil)}, true, 2},
		"one is not ready":           {2, []corev1.Pod{testPod("a", "new", true, nil), testPod("b", "new", false, nil)}, false, 2},
		"an old one is left":         {2, []corev1.Pod{testPod("a", "new", true, nil), testPod("b", "new", true, nil), testPod("c", "old", true, drains)}, false, 2},
		"all old":                    {2, []corev1.Pod{testPod("a", "old", true, nil), testPod("b", "old", true, nil)}, false, 0},
		"the controller has not yet": {1, []corev1.Pod{testPod("a", "new", true, nil), testPod("b", "new", true, nil)}, false, 0},
		"one of them drains":         {2, []corev1.Pod{testPod("a", "new", true, nil), testPod("b", "new", true, drains)}, false, 1},
	} {
		now, err := testCluster(objects(test.generation, test.pods...)...).look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if now.complete() != test.complete || len(now.updated()) != test.updated || now.want() != 2 {
			t.Errorf("%s: complete %v, %d updated", name, now.complete(), len(now.updated()))
		}
	}
	now, err := testCluster().look(t.Context())
	if err != nil || now.complete() || now.runs(target.Build{}) || now.deployment != nil {
		t.Errorf("without a Deployment: %+v %v", now, err)
	}
}

// A replica on a node that has died never goes. It is waited for as long as it may take, and no longer.
func TestReplaced(t *testing.T) {
	old := testPod("c", "old", true, func(p *corev1.Pod) {
		p.DeletionTimestamp, p.Finalizers = &metav1.Time{Time: time.Unix(1, 0)}, []string{"test/held"}
		p.Spec.TerminationGracePeriodSeconds = new(int64(60))
	})
	at := func(pods ...corev1.Pod) live {
		now, err := testCluster(objects(2, pods...)...).look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return now
	}
	stuck := at(testPod("a", "new", true, nil), testPod("b", "new", true, nil), old)
	w := &watcher{}
	if w.replaced(stuck) || w.drain.IsZero() {
		t.Error("it is not waited for")
	}
	w.drain = time.Now().Add(-80 * time.Second)
	if w.replaced(stuck) {
		t.Error("it is not waited for as long as it may take")
	}
	w.drain = time.Now().Add(-100 * time.Second)
	if !w.replaced(stuck) {
		t.Error("it is waited for without end")
	}
	if w.replaced(at(testPod("a", "new", true, nil), testPod("b", "new", false, nil), old)) || !w.drain.IsZero() {
		t.Error("replicas that are missing are not waited for")
	}
	if !w.replaced(at(testPod("a", "new", true, nil), testPod("b", "new", true, nil))) {
		t.Error("all are new, and it goes on waiting")
	}
}

// crash is how a pod stands whose container has ended.
func crash(restarts int32, waiting bool, code int32, message string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		s := &p.Status.ContainerStatuses[0]
		s.RestartCount, s.Started = restarts, new(false)
		end := &corev1.ContainerStateTerminated{ExitCode: code, Reason: "Error", Message: message}
		if waiting {
			s.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
			s.LastTerminationState.Terminated = end
		} else {
			s.State = corev1.ContainerState{Terminated: end}
		}
	}
}

func noPull(p *corev1.Pod) {
	p.Status.ContainerStatuses[0] = corev1.ContainerStatus{
		Name: serviceImage, Image: "registry/assistd", Started: new(false),
		State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "not found"}},
	}
}

func TestReplica(t *testing.T) {
	for want, p := range map[string]corev1.Pod{
		"ready":    testPod("a", "new", true, nil),
		"unready":  testPod("a", "new", false, nil),
		"starting": testPod("a", "new", false, noPull),
		"backoff":  testPod("a", "new", false, crash(2, true, 1, "no database")),
		"draining": testPod("a", "new", true, func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }),
	} {
		r := replica(&p)
		if r.State != want || r.Ready != (want == "ready") || r.Build.Version != "v2" || r.Build.SHA256 != newDigest || r.Address != "10.0.0.1" {
			t.Errorf("want %s: %+v", want, r)
		}
	}
	other := testPod("a", "new", true, func(p *corev1.Pod) { p.Spec.Containers[0].Image = "registry/assistd@sha256:" + oldDigest })
	if r := replica(&other); r.Build.SHA256 != oldDigest {
		t.Errorf("what runs is not what the annotations say: %+v", r)
	}
}

func TestHopeless(t *testing.T) {
	deadline := func(d *appsv1.Deployment) {
		d.Status.Conditions = []appsv1.DeploymentCondition{{
			Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded", Message: "timed out progressing",
		}}
	}
	for name, test := range map[string]struct {
		pod    corev1.Pod
		change func(*appsv1.Deployment)
		want   string // "" for hope
	}{
		"starts":            {testPod("b", "new", false, nil), nil, ""},
		"ready":             {testPod("b", "new", true, nil), nil, ""},
		"ended once":        {testPod("b", "new", false, crash(0, false, 1, "")), nil, ""},
		"ended three times": {testPod("b", "new", false, crash(2, true, 1, "no database")), nil, "b ended 3 times before it was ready: ended with status 1: no database"},
		"no image yet":      {testPod("b", "new", false, noPull), nil, ""},
		"no image":          {testPod("b", "new", false, noPull), deadline, "b is not ready in time: ImagePullBackOff: not found"},
		"too slow":          {testPod("b", "new", false, nil), deadline, "b is not ready in time"},
		"no replica at all": {testPod("b", "old", true, nil), deadline, "api is not ready in time"},
		"an old one fails":  {testPod("b", "old", false, crash(9, true, 1, "")), nil, ""},
	} {
		c := testCluster(objects(2, testPod("a", "new", true, nil), test.pod)...)
		now, err := c.look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if test.change != nil {
			test.change(now.deployment)
		}
		got := ""
		if failed := cmp.Or(hopeless(now, target.Build{Version: "v2"}), timedOut(now, target.Build{Version: "v2"})); failed != nil {
			got = failed.Replica + " " + failed.Reason
		}
		if test.want == "" && got != "" || !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestJobResult(t *testing.T) {
	at := func(minute int) *metav1.Time {
		return &metav1.Time{Time: time.Date(2026, 11, 23, 2, minute, 0, 0, time.UTC)}
	}
	cron := &batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{Name: "backup", UID: "cron"}, Status: batchv1.CronJobStatus{LastSuccessfulTime: at(5)},
	}
	run := func(owner types.UID, start *metav1.Time, kind batchv1.JobConditionType, message string) batchv1.Job {
		j := batchv1.Job{
			ObjectMeta: metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{{UID: owner, Controller: new(true)}}},
			Status:     batchv1.JobStatus{StartTime: start},
		}
		if kind != "" {
			j.Status.Conditions = []batchv1.JobCondition{{Type: kind, Status: corev1.ConditionTrue, Message: message, LastTransitionTime: *at(20)}}
		}
		return j
	}
	failed := jobResult(cron, []batchv1.Job{run("cron", at(3), batchv1.JobComplete, ""), run("cron", at(10), batchv1.JobFailed, "the bucket does not answer"), run("other", at(30), "", "")})
	if failed.Error != "the bucket does not answer" || failed.Running || failed.Took != 10*time.Minute || !failed.LastOK.Equal(at(5).Time) || !failed.Began.Equal(at(10).Time) {
		t.Errorf("%+v", failed)
	}
	if r := jobResult(cron, []batchv1.Job{run("cron", at(10), "", "")}); !r.Running || r.Error != "" {
		t.Errorf("%+v", r)
	}
	if r := jobResult(cron, nil); r.Running || !r.Began.IsZero() || !r.LastOK.Equal(at(5).Time) {
		t.Errorf("%+v", r)
	}
}
