package telemetry

import (
	"encoding/json"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"
)

func TestQuantiles(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for _, took := range []time.Duration{time.Millisecond, 17 * time.Millisecond, 940 * time.Millisecond, 30 * time.Second} {
		r := NewTraffic(now.Add(-time.Hour))
		for i := range 100 {
			d := took
			if i >= 90 {
				d *= 3
			}
			r.Record(now, Request{Release: "v1", Method: "GET", Path: "/", Status: 200, Took: d})
		}
		sum := total(r, now, time.Minute)
		for _, c := range []struct{ got, want time.Duration }{{sum.Quantile(0.50), took}, {sum.Quantile(0.95), 3 * took}} {
			if off := math.Abs(float64(c.got)/float64(c.want) - 1); off > 0.041 {
				t.Errorf("got %s, want %s: %.1f %% off", c.got, c.want, 100*off)
			}
		}
	}
}

func TestWindow(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	r := NewTraffic(start)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	r.Record(at(10), Request{Release: "v1", Method: "GET", Path: "/", Status: 200, Took: time.Millisecond})
	r.Record(at(3000), Request{Release: "v1", Method: "POST", Path: "/x", Status: 500, Took: time.Millisecond})
	r.Record(at(3000), Request{Release: "v2", Method: "POST", Path: "/x", Status: BrokenOff, Took: time.Millisecond})
	r.Record(at(3500), Request{Release: "", Method: "GET", Path: "/", Status: 503, Took: time.Millisecond})
	r.Record(at(3610), Request{Release: "v2", Method: "GET", Path: "/", Status: 499, Took: time.Millisecond}) // takes the place of second 10
	for _, c := range []struct {
		now              int
		window           time.Duration
		requests, failed int64
		since            int
	}{
		{3610, time.Hour, 4, 3, 10},
		{3610, 24 * time.Hour, 4, 3, 10},
		{3610, 200 * time.Second, 2, 1, 3410},
		{3610, time.Second, 1, 0, 3609},
		{3400, time.Hour, 3, 2, 0}, // the environment is younger than the window
		{9000, time.Hour, 0, 0, 5400},
	} {
		since, releases := r.Sums(at(c.now), c.window)
		sum := Merge(slices.Collect(maps.Values(releases))...)
		if sum.Requests != c.requests || sum.Failed != c.failed || !since.Equal(at(c.since)) {
			t.Errorf("at %d, window %s: %+v", c.now, c.window, sum)
		}
	}
	_, releases := r.Sums(at(3610), time.Hour)
	sum := total(r, at(3610), time.Hour)
	if releases["v1"].Failed != 1 || releases["v2"].Requests != 2 || releases[""].Failed != 1 || len(sum.Failures) != 3 {
		t.Errorf("by release %+v, failures %+v", releases, sum.Failures)
	}
}

func TestTrafficForgets(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	r := NewTraffic(start)
	r.Record(start, Request{Release: "v1", Method: "GET", Path: "/", Status: 200, Took: time.Millisecond})
	r.Record(start.Add(2*time.Hour), Request{Release: "v2", Method: "GET", Path: "/", Status: 200, Took: time.Millisecond})
	if len(r.releases) != 1 {
		t.Errorf("%d releases are remembered", len(r.releases))
	}
	for i := range 1000 {
		r.Record(start.Add(3*time.Hour), Request{Release: "v2", Method: "GET", Path: "/" + string(rune('a'+i)), Status: 500, Took: time.Millisecond})
	}
	sum := total(r, start.Add(3*time.Hour), time.Minute)
	if sum.Failed != 1000 || len(sum.Failures) != mostKinds {
		t.Errorf("%d failures of %d kinds", sum.Failed, len(sum.Failures))
	}
}

// TestPage: replicas say what they saw, and what they say adds up to what one that saw all would have said.
func TestPage(t *testing.T) {
	now := time.Unix(1_700_000_000, 0).UTC()
	clock := func() time.Time { return now.Add(time.Second) }
	all := NewTraffic(now)
	var said []Sum
	for replica := range 3 {
		own := NewTraffic(now)
		for i := range 100 {
			r := Request{Release: "v1", Method: "POST", Path: "/tasks", Status: 200, Took: time.Duration(1+i+100*replica) * time.Millisecond}
			if i == 7 {
				r.Status = 502
			}
			own.Record(now, r)
			all.Record(now, r)
		}
		answer := httptest.NewRecorder()
		own.Handler("v1", "api-1", clock).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, TrafficPath+"?window=10m", nil))
		var page Page
		if err := json.Unmarshal(answer.Body.Bytes(), &page); err != nil {
			t.Fatalf("%v: %s", err, answer.Body)
		}
		if page.Version != "v1" || page.Requests != 100 || page.Failed != 1 || !page.Since.Equal(now) || page.P50 != page.Quantile(0.50) || page.P95 <= page.P50 {
			t.Errorf("page: %+v", page)
		}
		said = append(said, page.Sum)
	}
	want, got := total(all, clock(), time.Hour), Merge(said...)
	if got.Requests != 300 || got.Failed != 3 || got.Quantile(0.95) != want.Quantile(0.95) || !slices.Equal(got.Failures, want.Failures) {
		t.Errorf("merged %+v, want %+v", got, want)
	}
	for _, window := range []string{"soon", "-1h"} {
		answer := httptest.NewRecorder()
		all.Handler("v1", "", clock).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, TrafficPath+"?window="+window, nil))
		if answer.Code != http.StatusBadRequest {
			t.Errorf("window %s: %d", window, answer.Code)
		}
	}
}

func total(t *Traffic, now time.Time, window time.Duration) Sum {
	_, releases := t.Sums(now, window)
	return Merge(slices.Collect(maps.Values(releases))...)
}
