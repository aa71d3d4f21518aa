package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/cli/backup"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/cli/target/kubernetes/podcall"
)

// The life of a backup in a cluster: taken by a job that cannot read it, restored by a pod that is given the key for as long, what was live kept.
func TestInsidePods(t *testing.T) {
	p := newPods(t)
	ctx := t.Context()
	var scheduled, again, snapshot backup.Backup
	if err := p.job(&scheduled, "backup"); err != nil {
		t.Fatal(err)
	}
	if scheduled.Kind != backup.Scheduled || scheduled.Release != "v1.9.0" || scheduled.SchemaHead != 42 || scheduled.RawBytes < 1<<20 {
		t.Errorf("took %+v", scheduled)
	}
	options := `{"Kind":"pre-deploy","Key":"promotion-7","Run":7,"Label":"before promotion 7","Release":"v1.8.0","SchemaHead":41}`
	for _, into := range []*backup.Backup{&snapshot, &again} { // the second Job of the key finds what the first took
		if err := p.job(into, "backup", "--options", options); err != nil {
			t.Fatal(err)
		}
	}
	if snapshot.ID != again.ID || snapshot.Run != 7 || snapshot.Release != "v1.8.0" || snapshot.SchemaHead != 41 {
		t.Errorf("took %+v, and again %+v", snapshot, again)
	}
	p.execute("assistant", "delete from notes where n > 10")
	plan, err := p.backups.PlanRestore(ctx, scheduled.ID, p, backup.RestoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	seen, steps := 0, terminalSteps{}
	restored, err := p.backups.Restore(ctx, plan, p, noJournal{}, func(ctx context.Context, at string) (string, error) {
		if !strings.Contains(at, "sslmode=verify-ca") {
			t.Errorf("the scratch server is reached without TLS: %s", at)
		}
		seen, err = rows(ctx, at)
		return fmt.Sprint(seen), err
	}, steps)
	if err != nil || seen != 5000 || restored.Bytes < 1<<20 || steps["fetch"] < 1<<20 {
		t.Fatalf("restored %+v, %d rows, %v; progress %v", restored, seen, err, steps)
	}
	if n, err := rows(ctx, p.live.URL("assistant")); n != 5000 || err != nil {
		t.Errorf("live are %d rows, %v", n, err)
	}
	// What was asked of another pod of the name is not for this one.
	late := podcall.SwapRequest{Dir: restored.Dir, Aside: plan.Aside, Stopped: true, Pod: "another"}
	if err := p.call(ctx, podcall.Swap, late, podcall.Listener{}, nil); fault.CodeOf(err) != fault.Refused {
		t.Errorf("a swap in another pod than was meant: %v", err)
	}
	// The role's password is today's, though the backup is older than it.
	at, err := url.Parse(p.live.URL("assistant"))
	if err != nil {
		t.Fatal(err)
	}
	at.User = url.UserPassword("assistd", "today's")
	if conn, err := pgx.Connect(ctx, at.String()); err != nil {
		t.Errorf("the service cannot get in: %v", err)
	} else {
		conn.Close(ctx)
	}
	p.asides(plan)
	p.prunes(scheduled.ID, snapshot.ID)
	left, err := p.backups.List(ctx)
	if err != nil || len(left) != 1 || left[0].ID != snapshot.ID { // which is the last one too
		t.Errorf("left are %v, %v", left, err)
	}
}

// prunes removes what somebody agreed to and no rule keeps, and nothing else.
func (p *pods) prunes(gone, kept string) {
	p.Helper()
	agree := func(ids ...string) (removed []string) {
		var shown, done backup.PrunePlan
		for _, id := range ids {
			shown.Backups = append(shown.Backups, backup.Verdict{ID: id, Remove: true})
		}
		said, err := json.Marshal(shown)
		if err == nil {
			err = p.job(&done, "prune", "--options", string(said))
		}
		if err != nil {
			p.Fatal(err)
		}
		for _, v := range done.Backups {
			removed = append(removed, v.ID)
		}
		return removed
	}
	if removed := agree(); len(removed) > 0 {
		p.Errorf("without anybody's word it removed %v", removed)
	}
	if removed := agree(kept, gone); !slices.Equal(removed, []string{gone}) {
		p.Errorf("removed %v, want %s: a rule keeps the other", removed, gone)
	}
	if err := p.job(nil, "prune"); err != nil { // the schedule's turn: nothing is left to do
		p.Fatal(err)
	}
}

func (p *pods) asides(plan backup.RestorePlan) {
	p.Helper()
	ctx := p.Context()
	var kept []target.Aside
	if err := p.call(ctx, podcall.Asides, nil, podcall.Listener{}, &kept); err != nil || len(kept) != 1 || kept[0].Name != plan.Aside || kept[0].Bytes < 1<<20 {
		p.Errorf("aside are %+v, %v", kept, err)
	}
	if l, err := p.look(ctx); err != nil || l.Live != plan.Folder {
		p.Errorf("live is %+v, %v", l, err)
	}
	for _, verb := range []string{podcall.Discard, podcall.Drop} { // what is live is not discarded
		if err := p.call(ctx, verb, map[string]string{podcall.Discard: plan.Folder, podcall.Drop: plan.Aside}[verb], podcall.Listener{}, nil); err != nil {
			p.Error(err)
		}
	}
	if err := p.call(ctx, podcall.Asides, nil, podcall.Listener{}, &kept); err != nil || len(kept) != 0 {
		p.Errorf("aside are %+v, %v", kept, err)
	}
	if n, err := rows(ctx, p.live.URL("assistant")); n != 5000 || err != nil {
		p.Errorf("live are %d rows, %v", n, err)
	}
}

// terminalSteps are the bytes that each step has come to.
type terminalSteps map[string]int64

func (terminalSteps) StepStarted(string)                                  {}
func (s terminalSteps) StepProgress(name string, done, _ int64, _ string) { s[name] = done }
func (terminalSteps) StepDone(string, string)                             {}
func (terminalSteps) StepFailed(string, error)                            {}

// Whether the caller goes away or the pod's process is killed: no server stays that stands in the way, and doing it again gets there.
func TestInsidePodsDie(t *testing.T) {
	p := newPods(t)
	ctx := t.Context()
	var taken backup.Backup
	if err := p.job(&taken, "backup"); err != nil {
		t.Fatal(err)
	}
	plan, err := p.backups.PlanRestore(ctx, taken.ID, p, backup.RestoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	kill := func(after time.Duration) func(cmd *exec.Cmd) {
		return func(cmd *exec.Cmd) { time.AfterFunc(after, func() { _ = cmd.Process.Kill() }) }
	}
	died := errors.New("died")
	place := &dying{pods: p}
	for _, when := range []time.Duration{50 * time.Millisecond, 150 * time.Millisecond, 300 * time.Millisecond} {
		place.before = kill(when)
		if _, err := p.backups.Restore(ctx, plan, place, noJournal{}, func(context.Context, string) (string, error) { return "", died }, terminalSteps{}); err == nil {
			t.Fatal("a killed pod restored")
		}
	}
	place.before = nil
	dir, _, err := p.Unpack(ctx, requestOf(t, p, plan), func(int64) {})
	if err != nil {
		t.Fatal(err)
	}
	address := ""
	look := podcall.Listener{Ready: func(ctx context.Context, said json.RawMessage) error {
		return errors.Join(json.Unmarshal(said, &address), died)
	}}
	gone := func(what string) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			if _, err := rows(ctx, address); err != nil {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: the scratch server still answers", what)
			}
		}
	}
	if err := p.call(ctx, podcall.Try, p.try(dir), look, nil); !errors.Is(err, died) {
		t.Fatal(err)
	}
	gone("after an objection")

	// The caller is killed: its end of the pipe closes in the middle of the look.
	leaving, leave := context.WithCancel(ctx)
	err = p.call(leaving, podcall.Try, p.try(dir), podcall.Listener{Ready: func(ctx context.Context, _ json.RawMessage) error {
		leave()
		<-ctx.Done()
		return nil
	}}, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that left: %v", err)
	}
	gone("after its caller left")

	before, _ := filepath.Glob(filepath.Join(os.TempDir(), "try-*"))
	// The process in the pod is killed while its server runs: the server stays, until the next look ends it.
	pod := make(chan *exec.Cmd, 1)
	err = podcall.Call(ctx, p.inPod(podcall.Try, func(cmd *exec.Cmd) { pod <- cmd }), p.try(dir), podcall.Listener{Ready: func(ctx context.Context, _ json.RawMessage) error {
		_ = (<-pod).Process.Signal(syscall.SIGKILL)
		<-ctx.Done()
		return nil
	}}, nil)
	if fault.CodeOf(err) != fault.Unreachable {
		t.Errorf("a pod that was killed: %v", err)
	}
	if n, err := rows(ctx, address); n != 5000 || err != nil {
		t.Errorf("its server: %d, %v", n, err)
	}
	if err := p.call(ctx, podcall.Discard, plan.Folder, podcall.Listener{}, nil); err != nil {
		t.Fatal(err)
	}
	gone("after a discard")
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "try-*")); err != nil || len(left) > len(before) {
		t.Errorf("left in the pod's temporary folder: %v (before: %v)", left, before)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", dir, err)
	}
	if n, err := rows(ctx, p.live.URL("assistant")); n != 5000 || err != nil {
		t.Errorf("live are %d rows, %v", n, err)
	}
}

// dying is a place whose pod is killed while it unpacks.
type dying struct {
	*pods
	before func(cmd *exec.Cmd)
}

func (d *dying) Unpack(ctx context.Context, q backup.UnpackRequest, _ func(int64)) (string, backup.Unpacked, error) {
	var done podcall.Unpacked[backup.Unpacked]
	err := podcall.Call(ctx, d.inPod(podcall.Unpack, d.before), q, podcall.Listener{}, &done)
	return done.Dir, done.Found, err
}

// requestOf is the request that a restore hands to its place.
func requestOf(t *testing.T, p *pods, plan backup.RestorePlan) (q backup.UnpackRequest) {
	t.Helper()
	stolen := errors.New("stolen")
	_, err := p.backups.Restore(t.Context(), plan, thief{p, &q, stolen}, noJournal{}, nil, terminalSteps{})
	if !errors.Is(err, stolen) {
		t.Fatal(err)
	}
	return q
}

type thief struct {
	*pods
	q   *backup.UnpackRequest
	err error
}

func (s thief) Unpack(_ context.Context, q backup.UnpackRequest, _ func(int64)) (string, backup.Unpacked, error) {
	*s.q = q
	if strings.Contains(fmt.Sprintf("%v %+v %#v", q, q, q), q.Identity) {
		s.Error("a request that is printed shows its key")
	}
	return "", backup.Unpacked{}, s.err
}

// The restore pod's own process goes when it is told to, or when nobody has come for long; never while a verb is at work.
func TestInsideWait(t *testing.T) {
	p := newPods(t)
	began := time.Now()
	if out, err := p.command("wait", "--idle", "2s").CombinedOutput(); err != nil || time.Since(began) < 2*time.Second {
		t.Fatalf("after %s: %v: %s", time.Since(began), err, out)
	}
	lock, err := os.OpenFile(filepath.Join(p.volume, ".assistctl.lock"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	wait := p.command("wait", "--idle", "1s")
	if err := wait.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- wait.Wait() }()
	select {
	case err := <-ended:
		t.Fatalf("it went while a verb was at work: %v", err)
	case <-time.After(3 * time.Second):
	}
	if err := wait.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("told to end: %v", err)
	}
}

func TestInsideInstall(t *testing.T) {
	to := filepath.Join(t.TempDir(), "assistctl")
	for range 2 {
		if out, err := exec.Command("assistctl", "inside", "install", to).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if out, err := exec.Command(to, "version").CombinedOutput(); err != nil || !strings.Contains(string(out), "v0.0.0-test") {
		t.Errorf("the copy says %q, %v", out, err)
	}
}
