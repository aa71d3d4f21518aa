package telemetry

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"sync"
	"time"
)

// Traffic counts requests for each second of the last hour, for each release that answered them apart.
type Traffic struct {
	mu       sync.Mutex
	since    time.Time
	releases map[string]*hour
}

// BrokenOff is the status of an answer that broke off.
const BrokenOff = 0

const (
	hourSeconds = 3600
	// A latency falls into bucket i when it is at most shortest × growth^i: a bucket's middle is within 4 % of all that is in it.
	shortest    = 100 * time.Microsecond
	growth      = 1.08
	buckets     = 192 // the last one's bound is 100 µs × 1.08^191, 4 min
	mostKinds   = 16  // kinds of failures remembered a second
	longestPath = 120
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

// NewTraffic begins to count.
func NewTraffic(since time.Time) *Traffic {
	return &Traffic{since: since, releases: map[string]*hour{}}
}

// Request is an answered request, as Record counts it.
type Request struct {
	Release string // that answered; "" when none did
	Method  string
	Path    string // or the route
	Status  int    // BrokenOff when the answer did not come to its end
	Took    time.Duration
}

// Record counts a request that was done at now. It failed when its status is 500 or above or BrokenOff.
func (t *Traffic) Record(now time.Time, r Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.releases[r.Release]
	if h == nil {
		t.forget(now)
		h = new(hour)
		t.releases[r.Release] = h
	}
	unix := now.Unix()
	s := h[unix%hourSeconds]
	if s == nil || s.unix != unix {
		s = &second{unix: unix}
		h[unix%hourSeconds] = s
	}
	s.requests++
	s.latency[bucketOf(r.Took)]++
	if r.Status != BrokenOff && r.Status < 500 {
		return
	}
	s.failed++
	if s.failures == nil {
		s.failures = map[failureKind]int64{}
	}
	kind := failureKind{r.Method, r.Path[:min(len(r.Path), longestPath)], r.Status}
	if _, known := s.failures[kind]; known || len(s.failures) < mostKinds {
		s.failures[kind]++
	}
}

// forget drops releases that nobody has asked for in the last hour.
func (t *Traffic) forget(now time.Time) {
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

// Sums adds up the last window, between a second and an hour, for each release that got a request in it. The second in which the
// window begins does not count.
func (t *Traffic) Sums(now time.Time, window time.Duration) (since time.Time, byRelease map[string]Sum) {
	t.mu.Lock()
	defer t.mu.Unlock()
	window = min(max(window, time.Second), time.Hour)
	since = now.Add(-window)
	if since.Before(t.since) {
		since = t.since
	}
	byRelease = map[string]Sum{}
	for version, h := range t.releases {
		sum := Sum{Latency: map[int]int64{}}
		failures := map[failureKind]int64{}
		for _, s := range h {
			if s != nil && s.unix > now.Add(-window).Unix() && s.unix <= now.Unix() {
				sum.add(s, failures)
			}
		}
		if sum.Requests > 0 {
			sum.Failures = mostFrequent(failures)
			byRelease[version] = sum
		}
	}
	return since, byRelease
}

// Sum is what happened in a window.
type Sum struct {
	Requests int64         `json:"requests"`
	Failed   int64         `json:"failed"`
	Failures []Failure     `json:"failures,omitempty"` // the most frequent first
	Latency  map[int]int64 `json:"latency,omitempty"`  // requests by bucket, for Quantile and Merge
}

// Failure counts failed requests that look alike.
type Failure struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	Status int    `json:"status"` // BrokenOff for an answer that broke off
	Count  int64  `json:"count"`
}

func (s *Sum) add(one *second, failures map[failureKind]int64) {
	s.Requests += one.requests
	s.Failed += one.failed
	for i, n := range one.latency {
		if n > 0 {
			s.Latency[i] += int64(n)
		}
	}
	for kind, n := range one.failures {
		failures[kind] += n
	}
}

// Merge adds sums up, those of several releases or of several replicas.
func Merge(sums ...Sum) Sum {
	all := Sum{Latency: map[int]int64{}}
	failures := map[failureKind]int64{}
	for _, s := range sums {
		all.Requests += s.Requests
		all.Failed += s.Failed
		for i, n := range s.Latency {
			all.Latency[i] += n
		}
		for _, f := range s.Failures {
			failures[failureKind{f.Method, f.Path, f.Status}] += f.Count
		}
	}
	all.Failures = mostFrequent(failures)
	return all
}

func mostFrequent(failures map[failureKind]int64) []Failure {
	var all []Failure
	for kind, n := range failures {
		all = append(all, Failure{Method: kind.method, Path: kind.path, Status: kind.status, Count: n})
	}
	slices.SortFunc(all, func(a, b Failure) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Method, b.Method), cmp.Compare(a.Status, b.Status))
	})
	return all
}

// Quantile is the latency that the share q of all requests did not exceed, ± 4 %: the middle of the bucket that holds the request of
// that rank. It is 0 without requests.
func (s Sum) Quantile(q float64) time.Duration {
	rank := int64(math.Ceil(q * float64(s.Requests)))
	if rank == 0 {
		return 0
	}
	for _, i := range slices.Sorted(maps.Keys(s.Latency)) {
		if rank -= s.Latency[i]; rank <= 0 {
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
