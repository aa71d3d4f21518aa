package mail

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/smart-assistant/platform/service/mail/gmail/gmailtest"
)

// gmail starts a stand-in for Gmail and connects to it.
func (w *syncWorld) gmail(t testing.TB, change ...func(*Config)) (*gmailtest.Server, *connections, string) {
	t.Helper()
	g := gmailtest.Start(t)
	c := w.gmailReplica(t, g, change...)
	id, err := c.connectGmail(t.Context(), w.user, gmailtest.Address, g.Consent())
	if err != nil {
		t.Fatal(err)
	}
	return g, c, id
}

func (w *syncWorld) gmailReplica(t testing.TB, g *gmailtest.Server, change ...func(*Config)) *connections {
	return w.replica(t, append([]func(*Config){func(c *Config) {
		c.Gmail, c.GmailURL, c.GmailRevokeURL = g.Config(), g.URL, g.URL+"/revoke"
	}}, change...)...)
}

func deliver(g *gmailtest.Server, from, to int) {
	for i := from; i < to; i++ {
		g.Deliver(numbered(i), "INBOX")
	}
}

func testGmailSyncs(t *testing.T, w *syncWorld) {
	g, c, id := w.gmail(t)
	g.PageSize = 70
	deliver(g, 0, 200)
	g.Deliver(numbered(1000), "SPAM")
	seen := w.sync(t, c, id)
	if seen.State != stateActive || seen.Problem != "" || seen.Account != gmailtest.Address || seen.Server != nil || seen.LastSyncedAt == nil {
		t.Errorf("after the first sync: %+v", seen)
	}
	w.exactly(t, 200)
	deliver(g, 200, 290) // more than a page
	g.Deliver(numbered(1001), "TRASH")
	w.sync(t, c, id)
	w.exactly(t, 290)
	w.sync(t, c, id)
	if n := g.Fetched(); n != 290 {
		t.Errorf("%d messages were fetched for 290", n)
	}
	if n := g.Asked("/gmail/v1/users/me/messages"); n != 3 {
		t.Errorf("the list was asked for %d pages", n)
	}
}

func testGmailMost(t *testing.T, w *syncWorld) {
	g, c, id := w.gmail(t, func(c *Config) { c.Sync.GmailMost = 25 })
	g.PageSize = 10
	deliver(g, 0, 40)
	w.sync(t, c, id)
	for i := range 40 {
		if got := w.subjects(t)[fmt.Sprint("message ", i)] == 1; got != (i >= 15) {
			t.Errorf("message %d of 40 is there: %t", i, got)
		}
	}
}

func testGmailHistoryForgotten(t *testing.T, w *syncWorld) {
	g, c, id := w.gmail(t)
	deliver(g, 0, 30)
	w.sync(t, c, id)
	deliver(g, 30, 40)
	g.Forget()
	deliver(g, 40, 45)
	w.sync(t, c, id)
	w.exactly(t, 45)
	deliver(g, 45, 46)
	w.sync(t, c, id)
	w.exactly(t, 46)
	if n := g.Fetched(); n != 46 {
		t.Errorf("%d messages were fetched for 46", n)
	}
}

// testGmailFaults has each kind of request fail in each way, in the middle of a first sync and of a later one.
func testGmailFaults(t *testing.T, w *syncWorld) {
	faults := map[string]struct {
		answer  func(http.ResponseWriter)
		problem string
	}{
		"rate limit": {func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "3000")
			gmailtest.Fail(w, 429, "rateLimitExceeded")
		}, "asks to wait"},
		"quota":     {func(w http.ResponseWriter) { gmailtest.Fail(w, 403, "userRateLimitExceeded") }, "asks to wait"},
		"failure":   {func(w http.ResponseWriter) { gmailtest.Fail(w, 500, "backendError") }, "Gmail: "},
		"no answer": {gmailtest.LoseAnswer, "Gmail: "},
		"half a answer": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte(`{"messages":`))
		}, "Gmail: "},
		"nonsense": {func(w http.ResponseWriter) { _, _ = w.Write([]byte(`<html>`)) }, "Gmail: "},
	}
	for name, fault := range faults {
		for _, request := range []string{"profile", "messages", "messages/", "history", "token"} {
			t.Run(name+" to "+strings.ReplaceAll(request, "/", " one"), func(t *testing.T) {
				w := &syncWorld{pool: w.pool, keyring: w.keyring, user: w.newUser(t)}
				w.exec(t, `DELETE FROM emails`)
				g, c, id := w.gmail(t)
				deliver(g, 0, 60)
				total := 60
				if request == "history" {
					w.sync(t, c, id)
					deliver(g, 60, 130)
					total = 130
				}
				if request == "token" {
					g.Expire()
				}
				left := map[string]int{"messages/": 55}[request]
				g.SetFault(func(out http.ResponseWriter, r *http.Request) bool {
					if !strings.HasSuffix(r.URL.Path, "/"+request) && !(request == "messages/" && strings.Contains(r.URL.Path, "/messages/")) {
						return false
					}
					if left--; left >= 0 {
						return false
					}
					fault.answer(out)
					return true
				})
				seen := w.sync(t, c, id)
				if wait := time.Until(seen.NextSyncAt); seen.State != stateActive || seen.Syncing || wait < time.Minute || name == "rate limit" && request != "token" && wait < 2990*time.Second {
					t.Errorf("with the fault: %+v, next in %s", seen, wait)
				}
				problem := fault.problem
				if request == "messages/" && (name == "failure" || name == "nonsense") { // an answer, about one message after the other
					problem = "5 of its messages"
				}
				if !strings.Contains(seen.Problem, problem) && request != "token" {
					t.Errorf("the problem is %q", seen.Problem)
				}
				g.SetFault(nil)
				if seen := w.sync(t, c, id); seen.Problem != "" {
					t.Errorf("afterwards: %+v", seen)
				}
				w.exactly(t, total)
				if n := g.Fetched(); request == "messages/" && n > total+1+batchMessages {
					t.Errorf("%d messages were fetched for %d", n, total)
				}
			})
		}
	}
}

func testGmailTokensRotate(t *testing.T, w *syncWorld) {
	g, c, id := w.gmail(t)
	other := w.gmailReplica(t, g)
	row, err := c.db.Connection(t.Context(), connectionOf(w, id))
	if err != nil {
		t.Fatal(err)
	}
	kept, err := c.openTokens(row)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		deliver(g, 0, 1)
		g.Expire()
		before := g.Asked("/token")
		var all sync.WaitGroup
		got := make([]string, 8)
		for i := range got {
			all.Go(func() {
				var err error
				if got[i], err = []*connections{c, other}[i%2].accessToken(t.Context(), row, kept.Access); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := g.Asked("/token") - before; n != 1 || len(slices.Compact(got)) != 1 {
			t.Errorf("8 at once refreshed %d times and got %q", n, got)
		}
		kept.Access = got[0]
	}
	g.Expire() // while a sync runs
	w.sync(t, c, id)
	if n := w.count(t, `SELECT count(*) FROM emails`); n != 1 {
		t.Errorf("%d messages are there", n)
	}
}

func testGmailWithdrawn(t *testing.T, w *syncWorld) {
	g, c, id := w.gmail(t)
	deliver(g, 0, 3)
	w.sync(t, c, id)
	g.Withdraw()
	deliver(g, 3, 5)
	seen := w.sync(t, c, id)
	if seen.State != stateReconnect || !strings.Contains(seen.Problem, "connect again") {
		t.Errorf("after the consent was withdrawn: %+v", seen)
	}
	if _, err := c.syncNow(t.Context(), w.user, id); err == nil {
		t.Error("a sync without consent begins")
	}
	again, err := c.connectGmail(t.Context(), w.user, strings.ToUpper(gmailtest.Address), g.Consent())
	if err != nil || again != id {
		t.Fatalf("connected again as %s, want %s, error %v", again, id, err)
	}
	if seen := w.sync(t, c, id); seen.State != stateActive || seen.Problem != "" {
		t.Errorf("connected again: %+v", seen)
	}
	w.exactly(t, 5)
	if n := g.Fetched(); n != 5 {
		t.Errorf("%d messages were fetched for 5", n)
	}
}

func testGmailOddMessages(t *testing.T, w *syncWorld) {
	g, c, id := w.gmail(t, func(c *Config) { c.Sync.MaxMessage = 1000 })
	deliver(g, 0, 3)
	g.Deliver(numbered(100), "DRAFT")
	g.Deliver(append(numbered(101), bytes.Repeat([]byte("large "), 1000)...), "INBOX")
	gone := g.Deliver(numbered(102), "INBOX")
	g.SetFault(func(http.ResponseWriter, *http.Request) bool { return false })
	g.Remove(gone)
	for range 2 {
		if seen := w.sync(t, c, id); seen.Problem != "" || seen.Skipped != 1 {
			t.Errorf("with odd messages: %+v", seen)
		}
		w.exactly(t, 3)
	}
	late := g.Deliver(numbered(103), "INBOX")
	g.Remove(late) // between history and the message
	deliver(g, 3, 4)
	if seen := w.sync(t, c, id); seen.Problem != "" {
		t.Errorf("with a message that goes: %+v", seen)
	}
	w.exactly(t, 4)
}

// testNoSecret looks for passwords and tokens in every table.
func testNoSecret(t *testing.T, w *syncWorld) {
	g, c, _ := w.gmail(t)
	name := w.mailbox(t)
	w.imap(t, c, name)
	deliver(g, 0, 1)
	g.Expire()
	for _, id := range w.connectionIDs(t) {
		w.sync(t, c, id)
		if err := c.disconnect(t.Context(), w.user, id, false); err != nil {
			t.Fatal(err)
		}
	}
	tables, err := w.pool.Query(t.Context(), `SELECT format('SELECT coalesce(string_agg(t::text, E''\n''), '''') FROM %I t', relname) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace`)
	if err != nil {
		t.Fatal(err)
	}
	var queries []string
	for tables.Next() {
		var query string
		if err := tables.Scan(&query); err != nil {
			t.Fatal(err)
		}
		queries = append(queries, query)
	}
	for _, query := range queries {
		var text string
		if err := w.pool.QueryRow(t.Context(), query).Scan(&text); err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{password, "access-token-", "refresh-token-", fmt.Sprintf("%x", password), fmt.Sprintf("%x", "refresh-token-")} {
			if strings.Contains(text, secret) {
				t.Errorf("%q is there after %s", secret, query)
			}
		}
	}
}

func (w *syncWorld) connectionIDs(t testing.TB) (ids []string) {
	t.Helper()
	if err := w.pool.QueryRow(t.Context(), `SELECT array_agg(id::text) FROM connections`).Scan(&ids); err != nil {
		t.Fatal(err)
	}
	return ids
}

func testGmailRescued(t *testing.T, w *syncWorld) {
	g, c, id := w.gmail(t)
	g.Deliver(numbered(0), "INBOX")
	spam, trash := g.Deliver(numbered(1), "SPAM"), g.Deliver(numbered(2), "TRASH")
	read := g.Deliver(numbered(3), "INBOX", "UNREAD")
	w.sync(t, c, id)
	g.Move(spam, "INBOX")
	w.sync(t, c, id)
	g.Move(trash, "INBOX")
	g.Move(read, "TRASH")
	w.sync(t, c, id)
	w.exactly(t, 4)
}

func testGmailBetweenPages(t *testing.T, w *syncWorld) {
	g, c, id := w.gmail(t)
	g.PageSize = 5
	w.sync(t, c, id)
	deliver(g, 0, 12)
	var late sync.Once
	g.Before = func(r *http.Request) {
		if r.FormValue("pageToken") != "" {
			late.Do(func() { deliver(g, 12, 13) })
		}
	}
	w.sync(t, c, id)
	w.sync(t, c, id)
	w.exactly(t, 13)
}

// testGmailSlowTokens: the row is not locked for as long as Google likes.
func testGmailSlowTokens(t *testing.T, w *syncWorld) {
	g, c, id := w.gmail(t, func(c *Config) { c.Sync.Refresh = 50 * time.Millisecond })
	g.Expire()
	g.Before = func(r *http.Request) {
		if r.URL.Path == "/token" {
			_ = r.ParseForm() // the end of a request is seen behind its body
			<-r.Context().Done()
		}
	}
	if seen := w.sync(t, c, id); seen.State != stateActive || !strings.Contains(seen.Problem, "too long") {
		t.Errorf("without an answer: %+v", seen)
	}
}
