package mail

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/smart-assistant/platform/service/mail/gmail/gmailtest"
	"github.com/smart-assistant/platform/service/outbound"
	"github.com/smart-assistant/platform/service/work"
)

// childEnv holds what TestSyncProcess does; the test program is started again with it, to be killed.
const childEnv = "ASSISTD_TEST_SYNC_PROCESS"

type child struct {
	Database string
	Gmail    string // URL of the stand-in
	Roots    []byte // of Dovecot, PEM
}

// TestSyncProcess is no test: it is the process that the tests of killing start. It runs background work until it is killed.
func TestSyncProcess(t *testing.T) {
	text := os.Getenv(childEnv)
	if text == "" {
		return
	}
	var what child
	if err := json.Unmarshal([]byte(text), &what); err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.New(t.Context(), what.Database)
	if err != nil {
		t.Fatal(err)
	}
	queue := work.New(work.Config{Pool: pool, Log: slog.Default()})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(what.Roots)
	g := gmailtest.Server{URL: what.Gmail}
	config := Config{
		Pool: pool, Keyring: newKeyring(t), Queue: queue, Outbound: outbound.New(loopback...), Log: slog.Default(), Now: time.Now,
		Sync: SyncConfig{Lease: time.Second, Roots: roots}, Gmail: g.Config(), GmailURL: g.URL,
	}
	config.IndexKey = indexKeyOf
	s, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := queue.Build(); err != nil {
		t.Fatal(err)
	}
	if err := queue.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for { // what the periodic job does, which waits for a leader to be elected
		if _, err := s.connections.queueDue(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// killed runs processes one after the other, kills each once some more messages are there, and lets the last one finish.
func (w *syncWorld) killed(t *testing.T, what child, messages int) {
	what.Database = w.url
	text, err := json.Marshal(what)
	if err != nil {
		t.Fatal(err)
	}
	for _, kill := range []int{1, messages / 5, messages / 3, messages / 2, messages * 4 / 5, messages} {
		w.exec(t, `UPDATE connections SET next_sync_at = least(next_sync_at, now() + interval '1 second')`) // no need to wait for the queue's grace
		process := exec.Command(os.Args[0], "-test.run=^TestSyncProcess$", "-test.timeout=5m")
		process.Env = append(os.Environ(), childEnv+"="+string(text))
		process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := process.Start(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(time.Minute); w.count(t, `SELECT count(*) FROM emails`) < kill; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Errorf("only %d messages of %d came", w.count(t, `SELECT count(*) FROM emails`), kill)
				break
			}
		}
		if kill == messages {
			for deadline := time.Now().Add(time.Minute); w.count(t, `SELECT count(*) FROM connections WHERE last_synced_at IS NOT NULL`) == 0; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Error("the last sync does not end")
					break
				}
			}
		}
		_ = process.Process.Kill()
		_ = process.Wait()
		if ended := w.count(t, `SELECT count(*) FROM connections WHERE last_synced_at IS NOT NULL`) == 1; ended != (kill == messages) {
			t.Errorf("killed after %d of %d messages; a sync came to its end: %t", kill, messages, ended)
		}
	}
	w.exactly(t, messages)
	if n := w.count(t, `SELECT count(*) FROM email_origins`); n != messages {
		t.Errorf("%d origins of %d messages", n, messages)
	}
	w.rescued(t)
}

// rescued sees the jobs of the killed processes end, hours later.
func (w *syncWorld) rescued(t *testing.T) {
	const running = `SELECT count(*) FROM river_job WHERE kind = 'sync-connection' AND state = 'running'`
	if w.count(t, running) == 0 {
		t.Error("no job was killed")
	}
	w.exec(t, `UPDATE river_job SET attempted_at = now() - interval '3 hours' WHERE state = 'running'`)
	queue := w.replica(t).config.Queue
	if err := queue.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = queue.Stop(context.Background()) }()
	for deadline := time.Now().Add(time.Minute); w.count(t, running) > 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("%d jobs stay running", w.count(t, running))
			break
		}
	}
}

func testIMAPKilled(t *testing.T, w *syncWorld) {
	const messages = 600
	c, name := w.replica(t), w.mailbox(t)
	for i := range messages / 2 {
		w.dovecot.Deliver(t, name, "INBOX", numbered(i))
		w.dovecot.Deliver(t, name, "Archive", numbered(messages/2+i))
	}
	w.imap(t, c, name)
	w.killed(t, child{Roots: w.dovecot.Authority}, messages)
}

func testGmailKilled(t *testing.T, w *syncWorld) {
	const messages = 400
	g, _, _ := w.gmail(t)
	deliver(g, 0, messages)
	w.killed(t, child{Gmail: g.URL}, messages)
	if n := g.Fetched(); n > messages+6*2*batchMessages {
		t.Errorf("%d messages were fetched for %d", n, messages)
	}
}
