package telemetry

import (
	"encoding/json"
	"net/http"
	"time"
)

// Page is what a replica says of its own last window, at /traffic of its private port.
type Page struct {
	Version string        `json:"version"`
	Replica string        `json:"replica,omitempty"`
	Since   time.Time     `json:"since"` // the window's start, later when the replica is younger
	P50     time.Duration `json:"p50"`   // nanoseconds
	P95     time.Duration `json:"p95"`
	Sum
}

const mostFailures = 50 // kinds of failures on a page

// TrafficPath is where a replica's private port has its Page. The query window=10m says how long the window is; the default is an hour.
const TrafficPath = "/traffic"

// Handler answers with the replica's Page.
func (t *Traffic) Handler(version, replica string, now Clock) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		window := time.Hour
		if text := r.URL.Query().Get("window"); text != "" {
			var err error
			if window, err = time.ParseDuration(text); err != nil || window <= 0 {
				http.Error(w, "window: want a duration above 0, such as 10m", http.StatusBadRequest)
				return
			}
		}
		page := Page{Version: version, Replica: replica}
		since, byRelease := t.Sums(now(), window)
		page.Since = since
		var sums []Sum
		for _, sum := range byRelease {
			sums = append(sums, sum)
		}
		page.Sum = Merge(sums...)
		page.Failures = page.Failures[:min(len(page.Failures), mostFailures)]
		page.P50, page.P95 = page.Quantile(0.50), page.Quantile(0.95)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(page) // whoever asked has gone
	})
}

// IsProbe says whether a path is asked by those who watch a replica and not by its users.
func IsProbe(path string) bool { return path == "/health" || path == "/ready" }
