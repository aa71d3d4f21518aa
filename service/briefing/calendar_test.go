package briefing

import (
	"math/rand/v2"
	"testing"
	"time"
)

// changes are days on which zones do something unusual.
var changes = []struct {
	zone, from string // the local day before
	days       int
	minutes    map[int][]string // of the day: the moments, in order
}{
	{"Europe/Berlin", "2026-03-28", 3, map[int][]string{ // 02:00 → 03:00
		150: {"2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"},
		180: {"2026-03-28T02:00:00Z", "2026-03-29T01:00:00Z", "2026-03-30T01:00:00Z"},
		119: {"2026-03-28T00:59:00Z", "2026-03-29T00:59:00Z", "2026-03-29T23:59:00Z"},
	}},
	{"Europe/Berlin", "2026-10-24", 3, map[int][]string{ // 03:00 → 02:00
		150: {"2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"},
		180: {"2026-10-24T01:00:00Z", "2026-10-25T02:00:00Z", "2026-10-26T02:00:00Z"},
	}},
	{"America/New_York", "2026-03-07", 3, map[int][]string{
		150: {"2026-03-07T07:30:00Z", "2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"},
	}},
	{"America/New_York", "2026-10-31", 3, map[int][]string{
		90: {"2026-10-31T05:30:00Z", "2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"},
	}},
	{"Australia/Lord_Howe", "2026-10-03", 3, map[int][]string{ // 02:00 → 02:30
		135: {"2026-10-02T15:45:00Z", "2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"},
	}},
	{"Australia/Lord_Howe", "2026-04-04", 3, map[int][]string{ // 02:00 → 01:30
		105: {"2026-04-03T14:45:00Z", "2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"},
	}},
	{"Asia/Kolkata", "2026-03-28", 3, map[int][]string{
		450: {"2026-03-28T02:00:00Z", "2026-03-29T02:00:00Z", "2026-03-30T02:00:00Z"},
	}},
	{"Pacific/Apia", "2011-12-28", 4, map[int][]string{ // the 30th is not
		420: {"2011-12-28T17:00:00Z", "2011-12-29T17:00:00Z", "2011-12-30T17:00:00Z"},
		0:   {"2011-12-28T10:00:00Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z"},
	}},
	{"Africa/Casablanca", "2026-02-14", 3, map[int][]string{ // 03:00 → 02:00 for Ramadan
		150: {"2026-02-14T01:30:00Z", "2026-02-15T01:30:00Z", "2026-02-16T02:30:00Z"},
	}},
	{"Africa/Casablanca", "2026-03-21", 3, map[int][]string{ // and back
		150: {"2026-03-21T02:30:00Z", "2026-03-22T02:00:00Z", "2026-03-23T01:30:00Z"},
	}},
	{"America/Nuuk", "2026-03-27", 4, map[int][]string{ // 23:00 of the 28th → 00:00 of the 29th
		1410: {"2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z", "2026-03-31T00:30:00Z"},
		0:    {"2026-03-27T02:00:00Z", "2026-03-28T02:00:00Z", "2026-03-29T01:00:00Z", "2026-03-30T01:00:00Z"},
	}},
	{"America/Santiago", "2026-09-05", 3, map[int][]string{ // 00:00 → 01:00 of the 6th
		30: {"2026-09-05T04:30:00Z", "2026-09-06T04:00:00Z", "2026-09-07T03:30:00Z"},
	}},
	{"UTC", "2028-12-30", 4, map[int][]string{ // a leap year's end
		0: {"2028-12-30T00:00:00Z", "2028-12-31T00:00:00Z", "2029-01-01T00:00:00Z", "2029-01-02T00:00:00Z"},
	}},
}

func TestMomentsAroundChanges(t *testing.T) {
	for _, test := range changes {
		from := date(t, test.from)
		for minute, want := range test.minutes {
			table := timetable{zone(t, test.zone), minute}
			at := table.first(from.Add(time.Duration(minute) * time.Minute)).Add(-time.Nanosecond)
			for _, moment := range want {
				if at, _ = table.next(at); at.Format(time.RFC3339) != moment {
					t.Errorf("%s %02d:%02d: %s, want %s", test.zone, minute/60, minute%60, at.Format(time.RFC3339), moment)
				}
			}
		}
	}
}

// TestEveryMinuteOfChangeDays watches a clock on the wall minute by minute, without any of the arithmetic under test: a time of day is
// due when the clock shows it, or a later time of that day, for the first time.
func TestEveryMinuteOfChangeDays(t *testing.T) {
	for _, test := range changes {
		z := zone(t, test.zone)
		first := map[string][1440]time.Time{}
		begin, end := date(t, test.from).Add(-48*time.Hour), date(t, test.from).AddDate(0, 0, test.days+2)
		// reached is the latest wall time that was ever shown; what lies before it is past.
		reached := time.Time{}
		for now := begin; now.Before(end); now = now.Add(time.Minute) {
			local := now.In(z)
			wall := time.Date(local.Year(), local.Month(), local.Day(), local.Hour(), local.Minute(), 0, 0, time.UTC)
			if reached.IsZero() {
				reached = wall.Add(-time.Minute)
			}
			for reached.Before(wall) {
				reached = reached.Add(time.Minute)
				day := first[reached.Format(time.DateOnly)]
				day[reached.Hour()*60+reached.Minute()] = now
				first[reached.Format(time.DateOnly)] = day
			}
		}
		if test.zone == "Pacific/Apia" {
			delete(first, "2011-12-30")
		}
		for i := range test.days {
			day := date(t, test.from).AddDate(0, 0, i)
			for minute, want := range first[day.Format(time.DateOnly)] {
				if want.IsZero() {
					continue // the zone has no such day
				}
				table := timetable{z, minute}
				if at, got := table.next(want.Add(-time.Nanosecond)); !at.Equal(want) || !got.Equal(day) && !table.first(got).Equal(want) {
					t.Fatalf("%s, %s minute %d: %s for %s, want %s", test.zone, day.Format(time.DateOnly), minute, at, got, want)
				}
			}
		}
	}
}

// TestOncePerLocalDay runs a clock through years for zones and times drawn by lot: every local day comes once, in order.
func TestOncePerLocalDay(t *testing.T) {
	zones := []string{
		"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia", "Africa/Casablanca", "America/Nuuk",
		"America/Santiago", "Asia/Beirut", "Europe/Dublin", "Pacific/Chatham", "America/St_Johns", "Africa/Cairo", "Antarctica/Troll",
		"Asia/Tehran", "Pacific/Kiritimati", "Etc/GMT+12", "UTC", "Asia/Gaza", "America/Sao_Paulo",
	}
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // any number is a seed
	lot := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // no secret
	for range 60 {
		table := timetable{zone(t, zones[lot.IntN(len(zones))]), lot.IntN(1440)}
		from := time.Date(2005+lot.IntN(60), time.Month(1+lot.IntN(12)), 1, lot.IntN(24), lot.IntN(60), 0, 0, time.UTC)
		_, before := table.next(from)
		for now := from; now.Before(from.AddDate(4, 0, 0)); {
			at, day := table.next(now)
			missing := before.AddDate(0, 0, 1)
			for day.After(missing) && !shows(table.zone, missing) {
				missing = missing.AddDate(0, 0, 1)
			}
			if now != from && !day.Equal(missing) || at.Sub(now) <= 0 {
				t.Fatalf("seed %d, %s minute %d: %s after %s: day %s after %s", seed, table.zone, table.minute, at, now, day, before)
			}
			now, before = at, day
		}
	}
}

// shows says whether a zone's calendars ever show a day.
func shows(z *time.Location, day time.Time) bool {
	for now := day.Add(-30 * time.Hour); now.Before(day.Add(54 * time.Hour)); now = now.Add(15 * time.Minute) {
		if now.In(z).Format(time.DateOnly) == day.Format(time.DateOnly) {
			return true
		}
	}
	return false
}

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func date(t *testing.T, text string) time.Time {
	t.Helper()
	day, err := time.Parse(time.DateOnly, text)
	if err != nil {
		t.Fatal(err)
	}
	return day
}
