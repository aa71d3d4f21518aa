// Package targettest is the conformance suite that every target passes, and the builds that it deploys.
//
// It sees a target from outside only: by the contract's methods and by HTTP requests to the environment's URL.
package targettest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/target"
)

// Place is an environment that was just created: up, with at least two replicas wanted, nothing deployed, and a ready time-out of a few
// seconds, so that failed rollouts end soon.
type Place struct {
	Target target.Target
	Down   func(t *testing.T) // ends the environment and keeps its data
	Up     func(t *testing.T)

	Transport func() *http.Transport // reaches the environment's URL; nil when any client does

	// What the contract leaves open.
	ReplicasCount bool // the replicas themselves count requests and have the logs: what replaced ones saw is gone
	CallerDrives  bool // a deployment whose caller has gone stays where it is, until another one finishes it
}

// Run checks the contract. open is called once for each test.
func Run(t *testing.T, open func(t *testing.T) Place) {
	for name, test := range map[string]func(t *testing.T, p Place){
		"a new environment is up and runs nothing":              newEnvironment,
		"deploy runs the build on all replicas":                 deployRuns,
		"deploying the same again changes nothing":              deployIsIdempotent,
		"changed settings are rolled out":                       settingsAreRolledOut,
		"a rolling replacement fails no request":                replacementFailsNoRequest,
		"a build that never gets ready leaves the old one":      unreadyBuild,
		"a build that ends at once leaves the old one":          endingBuild,
		"a canary that fails gets no traffic":                   failingCanary,
		"a lower fencing number is refused":                     fencing,
		"a build of other content is refused":                   foreignBuild,
		"a deployment is not lost with its caller":              abandonedDeployment,
		"two that deploy the same both succeed":                 joinedDeployment,
		"a later deployment takes the place of an earlier":      replacedDeployment,
		"exec runs the build inside the environment":            execRuns,
		"exec ends with its context":                            execEnds,
		"traffic counts requests and failures for each release": trafficCounts,
		"logs are selected and followed":                        logs,
		"an environment that is down says so":                   downSaysSo,
		"what was deployed comes back with the environment":     comesBack,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

func (p Place) status(t *testing.T) target.Status {
	t.Helper()
	st, err := p.Target.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func (p Place) deploy(t *testing.T, d target.Deployment) {
	t.Helper()
	if err := p.Target.Deploy(t.Context(), d, nil); err != nil {
		t.Fatal(err)
	}
	if st := p.status(t); !st.Settled(d.Build) {
		t.Fatalf("not settled on %s after Deploy: %s", d.Build.Version, show(st))
	}
}

// get asks the environment and returns status and body.
func (p Place) get(t *testing.T, path string) (int, string) {
	t.Helper()
	transport := p.transport()
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport}).Get(p.status(t).URL + path) //nolint:noctx // the test's own time limit does
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // only read
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func (p Place) transport() *http.Transport {
	if p.Transport != nil {
		return p.Transport()
	}
	return direct()
}

func (p Place) load(t *testing.T) *Load {
	t.Helper()
	return startLoad(t, p.status(t).URL, true, p.transport)
}

// serves fails the test unless the environment answers as version.
func (p Place) serves(t *testing.T, version string) {
	t.Helper()
	code, body := p.get(t, "/version")
	var said map[string]string
	if err := json.Unmarshal([]byte(body), &said); err != nil || code != http.StatusOK || said["version"] != version {
		t.Errorf("the environment answers %d %s, want version %s", code, body, version)
	}
}

// unchanged fails the test unless the same replicas serve as before.
func (p Place) unchanged(t *testing.T, before target.Status) {
	t.Helper()
	after := p.status(t)
	if names(after) != names(before) || after.Ready != before.Ready || after.Build == nil || *after.Build != *before.Build {
		t.Errorf("changed: %s, before: %s", show(after), show(before))
	}
}

func names(st target.Status) string {
	var all []string
	for _, r := range st.Replicas {
		all = append(all, r.Name)
	}
	return strings.Join(all, " ")
}

func show(st target.Status) string {
	raw, _ := json.Marshal(st) // plain data always marshals
	return string(raw)
}

// eventually waits until the condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain until %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func newEnvironment(t *testing.T, p Place) {
	st := p.status(t)
	if !st.Up || st.URL == "" || st.Want < 2 || st.Ready != 0 || st.Build != nil || !st.Database.Reachable {
		t.Errorf("status %s", show(st))
	}
	if code, _ := p.get(t, "/version"); code != http.StatusServiceUnavailable {
		t.Errorf("an environment without replicas answers %d, want 503", code)
	}
}

func deployRuns(t *testing.T, p Place) {
	var last [2]int
	err := p.Target.Deploy(t.Context(), target.Deployment{Build: V1, Fence: 1}, func(ready, want int, _ string) {
		if ready < last[0] {
			t.Errorf("progress went from %d back to %d", last[0], ready)
		}
		last = [2]int{ready, want}
	})
	if err != nil {
		t.Fatal(err)
	}
	st := p.status(t)
	if !st.Settled(V1) || st.Settled(V2) || st.Ready != st.Want || st.Fence != 1 || st.Rollout != nil {
		t.Errorf("status %s", show(st))
	}
	if last != [2]int{st.Want, st.Want} {
		t.Errorf("the last progress was %d of %d", last[0], last[1])
	}
	p.serves(t, "v1")
}

func deployIsIdempotent(t *testing.T, p Place) {
	p.deploy(t, target.Deployment{Build: V1, Fence: 1})
	before := p.status(t)
	p.deploy(t, target.Deployment{Build: V1, Fence: 1})
	p.deploy(t, target.Deployment{Build: V1, Fence: 2})
	p.unchanged(t, before)
}

func settingsAreRolledOut(t *testing.T, p Place) {
	p.deploy(t, target.Deployment{Build: V1, Settings: map[string]string{"GREETING": "hello"}, Fence: 1})
	if _, body := p.get(t, "/setting?name=GREETING"); body != "hello" {
		t.Errorf("the service has GREETING=%q", body)
	}
	p.deploy(t, target.Deployment{Build: V1, Settings: map[string]string{"GREETING": "good day", "ASSISTD_LISTEN": "127.0.0.1:1"}, Fence: 1})
	if _, body := p.get(t, "/setting?name=GREETING"); body != "good day" {
		t.Errorf("the service has GREETING=%q", body)
	}
	if st := p.status(t); st.Settings["GREETING"] != "good day" {
		t.Errorf("settings %v", st.Settings)
	}
}

func replacementFailsNoRequest(t *testing.T, p Place) {
	p.deploy(t, target.Deployment{Build: V1, Fence: 1})
	load := p.load(t)
	load.Await(t, 10)
	before := names(p.status(t))
	p.deploy(t, target.Deployment{Build: V2, Fence: 1, Canary: true})
	p.deploy(t, target.Deployment{Build: V1, Fence: 1})
	load.Await(t, 100)
	sum := load.Stop()
	if sum.Failed > 0 {
		t.Errorf("%d of %d requests failed: %v", sum.Failed, sum.Requests, sum.Errors)
	}
	if sum.Versions["v1"] == 0 || sum.Versions["v2"] == 0 {
		t.Errorf("answers by version: %v", sum.Versions)
	}
	if names(p.status(t)) == before {
		t.Error("the replicas were not replaced")
	}
}

// failedRollout deploys a bad build over V1 under load and returns the error.
func failedRollout(t *testing.T, p Place, bad target.Build, canary bool) *target.RolloutError {
	t.Helper()
	p.deploy(t, target.Deployment{Build: V1, Fence: 1})
	before := p.status(t)
	load := p.load(t)
	err := p.Target.Deploy(t.Context(), target.Deployment{Build: bad, Fence: 1, Canary: canary}, nil)
	sum := load.Stop()
	var failed *target.RolloutError
	if !errors.As(err, &failed) {
		t.Fatalf("Deploy returned %v, want a RolloutError", err)
	}
	if failed.Build.SHA256 != bad.SHA256 || failed.Replica == "" || failed.Reason == "" {
		t.Errorf("the error says too little: %#v", failed)
	}
	if sum.Failed > 0 || sum.Versions[bad.Version] > 0 {
		t.Errorf("%d of %d requests failed: %v; by version %v", sum.Failed, sum.Requests, sum.Errors, sum.Versions)
	}
	p.unchanged(t, before)
	if st := p.status(t); st.Rollout == nil || !st.Rollout.Ended || st.Rollout.Error == "" || st.Rollout.Build.SHA256 != bad.SHA256 {
		t.Errorf("the status does not tell of the failed rollout: %s", show(st))
	}
	p.serves(t, "v1")
	return failed
}

func unreadyBuild(t *testing.T, p Place) {
	failed := failedRollout(t, p, Unready, false)
	if !strings.Contains(failed.Reason, "this build is never ready") || !strings.Contains(failed.Log, "replica serves") {
		t.Errorf("reason %q, log %q", failed.Reason, failed.Log)
	}
	var out bytes.Buffer
	if err := p.Target.Logs(t.Context(), target.LogQuery{Release: Unready.Version}, &out); err != nil || !strings.Contains(out.String(), "replica serves") {
		t.Errorf("the failed release's logs are gone: %v %q", err, out.String())
	}
	p.deploy(t, target.Deployment{Build: V2, Fence: 1})
	if st := p.status(t); st.Rollout != nil {
		t.Errorf("a rollout that went well has not taken the failed one's place: %s", show(st))
	}
}

func endingBuild(t *testing.T, p Place) {
	failed := failedRollout(t, p, Exits, false)
	if !strings.Contains(failed.Log, "this build always ends at once") {
		t.Errorf("log %q", failed.Log)
	}
}

func failingCanary(t *testing.T, p Place) {
	failed := failedRollout(t, p, FailsSmoke, true)
	if !strings.Contains(failed.Reason, "got 500, want 200") {
		t.Errorf("reason %q", failed.Reason)
	}
}

func fencing(t *testing.T, p Place) {
	p.deploy(t, target.Deployment{Build: V1, Fence: 7})
	before := p.status(t)
	for _, build := range []target.Build{V2, V1} {
		if err := p.Target.Deploy(t.Context(), target.Deployment{Build: build, Fence: 6}, nil); !errors.Is(err, target.ErrFenced) {
			t.Errorf("Deploy of %s with a lower number returned %v", build.Version, err)
		}
	}
	p.unchanged(t, before)
	p.Down(t)
	p.Up(t)
	if err := p.Target.Deploy(t.Context(), target.Deployment{Build: V2, Fence: 6}, nil); !errors.Is(err, target.ErrFenced) {
		t.Errorf("after a restart, Deploy with a lower number returned %v", err)
	}
	p.deploy(t, target.Deployment{Build: V2, Fence: 8})
}

func foreignBuild(t *testing.T, p Place) {
	p.deploy(t, target.Deployment{Build: V1, Fence: 1})
	before := p.status(t)
	wrong := V2
	wrong.SHA256 = strings.Repeat("0", 64)
	absent := V2
	absent.Artifact, absent.SHA256 = "", strings.Repeat("1", 64)
	for _, build := range []target.Build{wrong, absent} {
		if err := p.Target.Deploy(t.Context(), target.Deployment{Build: build, Fence: 1}, nil); !errors.Is(err, target.ErrNoBuild) {
			t.Errorf("Deploy returned %v", err)
		}
		if err := p.Target.Exec(t.Context(), build, nil, []string{"version"}, nil, nil); !errors.Is(err, target.ErrNoBuild) {
			t.Errorf("Exec returned %v", err)
		}
	}
	p.unchanged(t, before)
}

func abandonedDeployment(t *testing.T, p Place) {
	ctx, cancel := context.WithCancel(t.Context())
	err := p.Target.Deploy(ctx, target.Deployment{Build: V1, Fence: 1}, func(int, int, string) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Deploy returned %v", err)
	}
	if p.CallerDrives {
		p.deploy(t, target.Deployment{Build: V1, Fence: 1})
		return
	}
	eventually(t, "the rollout has ended", func() bool { return p.status(t).Settled(V1) })
}

func joinedDeployment(t *testing.T, p Place) {
	errs := make(chan error)
	for range 2 {
		go func() { errs <- p.Target.Deploy(t.Context(), target.Deployment{Build: V1, Fence: 1}, nil) }()
	}
	for range 2 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if st := p.status(t); !st.Settled(V1) {
		t.Errorf("status %s", show(st))
	}
}

func replacedDeployment(t *testing.T, p Place) {
	p.deploy(t, target.Deployment{Build: V1, Fence: 1})
	load := p.load(t)
	began := make(chan struct{})
	first := make(chan error, 1)
	go func() {
		once := began
		first <- p.Target.Deploy(t.Context(), target.Deployment{Build: Unready, Fence: 1}, func(int, int, string) {
			if once != nil {
				close(once)
				once = nil
			}
		})
	}()
	<-began
	p.deploy(t, target.Deployment{Build: V2, Fence: 2})
	if err := <-first; err == nil {
		t.Error("the deployment whose place was taken returned no error")
	}
	if sum := load.Stop(); sum.Failed > 0 {
		t.Errorf("%d of %d requests failed: %v", sum.Failed, sum.Requests, sum.Errors)
	}
}

func execRuns(t *testing.T, p Place) {
	var out, errOut bytes.Buffer
	err := p.Target.Exec(t.Context(), V1, map[string]string{"GREETING": "hello"}, []string{"print", "GREETING"}, &out, &errOut)
	if err != nil || out.String() != "assistant hello\n" {
		t.Errorf("Exec returned %v, wrote %q and %q", err, out.String(), errOut.String())
	}
	err = p.Target.Exec(t.Context(), V1, nil, []string{"exit", "3"}, &out, &errOut)
	var exit *target.ExitError
	if !errors.As(err, &exit) || exit.Code != 3 || exit.Stderr != "as asked" || errOut.String() != "as asked\n" {
		t.Errorf("Exec returned %v, wrote %q", err, errOut.String())
	}
	if st := p.status(t); st.Build != nil || len(st.Replicas) > 0 {
		t.Errorf("Exec has deployed something: %s", show(st))
	}
}

func execEnds(t *testing.T, p Place) {
	ctx, cancel := context.WithCancel(t.Context())
	err := p.Target.Exec(ctx, V1, nil, []string{"sleep"}, writerFunc(func([]byte) { cancel() }), nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Exec returned %v", err)
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(b []byte) (int, error) { f(b); return len(b), nil }

func trafficCounts(t *testing.T, p Place) {
	p.deploy(t, target.Deployment{Build: V1, Fence: 1})
	for range 20 {
		p.get(t, "/version")
	}
	p.get(t, "/slow?for=300ms")
	p.deploy(t, target.Deployment{Build: V2, Fence: 1})
	for range 3 {
		p.get(t, "/fail")
	}
	if code, _ := p.get(t, "/nowhere"); code != http.StatusNotFound {
		t.Errorf("got %d", code)
	}
	sum, err := p.Target.Traffic(t.Context(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	all, old := int64(25), int64(21)
	if p.ReplicasCount {
		all, old = 4, 0
	}
	if sum.Requests != all || sum.Failed != 3 || sum.Releases["v1"].Requests != old || sum.Releases["v2"].Requests != 4 || sum.Releases["v2"].Failed != 3 {
		t.Errorf("traffic %+v", sum)
	}
	want := target.Failure{Method: "GET", Path: "/fail", Status: 500, Count: 3}
	if len(sum.Failures) != 1 || sum.Failures[0] != want {
		t.Errorf("failures %+v", sum.Failures)
	}
	if sum.P50 <= 0 || sum.P95 < sum.P50 || sum.FailedShare() != 3/float64(all) {
		t.Errorf("p50 %s, p95 %s, failed %f", sum.P50, sum.P95, sum.FailedShare())
	}
}

func logs(t *testing.T, p Place) {
	p.deploy(t, target.Deployment{Build: V1, Fence: 1})
	p.deploy(t, target.Deployment{Build: V2, Fence: 1})
	read := func(q target.LogQuery) string {
		var out bytes.Buffer
		if err := p.Target.Logs(t.Context(), q, &out); err != nil {
			t.Errorf("Logs(%+v): %v", q, err)
		}
		return out.String()
	}
	// Where the replicas have the logs, one that was replaced takes its own along, but not before it has drained.
	if all := read(target.LogQuery{}); !p.ReplicasCount && !strings.Contains(all, `"version":"v1"`) || !strings.Contains(all, `"version":"v2"`) {
		t.Errorf("all logs: %s", all)
	}
	if v2 := read(target.LogQuery{Release: "v2"}); strings.Contains(v2, `"version":"v1"`) || !strings.Contains(v2, `"version":"v2"`) {
		t.Errorf("logs of v2: %s", v2)
	}
	st := p.status(t)
	one := read(target.LogQuery{Component: st.Replicas[0].Name, Tail: 1})
	if strings.Count(one, "\n") != 1 || !strings.Contains(one, st.Replicas[0].Name) {
		t.Errorf("the last line of %s: %q", st.Replicas[0].Name, one)
	}
	if late := read(target.LogQuery{Component: "replicas", Since: time.Now().Add(time.Hour)}); late != "" {
		t.Errorf("lines of the future: %s", late)
	}

	ctx, cancel := context.WithCancel(t.Context())
	appeared := make(chan error, 1)
	go func() {
		appeared <- p.Target.Logs(ctx, target.LogQuery{Release: "v1", Follow: true, Since: time.Now()}, writerFunc(func(b []byte) {
			if bytes.Contains(b, []byte("replica serves")) {
				cancel()
			}
		}))
	}()
	p.deploy(t, target.Deployment{Build: V1, Fence: 1})
	if err := <-appeared; err != nil {
		t.Errorf("following the logs: %v", err)
	}
}

func downSaysSo(t *testing.T, p Place) {
	p.deploy(t, target.Deployment{Build: V1, Fence: 1})
	p.Down(t)
	st := p.status(t)
	if st.Up || st.Ready != 0 || st.Database.Reachable || st.Build == nil || st.Build.Version != "v1" || st.Settled(V1) {
		t.Errorf("status %s", show(st))
	}
	if err := p.Target.Deploy(t.Context(), target.Deployment{Build: V2, Fence: 1}, nil); !errors.Is(err, target.ErrDown) {
		t.Errorf("Deploy returned %v", err)
	}
	if _, err := p.Target.Traffic(t.Context(), time.Minute); !errors.Is(err, target.ErrDown) {
		t.Errorf("Traffic returned %v", err)
	}
}

func comesBack(t *testing.T, p Place) {
	p.deploy(t, target.Deployment{Build: V1, Settings: map[string]string{"GREETING": "hello"}, Fence: 3})
	url := p.status(t).URL
	p.Down(t)
	p.Up(t)
	st := p.status(t)
	if !st.Settled(V1) || st.URL != url || st.Fence != 3 || st.Settings["GREETING"] != "hello" {
		t.Errorf("status %s, the URL was %s", show(st), url)
	}
	p.serves(t, "v1")
}
