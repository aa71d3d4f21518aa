package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/target"
)

// deploymentOf is a deployment of a version under a fencing number.
func deploymentOf(version string, fence int64) target.Deployment {
	return target.Deployment{Build: target.Build{Version: version, SHA256: newDigest}, Fence: fence}
}

func opened(c *cluster) *Environment { return &Environment{now: time.Now, cluster: c} }

// with leaves a turn in the record, as another process does.
func with(t *testing.T, c *cluster, change func(*record)) {
	t.Helper()
	if err := c.update(t.Context(), func(r *record) error { change(r); return nil }); err != nil {
		t.Fatal(err)
	}
}

func recordOf(t *testing.T, c *cluster) record {
	t.Helper()
	r, _, err := c.load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTurnIsTakenAndGivenBack(t *testing.T) {
	c := testCluster()
	ctx, turn, err := opened(c).begin(t.Context(), c, deploymentOf("v1", 3))
	if err != nil || turn.before != nil {
		t.Fatal(err)
	}
	if r := recordOf(t, c); r.Fence != 3 || r.Turn == nil || r.Turn.Build.Version != "v1" || ctx.Err() != nil {
		t.Errorf("record %+v", r)
	}
	if err := turn.end(ctx, func(r *record) { r.Failed = &failure{Replica: "a"} }); err != nil {
		t.Fatal(err)
	}
	if r := recordOf(t, c); r.Fence != 3 || r.Turn != nil || r.Failed == nil {
		t.Errorf("record %+v", r)
	}
	if _, _, err := opened(c).begin(t.Context(), c, deploymentOf("v1", 2)); !errors.Is(err, target.ErrFenced) {
		t.Errorf("a lower number: %v", err)
	}
}

// Who wants something else, or has a newer lease, makes the holder give way; who wants the same waits.
func TestTurnGivesWay(t *testing.T) {
	for name, test := range map[string]struct {
		second target.Deployment
		lost   error // by the first; nil when the second waits
	}{
		"something else":         {deploymentOf("v2", 1), target.ErrReplaced},
		"the same, newer lease":  {deploymentOf("v1", 2), target.ErrFenced},
		"something else, newer":  {deploymentOf("v2", 2), target.ErrFenced},
		"the same, of one lease": {deploymentOf("v1", 1), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := testCluster()
			firstCtx, first, err := opened(c).begin(t.Context(), c, deploymentOf("v1", 1))
			if err != nil {
				t.Fatal(err)
			}
			began := make(chan *driver, 1)
			go func() {
				_, second, err := opened(c).begin(t.Context(), c, test.second)
				if err != nil {
					t.Error(err)
				}
				began <- second
			}()
			if test.lost != nil {
				<-firstCtx.Done()
				if cause := context.Cause(firstCtx); !errors.Is(cause, test.lost) {
					t.Errorf("it lost its turn by %v, want %v", cause, test.lost)
				}
			}
			select {
			case <-began:
				t.Error("the second had its turn while the first was still at work")
			case <-time.After(2 * lookAround):
			}
			if err := first.end(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			second := <-began
			if second.before != nil {
				t.Error("a turn that was given back counts as left behind")
			}
			if err := second.end(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A process that has ended does not keep the others waiting, and what it left behind is known to be a dead one's.
func TestDeadTurn(t *testing.T) {
	gone := exec.Command("true")
	if err := gone.Start(); err != nil {
		t.Fatal(err)
	}
	dead := thisProcess()
	dead.PID, dead.Started = gone.Process.Pid, "1"
	if err := gone.Wait(); err != nil {
		t.Fatal(err)
	}
	c := testCluster()
	with(t, c, func(r *record) { r.Turn = &turn{ID: "x", Fence: 1, Wants: "else", Holder: dead} })
	began := time.Now()
	ctx, turn, err := opened(c).begin(t.Context(), c, deploymentOf("v1", 1))
	if err != nil || turn.before == nil || time.Since(began) > silentFor/2 {
		t.Fatalf("%v, after %s", err, time.Since(began))
	}
	if err := turn.end(ctx, nil); err != nil {
		t.Fatal(err)
	}
}

// Of a process on another machine only its silence tells.
func TestSilentTurn(t *testing.T) {
	c := testCluster()
	with(t, c, func(r *record) {
		r.Turn = &turn{ID: "x", Fence: 1, Wants: "else", Beat: 4, Holder: process{Machine: "another", PID: os.Getpid(), Started: "1"}}
	})
	dr := &driver{c: c, now: time.Now, mine: turn{ID: "y", Fence: 2}}
	before, err := dr.take(t.Context(), false, turn{})
	if err != nil || before == nil || before.ID != "x" {
		t.Fatalf("%+v %v", before, err)
	}
	with(t, c, func(r *record) { r.Turn.Beat++ })
	if again, err := dr.take(t.Context(), true, *before); err != nil || again == nil {
		t.Errorf("one that has moved meanwhile is taken for silent: %v", err)
	}
	now := recordOf(t, c)
	if again, err := dr.take(t.Context(), true, *now.Turn); err != nil || again != nil || dr.before == nil {
		t.Errorf("a silent one keeps its turn: %+v %v", again, err)
	}
}

// A holder that slept through its own end must not take the turn from its successor when it wakes.
func TestSleeper(t *testing.T) {
	c := testCluster()
	ctx, sleeper, err := opened(c).begin(t.Context(), c, deploymentOf("v1", 1))
	if err != nil {
		t.Fatal(err)
	}
	with(t, c, func(r *record) { r.Turn = &turn{ID: "another", Fence: 1} })
	if lost := sleeper.show(ctx); !errors.Is(lost, target.ErrReplaced) {
		t.Errorf("it was not told: %v", lost)
	}
	if err := sleeper.end(ctx, func(r *record) { r.Failed = &failure{} }); err != nil {
		t.Fatal(err)
	}
	if r := recordOf(t, c); r.Turn == nil || r.Turn.ID != "another" || r.Failed != nil {
		t.Errorf("record %+v", r)
	}
}

func TestWantsTheSame(t *testing.T) {
	a := deploymentOf("v1", 1)
	b := deploymentOf("v1", 2)
	b.Canary, b.Build.Artifact = true, "elsewhere"
	if wants(a) != wants(b) {
		t.Error("fence, canary and artifact make a difference")
	}
	b.Settings = map[string]string{"A": "b"}
	if wants(a) == wants(b) {
		t.Error("settings make none")
	}
}

func TestRecordOfAnother(t *testing.T) {
	c := testCluster(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: recordName, Namespace: "assistant-prod"}, Data: map[string]string{recordKey: "{"}})
	if _, _, err := c.load(t.Context()); fault.CodeOf(err) != fault.Damaged {
		t.Errorf("a record that is cut off: %v", err)
	}
	if _, err := parseRecord([]byte(`{"format":2}`)); err == nil {
		t.Error("a newer format is no error")
	}
}

// Only what is no answer means that the cluster is away: a promotion can then be resumed, and is not judged.
func TestUnreachable(t *testing.T) {
	refused := &url.Error{Op: "Get", URL: "https://cluster", Err: errors.New("connection refused")}
	for name, test := range map[string]struct {
		err  error
		away bool
	}{
		"no answer":        {fmt.Errorf("look: %w", refused), true},
		"overloaded":       {apierrors.NewServiceUnavailable("etcd"), true},
		"not there":        {apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, "a"), false},
		"forbidden":        {apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "a", nil), false},
		"no such image":    {fmt.Errorf("%w: not found", target.ErrNoBuild), false},
		"never began":      {errors.New("its pod has not begun after 5m0s"), false},
		"the caller ended": {&url.Error{Op: "Get", URL: "https://cluster", Err: context.Canceled}, false},
		"nothing":          {nil, false},
	} {
		if got := errors.Is(unreachable(test.err), target.ErrUnreachable); got != test.away {
			t.Errorf("%s: away %v", name, got)
		}
	}
	if apierrors.IsNotFound(unreachable(fmt.Errorf("look: %w", refused))) {
		t.Error("a refused connection is taken for an answer")
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"format":1,"fence":3,"turn":{"id":"x","beat":1,"build":{"version":"v1","sha256":"1"}}}`))
	f.Add([]byte(`{"format":1,"failed":{"rollout":{"ended":true},"log":"a\nb"}}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		r, err := parseRecord(content)
		if err != nil {
			return
		}
		raw, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseRecord(raw)
		if err != nil || mustJSON(again) != string(raw) {
			t.Errorf("%s was written as %s and read as %s: %v", content, raw, mustJSON(again), err)
		}
	})
}
