package job_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/encryption"
	"github.com/smart-assistant/platform/service/job"
)

func testPostings(t *testing.T, w *world) {
	user, site := w.user(t), newSite(t)
	items := make([]string, 25)
	for i := range items {
		items[i] = fmt.Sprintf("%d|Job %02d|Example|Ulm|/%d", i, i, i)
	}
	w.addSource(t, user, site.serve("/many", rss(items...)))
	seen := map[string]bool{}
	for path := "/api/v1/jobs?limit=10"; ; {
		got := get[page[job.Posting]](t, w, user, path)
		for _, p := range got.Items {
			if seen[p.ID] || p.Summary != "Write Go." {
				t.Errorf("twice, or no plain summary: %+v", p)
			}
			seen[p.ID] = true
		}
		if got.NextCursor == "" {
			break
		}
		path = "/api/v1/jobs?limit=10&cursor=" + got.NextCursor
	}
	if len(seen) != 25 {
		t.Errorf("%d postings in pages", len(seen))
	}
	w.clock.advance(time.Hour)
	w.addSource(t, user, site.serve("/more", rss("a|Baker|Bread|Bonn|/a", "b|Senior baker|Bread|Bonn|/b")))
	for query, want := range map[string]int{
		"q=baker": 2, "q=baker+-senior": 1, "q=%22senior+baker%22": 1, "q=%22baker+senior%22": 0, "q=%26%7C!%27": 0, "q=go": 27,
		"since=" + url.QueryEscape(w.clock.Now().Format(time.RFC3339)): 2, "hidden=true": 0,
		"q=job&since=" + url.QueryEscape(w.clock.Now().Format(time.RFC3339)): 0,
	} {
		if got := get[page[job.Posting]](t, w, user, "/api/v1/jobs?"+query).Items; len(got) != want {
			t.Errorf("%s: %d postings", query, len(got))
		}
	}
	found := get[page[job.Posting]](t, w, user, "/api/v1/jobs?q=senior").Items[0]
	if p := post[job.Posting](t, w, 200, user, "/api/v1/jobs/"+found.ID+"/hide", nil); !p.Hidden {
		t.Errorf("%+v", p)
	}
	if n := len(get[page[job.Posting]](t, w, user, "/api/v1/jobs?q=baker").Items); n != 1 {
		t.Errorf("%d bakers while one is hidden", n)
	}
	w.addSource(t, user, site.serve("/again", rss("c|Senior baker|Bread|Bonn|/c")))
	if got := get[page[job.Posting]](t, w, user, "/api/v1/jobs?hidden=true").Items; len(got) != 1 || got[0].ID != found.ID {
		t.Errorf("hidden: %+v", got)
	}
	post[job.Posting](t, w, 200, user, "/api/v1/jobs/"+found.ID+"/unhide", nil)
	if p := get[job.Posting](t, w, user, "/api/v1/jobs/"+found.ID); p.Hidden {
		t.Errorf("%+v", p)
	}
}

func testApplications(t *testing.T, w *world) {
	user, site := w.user(t), newSite(t)
	w.addSource(t, user, site.serve("/feed", rss("1|Go developer|Example GmbH|Berlin|/1")))
	posting := w.postings(t, user)[0]
	answer := w.want(t, 201, user, "POST", "/api/v1/applications", object{"posting_id": posting.ID, "notes": "ask for Ann"})
	var a job.Application
	answer.decode(t, &a)
	if a.Company != "Example GmbH" || a.Title != "Go developer" || a.URL != posting.URL || a.Status != job.Applied || a.Notes != "ask for Ann" || answer.Header.Get("ETag") != `"1"` {
		t.Errorf("%+v %s", a, answer.Header.Get("ETag"))
	}
	path := "/api/v1/applications/" + a.ID
	if got := get[job.Application](t, w, user, path); got != a {
		t.Errorf("read: %+v, added: %+v", got, a)
	}
	w.clock.advance(time.Minute)
	other := post[job.Application](t, w, 201, user, "/api/v1/applications", object{"company": "Bread Ltd", "status": "interested"})
	w.clock.advance(time.Minute)
	w.want(t, 200, user, "PATCH", path, object{"status": "interview", "note": "on Monday"}).decode(t, &a)
	w.clock.advance(time.Minute)
	w.want(t, 200, user, "PATCH", path, object{"status": "interview"}) // no change
	w.want(t, 200, user, "PATCH", path, object{"status": "applied"})   // back is the user's right
	w.clock.advance(time.Minute)
	w.want(t, 200, user, "PATCH", path, object{"title": "Gopher"})
	w.clock.advance(time.Minute)
	note := post[job.Event](t, w, 201, user, path+"/notes", object{"note": "called"})
	if note.Kind != "note" || note.Note != "called" || note.ApplicationID != a.ID {
		t.Errorf("%+v", note)
	}
	first := get[page[job.Event]](t, w, user, path+"/events?limit=3")
	rest := get[page[job.Event]](t, w, user, path+"/events?limit=3&cursor="+first.NextCursor)
	var history []string
	for _, e := range append(first.Items, rest.Items...) {
		history = append(history, fmt.Sprintf("%s %s>%s %s", e.Kind, e.FromStatus, e.ToStatus, e.Note))
	}
	want := "note > called|changed > |status interview>applied |status applied>interview on Monday|created >applied "
	if got := strings.Join(history, "|"); got != want || rest.NextCursor != "" {
		t.Errorf("history\n%s, want\n%s", got, want)
	}
	list := get[page[job.Application]](t, w, user, "/api/v1/applications").Items
	if len(list) != 2 || list[0].ID != a.ID || list[0].Version != 4 || list[1].ID != other.ID {
		t.Errorf("%+v", list)
	}
	if list := get[page[job.Application]](t, w, user, "/api/v1/applications?status=interested").Items; len(list) != 1 || list[0].ID != other.ID {
		t.Errorf("%+v", list)
	}
	w.want(t, 204, user, "DELETE", path, nil)
	w.want(t, 404, user, "GET", path, nil)
	w.want(t, 404, user, "GET", path+"/events", nil)
	w.want(t, 404, user, "DELETE", path, nil)
}

func testVersions(t *testing.T, w *world) {
	user := w.user(t)
	a := post[job.Application](t, w, 201, user, "/api/v1/applications", object{"company": "Example"})
	path := "/api/v1/applications/" + a.ID
	for _, c := range []struct {
		method, match string
		status        int
		etag          string
	}{
		{"PATCH", `"1"`, 200, `"2"`},
		{"PATCH", `"1"`, 412, ""},
		{"PATCH", `*`, 200, `"3"`},
		{"PATCH", ``, 200, `"4"`},
		{"PATCH", `W/"4"`, 412, ""}, // RFC 9110, section 13.1.1: a weak one never matches
		{"PATCH", `4`, 412, ""},
		{"PATCH", `"x"`, 412, ""},
		{"PATCH", `"0"`, 412, ""},
		{"DELETE", `"3"`, 412, ""},
		{"DELETE", `"4"`, 204, ""},
		{"DELETE", `"4"`, 404, ""},
	} {
		var body any
		if c.method == "PATCH" {
			body = object{"title": uuid.NewString()}
		}
		got := w.call(t, user, c.method, path, body, headers{"If-Match": c.match})
		if got.StatusCode != c.status || got.Header.Get("ETag") != c.etag {
			t.Errorf("%s with %s: %s %s %s", c.method, c.match, got.Status, got.Header.Get("ETag"), got.text)
		}
	}
}

func testBadInput(t *testing.T, w *world) {
	user := w.user(t)
	a := post[job.Application](t, w, 201, user, "/api/v1/applications", object{"company": "Example"})
	app := "/api/v1/applications/" + a.ID
	for _, c := range []struct {
		method, path string
		body         any
		status       int
	}{
		{"POST", "/api/v1/applications", object{}, 422},
		{"POST", "/api/v1/applications", object{"company": "x\x00"}, 422},
		{"POST", "/api/v1/applications", `{"company": "x\ud800"}`, 201}, // JSON's decoder puts U+FFFD there
		{"POST", "/api/v1/applications", "{\"company\": \"\xff\"}", 201},
		{"POST", "/api/v1/applications", object{"company": strings.Repeat("x", 201)}, 422},
		{"POST", "/api/v1/applications", object{"company": "x", "status": "hired"}, 422},
		{"POST", "/api/v1/applications", object{"company": "x", "url": "javascript:alert(1)"}, 422},
		{"POST", "/api/v1/applications", object{"company": "x", "notes": "\x00"}, 422},
		{"POST", "/api/v1/applications", object{"posting_id": uuid.NewString()}, 422},
		{"POST", "/api/v1/applications", object{"posting_id": "x"}, 422},
		{"PATCH", app, object{"company": ""}, 422},
		{"PATCH", app, object{"note": "\x00"}, 422},
		{"PATCH", app, object{"status": ""}, 422},
		{"POST", app + "/notes", object{"note": ""}, 422},
		{"POST", app + "/notes", object{"note": "\x00"}, 422},
		{"GET", "/api/v1/applications/x", nil, 422},
		{"GET", "/api/v1/applications/" + uuid.NewString(), nil, 404},
		{"GET", "/api/v1/applications?status=x", nil, 422},
		{"GET", "/api/v1/applications?cursor=x", nil, 422},
		{"GET", "/api/v1/applications?cursor=eyJpZCI6IngifQ", nil, 422}, // {"id":"x"}
		{"GET", "/api/v1/applications?limit=0", nil, 422},
		{"GET", "/api/v1/jobs?q=%00", nil, 422},
		{"GET", "/api/v1/jobs?q=%ff", nil, 422},
		{"GET", "/api/v1/jobs?since=yesterday", nil, 422},
		{"GET", "/api/v1/jobs?cursor=e30", nil, 200}, // {}: the end
		{"GET", "/api/v1/jobs/" + uuid.NewString(), nil, 404},
		{"POST", "/api/v1/jobs/" + uuid.NewString() + "/hide", nil, 404},
		{"GET", "/api/v1/job-sources?cursor=Ing", nil, 422}, // "x
		{"GET", "/api/v1/job-sources/" + uuid.NewString(), nil, 404},
		{"POST", "/api/v1/job-sources/" + uuid.NewString() + "/fetch", nil, 404},
		{"PATCH", "/api/v1/job-sources/" + uuid.NewString(), object{"name": "x"}, 404},
		{"DELETE", "/api/v1/job-sources/" + uuid.NewString(), nil, 404},
		{"POST", "/api/v1/suggestions/" + uuid.NewString() + "/accept", nil, 404},
		{"POST", "/api/v1/suggestions/" + uuid.NewString() + "/dismiss", nil, 404},
	} {
		if got := w.call(t, user, c.method, c.path, c.body); got.StatusCode != c.status {
			t.Errorf("%s %s %q: want %d, got %s %s", c.method, c.path, c.body, c.status, got.Status, got.text)
		}
	}
	if got := w.call(t, uuid.NewString(), "POST", "/api/v1/applications", object{"company": "x"}); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("a user who is gone: %s %s", got.Status, got.text)
	}
}

// Whatever one user has, another neither sees nor changes.
func testTenants(t *testing.T, w *world) {
	ann, bob, site := w.user(t), w.user(t), newSite(t)
	source := w.addSource(t, ann, site.serve("/feed", rss("1|Go developer|Example|Berlin|/1")))
	posting := w.postings(t, ann)[0]
	a := post[job.Application](t, w, 201, ann, "/api/v1/applications", object{"company": "Example"})
	w.email(t, ann, message("interview", "Example", "jobs@example.com", "Interview"))
	suggestion := get[page[job.Suggestion]](t, w, ann, "/api/v1/suggestions").Items[0]
	for _, list := range []string{"job-sources", "jobs", "applications", "suggestions"} {
		if got := get[page[object]](t, w, bob, "/api/v1/"+list).Items; len(got) != 0 {
			t.Errorf("%s: %v", list, got)
		}
	}
	for _, c := range []struct {
		method, path string
		body         any
	}{
		{"GET", "job-sources/" + source.ID, nil},
		{"PATCH", "job-sources/" + source.ID, object{"name": "x"}},
		{"DELETE", "job-sources/" + source.ID, nil},
		{"POST", "job-sources/" + source.ID + "/fetch", nil},
		{"GET", "jobs/" + posting.ID, nil},
		{"POST", "jobs/" + posting.ID + "/hide", nil},
		{"POST", "jobs/" + posting.ID + "/unhide", nil},
		{"GET", "applications/" + a.ID, nil},
		{"PATCH", "applications/" + a.ID, object{"status": "offer"}},
		{"DELETE", "applications/" + a.ID, nil},
		{"GET", "applications/" + a.ID + "/events", nil},
		{"POST", "applications/" + a.ID + "/notes", object{"note": "x"}},
		{"POST", "suggestions/" + suggestion.ID + "/accept", nil},
		{"POST", "suggestions/" + suggestion.ID + "/dismiss", nil},
	} {
		w.want(t, 404, bob, c.method, "/api/v1/"+c.path, c.body)
	}
	w.want(t, 422, bob, "POST", "/api/v1/applications", object{"posting_id": posting.ID})
	if got := get[job.Application](t, w, ann, "/api/v1/applications/"+a.ID); got != a {
		t.Errorf("%+v became %+v", a, got)
	}
}

func testExportAndSealed(t *testing.T, w *world) {
	user, site := w.user(t), newSite(t)
	w.addSource(t, user, site.serve("/feed", rss("1|Go developer|Example|Berlin|/1", "2|Cook|Example|Berlin|/2")))
	post[job.Posting](t, w, 200, user, "/api/v1/jobs/"+w.postings(t, user)[0].ID+"/hide", nil)
	a := post[job.Application](t, w, 201, user, "/api/v1/applications", object{"company": "Example", "notes": "a-seeded-secret"})
	post[job.Event](t, w, 201, user, "/api/v1/applications/"+a.ID+"/notes", object{"note": "a-seeded-secret"})
	w.email(t, user, message("interview", "Example", "jobs@example.com", "Interview"))
	sections := map[string]int{}
	var all strings.Builder
	err := w.jobs.Export(t.Context(), user, func(section string, item any) error {
		sections[section]++
		return json.NewEncoder(&all).Encode(item)
	})
	if err != nil || fmt.Sprint(sections) != "map[application_events:2 application_suggestions:1 applications:1 job_sources:1 postings:2]" {
		t.Errorf("%v %v", sections, err)
	}
	if strings.Count(all.String(), "a-seeded-secret") != 2 {
		t.Errorf("the notes are not in the export: %s", all.String())
	}
	for _, column := range job.Sealed() {
		rows, err := w.pool.Query(t.Context(), fmt.Sprintf("SELECT %s, %s::text, %s::text FROM %s", column.Name, column.Key, column.Owner, column.Table))
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var sealed []byte
			var key, owner string
			if err := rows.Scan(&sealed, &key, &owner); err != nil {
				t.Fatal(err)
			}
			if _, err := w.ring.Open(sealed, encryption.Cell{Table: column.Table, Column: column.Name, Owner: owner, Row: key}); err != nil {
				t.Errorf("%+v: %v", column, err)
			}
			if strings.Contains(string(sealed), "seeded") {
				t.Errorf("%+v holds plain text", column)
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
}

func testChanges(t *testing.T, w *world) {
	user := w.user(t)
	a, err := w.jobs.Add(t.Context(), user, job.NewApplication{Company: "Example", Title: "Cook"})
	if err != nil {
		t.Fatal(err)
	}
	w.clock.advance(time.Hour)
	since := w.clock.Now()
	to := job.Offer
	if _, err := w.jobs.Update(t.Context(), user, a.ID, a.Version, job.ApplicationChange{Status: &to}); err != nil {
		t.Fatal(err)
	}
	changes, err := w.jobs.Changes(t.Context(), user, since, since.Add(time.Hour), 10)
	if err != nil || len(changes) != 1 || changes[0].ToStatus != job.Offer || changes[0].FromStatus != job.Applied || changes[0].Company != "Example" {
		t.Errorf("%+v %v", changes, err)
	}
	if none, err := w.jobs.Changes(t.Context(), user, since.Add(time.Minute), since.Add(time.Hour), 10); err != nil || len(none) != 0 {
		t.Errorf("%+v %v", none, err)
	}
	if list, cursor, err := w.jobs.Applications(t.Context(), user, "", api.Page{}); err != nil || len(list) != 1 || cursor != "" {
		t.Errorf("the Go API without a limit: %+v %q %v", list, cursor, err)
	}
}
