package local

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/cli/target/targettest"
)

func TestRolloutThatFailsHalfway(t *testing.T) {
	e := newEnvironment(t, func(c *Config) { c.ReadyTimeout = 4 * time.Second })
	up(t, e)
	deploy(t, e, targettest.V1, 1)
	load := targettest.StartLoad(t, status(t, e).URL)
	err := e.Deploy(t.Context(), target.Deployment{Build: targettest.HalfReady, Fence: 1}, nil)
	failed := new(target.RolloutError)
	if !errors.As(err, &failed) || failed.Replica != "api-4" {
		t.Errorf("Deploy returned %v", err)
	}
	sum := load.Stop()
	if sum.Failed > 0 {
		t.Errorf("%d of %d requests failed: %v", sum.Failed, sum.Requests, sum.Errors)
	}
	if sum.Versions[targettest.HalfReady.Version] == 0 {
		t.Error("its first replica never had traffic: the test shows nothing")
	}
	if st := status(t, e); !st.Settled(targettest.V1) || st.Ready != 2 {
		t.Errorf("it did not go back: %+v", st)
	}
}

func TestDrainWaitsForRequestsInFlight(t *testing.T) {
	e := newEnvironment(t)
	up(t, e)
	deploy(t, e, targettest.V1, 1)
	url := status(t, e).URL
	var slow sync.WaitGroup
	results := make(chan string, 8)
	for range cap(results) {
		slow.Go(func() {
			r, err := http.Post(url+"/slow?for=2s", "text/plain", strings.NewReader("x")) //nolint:noctx // the test's own time limit does
			if err != nil {
				results <- err.Error()
				return
			}
			defer r.Body.Close() //nolint:errcheck // only read
			results <- fmt.Sprint(r.StatusCode, r.Header.Get(releaseHeader))
		})
	}
	eventually(t, "the requests are in flight", func() bool { return inFlight(t, e) == cap(results) })
	deploy(t, e, targettest.V2, 1)
	slow.Wait()
	close(results)
	for r := range results {
		if r != "200v1" && r != "200v2" {
			t.Errorf("a slow request got %s", r)
		}
	}
}

// inFlight is how many slow requests the replicas are at, as they say themselves.
func inFlight(t *testing.T, e *Environment) int {
	t.Helper()
	sum := 0
	for _, replica := range status(t, e).Replicas {
		r, err := http.Get("http://" + replica.Address + "/busy") //nolint:noctx // the test's own time limit does
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		_, err = fmt.Fscan(r.Body, &n)
		if err := errors.Join(err, r.Body.Close()); err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}

func TestDrainTimeOut(t *testing.T) {
	e := newEnvironment(t, func(c *Config) { c.DrainTimeout, c.StopTimeout = 300*time.Millisecond, 300*time.Millisecond })
	up(t, e)
	deploy(t, e, targettest.V1, 1)
	url := status(t, e).URL
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r, err := http.Post(url+"/slow?for=50s", "text/plain", strings.NewReader("x")) //nolint:noctx // the test's own time limit does
		if err == nil {
			r.Body.Close() //nolint:errcheck // only read
		}
	}()
	eventually(t, "the request is in flight", func() bool { return inFlight(t, e) == 1 })
	before := status(t, e).Replicas
	deploy(t, e, targettest.V2, 1)
	for _, r := range before {
		if _, err := identify(r.PID); err == nil {
			t.Errorf("replica %s, process %d, still runs", r.Name, r.PID)
		}
	}
	select {
	case <-ended: // whichever replica had it is gone
	case <-time.After(20 * time.Second):
		t.Error("the request that outlasted the drain time-out is still waiting")
	}
}
