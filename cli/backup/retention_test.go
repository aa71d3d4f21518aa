package backup_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/smart-assistant/platform/cli/backup"
	"github.com/smart-assistant/platform/cli/fault"
)

var update = flag.Bool("update", false, "write the golden files")

// usual is a policy like the one that a new project gets.
var usual = backup.Policy{KeepLast: 3, Daily: 7, Weekly: 4, PreDeployDays: 30}

func TestPlans(t *testing.T) {
	for name, test := range map[string]struct {
		policy  backup.Policy
		backups []backup.Backup
		held    map[string]string
	}{
		"nothing":       {usual, nil, nil},
		"one":           {usual, history(1, 24*time.Hour), nil},
		"two-months":    {usual, history(60, 24*time.Hour), nil},
		"every-6-hours": {backup.Policy{KeepLast: 2, Daily: 3, Weekly: 2, Monthly: 2}, history(60, 6*time.Hour), nil},
		// No new backup for a long time: what there is does not expire.
		"stopped": {usual, aged(history(40, 24*time.Hour), 100*24*time.Hour), nil},
		"least":   {backup.Policy{MinKeep: 3}, history(6, time.Hour), nil},
		"snapshots": {usual, append(history(12, 24*time.Hour),
			snapshot("p-20261119-110000", 57, noon.Add(-25*time.Hour), time.Time{}),
			snapshot("p-20261001-110000", 41, noon.AddDate(0, -1, -20), time.Time{}),
			snapshot("p-20261002-110000", 42, noon.AddDate(0, -1, -19), noon.AddDate(0, 3, 0)), // promised longer
			snapshot("p-20261025-110000", 0, noon.AddDate(0, 0, -26), noon.AddDate(0, 0, -10)), // the policy grew since
			manual("m-20260901-110000", noon.AddDate(0, -3, 0), noon.AddDate(1, 0, 0)),
		), nil},
		"needed": {backup.Policy{KeepLast: 1}, history(5, 24*time.Hour), map[string]string{
			"s-20261117-110000": "run 58 is not finished", "s-20261120-110000": "a restore is under way",
		}},
		"damaged":  {backup.Policy{KeepLast: 2}, broken(history(6, 24*time.Hour), 0, 4, 5), nil},
		"hopeless": {backup.Policy{KeepLast: 2}, broken(history(2, 24*time.Hour), 0, 1), nil},
		// Around New Year weeks do not follow the calendar's year.
		"new-year": {backup.Policy{Weekly: 3, Monthly: 2}, aged(history(20, 24*time.Hour), -46*24*time.Hour), nil},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
			fmt.Fprintf(w, "now %s, %+v\n", noon.Format(time.DateTime), test.policy)
			for _, v := range test.policy.Judge(test.backups, test.held, noon) {
				what := "keep"
				if v.Remove {
					what = "REMOVE"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", what, v.ID, v.Started.Format("Mon 2006-01-02 15:04"), strings.Join(v.Why, "; "))
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", "retention", name+".txt")
			if *update {
				if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(out.Bytes(), want) {
				t.Errorf("got\n%s\nwant\n%s", out.Bytes(), want)
			}
		})
	}
}

func TestPolicyThatCannotBeMeant(t *testing.T) {
	for _, p := range []backup.Policy{{}, {PreDeployDays: 30}, {KeepLast: 3, Daily: -1}} {
		if err := p.Validate(); fault.CodeOf(err) != fault.Usage {
			t.Errorf("%+v: %v", p, err)
		}
	}
	if err := usual.Validate(); err != nil {
		t.Error(err)
	}
}

// What holds for every policy and every history.
func TestRetentionLaws(t *testing.T) {
	for seed := range uint64(3000) {
		random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // has to repeat
		policy := backup.Policy{
			KeepLast: random.IntN(4), Daily: random.IntN(8), Weekly: random.IntN(5), Monthly: random.IntN(3),
			PreDeployDays: random.IntN(40), MinKeep: random.IntN(4),
		}
		backups := randomHistory(random)
		held := map[string]string{}
		if len(backups) > 0 {
			held[backups[random.IntN(len(backups))].ID] = "needed"
		}
		kept := keptOf(t, policy, backups, held, noon)

		usable := func(all []backup.Backup) []backup.Backup {
			return slices.DeleteFunc(slices.Clone(all), func(b backup.Backup) bool { return b.Problem != nil })
		}
		good, goodKept := usable(backups), usable(kept)
		if want := min(len(good), max(1, policy.MinKeep, policy.KeepLast)); len(goodKept) < want {
			t.Fatalf("seed %d: %d usable backups are kept, want at least %d", seed, len(goodKept), want)
		}
		if len(good) > 0 && newest(good).ID != newest(goodKept).ID {
			t.Fatalf("seed %d: the newest usable backup %s is removed", seed, newest(good).ID)
		}
		if len(backups)-len(good) != len(kept)-len(goodKept) {
			t.Fatalf("seed %d: a damaged backup is removed", seed)
		}
		for id := range held {
			if !slices.ContainsFunc(kept, func(b backup.Backup) bool { return b.ID == id }) {
				t.Fatalf("seed %d: %s is needed and removed", seed, id)
			}
		}
		for _, b := range good {
			if b.KeepUntil.After(noon) && !slices.ContainsFunc(kept, func(k backup.Backup) bool { return k.ID == b.ID }) {
				t.Fatalf("seed %d: %s was promised to stay until %s and is removed", seed, b.ID, b.KeepUntil)
			}
		}
		// A second prune right after the first has nothing to do, whatever order the store lists in.
		random.Shuffle(len(kept), func(i, j int) { kept[i], kept[j] = kept[j], kept[i] })
		if again := keptOf(t, policy, kept, held, noon); len(again) != len(kept) {
			t.Fatalf("seed %d: a second prune removes %d more", seed, len(kept)-len(again))
		}
		// Time alone never removes the newest ones.
		later := keptOf(t, policy, kept, nil, noon.AddDate(10, 0, 0))
		if want := min(len(goodKept), max(1, policy.MinKeep, policy.KeepLast)); len(usable(later)) < want {
			t.Fatalf("seed %d: after ten years without a backup %d are left, want %d", seed, len(usable(later)), want)
		}
		// A more generous policy keeps what a stricter one keeps.
		generous := policy
		generous.KeepLast++
		generous.Daily++
		generous.Weekly++
		generous.PreDeployDays++
		more := keptOf(t, generous, backups, held, noon)
		for _, b := range keptOf(t, policy, backups, held, noon) {
			if !slices.ContainsFunc(more, func(m backup.Backup) bool { return m.ID == b.ID }) {
				t.Fatalf("seed %d: %s is kept by %+v and not by %+v", seed, b.ID, policy, generous)
			}
		}
	}
}

func keptOf(t *testing.T, p backup.Policy, backups []backup.Backup, held map[string]string, now time.Time) []backup.Backup {
	t.Helper()
	verdicts := p.Judge(backups, held, now)
	if len(verdicts) != len(backups) {
		t.Fatalf("%d verdicts on %d backups", len(verdicts), len(backups))
	}
	stays := map[string]bool{}
	for i, v := range verdicts {
		if len(v.Why) == 0 {
			t.Fatalf("%s: no reason", v.ID)
		}
		if i > 0 && v.Started.Before(verdicts[i-1].Started) {
			t.Fatalf("%s is out of order", v.ID)
		}
		stays[v.ID] = !v.Remove
	}
	return slices.DeleteFunc(slices.Clone(backups), func(b backup.Backup) bool { return !stays[b.ID] })
}

func newest(backups []backup.Backup) backup.Backup {
	return slices.MaxFunc(backups, func(a, b backup.Backup) int {
		if c := a.Started.Compare(b.Started); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
}

func randomHistory(random *rand.Rand) []backup.Backup {
	var all []backup.Backup
	for i := range random.IntN(40) {
		started := noon.Add(-time.Duration(random.IntN(90*24)) * time.Hour)
		if random.IntN(20) == 0 {
			started = noon.Add(time.Duration(random.IntN(48)) * time.Hour) // by a clock that is ahead
		}
		b := backup.Backup{ID: fmt.Sprintf("s-%s-%d", started.Format("20060102-150405"), i)}
		b.Commit.ID, b.Kind, b.Started = b.ID, backup.Scheduled, started
		switch random.IntN(6) {
		case 0:
			b.Kind, b.Run = backup.PreDeploy, int64(i)
		case 1:
			b.KeepUntil = noon.Add(time.Duration(random.IntN(60)-30) * 24 * time.Hour)
		case 2:
			b.Problem = errors.New("damaged")
		}
		all = append(all, b)
	}
	return all
}

// history is a series of scheduled backups, oldest first, the newest taken an hour before noon.
func history(n int, every time.Duration) []backup.Backup {
	var all []backup.Backup
	for i := range n {
		all = append(all, made("s", backup.Scheduled, noon.Add(-time.Hour-time.Duration(n-1-i)*every)))
	}
	return all
}

func made(letter string, kind backup.Kind, started time.Time) backup.Backup {
	b := backup.Backup{ID: letter + "-" + started.Format("20060102-150405")}
	b.Commit = backup.Commit{ID: b.ID, Kind: kind, Started: started, Finished: started.Add(time.Minute), StoredBytes: 1000}
	return b
}

func snapshot(id string, run int64, started, until time.Time) backup.Backup {
	b := made("p", backup.PreDeploy, started)
	b.ID, b.Commit.ID, b.Run, b.KeepUntil = id, id, run, until
	return b
}

func manual(id string, started, until time.Time) backup.Backup {
	b := made("m", backup.Manual, started)
	b.ID, b.Commit.ID, b.KeepUntil = id, id, until
	return b
}

func aged(backups []backup.Backup, by time.Duration) []backup.Backup {
	var all []backup.Backup
	for _, b := range backups {
		all = append(all, made("s", b.Kind, b.Started.Add(-by)))
	}
	return all
}

func broken(backups []backup.Backup, which ...int) []backup.Backup {
	for _, i := range which {
		backups[i].Problem = fmt.Errorf("base/%s/commit.json is damaged: no trusted writer signed it", backups[i].ID)
	}
	return backups
}
