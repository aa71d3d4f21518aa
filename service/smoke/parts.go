package smoke

import (
	"context"
	"fmt"
	"net/http"
)

// partChecks are the checks of what this build has beside accounts.
func partChecks() []check {
	return []check{{"briefing", briefingSchedule}}
}

func briefingSchedule(ctx context.Context, v *visitor) (string, error) {
	type schedule struct {
		Enabled  bool   `json:"enabled"`
		TimeZone string `json:"time_zone"`
		At       string `json:"at"`
	}
	want := schedule{Enabled: true, TimeZone: "Europe/Berlin", At: "07:30"}
	if _, err := v.call(ctx, http.MethodPut, "/api/v1/me/briefing-schedule", want, http.StatusOK, nil); err != nil {
		return "", err
	}
	for i := range v.config.Reads {
		var got schedule
		header, err := v.call(ctx, http.MethodGet, "/api/v1/me/briefing-schedule", nil, http.StatusOK, &got)
		if err != nil {
			return "", fmt.Errorf("read %d of %d: %w", i+1, v.config.Reads, err)
		}
		if got != want {
			return "", fmt.Errorf("read %d of %d: %s says %+v, but %+v was written", i+1, v.config.Reads, replica(header), got, want)
		}
	}
	return fmt.Sprintf("1 write, %d reads", v.config.Reads), nil
}
