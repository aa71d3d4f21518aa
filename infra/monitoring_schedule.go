package infra

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// longestGap is the longest time between two runs of a schedule in cron's five fields, which the settings have checked. It looks at two years, so that
// the ends of months and a leap day are among them.
func longestGap(schedule string) (time.Duration, error) {
	fields := strings.Fields(schedule)
	if len(fields) != 5 {
		return 0, fmt.Errorf("has %d fields; want five", len(fields))
	}
	var sets [5][64]bool
	for i, limits := range [5][2]int{{0, 59}, {0, 23}, {1, 31}, {1, 12}, {0, 7}} {
		if err := cronSet(&sets[i], fields[i], limits[0], limits[1]); err != nil {
			return 0, err
		}
	}
	minutes, hours, days, months, weekdays := sets[0], sets[1], sets[2], sets[3], sets[4]
	weekdays[0] = weekdays[0] || weekdays[7]
	// When both are given, cron takes a day that fits either.
	either := !strings.HasPrefix(fields[2], "*") && !strings.HasPrefix(fields[4], "*")
	fits := func(t time.Time) bool {
		day, weekday := days[t.Day()], weekdays[t.Weekday()]
		return months[t.Month()] && (day && weekday || either && (day || weekday))
	}
	var last time.Time
	var longest time.Duration
	start := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	for day := start; day.Before(start.AddDate(2, 0, 0)); day = day.AddDate(0, 0, 1) {
		if !fits(day) {
			continue
		}
		for minute := range 24 * 60 {
			if !hours[minute/60] || !minutes[minute%60] {
				continue
			}
			run := day.Add(time.Duration(minute) * time.Minute)
			if !last.IsZero() {
				longest = max(longest, run.Sub(last))
			}
			last = run
		}
	}
	if longest == 0 {
		return 0, errors.New("does not run twice in two years")
	}
	return longest, nil
}

// cronSet marks the numbers that a field stands for: lists of numbers, ranges and steps.
func cronSet(set *[64]bool, field string, least, most int) error {
	for part := range strings.SplitSeq(field, ",") {
		bounds, step, stepped := strings.Cut(part, "/")
		first, last, isRange := strings.Cut(bounds, "-")
		from, to, by := least, most, 1
		var err error
		if bounds != "*" {
			if from, err = strconv.Atoi(first); err != nil {
				return fmt.Errorf("field %q: %w", field, err)
			}
			if !stepped {
				to = from
			}
			if isRange {
				if to, err = strconv.Atoi(last); err != nil {
					return fmt.Errorf("field %q: %w", field, err)
				}
			}
		}
		if stepped {
			if by, err = strconv.Atoi(step); err != nil || by < 1 {
				return fmt.Errorf("field %q has no step", field)
			}
		}
		for n := from; n <= to && n < len(set); n += by {
			set[n] = true
		}
	}
	return nil
}
