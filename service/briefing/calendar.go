package briefing

import "time"

// timetable is a time of day in a time zone. It turns local days into moments.
type timetable struct {
	zone   *time.Location
	minute int // since midnight, as clocks on the wall say it
}

// next returns the first moment after a given one that the timetable names, and the local day it stands for, as midnight in UTC.
//
// Each local day has one moment. A time that the clocks skip comes at the first moment after the gap, which may be on the day after; a
// time that they show twice comes the first time. A day that a zone skipped, such as 30 December 2011 in Samoa, has none.
func (t timetable) next(after time.Time) (at, day time.Time) {
	local := after.In(t.zone)
	day = time.Date(local.Year(), local.Month(), local.Day()-1, 0, 0, 0, 0, time.UTC) // its moment may come on the day after
	for {
		at = t.first(day.Add(time.Duration(t.minute) * time.Minute))
		if at.After(after) && t.exists(day) {
			return at, day
		}
		day = day.AddDate(0, 0, 1)
	}
}

// first returns the first moment at which the zone's clocks show a wall time (given as if it were UTC) or a later one.
func (t timetable) first(wall time.Time) time.Time {
	const day = 24 * time.Hour
	moment := wall.Add(-2 * day) // no zone is that far from UTC: the clocks show less
	for {
		_, offset := moment.In(t.zone).Zone()
		reached := wall.Add(-time.Duration(offset) * time.Second)
		if reached.Before(moment) {
			return moment // the clocks jumped over it
		}
		// ZoneBounds is exact about changes, but on the last day of a leap year it gives an end that is past.
		end := moment.Add(day)
		if _, change := moment.In(t.zone).ZoneBounds(); change.After(moment) && change.Before(end) {
			end = change.UTC()
		}
		if reached.Before(end) {
			return reached
		}
		moment = end
	}
}

// exists says whether the zone has the day.
func (t timetable) exists(day time.Time) bool {
	year, month, date := t.first(day).In(t.zone).Date()
	return year == day.Year() && month == day.Month() && date == day.Day()
}
