package local

import (
	"time"

	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/service/telemetry"
)

// summarize says what the entrance saw in the last window as the contract wants it.
func summarize(t *telemetry.Traffic, now time.Time, window time.Duration) target.Traffic {
	since, byRelease := t.Sums(now, window)
	releases := map[string]target.Traffic{}
	var sums []telemetry.Sum
	for version, sum := range byRelease {
		releases[version] = trafficOf(since, sum)
		sums = append(sums, sum)
	}
	all := trafficOf(since, telemetry.Merge(sums...))
	all.Releases = releases
	return all
}

func trafficOf(since time.Time, sum telemetry.Sum) target.Traffic {
	t := target.Traffic{Since: since, Requests: sum.Requests, Failed: sum.Failed, P50: sum.Quantile(0.50), P95: sum.Quantile(0.95)}
	for _, f := range sum.Failures[:min(len(sum.Failures), 10)] {
		t.Failures = append(t.Failures, target.Failure(f))
	}
	return t
}
