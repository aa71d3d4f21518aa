package backup

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
)

// Policy says which backups stay: each that any rule keeps. Days, weeks (ISO 8601, from Monday) and months are those of UTC and count
// only when they have a backup, so that nothing expires while no new backup is taken.
type Policy struct {
	KeepLast      int // the newest ones
	Daily         int // the newest of each of so many days
	Weekly        int // the newest of each of so many weeks
	Monthly       int // the newest of each of so many months
	PreDeployDays int // snapshots before a promotion, for so many days; the time that the snapshot itself says can only be longer
	MinKeep       int // so many of the newest stay whatever else is said; 0 is 1
}

// Validate refuses a policy that cannot be meant.
func (p Policy) Validate() error {
	err := func(what string) error {
		return fault.Code(fmt.Errorf("retention policy: %s", what), fault.Usage)
	}
	for _, n := range []int{p.KeepLast, p.Daily, p.Weekly, p.Monthly, p.PreDeployDays, p.MinKeep} {
		if n < 0 {
			return err(fmt.Sprintf("%d is negative", n))
		}
	}
	if p.KeepLast+p.Daily+p.Weekly+p.Monthly+p.MinKeep == 0 {
		return fault.Hint(err("no rule keeps anything"), "set at least one of keep-last, daily and weekly")
	}
	return nil
}

// Verdict says what becomes of one backup, and why.
type Verdict struct {
	ID      string    `json:"id"`
	Kind    Kind      `json:"kind"`
	Started time.Time `json:"started"`
	Bytes   int64     `json:"bytes"` // stored
	Remove  bool      `json:"remove"`
	Why     []string  `json:"why"` // every rule that keeps it, or why none does
}

// Judge applies the policy. It keeps backups with a Problem, which no rule counts: what they are is for a human to see. `held` names the
// backups that somebody still needs, and for what. The verdicts are in the order of time, oldest first.
func (p Policy) Judge(backups []Backup, held map[string]string, now time.Time) []Verdict {
	ordered := slices.Clone(backups)
	slices.SortStableFunc(ordered, func(a, b Backup) int { // newest first
		return cmp.Or(b.Started.Compare(a.Started), strings.Compare(b.ID, a.ID))
	})
	rules := p.rules(now)
	verdicts := make([]Verdict, 0, len(ordered))
	for _, b := range ordered {
		v := Verdict{ID: b.ID, Kind: b.Kind, Started: b.Started, Bytes: b.StoredBytes}
		if b.Problem != nil {
			v.Why = append(v.Why, "not usable, for you to look at: "+firstLine(b.Problem))
		} else {
			for _, rule := range rules {
				if why := rule(b); why != "" {
					v.Why = append(v.Why, why)
				}
			}
		}
		if why, needed := held[b.ID]; needed {
			v.Why = append(v.Why, why)
		}
		if len(v.Why) == 0 {
			v.Remove, v.Why = true, []string{expired(b, p)}
		}
		verdicts = append(verdicts, v)
	}
	slices.Reverse(verdicts)
	return verdicts
}

// rule says why a backup stays, or "". It is asked about the usable ones, newest first, each once.
type rule func(Backup) string

func (p Policy) rules(now time.Time) []rule {
	seen := 0
	count := func(b Backup) string {
		seen++
		switch {
		case seen == 1:
			return "newest"
		case seen <= p.KeepLast:
			return fmt.Sprintf("one of the last %d", p.KeepLast)
		case seen <= p.MinKeep:
			return fmt.Sprintf("at least %d stay", p.MinKeep)
		}
		return ""
	}
	return []rule{
		count,
		newestOfEach(p.Daily, "daily", func(t time.Time) string { return t.Format(time.DateOnly) }),
		newestOfEach(p.Weekly, "weekly", func(t time.Time) string {
			year, week := t.ISOWeek()
			return fmt.Sprintf("%d-W%02d", year, week)
		}),
		newestOfEach(p.Monthly, "monthly", func(t time.Time) string { return t.Format("2006-01") }),
		func(b Backup) string {
			if until := p.until(b); now.Before(until) {
				return purpose(b) + ", until " + until.UTC().Format(time.DateOnly)
			}
			return ""
		},
	}
}

// newestOfEach keeps the first backup that it sees of each period, for a number of periods.
func newestOfEach(periods int, name string, period func(time.Time) string) rule {
	seen := map[string]bool{}
	return func(b Backup) string {
		of := period(b.Started.UTC())
		if seen[of] || len(seen) == periods {
			return ""
		}
		seen[of] = true
		return name + " " + of
	}
}

// until is the end of the time for which a backup was promised to stay; zero for those that were promised nothing.
func (p Policy) until(b Backup) time.Time {
	until := b.KeepUntil
	if b.Kind == PreDeploy {
		if days := b.Started.AddDate(0, 0, p.PreDeployDays); days.After(until) {
			until = days
		}
	}
	return until
}

func purpose(b Backup) string {
	switch {
	case b.Kind == PreDeploy && b.Run > 0:
		return fmt.Sprintf("snapshot before promotion %d", b.Run)
	case b.Kind == PreDeploy:
		return "snapshot before a promotion"
	default:
		return "asked for"
	}
}

func expired(b Backup, p Policy) string {
	if until := p.until(b); !until.IsZero() {
		return purpose(b) + ", until " + until.UTC().Format(time.DateOnly) + ": over"
	}
	return "no rule keeps it"
}

// errNothingLeft guards against every mistake above and below it.
var errNothingLeft = errors.New("no usable backup would be left")

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
