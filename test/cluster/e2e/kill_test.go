//go:build cluster

package e2e

import (
	"bytes"
	"sync"
	"testing"
	"time"
)

// killedLease is short, for each kill waits for its end, and long enough that a machine with other tests on it renews in time.
const killedLease = 6 * time.Second

// TestKilledAtEveryEntry takes a promotion and a restore through a SIGKILL of assistctl after each kind of entry that they write to the
// journal: it is resumed, killed after the next, and so on to the end, which has to be that of an undisturbed one.
func TestKilledAtEveryEntry(t *testing.T) {
	w, s3 := newWorld(t, time.Second)
	for _, env := range []string{"staging", "prod"} {
		w.pulumi("up", "--yes", "--stack", env)
	}
	w.write("assistctl.yaml", `
project: e2e
order: [staging, prod]
lease: {ttl: `+killedLease.String()+`}
environments:
  staging: {target: kubernetes, gates: {verify_window: 1s}}
  prod: {target: kubernetes, confirm: true, gates: {soak: 0s, verify_window: 1s}}
`)
	w.release("v1")
	w.release("v2")
	w.assistctl("deploy", "staging", "v1")
	w.assistctl(promoteProd...)
	w.assistctl("deploy", "staging", "v2")

	t.Run("promotion", func(t *testing.T) {
		killed := w.killedEverywhere(s3, []string{"promote", "--resume"}, promoteProd...)
		t.Logf("killed after %d entries", killed)
		if killed < 10 {
			t.Errorf("killed after %d entries only", killed)
		}
		w.runs("prod", "v2", 3)
		got := w.last()
		if want := (ending{Kind: "promotion", Outcome: "committed", Snapshots: 1}); got != want {
			t.Errorf("it ended as %+v, want %+v", got, want)
		}
		w.pulumi("preview", "--stack", "prod", "--expect-no-changes")
	})
	t.Run("restore", func(t *testing.T) {
		w.sql("prod", "insert into users (email, password_hash, created_at) select 'u' || n || '@example.com', 'x', now() from generate_series(1, 100) n")
		var good struct{ ID string }
		w.ask(&good, "backup", "create", "prod")
		w.sql("prod", "truncate users cascade")
		killed := w.killedEverywhere(s3, []string{"backup", "restore", "prod", "--resume"}, "backup", "restore", "prod", "--to", good.ID, "--yes", "--confirm=prod")
		t.Logf("killed after %d entries", killed)
		if killed < 8 {
			t.Errorf("killed after %d entries only", killed)
		}
		w.runs("prod", "v2", 3)
		if got := w.sql("prod", "select count(*) from users where email like 'u%@example.com'"); got != "100" {
			t.Errorf("%s users came back, want 100", got)
		}
		if got := w.last(); got.Kind != "restore" || got.Outcome != "committed" {
			t.Errorf("it ended as %+v", got)
		}
		w.pulumi("preview", "--stack", "prod", "--expect-no-changes")
	})
}

// killedEverywhere runs a command, kills it after its first journal entry of a kind that it was not killed after yet, and goes on with
// resume in the same way until the run has ended. It returns after how many kinds of entries it was killed.
func (w *world) killedEverywhere(s3 *wire, resume []string, first ...string) int {
	w.t.Helper()
	seen := map[string]bool{}
	args := first
	for range 80 {
		if !w.killedAtNew(s3, seen, args) {
			return len(seen)
		}
		if !w.unfinished("prod") {
			return len(seen) // it was the last entry
		}
		args = resume
	}
	w.t.Fatalf("it does not come to an end; killed after %v", seen)
	return 0
}

// killedAtNew reports whether the command was killed; else it ended, and well.
func (w *world) killedAtNew(s3 *wire, seen map[string]bool, args []string) bool {
	w.t.Helper()
	cmd := w.command(lab.assistctl, args...)
	var once sync.Once
	started, killed := make(chan struct{}), make(chan string, 1)
	s3.watch(func(kind string) {
		<-started
		if !seen[kind] {
			once.Do(func() {
				seen[kind] = true
				kill(cmd)
				killed <- kind
			})
		}
	})
	defer s3.watch(nil)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	close(started)
	limit := time.AfterFunc(10*time.Minute, func() { kill(cmd) })
	defer limit.Stop()
	err := cmd.Wait()
	s3.watch(nil)
	select {
	case kind := <-killed: // perhaps with its work done
		w.t.Logf("killed after %q: assistctl %v", kind, args)
		time.Sleep(killedLease + time.Second/2) // its lease runs out
		return true
	default:
	}
	if err != nil {
		w.t.Fatalf("assistctl %v: %v\n%s", args, err, &said)
	}
	return false
}

// ending is how prod's newest run ended.
type ending struct {
	Kind, Outcome string
	Snapshots     int
}

func (w *world) last() ending {
	w.t.Helper()
	var runs []struct {
		Number        int
		Kind, Outcome string
	}
	w.ask(&runs, "history", "prod", "--limit", "1")
	e := ending{Kind: runs[0].Kind, Outcome: runs[0].Outcome}
	var backups []struct{ Run int }
	w.ask(&backups, "backup", "list", "prod")
	for _, b := range backups {
		if b.Run == runs[0].Number {
			e.Snapshots++
		}
	}
	return e
}
