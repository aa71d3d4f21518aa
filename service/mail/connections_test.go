package mail

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/humatest"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/mail/gmail/gmailtest"
	"github.com/smart-assistant/platform/service/outbound"
	"github.com/smart-assistant/platform/test/dovecot"
)

// routes serves the routes to one user.
func (w *syncWorld) routes(t *testing.T, c *connections) humatest.TestAPI {
	t.Helper()
	_, routes := humatest.New(t, huma.DefaultConfig("test", "1"))
	routes.UseMiddleware(func(ctx huma.Context, next func(huma.Context)) {
		next(huma.WithContext(ctx, context.WithValue(ctx.Context(), callerKey{}, w.user)))
	})
	c.routes(routes)
	return routes
}

// do asks and checks the status.
func do[T any](t *testing.T, routes humatest.TestAPI, status int, method, path string, body any) (answer T) {
	t.Helper()
	args := []any{}
	if body != nil {
		args = append(args, body)
	}
	got := routes.Do(method, path, args...)
	if got.Code != status {
		t.Fatalf("%s %s: %d, want %d: %s", method, path, got.Code, status, got.Body)
	}
	if strings.Contains(got.Body.String(), password) {
		t.Errorf("%s %s tells the password: %s", method, path, got.Body)
	}
	if got.Body.Len() > 0 {
		if err := json.Unmarshal(got.Body.Bytes(), &answer); err != nil {
			t.Fatal(err)
		}
	}
	return answer
}

func (w *syncWorld) newIMAP(name string) map[string]any {
	return map[string]any{"host": dovecot.Host, "port": w.dovecot.Port, "security": "tls", "username": name, "password": password}
}

func testRoutesIMAP(t *testing.T, w *syncWorld) {
	c, name := w.replica(t), w.mailbox(t)
	routes := w.routes(t, c)
	body := w.newIMAP(name)
	body["security"], body["port"], body["name"] = "starttls", w.dovecot.Plain, "work"
	made := do[Connection](t, routes, 201, "POST", "/api/v1/connections/imap", body)
	if made.Kind != "imap" || made.Name != "work" || made.State != "active" || made.Server.Username != name || made.Account != fmt.Sprintf("%s@localhost:%d", name, w.dovecot.Plain) {
		t.Errorf("made %+v", made)
	}
	path := "/api/v1/connections/" + made.ID
	if n := w.count(t, `SELECT count(*) FROM river_job WHERE kind = 'sync-connection'`); n != 1 {
		t.Errorf("%d syncs are queued", n)
	}
	w.dovecot.Deliver(t, name, "INBOX", numbered(0))
	w.sync(t, c, made.ID)
	if seen := do[Connection](t, routes, 200, "GET", path, nil); seen.LastSyncedAt == nil || seen.Syncing {
		t.Errorf("after a sync: %+v", seen)
	}
	do[Connection](t, routes, 202, "POST", path+"/sync", nil)
	if n := w.count(t, `SELECT count(*) FROM river_job WHERE kind = 'sync-connection'`); n != 2 {
		t.Errorf("%d syncs are queued", n)
	}
	if seen := do[Connection](t, routes, 200, "PATCH", path, map[string]any{"paused": true, "name": "not now"}); seen.State != "paused" || seen.Name != "not now" {
		t.Errorf("paused: %+v", seen)
	}
	do[any](t, routes, 409, "POST", path+"/sync", nil)
	w.dovecot.Deliver(t, name, "INBOX", numbered(1))
	w.sync(t, c, made.ID)
	w.exactly(t, 1)
	if seen := do[Connection](t, routes, 200, "PATCH", path, map[string]any{"paused": false}); seen.State != "active" {
		t.Errorf("resumed: %+v", seen)
	}
	w.sync(t, c, made.ID)
	w.exactly(t, 2)
	do[any](t, routes, 409, "POST", "/api/v1/connections/imap", body)
	do[any](t, routes, 204, "DELETE", path, nil)
	do[any](t, routes, 404, "GET", path, nil)
	do[any](t, routes, 404, "DELETE", path, nil)
	do[Connection](t, routes, 201, "POST", "/api/v1/connections/imap", body)
}

func testRoutesRefusals(t *testing.T, w *syncWorld) {
	name := w.mailbox(t)
	open, public := w.routes(t, w.replica(t)), w.routes(t, w.replica(t, func(c *Config) { c.Outbound = outbound.New() }))
	strangers := w.routes(t, w.replica(t, func(c *Config) { c.Sync.Roots = nil }))
	tests := map[string]struct {
		routes humatest.TestAPI
		change map[string]any
		field  string
		says   string
	}{
		"a private address":     {public, map[string]any{"host": "127.0.0.1"}, "body.host", "not public"},
		"a name that is one":    {public, nil, "body.host", "not public"},
		"a wrong password":      {open, map[string]any{"password": "wrong"}, "body.password", "refuses the user name or the password"},
		"another authority":     {strangers, nil, "body.security", "authority that is not trusted"},
		"another name":          {open, map[string]any{"host": "127.0.0.1"}, "body.security", "for another name"},
		"nobody listens":        {open, map[string]any{"port": 1}, "body.host", "refuses connections"},
		"no such host":          {open, map[string]any{"host": "imap.invalid"}, "body.host", "name"},
		"no security":           {open, map[string]any{"security": "none"}, "body.security", ""},
		"no such mailbox":       {open, map[string]any{"mailboxes": []string{"INBOX", "Nowhere"}}, "body.mailboxes", "Nowhere"},
		"a host with a path":    {open, map[string]any{"host": "example.org/x"}, "body.host", ""},
		"a host with a port":    {open, map[string]any{"host": "example.org:993"}, "body.host", ""},
		"a line in a password":  {open, map[string]any{"password": "x\r\nA1 DELETE INBOX"}, "body.password", "control"},
		"a line in a user name": {open, map[string]any{"username": "x\r\ny"}, "body.username", "control"},
		"a line in a mailbox":   {open, map[string]any{"mailboxes": []string{"x\ny"}}, "body.mailboxes", ""},
		"a port out of range":   {open, map[string]any{"port": 70000}, "body.port", ""},
	}
	for title, test := range tests {
		t.Run(title, func(t *testing.T) {
			body := w.newIMAP(name)
			maps.Copy(body, test.change)
			problem := do[huma.ErrorModel](t, test.routes, 422, "POST", "/api/v1/connections/imap", body)
			if !slices.ContainsFunc(problem.Errors, func(e *huma.ErrorDetail) bool {
				return e.Location == test.field && strings.Contains(e.Message, test.says)
			}) {
				t.Errorf("got %q %q, want one about %s that says %q", problem.Detail, problem.Errors, test.field, test.says)
			}
		})
	}
	w.exec(t, `INSERT INTO connections (id, user_id, kind, account, next_sync_at, created_at, updated_at)
		SELECT gen_random_uuid(), $1, 'gmail', n::text, now(), clock_timestamp(), now() FROM generate_series(1, $2) n`, w.user, mostConnections)
	do[any](t, open, 409, "POST", "/api/v1/connections/imap", w.newIMAP(name))
}

func testRoutesTenants(t *testing.T, w *syncWorld) {
	c, name := w.replica(t), w.mailbox(t)
	id := w.imap(t, c, name).ID
	w.user = w.newUser(t)
	routes := w.routes(t, c)
	for _, id := range []string{id, uuid.NewString()} {
		path := "/api/v1/connections/" + id
		do[any](t, routes, 404, "GET", path, nil)
		do[any](t, routes, 404, "PATCH", path, map[string]any{"name": "mine"})
		do[any](t, routes, 404, "POST", path+"/sync", nil)
		do[any](t, routes, 404, "DELETE", path+"?emails=delete", nil)
	}
	do[any](t, routes, 422, "GET", "/api/v1/connections/1", nil)
	if seen := do[api.List[Connection]](t, routes, 200, "GET", "/api/v1/connections", nil); len(seen.Items) != 0 {
		t.Errorf("another user sees %+v", seen)
	}
	do[Connection](t, routes, 201, "POST", "/api/v1/connections/imap", w.newIMAP(name)) // the same mailbox is anyone's who can log in
}

func testRoutesPages(t *testing.T, w *syncWorld) {
	w.exec(t, `INSERT INTO connections (id, user_id, kind, account, state, next_sync_at, created_at, updated_at)
		SELECT gen_random_uuid(), $1, 'gmail', n::text, CASE WHEN n > 7 THEN 'leaving' ELSE 'active' END, now(), clock_timestamp(), now() FROM generate_series(1, 9) n`, w.user)
	routes := w.routes(t, w.replica(t))
	seen := map[string]bool{}
	pages, cursor := 0, ""
	for ; pages == 0 || cursor != ""; pages++ {
		page := do[api.List[Connection]](t, routes, 200, "GET", "/api/v1/connections?limit=3&cursor="+cursor, nil)
		for _, c := range page.Items {
			seen[c.ID] = true
		}
		cursor = page.NextCursor
	}
	if len(seen) != 7 || pages != 3 {
		t.Errorf("%d connections on %d pages", len(seen), pages)
	}
	do[any](t, routes, 422, "GET", "/api/v1/connections?cursor=bm8", nil)
}

// leave removes a connection as its owner and does the job, at the given attempt.
func (w *syncWorld) leave(t *testing.T, c *connections, id string, deleteEmails bool) {
	t.Helper()
	if err := c.disconnect(t.Context(), w.user, id, deleteEmails); err != nil {
		t.Fatal(err)
	}
	if err := w.leaveJob(t, c, id, 1, deleteEmails); err != nil {
		t.Fatal(err)
	}
}

func (w *syncWorld) leaveJob(t *testing.T, c *connections, id string, attempt int, deleteEmails bool) error {
	t.Helper()
	job := &river.Job[leaveArgs]{JobRow: &rivertype.JobRow{Attempt: attempt}, Args: leaveArgs{id, deleteEmails}}
	return (&leaver{connections: c}).Work(t.Context(), job)
}

// shared makes two connections that share one of three messages.
func (w *syncWorld) shared(t *testing.T, c *connections) (id string) {
	t.Helper()
	name := w.mailbox(t)
	w.dovecot.Deliver(t, name, "INBOX", numbered(0))
	w.dovecot.Deliver(t, name, "INBOX", numbered(1))
	id = w.imap(t, c, name).ID
	w.sync(t, c, id)
	w.dovecot.User(t, name+"-2", password)
	w.dovecot.Deliver(t, name+"-2", "INBOX", numbered(1))
	w.dovecot.Deliver(t, name+"-2", "INBOX", numbered(2))
	w.sync(t, c, w.imap(t, c, name+"-2").ID)
	w.exactly(t, 3)
	return id
}

// testRecorded: the audit log hears when a mailbox comes and goes.
func testRecorded(t *testing.T, w *syncWorld) {
	var events []string
	c := w.replica(t, func(config *Config) {
		config.Record = func(_ context.Context, _ pgx.Tx, user, action string, detail map[string]any) error {
			events = append(events, fmt.Sprint(user, " ", action, " ", detail["connection"]))
			return nil
		}
	})
	id := w.imap(t, c, w.mailbox(t)).ID
	w.leave(t, c, id, false)
	if want := []string{w.user + " connection-added " + id, w.user + " connection-removed " + id}; !slices.Equal(events, want) {
		t.Errorf("%q, want %q", events, want)
	}
}

func testLeaveKeeping(t *testing.T, w *syncWorld) {
	c := w.replica(t)
	id := w.shared(t, c)
	w.leave(t, c, id, false)
	w.exactly(t, 3)
	if n := w.count(t, `SELECT count(*) FROM connections`); n != 1 {
		t.Errorf("%d connections are left", n)
	}
	w.sync(t, c, w.imap(t, c, w.mailbox(t)).ID) // connected again, the messages are recognised
	w.exactly(t, 3)
}

func testLeaveDeleting(t *testing.T, w *syncWorld) {
	c := w.replica(t)
	id := w.shared(t, c)
	w.exec(t, `INSERT INTO embeddings (item_id, model, user_id, kind, vector, created_at) SELECT id, 'm', user_id, 'email', '{1}', now() FROM emails`)
	w.leave(t, c, id, true)
	if got := w.subjects(t); len(got) != 2 || got["message 0"] != 0 {
		t.Errorf("left: %v", got)
	}
	if n := w.count(t, `SELECT count(*) FROM embeddings WHERE item_id NOT IN (SELECT id FROM emails)`); n != 0 {
		t.Errorf("%d vectors are left of messages that are not", n)
	}
}

func testLeaveGmail(t *testing.T, w *syncWorld) {
	g, c, id := w.gmail(t)
	w.leave(t, c, id, false)
	if got := g.Revoked(); !slices.Equal(got, []string{"refresh-token-1"}) {
		t.Errorf("revoked %q", got)
	}
	if n := w.count(t, `SELECT count(*) FROM connections`); n != 0 {
		t.Errorf("%d connections are left", n)
	}
	if err := w.leaveJob(t, c, id, 2, false); err != nil {
		t.Errorf("once more: %v", err)
	}
}

func testLeaveGmailFails(t *testing.T, w *syncWorld) {
	g, c, id := w.gmail(t)
	if err := c.disconnect(t.Context(), w.user, id, false); err != nil {
		t.Fatal(err)
	}
	g.SetFault(func(out http.ResponseWriter, _ *http.Request) bool { gmailtest.LoseAnswer(out); return true })
	for attempt := 1; attempt < revokeAttempts; attempt++ {
		if err := w.leaveJob(t, c, id, attempt, false); err == nil || strings.Contains(err.Error(), "refresh-token") {
			t.Errorf("attempt %d: %v", attempt, err)
		}
		if n := w.count(t, `SELECT count(*) FROM connections WHERE secret IS NOT NULL`); n != 1 {
			t.Errorf("after attempt %d the token is gone", attempt)
		}
	}
	if err := w.leaveJob(t, c, id, revokeAttempts, false); err != nil {
		t.Errorf("the last attempt: %v", err)
	}
	if n := w.count(t, `SELECT count(*) FROM connections`); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

func testLeaveGmailAgain(t *testing.T, w *syncWorld) {
	g, c, id := w.gmail(t)
	if err := c.disconnect(t.Context(), w.user, id, false); err != nil {
		t.Fatal(err)
	}
	again, err := c.connectGmail(t.Context(), w.user, gmailtest.Address, g.Consent())
	if err != nil || again == id {
		t.Fatalf("connected again as %s, error %v", again, err)
	}
	if err := w.leaveJob(t, c, id, 1, false); err != nil {
		t.Fatal(err)
	}
	deliver(g, 0, 2)
	if seen := w.sync(t, c, again); len(g.Revoked()) != 0 || seen.Problem != "" {
		t.Errorf("the new consent was taken back: %q, %+v", g.Revoked(), seen)
	}
	w.exactly(t, 2)
}

// testErase: of a user who is deleted, everything goes at once but a consent that Google does not take back; that is asked for again.
func testErase(t *testing.T, w *syncWorld) {
	g, c, id := w.gmail(t)
	deliver(g, 0, 3)
	w.sync(t, c, id)
	w.exactly(t, 3)
	w.exec(t, `INSERT INTO embeddings (item_id, model, user_id, kind, vector, created_at) SELECT id, 'm', user_id, 'email', '{1}', now() FROM emails`)
	s := c.store.(*Service)
	g.SetFault(func(out http.ResponseWriter, _ *http.Request) bool { gmailtest.LoseAnswer(out); return true })
	if err := s.Erase(t.Context(), w.user, 1); err == nil || strings.Contains(err.Error(), "refresh-token") {
		t.Errorf("while Google is away: %v", err)
	}
	if n := w.count(t, `SELECT (SELECT count(*) FROM emails) + (SELECT count(*) FROM embeddings)`); n != 0 {
		t.Errorf("%d rows are left of the mail", n)
	}
	if n := w.count(t, `SELECT count(*) FROM connections WHERE state = 'leaving' AND secret IS NOT NULL`); n != 1 {
		t.Errorf("%d connections wait for Google, want one", n)
	}
	g.SetFault(nil)
	for range 2 {
		if err := s.Erase(t.Context(), w.user, 2); err != nil {
			t.Errorf("once more: %v", err)
		}
	}
	if got := g.Revoked(); !slices.Equal(got, []string{"refresh-token-1"}) {
		t.Errorf("revoked %q", got)
	}
	if n := w.count(t, `SELECT (SELECT count(*) FROM connections) + (SELECT count(*) FROM email_origins)`); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}
