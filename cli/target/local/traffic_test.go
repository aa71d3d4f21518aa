package local

import (
	"math"
	"testing"
	"time"
)

func TestQuantiles(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for _, took := range []time.Duration{time.Millisecond, 17 * time.Millisecond, 940 * time.Millisecond, 30 * time.Second} {
		r := newTraffic(now.Add(-time.Hour))
		for i := range 100 {
			d := took
			if i >= 90 {
				d *= 3
			}
			r.record(now, d, "v1", "GET", "/", 200)
		}
		sum := r.summary(now, time.Minute)
		for _, c := range []struct{ got, want time.Duration }{{sum.P50, took}, {sum.P95, 3 * took}} {
			if off := math.Abs(float64(c.got)/float64(c.want) - 1); off > 0.041 {
				t.Errorf("got %s, want %s: %.1f %% off", c.got, c.want, 100*off)
			}
		}
	}
}

func TestWindow(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	r := newTraffic(start)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	r.record(at(10), time.Millisecond, "v1", "GET", "/", 200)
	r.record(at(3000), time.Millisecond, "v1", "POST", "/x", 500)
	r.record(at(3000), time.Millisecond, "v2", "POST", "/x", brokenOff)
	r.record(at(3500), time.Millisecond, "", "GET", "/", 503)
	r.record(at(3610), time.Millisecond, "v2", "GET", "/", 499) // takes the place of second 10
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
		sum := r.summary(at(c.now), c.window)
		if sum.Requests != c.requests || sum.Failed != c.failed || !sum.Since.Equal(at(c.since)) {
			t.Errorf("at %d, window %s: %+v", c.now, c.window, sum)
		}
	}
	sum := r.summary(at(3610), time.Hour)
	if sum.Releases["v1"].Failed != 1 || sum.Releases["v2"].Requests != 2 || sum.Releases[""].Failed != 1 || len(sum.Failures) != 3 {
		t.Errorf("by release %+v, failures %+v", sum.Releases, sum.Failures)
	}
}

func TestTrafficForgets(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	r := newTraffic(start)
	r.record(start, time.Millisecond, "v1", "GET", "/", 200)
	r.record(start.Add(2*time.Hour), time.Millisecond, "v2", "GET", "/", 200)
	if len(r.releases) != 1 {
		t.Errorf("%d releases are remembered", len(r.releases))
	}
	for i := range 1000 {
		r.record(start.Add(3*time.Hour), time.Millisecond, "v2", "GET", "/"+string(rune('a'+i)), 500)
	}
	sum := r.summary(start.Add(3*time.Hour), time.Minute)
	if sum.Failed != 1000 || len(sum.Failures) != 10 {
		t.Errorf("%d failures of %d kinds", sum.Failed, len(sum.Failures))
	}
}
