package server_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/smart-assistant/platform/service/outbound"
	"github.com/smart-assistant/platform/service/server"
)

// places says which table an id in a path is of, by the path up to there. A route that is not here fails the test.
var places = map[string]string{
	"/api/v1/admin/users/{id}":                     "users",
	"/api/v1/applications/{id}":                    "applications",
	"/api/v1/briefings/{id}":                       "briefings",
	"/api/v1/connections/{id}":                     "connections",
	"/api/v1/emails/{id}":                          "emails",
	"/api/v1/emails/{id}/attachments/{attachment}": "attachments",
	"/api/v1/job-sources/{id}":                     "job_sources",
	"/api/v1/jobs/{id}":                            "postings",
	"/api/v1/me/identities/{id}":                   "identities",
	"/api/v1/me/sessions/{id}":                     "sessions",
	"/api/v1/oauth/{provider}":                     "", // whom the operator configured, nobody's
	"/api/v1/suggestions/{id}":                     "application_suggestions",
}

// question is a request of the matrix, with another user's ids in it.
type question struct {
	name, method, path string
	body               any
	names              bool // the path names something of the other user
	private            bool
	admin              bool
}

// feeds serves a feed with one posting, which has the path's word in it.
func feeds(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		word := strings.Trim(r.URL.Path, "/")
		fmt.Fprintf(w, `<rss version="2.0"><channel><title>%[1]s</title><item><guid>%[1]s</guid><title>Diver of %[1]s %[2]s</title><company>%[1]s</company>
			<link>https://example.com/%[1]s</link><pubDate>Mon, 02 Mar 2026 10:00:00 GMT</pubDate><description>%[1]s %[2]s</description></item></channel></rss>`, word, common)
	}))
	t.Cleanup(s.Close)
	return s
}

func allowLoopback(c *server.Config) {
	c.Outbound = outbound.New(netip.MustParsePrefix("127.0.0.0/8"))
}

// testTenantMatrix: whatever a user asks with another's ids, by every operation that the documents know, they read nothing of the other's
// and change nothing.
func testTenantMatrix(t *testing.T, w *world) {
	r, site := w.start(t, allowLoopback), feeds(t)
	ada := w.settle(t, r, site, "quokkada")
	questions := r.questions(t, ada)
	ownsWhatIsAsked(t, r, ada, questions)

	db := connect(t, w.url)
	before := w.digest(t, db, ada)
	var eve *estate
	for i, q := range questions {
		if eve == nil || r.call(t, "GET", "/api/v1/me", eve.AccessToken, nil).StatusCode != http.StatusOK { // some operations end a session
			eve = w.settle(t, r, site, fmt.Sprintf("evelyn%d", i))
		}
		a := r.call(t, q.method, q.path, eve.AccessToken, q.body)
		switch {
		case q.admin && a.StatusCode != http.StatusForbidden:
			t.Errorf("%s answers %s to a user who is no administrator: %s", q.name, a.Status, a.text)
		case q.names && !q.admin && a.StatusCode != http.StatusNotFound:
			t.Errorf("%s answers %s about another's: %s", q.name, a.Status, a.text)
		case a.StatusCode >= http.StatusInternalServerError && a.StatusCode != http.StatusNotImplemented:
			t.Errorf("%s fails: %s %s", q.name, a.Status, a.text)
		}
		if found := ada.in(a.text + fmt.Sprint(a.Header)); found != "" {
			t.Errorf("%s tells of another's %s: %s", q.name, found, a.text)
		}
	}
	for table, sum := range w.digest(t, db, ada) {
		if sum != before[table] {
			t.Errorf("somebody else changed rows in %s", table)
		}
	}
	w.namesNobody(t, ada)
}

// ownsWhatIsAsked: the matrix asks for things that are there. The owner reads each of them.
func ownsWhatIsAsked(t *testing.T, r *replica, e *estate, questions []question) {
	t.Helper()
	read := 0
	for _, q := range questions {
		if q.method != http.MethodGet || !q.names || q.admin {
			continue
		}
		if a := r.want(t, 200, "GET", q.path, e.AccessToken, nil); e.in(a.text) == "" {
			t.Errorf("%s does not tell the owner of it: %s", q.name, a.text)
		}
		read++
	}
	if read < 8 {
		t.Errorf("the matrix reads only %d kinds of things", read)
	}
	if a := r.want(t, 200, "GET", "/api/v1/emails/search?q="+common, e.AccessToken, nil); e.in(a.text) == "" {
		t.Errorf("the owner does not find their mail: %s", a.text)
	}
}

// namesNobody: no row of another's refers to a row of the user.
func (w *world) namesNobody(t *testing.T, e *estate) {
	t.Helper()
	db := connect(t, w.url)
	for table, condition := range w.tables(t, db) {
		var found string
		w.one(t, db, &found, "SELECT coalesce(string_agg(to_jsonb(t)::text, ' '), '') FROM "+table+" t WHERE NOT ("+condition+")", e.user)
		for _, id := range anUUID.FindAllString(found, -1) {
			if slices.Contains(e.all, id) {
				t.Errorf("a row in %s that is another's has %s", table, id)
			}
		}
	}
}

// testNobodyIsLetIn: without a token, and with that of a user who was disabled, every private operation answers 401.
func testNobodyIsLetIn(t *testing.T, w *world) {
	r := w.start(t, allowLoopback)
	ada := w.settle(t, r, feeds(t), "quokkada")
	admin := r.admin(t, w, "admin@example.org")
	questions := r.questions(t, ada)
	r.want(t, 200, "POST", "/api/v1/admin/users/"+ada.user+"/disable", admin.AccessToken, nil)
	private := 0
	for _, q := range questions {
		if !q.private {
			continue
		}
		private++
		for _, token := range []string{"", ada.AccessToken} {
			if a := r.call(t, q.method, q.path, token, q.body); a.StatusCode != http.StatusUnauthorized || ada.in(a.text) != "" {
				t.Errorf("%s answers %s (with a token: %v): %s", q.name, a.Status, token != "", a.text)
			}
		}
	}
	if private < 60 {
		t.Errorf("only %d private operations", private)
	}
}

// testForeignIDs: another's ids in bodies, and another's idempotency key, are of no use.
func testForeignIDs(t *testing.T, w *world) {
	r, site := w.start(t, allowLoopback), feeds(t)
	ada, eve := w.settle(t, r, site, "quokkada"), w.settle(t, r, site, "evelyn")
	for _, c := range []struct {
		status int
		path   string
		body   object
	}{
		{422, "/api/v1/applications", object{"posting_id": ada.ids["postings"]}},
		{422, "/api/v1/applications", object{"company": "Example", "posting_id": ada.ids["postings"]}},
		{404, "/tools/get_email", object{"id": ada.ids["emails"]}},
		{404, "/tools/update_application", object{"id": ada.ids["applications"], "status": "withdrawn"}},
		{422, "/tools/add_application", object{"company": "Example", "posting_id": ada.ids["postings"]}},
	} {
		if a := r.call(t, "POST", c.path, eve.AccessToken, c.body); a.StatusCode != c.status || ada.in(a.text) != "" {
			t.Errorf("%s with %v: %s %s", c.path, c.body, a.Status, a.text)
		}
	}
	add := func(token string) (id string) {
		var added struct{ ID string }
		request := func(r *http.Request) { r.Header.Set("Idempotency-Key", "one") }
		a, err := try(t.Context(), "POST", r.url+"/api/v1/applications", token, object{"company": "Example"}, request)
		if err != nil || a.StatusCode != http.StatusCreated {
			t.Fatalf("%v %v", a.Response, err)
		}
		a.decode(t, &added)
		return added.ID
	}
	if first := add(ada.AccessToken); add(ada.AccessToken) != first || add(eve.AccessToken) == first {
		t.Error("an idempotency key of one user's answers another")
	}
}

// in returns what of a user's a text has: an id or the word.
func (e *estate) in(text string) string {
	for _, secret := range append([]string{e.word}, e.all...) {
		if strings.Contains(text, secret) {
			return secret
		}
	}
	return ""
}

// questions asks every operation about what a user has.
func (r *replica) questions(t *testing.T, e *estate) (list []question) {
	t.Helper()
	for _, path := range documents {
		d, _ := r.document(t, path)
		d.each(func(path, method string, op operation) {
			q := question{name: method + " " + path, method: method, private: len(op.Security) > 0 || strings.HasPrefix(path, "/tools/")}
			q.admin = strings.HasPrefix(path, "/api/v1/admin/")
			q.path, q.names = e.fill(t, path)
			q.path += e.query(d, op)
			if op.RequestBody != nil {
				q.body = e.body(d, op)
			}
			list = append(list, q)
		})
	}
	for _, said := range []string{"Show me my newest mail", "Search my mail for " + common, "Which applications do I have?", "Which jobs are there?", "My briefing", "Write a briefing now"} {
		body := object{"model": "smart-assistant", "messages": []object{{"role": "user", "content": said}}}
		list = append(list, question{name: "chat: " + said, method: "POST", path: "/v1/chat/completions", body: body, private: true})
	}
	embed := object{"model": "hash-256-v1", "input": common}
	list = append(list, question{name: "embeddings", method: "POST", path: "/v1/embeddings", body: embed, private: true})
	deletes := func(q question) bool { return q.method == http.MethodDelete } // last: what one deleted, were it allowed to, others would not find
	return slices.Concat(slices.DeleteFunc(slices.Clone(list), deletes), slices.DeleteFunc(list, func(q question) bool { return !deletes(q) }))
}

// fill puts a user's ids into a path.
func (e *estate) fill(t *testing.T, path string) (filled string, names bool) {
	t.Helper()
	var walked string
	for _, part := range strings.Split(path, "/")[1:] {
		walked += "/" + part
		if strings.HasPrefix(part, "{") {
			table, known := places[walked]
			if !known {
				t.Errorf("what is %s? Say so in places", walked)
			}
			if part = e.ids[table]; table == "" {
				part = "idp"
			} else if part == "" {
				t.Errorf("the user has nothing in %s", table)
			} else {
				names = true
			}
		}
		filled += "/" + part
	}
	return filled, names
}

// query has the parameters that are needed, those that are ids, and words to search for.
func (e *estate) query(d document, op operation) string {
	values := url.Values{}
	for _, p := range op.Parameters {
		if p.In == "query" && (p.Required || p.Schema.Format == "uuid" || p.Name == "q" || p.Name == "text") {
			values.Set(p.Name, fmt.Sprint(e.value(d, op.OperationID, p.Name, p.Schema)))
		}
	}
	if len(values) == 0 {
		return ""
	}
	return "?" + values.Encode()
}

func (e *estate) body(d document, op operation) any {
	for _, kind := range slices.Sorted(maps.Keys(op.RequestBody.Content)) {
		if kind == "application/json" {
			return e.value(d, op.OperationID, "", op.RequestBody.Content[kind].Schema)
		}
	}
	return letter("Ann <ann@home.example>", "Hello", "How are you?") // a file
}

// value makes one of a schema, with the user's ids for ids.
func (e *estate) value(d document, operationID, name string, s schemaOf) any {
	if s.Ref != "" {
		s = d.Components.Schemas[s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]]
	}
	kind, _ := s.Type.(string)
	if kinds, several := s.Type.([]any); several {
		kind, _ = kinds[0].(string)
	}
	switch {
	case len(s.Enum) > 0:
		return s.Enum[0]
	case kind == "object":
		all := object{}
		for property, schema := range s.Properties {
			all[property] = e.value(d, operationID, property, schema)
		}
		return all
	case kind == "array":
		return []any{e.value(d, operationID, name, *s.Items)}
	case kind == "integer", kind == "number":
		return json.Number(fmt.Sprint(max(s.Minimum, 1)))
	case kind == "boolean":
		return true
	}
	return e.text(operationID, name, s)
}

// text is a string of a format.
func (e *estate) text(operationID, name string, s schemaOf) string {
	switch {
	case s.Format == "uuid":
		for _, table := range []string{"email", "posting", "application"} {
			if strings.Contains(name+" "+operationID, table) {
				return e.ids[table+"s"]
			}
		}
		return e.user
	case s.Format == "email":
		return "nobody@example.org"
	case s.Format == "date":
		return "2026-01-31"
	case name == "at":
		return "07:00"
	case name == "time_zone":
		return "UTC"
	case name == "url":
		return "https://nowhere.invalid/feed"
	case strings.Contains(name, "password"):
		return password
	case name == "host":
		return "imap.nowhere.invalid"
	default:
		return common
	}
}
