package mail

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/smart-assistant/platform/service/mail/imap"
	"github.com/smart-assistant/platform/test/dovecot"
)

const password = "correct horse battery"

// mailbox makes a user at Dovecot, named like the test.
func (w *syncWorld) mailbox(t testing.TB) string {
	t.Helper()
	_, name, _ := strings.Cut(t.Name(), "/")
	name = strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(name)) // as Dovecot does with it
	w.dovecot.User(t, name, password)
	return name
}

// imap connects a user's mailbox.
func (w *syncWorld) imap(t testing.TB, c *connections, name string, mailboxes ...string) Connection {
	t.Helper()
	server := MailServer{Host: dovecot.Host, Port: w.dovecot.Port, Security: imap.TLS, Username: name, Mailboxes: mailboxes}
	made, err := c.connectIMAP(t.Context(), w.user, IMAPConnection{MailServer: server, Password: password})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func testIMAPSyncs(t *testing.T, w *syncWorld) {
	c, name := w.replica(t), w.mailbox(t)
	for i := range 300 {
		w.dovecot.Deliver(t, name, "INBOX", numbered(i))
	}
	w.dovecot.Deliver(t, name, "Archive", numbered(300))
	w.dovecot.Deliver(t, name, "Archive", numbered(7)) // a copy
	w.dovecot.Deliver(t, name, "Junk", numbered(1000))
	id := w.imap(t, c, name).ID
	seen := w.sync(t, c, id)
	if seen.State != stateActive || seen.Problem != "" || seen.LastSyncedAt == nil || seen.Syncing || !seen.NextSyncAt.After(*seen.LastSyncedAt) {
		t.Errorf("after the first sync: %+v", seen)
	}
	w.exactly(t, 301)
	w.sync(t, c, id)
	w.exactly(t, 301)
	w.dovecot.Deliver(t, name, "INBOX", numbered(301))
	w.dovecot.Deliver(t, name, "Archive", numbered(302))
	w.sync(t, c, id)
	w.exactly(t, 303)
}

func testIMAPRenumbered(t *testing.T, w *syncWorld) {
	c, name := w.replica(t), w.mailbox(t)
	for i := range 60 {
		w.dovecot.Deliver(t, name, "INBOX", numbered(i))
	}
	id := w.imap(t, c, name).ID
	w.sync(t, c, id)
	w.dovecot.Renumber(t, name, "INBOX", 4_000_000_000)
	w.dovecot.Deliver(t, name, "INBOX", numbered(60))
	w.sync(t, c, id)
	w.exactly(t, 61)
	row, err := c.db.Connection(t.Context(), connectionOf(w, id))
	if err != nil {
		t.Fatal(err)
	}
	if got := readIMAPCursor(row.Cursor).Mailboxes["INBOX"]; got.Validity != 4_000_000_000 || got.UID != 61 || len(got.Aside) != 0 {
		t.Errorf("the cursor is at %+v", got)
	}
}

func testIMAPMailboxGoes(t *testing.T, w *syncWorld) {
	c, name := w.replica(t), w.mailbox(t)
	w.dovecot.Deliver(t, name, "Jobs/2026", numbered(0))
	w.dovecot.Deliver(t, name, "INBOX", numbered(1))
	id := w.imap(t, c, name, "Jobs/2026", "INBOX").ID
	w.sync(t, c, id)
	w.exactly(t, 2)
	w.dovecot.Remove(t, name, "Jobs/2026")
	w.dovecot.Deliver(t, name, "INBOX", numbered(2))
	seen := w.sync(t, c, id)
	if seen.State != stateActive || !strings.Contains(seen.Problem, "Jobs/2026") || seen.LastSyncedAt == nil {
		t.Errorf("without a mailbox: %+v", seen)
	}
	w.exactly(t, 3)
	w.dovecot.Deliver(t, name, "Jobs/2026", numbered(3))
	if seen := w.sync(t, c, id); seen.Problem != "" {
		t.Errorf("with the mailbox there again: %+v", seen)
	}
	w.exactly(t, 4)
}

func testIMAPPassword(t *testing.T, w *syncWorld) {
	c, name := w.replica(t), w.mailbox(t)
	w.dovecot.Deliver(t, name, "INBOX", numbered(0))
	id := w.imap(t, c, name).ID
	w.dovecot.User(t, name, "another")
	seen := w.sync(t, c, id)
	if seen.State != stateReconnect || !strings.Contains(seen.Problem, "password") {
		t.Errorf("with the old password: %+v", seen)
	}
	if n, err := c.queueDue(t.Context()); n != 0 || err != nil {
		t.Errorf("%d syncs are queued for a refused password, error %v", n, err)
	}
	wrong, right := "wrong", "another"
	if _, err := c.change(t.Context(), w.user, id, ConnectionChange{Password: &wrong}); err == nil {
		t.Error("a wrong password is kept")
	}
	if seen, err := c.change(t.Context(), w.user, id, ConnectionChange{Password: &right}); err != nil || seen.State != stateActive || seen.Problem != "" {
		t.Errorf("with the new password: %+v, %v", seen, err)
	}
	w.sync(t, c, id)
	w.exactly(t, 1)
}

func testIMAPLarge(t *testing.T, w *syncWorld) {
	c, name := w.replica(t, func(c *Config) { c.Sync.MaxMessage = 1000 }), w.mailbox(t)
	for i := range 3 {
		w.dovecot.Deliver(t, name, "INBOX", numbered(i))
		w.dovecot.Deliver(t, name, "INBOX", append(numbered(100+i), bytes.Repeat([]byte("large "), 1000)...))
	}
	id := w.imap(t, c, name).ID
	for range 2 {
		if seen := w.sync(t, c, id); seen.Skipped != 3 {
			t.Errorf("%d messages were skipped", seen.Skipped)
		}
		w.exactly(t, 3)
	}
}

func testIMAPUnreachable(t *testing.T, w *syncWorld) {
	c, name := w.replica(t), w.mailbox(t)
	id := w.imap(t, c, name).ID
	w.exec(t, `UPDATE connections SET settings = jsonb_set(settings, '{port}', '1')`)
	var before Connection
	for failure := range 12 {
		seen := w.sync(t, c, id)
		if seen.State != stateActive || !strings.Contains(seen.Problem, "refuses connections") {
			t.Fatalf("without a server: %+v", seen)
		}
		wait := seen.NextSyncAt.Sub(c.config.Now())
		if wait > longestWait+longestWait/10 || failure > 8 && wait < longestWait*8/10 || failure < 5 && wait <= before.NextSyncAt.Sub(c.config.Now()) {
			t.Errorf("after %d failures the next sync is in %s", failure+1, wait)
		}
		before = seen
	}
	w.exec(t, `UPDATE connections SET settings = jsonb_set(settings, '{port}', $1::text::jsonb)`, fmt.Sprint(w.dovecot.Port))
	if seen := w.sync(t, c, id); seen.Problem != "" || seen.LastSyncedAt == nil {
		t.Errorf("with the server back: %+v", seen)
	}
	if n := w.count(t, `SELECT failures FROM connections`); n != 0 {
		t.Errorf("%d failures are remembered", n)
	}
}

// FuzzCursors reads foreign bytes as cursors: whatever they are, a sync can begin.
func FuzzCursors(f *testing.F) {
	f.Add([]byte(`{"mailboxes":{"INBOX":{"uidvalidity":1,"uid":2}}}`))
	f.Add([]byte(`{"history":"12","full":true}`))
	f.Add([]byte(`{"mailboxes":null}`))
	f.Add([]byte(`{"mailboxes":{"INBOX":{"aside":{"7":{"since":"2026-03-01T12:00:00+01:00","tries":3}}}}}`))
	f.Add([]byte(`{"aside":{"18c":{"since":"0001-01-01T00:00:00Z","tries":-1}}}`))
	f.Add([]byte(`[`))
	f.Fuzz(func(t *testing.T, text []byte) {
		read := readIMAPCursor(text)
		read.Mailboxes["x"] = imapPosition{Validity: 1, UID: 2}
		first := asJSON(t, read)
		if again := asJSON(t, readIMAPCursor(first)); !bytes.Equal(again, first) {
			t.Errorf("%s is %s when it is read again", first, again)
		}
		first = asJSON(t, readGmailCursor(text))
		if again := asJSON(t, readGmailCursor(first)); !bytes.Equal(again, first) {
			t.Errorf("%s is %s when it is read again", first, again)
		}
	})
}

func asJSON(t *testing.T, cursor any) []byte {
	t.Helper()
	text, err := json.Marshal(cursor)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestNamesOfMessages(t *testing.T) {
	for _, mailbox := range []string{"INBOX", strings.Repeat("ä", 200), strings.Repeat("x", 5000)} {
		if name := imapName(mailbox, 1<<32-1, 1<<32-1); len(name) > 500 {
			t.Errorf("a message in a mailbox of %d bytes has a name of %d", len(mailbox), len(name))
		}
	}
	if imapName(strings.Repeat("x", 5000), 1, 1) == imapName(strings.Repeat("y", 5000), 1, 1) {
		t.Error("two mailboxes share names")
	}
}
