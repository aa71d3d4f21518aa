package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	day  = 24 * time.Hour
	week = 7 * day
)

var daysAndWeeks = regexp.MustCompile(`^(?:(\d+)w)?(?:(\d+)d)?(.*)$`)

// ParseDuration reads what time.ParseDuration reads, preceded by weeks and days: 30s, 24h, 7d, 1w2d12h. A day has 24 hours.
// Negative durations are refused: no key means one.
func ParseDuration(s string) (time.Duration, error) {
	s = strings.ReplaceAll(strings.TrimSpace(s), " ", "")
	bad := fmt.Errorf("%q is not a duration such as 30s, 24h or 7d", s)
	parts := daysAndWeeks.FindStringSubmatch(s)
	if s == "" || parts == nil {
		return 0, bad
	}
	var total time.Duration
	for i, unit := range []time.Duration{week, day} {
		if parts[i+1] == "" {
			continue
		}
		n, err := strconv.ParseInt(parts[i+1], 10, 32)
		if err != nil || n > int64((1<<63-1)/unit)/2 {
			return 0, bad
		}
		total += time.Duration(n) * unit
	}
	if rest := parts[3]; rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 || total+d < 0 {
			return 0, bad
		}
		total += d
	}
	return total, nil
}

// FormatDuration is a short text that ParseDuration reads back as d: 7d, 26h, 2d12h, 2m, 30s.
func FormatDuration(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	var b strings.Builder
	if n := d / day; n > 1 || d == day {
		fmt.Fprintf(&b, "%dd", n)
		d %= day
	}
	if d > 0 {
		text := d.String()
		if strings.HasSuffix(text, "m0s") {
			text = strings.TrimSuffix(text, "0s")
		}
		if strings.HasSuffix(text, "h0m") {
			text = strings.TrimSuffix(text, "0m")
		}
		b.WriteString(text)
	}
	return b.String()
}
