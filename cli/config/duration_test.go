package config

import (
	"testing"
	"time"
)

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30s": 30 * time.Second, "24h": 24 * time.Hour, "7d": 7 * day, "1w": 7 * day, "1w2d12h": 9*day + 12*time.Hour,
		"1d 30m": day + 30*time.Minute, "0s": 0, "0": 0, "1h30m": 90 * time.Minute, "250ms": 250 * time.Millisecond,
	} {
		got, err := ParseDuration(text)
		if err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %s, %v; want %s", text, got, err, want)
		}
		if again, err := ParseDuration(FormatDuration(got)); err != nil || again != got {
			t.Errorf("%s is written %q, which is read as %s, %v", got, FormatDuration(got), again, err)
		}
	}
	for _, text := range []string{"", "soon", "7", "-1h", "1d-2h", "d", "99999999999w", "1h1d"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %s", text, got)
		}
	}
	for d, want := range map[time.Duration]string{7 * day: "7d", 36 * time.Hour: "36h", 60 * time.Hour: "2d12h", day: "1d", 2 * time.Minute: "2m", 90 * time.Second: "1m30s", time.Hour: "1h", 10 * time.Minute: "10m"} {
		if got := FormatDuration(d); got != want {
			t.Errorf("FormatDuration(%s) = %q, want %q", d, got, want)
		}
	}
}

func TestSchedules(t *testing.T) {
	last := time.Date(2026, 11, 24, 9, 12, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"6h":    last.Add(6 * time.Hour),
		"02:00": time.Date(2026, 11, 25, 2, 0, 0, 0, time.UTC),
		"23:30": time.Date(2026, 11, 24, 23, 30, 0, 0, time.UTC),
		"09:12": time.Date(2026, 11, 25, 9, 12, 0, 0, time.UTC),
	} {
		s, err := ParseSchedule(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := s.Next(last); !ok || !got.Equal(want) {
			t.Errorf("%s after %s is %s, want %s", text, last, got, want)
		}
		if s.String() != text {
			t.Errorf("%s is written %s", text, s)
		}
		if got, ok := s.Next(time.Time{}); !ok || got.After(last) {
			t.Errorf("%s was never done, and is due at %s only", text, got)
		}
	}
	never, err := ParseSchedule("never")
	if err != nil {
		t.Fatal(err)
	}
	if at, ok := never.Next(last); ok {
		t.Errorf("never is at %s", at)
	}
}

func TestNearest(t *testing.T) {
	known := []string{"dev", "staging", "prod"}
	for typed, want := range map[string]string{"prd": "prod", "pord": "prod", "stagign": "staging", "deva": "dev"} {
		if got, ok := nearest(typed, known); !ok || got != want {
			t.Errorf("nearest(%q) = %q, %v", typed, got, ok)
		}
	}
	if got, ok := nearest("kubernetes", known); ok {
		t.Errorf("kubernetes is not near %q", got)
	}
}
