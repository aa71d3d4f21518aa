package local

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/smart-assistant/platform/cli/target"
)

// traffic counts requests for each second of the last hour, for each release apart.
type traffic struct {
	mu       sync.Mutex
	since    time.Time
	releases map[string]*hour // by the version of the replica that got the request last; "" when none got it
}

const (
	hourSeconds = 3600
	// A latency falls into bucket i when it is at most shortest × growth^i: a bucket's middle is within 4 % of all that is in it.
	shortest    = 100 * time.Microsecond
	growth      = 1.08
	buckets     = 192 // the last one's bound is 100 µs × 1.08^191, 4 min
	mostKinds   = 16  // kinds of failures remembered a second
	longestPath = 120
	brokenOff   = 0 // status of an answer that broke off
)

type hour [hourSeconds]*second

type second struct {
	unix             int64
	requests, failed int64
	latency          [buckets]uint32
	failures         map[failureKind]int64
}

type failureKind struct {
	method, path string
	status       int
}

func newTraffic(since time.Time) *traffic {
	return &traffic{since: since, releases: map[string]*hour{}}
}

func (t *traffic) record(now time.Time, took time.Duration, version, method, path string, status int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.releases[version]
	if h == nil {
		t.forget(now)
		h = new(hour)
		t.releases[version] = h
	}
	unix := now.Unix()
	s := h[unix%hourSeconds]
	if s == nil || s.unix != unix {
		s = &second{unix: unix}
		h[unix%hourSeconds] = s
	}
	s.requests++
	s.latency[bucketOf(took)]++
	if status != brokenOff && status < 500 {
		return
	}
	s.failed++
	if s.failures == nil {
		s.failures = map[failureKind]int64{}
	}
	kind := failureKind{method, path[:min(len(path), longestPath)], status}
	if _, known := s.failures[kind]; known || len(s.failures) < mostKinds {
		s.failures[kind]++
	}
}

// forget drops releases that nobody has asked for in the last hour.
func (t *traffic) forget(now time.Time) {
	for version, h := range t.releases {
		newest := int64(0)
		for _, s := range h {
			if s != nil {
				newest = max(newest, s.unix)
			}
		}
		if newest <= now.Unix()-hourSeconds {
			delete(t.releases, version)
		}
	}
}

// summary sums up the last window, between a second and an hour; the second in which it begins does not count.
func (t *traffic) summary(now time.Time, window time.Duration) target.Traffic {
	t.mu.Lock()
	defer t.mu.Unlock()
	window = min(max(window, time.Second), time.Hour)
	since := now.Add(-window)
	if since.Before(t.since) {
		since = t.since
	}
	all := newTally()
	byRelease := map[string]target.Traffic{}
	for version, h := range t.releases {
		one := newTally()
		for _, s := range h {
			if s != nil && s.unix > now.Add(-window).Unix() && s.unix <= now.Unix() {
				one.add(s)
				all.add(s)
			}
		}
		if one.requests > 0 {
			byRelease[version] = one.traffic(since)
		}
	}
	sum := all.traffic(since)
	sum.Releases = byRelease
	return sum
}

// tally is the sum of some seconds.
type tally struct {
	requests, failed int64
	latency          [buckets]int64
	failures         map[failureKind]int64
}

func newTally() *tally { return &tally{failures: map[failureKind]int64{}} }

func (y *tally) add(s *second) {
	y.requests += s.requests
	y.failed += s.failed
	for i, n := range s.latency {
		y.latency[i] += int64(n)
	}
	for kind, n := range s.failures {
		y.failures[kind] += n
	}
}

func (y *tally) traffic(since time.Time) target.Traffic {
	sum := target.Traffic{Since: since, Requests: y.requests, Failed: y.failed, P50: y.quantile(0.50), P95: y.quantile(0.95)}
	for kind, n := range y.failures {
		sum.Failures = append(sum.Failures, target.Failure{Method: kind.method, Path: kind.path, Status: kind.status, Count: n})
	}
	slices.SortFunc(sum.Failures, func(a, b target.Failure) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Method, b.Method), cmp.Compare(a.Status, b.Status))
	})
	sum.Failures = sum.Failures[:min(len(sum.Failures), 10)]
	return sum
}

// quantile is the middle of the bucket that holds the request of that rank.
func (y *tally) quantile(q float64) time.Duration {
	rank := int64(math.Ceil(q * float64(y.requests)))
	if rank == 0 {
		return 0
	}
	for i, n := range y.latency {
		if rank -= n; rank <= 0 {
			return time.Duration(float64(shortest) * math.Pow(growth, float64(i)-0.5))
		}
	}
	return 0 // not reached: the ranks end with the requests
}

var logGrowth = math.Log(growth)

func bucketOf(took time.Duration) int {
	if took <= shortest {
		return 0
	}
	i := int(math.Ceil(math.Log(float64(took)/float64(shortest)) / logGrowth))
	return min(i, buckets-1)
}
