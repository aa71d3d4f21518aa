package load

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Report is what a run measured. Durations are in milliseconds.
type Report struct {
	URL      string         `json:"url"`
	Rate     int            `json:"rate"`    // asked for, requests/s
	Seconds  float64        `json:"seconds"` // from the first request due to the last answer
	Sent     int            `json:"sent"`    // requests whose outcome is known
	OK       int            `json:"ok"`
	Failed   int            `json:"failed"`
	Errors   map[string]int `json:"errors,omitempty"`  // failures by kind
	Samples  []string       `json:"samples,omitempty"` // the first failures, with their time since the start
	Retried  int            `json:"retried"`           // reads that the HTTP client repeated because a kept-alive connection had gone
	Versions map[string]int `json:"versions"`          // answers of /version, by the release that gave them

	P50        float64 `json:"p50_ms"` // latency from the moment a request was due, answered or not
	P95        float64 `json:"p95_ms"`
	P99        float64 `json:"p99_ms"`
	Max        float64 `json:"max_ms"`
	LongestGap float64 `json:"longest_gap_ms"` // between two good answers that follow each other
}

// String is the report for a person.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d requests in %.1f s (%.0f/s), %d ok, %d failed; p50 %.1f ms, p95 %.1f ms, p99 %.1f ms, max %.0f ms; longest gap %.0f ms",
		r.Sent, r.Seconds, float64(r.Sent)/max(r.Seconds, 0.001), r.OK, r.Failed, r.P50, r.P95, r.P99, r.Max, r.LongestGap)
	for _, version := range slices.Sorted(maps.Keys(r.Versions)) {
		fmt.Fprintf(&b, "; %s answered %d of /version", version, r.Versions[version])
	}
	for _, kind := range slices.Sorted(maps.Keys(r.Errors)) {
		fmt.Fprintf(&b, "\n  %d × %s", r.Errors[kind], kind)
	}
	for _, sample := range r.Samples {
		fmt.Fprintf(&b, "\n  %s", sample)
	}
	return b.String()
}

const maxSamples = 10

// tally counts answers as they come in, from many goroutines.
type tally struct {
	o Options

	mu     sync.Mutex
	began  time.Time
	ended  time.Time // zero while the load runs
	lastOK time.Time
	gap    time.Duration
	delays []time.Duration
	counts Report
}

func newTally(o Options) *tally {
	return &tally{o: o, counts: Report{URL: o.URL, Rate: o.Rate, Errors: map[string]int{}, Versions: map[string]int{}}}
}

func (t *tally) start() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.began = time.Now()
	t.lastOK = t.began
	return t.began
}

func (t *tally) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = time.Now()
}

// one counts an answer that came in just now.
func (t *tally) one(a answer) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	r := &t.counts
	r.Sent++
	r.Retried += a.retries
	t.delays = append(t.delays, now.Sub(due(t.began, a.n, t.o.Rate)))
	if a.version != "" {
		r.Versions[a.version]++
	}
	if a.kind == "" {
		r.OK++
		t.gap = max(t.gap, now.Sub(t.lastOK))
		t.lastOK = now
		return
	}
	r.Failed++
	r.Errors[a.kind]++
	if len(r.Samples) < maxSamples {
		r.Samples = append(r.Samples, fmt.Sprintf("%.1f s: %s: %s", now.Sub(t.began).Seconds(), a.kind, a.detail))
	}
}

// report is a copy of the counts with the figures that follow from them.
func (t *tally) report() Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.counts
	r.Errors, r.Versions, r.Samples = maps.Clone(r.Errors), maps.Clone(r.Versions), slices.Clone(r.Samples)
	if t.began.IsZero() {
		return r
	}
	until := t.ended
	if until.IsZero() {
		until = time.Now()
	}
	r.Seconds = until.Sub(t.began).Seconds()
	r.LongestGap = milliseconds(max(t.gap, until.Sub(t.lastOK)))
	sorted := slices.Sorted(slices.Values(t.delays))
	r.P50, r.P95, r.P99, r.Max = percentile(sorted, 50), percentile(sorted, 95), percentile(sorted, 99), percentile(sorted, 100)
	return r
}

// percentile is the smallest of the sorted delays that at least p percent of them do not exceed, in milliseconds.
func percentile(sorted []time.Duration, p int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	rank := (len(sorted)*p + 99) / 100
	return milliseconds(sorted[max(rank, 1)-1])
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
