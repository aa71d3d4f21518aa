package kubernetes

import (
	"bytes"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/cli/target/kubernetes/outputs"
	"github.com/smart-assistant/platform/service/telemetry"
)

func statusOf(t *testing.T, c *cluster) target.Status {
	t.Helper()
	s, err := opened(c).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStatusOfWhatRuns(t *testing.T) {
	c := testCluster(objects(2, testPod("a", "new", true, nil), testPod("b", "new", true, nil))...)
	s := statusOf(t, c)
	build := target.Build{Version: "v2", SHA256: newDigest}
	if !s.Up || !s.Settled(build) || s.Want != 2 || s.Ready != 2 || s.URL != "https://api.example.com" || s.Settings["GREETING"] != "hello" || !s.Database.Reachable {
		t.Errorf("%+v", s)
	}
	if len(s.Components) != 1 || s.Components[0].Name != "postgres" || s.Components[0].State != running {
		t.Errorf("components %+v", s.Components)
	}
}

// While replicas are replaced, the release before is the one that runs; also when nobody watches.
func TestStatusOfARollout(t *testing.T) {
	c := testCluster(objects(2, testPod("a", "old", true, nil), testPod("b", "new", false, nil))...)
	with(t, c, func(r *record) {
		r.Fence = 4
		r.Deployed = &installed{Release: outputs.Release{Version: "v1", Images: map[string]string{serviceImage: "sha256:" + oldDigest}}}
	})
	s := statusOf(t, c)
	if s.Build == nil || s.Build.Version != "v1" || s.Build.SHA256 != oldDigest || s.Fence != 4 {
		t.Errorf("build %+v", s.Build)
	}
	if s.Rollout == nil || s.Rollout.Ended || s.Rollout.Build.Version != "v2" || !strings.Contains(s.Rollout.Detail, "nobody") {
		t.Errorf("rollout %+v", s.Rollout)
	}
	with(t, c, func(r *record) {
		r.Turn = &turn{Build: target.Build{Version: "v2"}, Holder: thisProcess(), Seen: time.Now(), Updated: 1, Detail: "b starts"}
	})
	if s := statusOf(t, c); s.Rollout == nil || s.Rollout.Detail != "b starts" || s.Rollout.Updated != 1 {
		t.Errorf("rollout %+v", s.Rollout)
	}
}

func TestStatusOfAFailedRollout(t *testing.T) {
	c := testCluster(objects(2, testPod("a", "new", true, nil), testPod("b", "new", true, nil))...)
	with(t, c, func(r *record) { r.Failed = &failure{Rollout: target.Rollout{Ended: true, Error: "no database"}} })
	if s := statusOf(t, c); s.Rollout == nil || !s.Rollout.Ended || s.Rollout.Error != "no database" || !s.Settled(target.Build{SHA256: newDigest}) {
		t.Errorf("%+v", s)
	}
}

func TestStatusOfWhatIsDown(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*appsv1.StatefulSet)
		up     bool
		paused string
	}{
		"scaled to zero": {func(s *appsv1.StatefulSet) { s.Spec.Replicas = new(int32(0)) }, false, ""},
		"stopped by a restore": {func(s *appsv1.StatefulSet) {
			s.Spec.Replicas, s.Annotations = new(int32(0)), map[string]string{annotationPaused: "a restore"}
		}, true, "a restore"},
		"up": {func(*appsv1.StatefulSet) {}, true, ""},
	} {
		c := testCluster()
		set, err := c.client.AppsV1().StatefulSets(c.namespace()).Get(t.Context(), "postgres", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		test.change(set)
		if _, err := c.client.AppsV1().StatefulSets(c.namespace()).Update(t.Context(), set, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		s := statusOf(t, c)
		if s.Up != test.up || s.Paused != test.paused || s.Database.Reachable != (name == "up") || s.Build != nil {
			t.Errorf("%s: %+v", name, s)
		}
		err = opened(c).admit(t.Context(), c, deploymentOf("v1", 1))
		if (err == nil) != (name == "up") {
			t.Errorf("%s: a deployment is admitted: %v", name, err)
		}
	}
	c := testCluster()
	if err := c.client.AppsV1().StatefulSets(c.namespace()).Delete(t.Context(), "postgres", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if s := statusOf(t, c); s.Up {
		t.Errorf("without a database: %+v", s)
	}
}

func TestMergePages(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	page := func(version string, age, took time.Duration, failed int) telemetry.Page {
		counts := telemetry.NewTraffic(now.Add(-age))
		for i := range 10 {
			status := 200
			if i < failed {
				status = 500
			}
			counts.Record(now.Add(-time.Second), telemetry.Request{Release: version, Method: "GET", Path: "/x", Status: status, Took: took})
		}
		since, sums := counts.Sums(now, time.Hour)
		return telemetry.Page{Version: version, Since: since, Sum: sums[version]}
	}
	sum := mergePages([]telemetry.Page{
		page("v1", 30*time.Minute, 10*time.Millisecond, 0), page("v2", time.Minute, 100*time.Millisecond, 2), page("v2", 2*time.Minute, 100*time.Millisecond, 1),
		{Version: "v3", Since: now},
	}, now)
	if sum.Requests != 30 || sum.Failed != 3 || len(sum.Releases) != 2 || sum.Releases["v1"].Failed != 0 || sum.Releases["v2"].Requests != 20 || sum.Releases["v2"].Failed != 3 {
		t.Errorf("%+v", sum)
	}
	if !sum.Since.Equal(now.Add(-30*time.Minute)) || !sum.Releases["v2"].Since.Equal(now.Add(-2*time.Minute)) {
		t.Errorf("since %s, of v2 %s", sum.Since, sum.Releases["v2"].Since)
	}
	near := func(d, want time.Duration) bool { return d > want*9/10 && d < want*11/10 }
	if !near(sum.P50, 100*time.Millisecond) || !near(sum.Releases["v1"].P95, 10*time.Millisecond) {
		t.Errorf("p50 %s, of v1 %s", sum.P50, sum.Releases["v1"].P95)
	}
	if len(sum.Failures) != 1 || sum.Failures[0] != (target.Failure{Method: "GET", Path: "/x", Status: 500, Count: 3}) {
		t.Errorf("failures %+v", sum.Failures)
	}
	if none := mergePages(nil, now); none.Requests != 0 || !none.Since.Equal(now) || none.FailedShare() != 0 {
		t.Errorf("%+v", none)
	}
}

func TestSelected(t *testing.T) {
	p := testPod("api-1", "new", true, nil)
	canary := testPod("canary-1", "new", true, func(p *corev1.Pod) { p.Labels[labelComponent] = canaryComponent })
	database := testPod("postgres-0", "", true, func(p *corev1.Pod) { p.Labels = map[string]string{labelComponent: "postgres"} })
	for query, want := range map[target.LogQuery][3]bool{
		{}:                                       {true, true, true},
		{Component: "replicas"}:                  {true, true, false},
		{Component: "postgres"}:                  {false, false, true},
		{Component: "api-1"}:                     {true, false, false},
		{Release: "v2"}:                          {true, true, false},
		{Release: "v1"}:                          {false, false, false},
		{Release: "v2", Component: "replicas"}:   {true, true, false},
		{Release: "v2", Component: "postgres-0"}: {false, false, false},
	} {
		if got := [3]bool{selected(&p, query), selected(&canary, query), selected(&database, query)}; got != want {
			t.Errorf("%+v: %v, want %v", query, got, want)
		}
	}
}

// The log of a replica that failed is all that is left of it.
func TestLogOfAFailedReplica(t *testing.T) {
	f := &failure{
		Rollout: target.Rollout{Build: target.Build{Version: "v2"}}, Replica: "api-9",
		Log: "2026-11-23T12:00:00.5Z one\n2026-11-23T12:00:01.5Z two\n2026-11-23T12:00:02.5Z three\n",
	}
	text := func(q target.LogQuery) string {
		var all []string
		for _, l := range failedLines(f, q) {
			all = append(all, l.text)
		}
		return strings.Join(all, " ")
	}
	for want, q := range map[string]target.LogQuery{
		"one two three": {Release: "v2"}, "three": {Component: "api-9", Tail: 1}, "two three": {Component: "replicas", Since: time.Date(2026, 11, 23, 12, 0, 1, 0, time.UTC)},
		"": {Release: "v1"},
	} {
		if got := text(q); got != want {
			t.Errorf("%+v: %q, want %q", q, got, want)
		}
	}
	if got := unstamped(f.Log); got != "one\ntwo\nthree\n" {
		t.Errorf("%q", got)
	}
	c := testCluster()
	with(t, c, func(r *record) { r.Failed = f })
	var out bytes.Buffer
	if err := opened(c).Logs(t.Context(), target.LogQuery{Component: "api-9"}, &out); err != nil || out.String() != "one\ntwo\nthree\n" {
		t.Errorf("%q %v", out.String(), err)
	}
	if err := opened(c).Logs(t.Context(), target.LogQuery{Component: "nobody"}, &out); err == nil {
		t.Error("a component that is not there is no error")
	}
}
