package config

import (
	"fmt"
	"time"
)

// Schedule says when something is due: at an interval, at a time of each day (UTC), or never (the zero value).
type Schedule struct {
	Every time.Duration // interval; 0 when it is not one
	Daily bool          // once a day at Hour:Minute
	Hour  int
	Min   int
}

// ParseSchedule reads "never", an interval such as "6h" or "1d", or a time of day in UTC such as "02:00".
func ParseSchedule(s string) (Schedule, error) {
	if s == "" || s == "never" {
		return Schedule{}, nil
	}
	if t, err := time.Parse("15:04", s); err == nil {
		return Schedule{Daily: true, Hour: t.Hour(), Min: t.Minute()}, nil
	}
	d, err := ParseDuration(s)
	if err != nil || d < time.Minute {
		return Schedule{}, fmt.Errorf("%q is neither an interval of at least a minute (6h, 1d), nor a time of day in UTC (02:00), nor never", s)
	}
	return Schedule{Every: d}, nil
}

// Next returns the first moment after last at which the schedule is due; false when it never is. A moment that has passed
// while nobody looked is still due: compare the result with the present. For a zero last it is due at once.
func (s Schedule) Next(last time.Time) (time.Time, bool) {
	switch {
	case s.Every > 0:
		return last.Add(s.Every), true
	case s.Daily:
		last = last.UTC()
		at := time.Date(last.Year(), last.Month(), last.Day(), s.Hour, s.Min, 0, 0, time.UTC)
		if !at.After(last) {
			at = at.AddDate(0, 0, 1)
		}
		return at, true
	}
	return time.Time{}, false
}

// String returns what ParseSchedule reads.
func (s Schedule) String() string {
	switch {
	case s.Every > 0:
		return FormatDuration(s.Every)
	case s.Daily:
		return fmt.Sprintf("%02d:%02d", s.Hour, s.Min)
	}
	return "never"
}
