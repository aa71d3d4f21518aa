package kubernetes

import (
	"errors"
	"net"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"github.com/smart-assistant/platform/cli/target"
)

// A pod that was evicted stays where it is for whoever wants to look: it is no replica, and keeps nobody waiting.
func TestEndedPodsAreNoReplicas(t *testing.T) {
	evicted := testPod("c", "old", false, func(p *corev1.Pod) { p.Status.Phase, p.Status.Reason = corev1.PodFailed, "Evicted" })
	c := testCluster(objects(2, testPod("a", "new", true, nil), testPod("b", "new", true, nil), evicted)...)
	now, err := c.look(t.Context())
	if err != nil || len(now.pods) != 2 || !now.complete() {
		t.Errorf("%d pods, complete %v, %v", len(now.pods), now.complete(), err)
	}
	status, err := opened(c).Status(t.Context())
	if err != nil || len(status.Replicas) != 2 {
		t.Errorf("replicas: %+v %v", status.Replicas, err)
	}
}

func TestNoImage(t *testing.T) {
	for name, test := range map[string]struct {
		reason, message string
		age             time.Duration
		init, none      bool
	}{
		"none of that name":       {"ImagePullBackOff", `Back-off pulling image "x": rpc error: code = NotFound desc = failed to resolve reference: not found`, 0, false, true},
		"no right to it":          {"ImagePullBackOff", "pull access denied", 0, false, true},
		"a busy registry":         {"ImagePullBackOff", "429 Too Many Requests", 20 * time.Second, false, false},
		"a registry that is gone": {"ImagePullBackOff", "dial tcp: i/o timeout", pullPatience + time.Minute, false, true},
		"first attempt":           {"ErrImagePull", "not found", 0, false, false},
		"not loaded":              {"ErrImageNeverPull", "", 0, false, true},
		"of an init container":    {"InvalidImageName", "", 0, true, true},
	} {
		waiting := []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: test.reason, Message: test.message}}}}
		p := testPod("a", "new", false, func(p *corev1.Pod) {
			p.CreationTimestamp = metav1.NewTime(time.Now().Add(-test.age))
			p.Status.ContainerStatuses = waiting
			if test.init {
				p.Status.ContainerStatuses, p.Status.InitContainerStatuses = nil, waiting
			}
		})
		if err := (&cluster{pull: pullPatience}).noImage(&p); errors.Is(err, target.ErrNoBuild) != test.none {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An API server that is away for a moment ends nothing that goes on without it; what it refuses is believed at once.
func TestOutOfSight(t *testing.T) {
	away := &url.Error{Op: "Get", URL: "https://api", Err: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}}
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", errors.New("no"))
	pod := testPod("job-x", "new", false, func(p *corev1.Pod) {
		p.Labels = map[string]string{batchv1.JobNameLabel: "job"}
		p.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3}}
	})
	for name, test := range map[string]struct {
		failures int
		err      error
		want     error
	}{
		"away for a moment": {2, away, nil},
		"no leader":         {2, apierrors.NewInternalError(errors.New("etcdserver: leader changed")), nil},
		"refused":           {1, forbidden, forbidden},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, verb := range []string{"list", "get"} {
				c := testCluster(&pod)
				left := test.failures
				c.client.(*fake.Clientset).PrependReactor(verb, "pods", func(ktesting.Action) (bool, runtime.Object, error) {
					left--
					return left >= 0, nil, test.err
				})
				var err error
				if verb == "list" {
					_, err = c.begun(t.Context(), "job", time.Minute)
				} else {
					_, err = c.ended(t.Context(), "job-x")
				}
				if !errors.Is(err, test.want) {
					t.Errorf("%s: %v, want %v", verb, err, test.want)
				}
			}
		})
	}
	var eyes sight
	if eyes.lost(away) {
		t.Error("the first is one too many")
	}
	eyes.last = time.Now().Add(-unseen - time.Second)
	if !eyes.lost(away) {
		t.Error("it waits without end")
	}
	if eyes.lost(nil); eyes.lost(away) {
		t.Error("what was before it was seen again counts")
	}
}

// A command that has not begun when its caller is gone must not begin much later; one that has begun takes as long as it takes.
func TestJobsBeginInTimeOrNever(t *testing.T) {
	c := execCluster(t)
	job, err := c.newJob(t.Context(), inside{build: target.Build{SHA256: newDigest}, args: []string{"migrate", "up"}}, 5*time.Minute)
	if err != nil || job.Spec.ActiveDeadlineSeconds == nil || *job.Spec.ActiveDeadlineSeconds != 360 {
		t.Fatalf("%s %v", mustJSON(job.Spec), err)
	}
	if err := c.letRun(t.Context(), job.Name); err != nil {
		t.Fatal(err)
	}
	job, err = c.client.BatchV1().Jobs(c.namespace()).Get(t.Context(), job.Name, metav1.GetOptions{})
	if err != nil || job.Spec.ActiveDeadlineSeconds != nil {
		t.Errorf("%s %v", mustJSON(job.Spec), err)
	}
	if err := c.letRun(t.Context(), "gone"); err != nil && strings.Contains(err.Error(), "not found") {
		t.Errorf("a Job that is over: %v", err)
	}
}
