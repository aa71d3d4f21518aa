package job_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/smart-assistant/platform/service/job"
	"github.com/smart-assistant/platform/service/work"
)

// site serves what a test says, and counts.
type site struct {
	*httptest.Server
	mu      sync.Mutex
	answers map[string]http.HandlerFunc
	asked   atomic.Int32
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{answers: map[string]http.HandlerFunc{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		s.mu.Lock()
		answer := s.answers[r.URL.Path]
		s.mu.Unlock()
		if answer == nil {
			http.NotFound(w, r)
			return
		}
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *site) serve(path, text string) string {
	return s.handle(path, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) })
}

func (s *site) handle(path string, answer http.HandlerFunc) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[path] = answer
	return s.URL + path
}

// rss is a feed of items "id|title|company|location|link".
func rss(items ...string) string {
	var b strings.Builder
	b.WriteString(`<rss version="2.0"><channel><title>Example jobs</title>`)
	for _, item := range items {
		f := strings.Split(item, "|")
		fmt.Fprintf(&b, `<item><guid>%s</guid><title>%s</title><company>%s</company><location>%s</location><link>%s</link>
			<pubDate>Mon, 04 May 2026 10:00:00 GMT</pubDate><description>&lt;p&gt;Write &lt;b&gt;Go&lt;/b&gt;.&lt;/p&gt;</description></item>`, f[0], f[1], f[2], f[3], f[4])
	}
	return b.String() + `</channel></rss>`
}

func (w *world) addSource(t *testing.T, user, url string) job.Source {
	t.Helper()
	return post[job.Source](t, w, http.StatusCreated, user, "/api/v1/job-sources", object{"url": url})
}

// work runs background jobs, until a condition holds and after.
func (w *world) work(t *testing.T, until string, args ...any) {
	t.Helper()
	w.started.Do(func() { start(t, w.queue) })
	w.eventually(t, until, args...)
}

// start runs background jobs until the test ends.
func start(t *testing.T, queue *work.Queue) {
	t.Helper()
	if err := queue.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := queue.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
}

func (w *world) eventually(t *testing.T, condition string, args ...any) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var holds bool
		if w.scan(t, &holds, condition, args...); holds {
			return
		}
	}
	t.Fatalf("not within 30 s: %s", condition)
}

// refetch lets a source become due and fetches it.
func (w *world) refetch(t *testing.T, source job.Source) job.Source {
	t.Helper()
	user := w.owner(t, source)
	w.clock.advance(2 * time.Hour)
	w.want(t, http.StatusAccepted, user, "POST", "/api/v1/job-sources/"+source.ID+"/fetch", nil)
	w.work(t, `SELECT next_fetch_at > $2 AND NOT EXISTS (SELECT FROM river_job WHERE kind = 'job_source_fetch' AND finalized_at IS NULL)
		FROM job_sources WHERE id = $1`, source.ID, w.clock.Now())
	return get[job.Source](t, w, user, "/api/v1/job-sources/"+source.ID)
}

func (w *world) owner(t *testing.T, source job.Source) (user string) {
	t.Helper()
	w.scan(t, &user, `SELECT user_id::text FROM job_sources WHERE id = $1`, source.ID)
	return user
}

func (w *world) postings(t *testing.T, user string) []job.Posting {
	t.Helper()
	return get[page[job.Posting]](t, w, user, "/api/v1/jobs").Items
}

func testSources(t *testing.T, w *world) {
	user, site := w.user(t), newSite(t)
	feed := w.addSource(t, user, site.serve("/feed", rss("1|Go developer|Example GmbH|Berlin|/jobs/1?utm_source=feed", "2|Tester|Example GmbH|Berlin|javascript:alert(1)")))
	if feed.Kind != "feed" || feed.Name != "Example jobs" || feed.State != "active" || feed.FetchedAt == nil || feed.Mapping != nil {
		t.Errorf("%+v", feed)
	}
	api := post[job.Source](t, w, 201, user, "/api/v1/job-sources", object{"url": site.serve("/api", `{"jobs": [{"id": 7, "title": "Baker", "company_name": "Bread Ltd", "url": "https://example.com/7"}]}`), "name": "Bakeries"})
	if api.Kind != "api" || api.Name != "Bakeries" || api.Mapping == nil || api.Mapping.Items != "jobs" || api.Mapping.Company != "company_name" {
		t.Errorf("%+v", api)
	}
	postings := w.postings(t, user)
	if len(postings) != 3 || postings[0].Title != "Baker" || postings[2].URL != site.URL+"/jobs/1?utm_source=feed" && postings[1].URL != site.URL+"/jobs/1?utm_source=feed" {
		t.Errorf("%+v", postings)
	}
	first := get[page[job.Source]](t, w, user, "/api/v1/job-sources?limit=1")
	second := get[page[job.Source]](t, w, user, "/api/v1/job-sources?limit=1&cursor="+first.NextCursor)
	if len(first.Items) != 1 || first.Items[0].ID != feed.ID || len(second.Items) != 1 || second.Items[0].ID != api.ID || second.NextCursor != "" {
		t.Errorf("pages: %+v %+v", first, second)
	}
	path := "/api/v1/job-sources/" + feed.ID
	var changed job.Source
	w.want(t, 200, user, "PATCH", path, object{"name": "Mine", "state": "paused"}).decode(t, &changed)
	if changed.Name != "Mine" || changed.State != "paused" {
		t.Errorf("%+v", changed)
	}
	w.want(t, 409, user, "POST", path+"/fetch", nil)
	w.want(t, 200, user, "PATCH", path, object{"state": "active"}).decode(t, &changed)
	if changed.State != "active" || !changed.NextFetchAt.Equal(w.clock.Now()) {
		t.Errorf("resumed: %+v", changed)
	}
	w.want(t, 422, user, "PATCH", path, object{"url": site.URL + "/none"})
	w.want(t, 200, user, "PATCH", path, object{"url": site.serve("/other", rss("1|Gardener|Green Inc|Bonn|/g"))}).decode(t, &changed)
	if !strings.HasSuffix(changed.URL, "/other") || len(w.postings(t, user)) != 4 {
		t.Errorf("moved: %+v, %d postings", changed, len(w.postings(t, user)))
	}
	w.want(t, 409, user, "PATCH", path, object{"url": api.URL})
	w.want(t, 204, user, "DELETE", path, nil)
	w.want(t, 404, user, "GET", path, nil)
	if n := len(w.postings(t, user)); n != 4 {
		t.Errorf("%d postings are left", n)
	}
}

func testBadSources(t *testing.T, w *world) {
	user, site := w.user(t), newSite(t)
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	w.addSource(t, user, site.serve("/good", rss("1|a|b|c|/d")))
	for _, c := range []struct {
		name   string
		body   object
		status int
		says   string
	}{
		{"not found", object{"url": site.URL + "/none"}, 422, "(404)"},
		{"not a feed", object{"url": site.serve("/text", "hello")}, 422, "is not a feed"},
		{"empty", object{"url": site.serve("/empty", "")}, 422, "is empty"},
		{"a page with a feed", object{"url": site.serve("/page", `<!doctype html><html><head><link rel="alternate" type="application/rss+xml" href="/feed.xml"></head></html>`)}, 422, "whose feed is " + site.URL + "/feed.xml"},
		{"a page without", object{"url": site.serve("/plain", `<html><body>no</body></html>`)}, 422, "names no feed"},
		{"a private address", object{"url": "http://127.0.0.2/feed"}, 422, "ASSISTD_OUTBOUND_ALLOW"},
		{"metadata", object{"url": "http://169.254.169.254/latest"}, 422, "not public"},
		{"an unknown authority", object{"url": secure.URL}, 422, "authority"},
		{"too large", object{"url": site.serve("/large", "<rss>"+strings.Repeat("x", 5<<20))}, 422, "larger than 5 MiB"},
		{"broken", object{"url": site.serve("/broken", `<rss version="2.0"><channel><item><title>x</title></channel>`)}, 422, "damaged"},
		{"unknown JSON", object{"url": site.serve("/json", `{"hello": "world"}`)}, 422, "no postings were recognised"},
		{"a mapping to nothing", object{"url": site.URL + "/json", "mapping": object{"items": "jobs", "title": "title"}}, 422, `no array at \"jobs\"`},
		{"a mapping without title", object{"url": site.URL + "/json", "mapping": object{"items": "jobs"}}, 422, "no title"},
		{"NUL in a mapping", object{"url": site.serve("/jobs", `[{"title": "Cook"}]`), "mapping": object{"items": "", "title": "title", "company": "=a\x00"}}, 422, "NUL"},
		{"a mapping of a feed", object{"url": site.URL + "/good", "kind": "feed", "mapping": object{"items": "jobs", "title": "t"}}, 422, "for APIs"},
		{"a file", object{"url": "file:///etc/passwd"}, 422, "http:// or https://"},
		{"no host", object{"url": "https://"}, 422, "names a host"},
		{"a password", object{"url": "https://user:secret@example.com/"}, 422, "user name or password"},
		{"NUL", object{"url": "https://example.com/\x00"}, 422, "NUL"},
		{"twice", object{"url": site.URL + "/good"}, 409, "already"},
		{"an unknown kind", object{"url": site.URL + "/good", "kind": "x"}, 422, "kind"},
	} {
		if a := w.call(t, user, "POST", "/api/v1/job-sources", c.body); a.StatusCode != c.status || !strings.Contains(a.text, c.says) {
			t.Errorf("%s: %s %s", c.name, a.Status, a.text)
		}
	}
	if n := len(get[page[job.Source]](t, w, user, "/api/v1/job-sources").Items); n != 1 {
		t.Errorf("%d sources were kept", n)
	}
}

func testDeduplication(t *testing.T, w *world) {
	user, site := w.user(t), newSite(t)
	for i, c := range []struct {
		name, first, second string
		postings            int
	}{
		{"the same", "1|Go developer|Example GmbH|Berlin|/a", "9|Go developer|Example GmbH|Berlin|/b", 1},
		{"case, space and punctuation", "1|Go-Developer|Example GmbH|Berlin, Germany|/a", "9|go   developer|EXAMPLE gmbh|Berlin (Germany)|/b", 1},
		{"legal form", "1|Chemist|Example GmbH|Bonn|/a", "9|Chemist|Example|Bonn|/b", 1},
		{"marks of gender", "1|Entwickler (m/w/d)|Example|Ulm|/a", "9|Entwickler*in (f/m/x)|Example|Ulm|/b", 1},
		{"marks without parentheses", "1|Bäcker m/w/d|Example|Ulm|/a", "9|BäckerIn|Example|Ulm|/b", 1},
		{"all genders", "1|Cook (all genders)|Example|Ulm|/a", "9|Cook|Example|Ulm|/b", 1},
		{"seniority", "1|Senior developer|Example|Ulm|/a", "9|Developer|Example|Ulm|/b", 2},
		{"another place", "1|Driver|Example|Ulm|/a", "9|Driver|Example|Bonn|/b", 2},
		{"another company", "1|Driver|Example|Köln|/k1", "9|Driver|Sample|Köln|/k2", 2},
		{"C and C++", "1|C developer|Example|Trier|/a", "9|C++ developer|Example|Trier|/b", 2},
		{"one link, company not said", "1|Painter|Example|Ulm|/p1?utm_source=x&amp;id=1", "9|Painter|||/p1?id=1&amp;gclid=y#top", 1},
		{"one link, another title", "1|Plumber|||/careers", "9|Roofer|||/careers", 2},
	} {
		before := len(w.postings(t, user))
		one := w.addSource(t, user, site.serve(fmt.Sprint("/one", i), rss(c.first)))
		two := w.addSource(t, user, site.serve(fmt.Sprint("/two", i), rss(c.second)))
		if n := len(w.postings(t, user)) - before; n != c.postings {
			t.Errorf("%s: %d postings", c.name, n)
		}
		var links int
		w.scan(t, &links, `SELECT count(*) FROM posting_sources WHERE source_id IN ($1, $2)`, one.ID, two.ID)
		if links != 2 {
			t.Errorf("%s: %d links to sources", c.name, links)
		}
	}
	other := w.user(t)
	w.addSource(t, other, site.URL+"/one0")
	if len(w.postings(t, other)) != 1 {
		t.Error("another user's posting is missing")
	}
}

func testChangedTitle(t *testing.T, w *world) {
	user, site := w.user(t), newSite(t)
	source := w.addSource(t, user, site.serve("/feed", rss("1|Developer|Example|Ulm|/1", "2|Cook|Example|Ulm|/2", "3|Cook|Example|Ulm|/3")))
	other := w.addSource(t, user, site.serve("/other", rss("x|Developer|Example|Ulm|/x")))
	before := w.postings(t, user)
	if len(before) != 2 {
		t.Fatalf("%+v", before)
	}
	id := before[0].ID
	if before[0].Title != "Developer" {
		id = before[1].ID
	}
	version := func() (sum string) { // changes with every write to a posting
		w.scan(t, &sum, `SELECT string_agg(xmin::text || ctid::text, ',' ORDER BY id) FROM postings`)
		return sum
	}
	former := version()
	w.refetch(t, source)
	if version() != former {
		t.Error("what the source said again was written again")
	}
	site.serve("/feed", rss("1|Senior developer|Example|Ulm|/1", "2|Cook|Example|Ulm|/2", "3|Chef|Example|Ulm|/3"))
	w.refetch(t, source)
	if p := get[job.Posting](t, w, user, "/api/v1/jobs/"+id); p.Title != "Senior developer" {
		t.Errorf("%+v", p)
	}
	titles := map[string]bool{}
	for _, p := range w.postings(t, user) {
		titles[p.Title] = true
	}
	if len(titles) != 3 || !titles["Cook"] || !titles["Chef"] {
		t.Errorf("a job that was the same as another and is its own now: %v", titles)
	}
	former = version()
	w.refetch(t, other)
	w.refetch(t, source)
	if version() != former {
		t.Error("two sources that disagree change a posting to and fro")
	}
}

// testTitlesMoveOn: an item takes the title that another gives up in the same answer, in either order, and each job is there.
func testTitlesMoveOn(t *testing.T, w *world) {
	for _, order := range [][2]string{{"a|Baker|Example|Ulm|/a", "b|Waiter|Example|Ulm|/b"}, {"b|Waiter|Example|Ulm|/b", "a|Baker|Example|Ulm|/a"}} {
		user, site := w.user(t), newSite(t)
		source := w.addSource(t, user, site.serve("/feed", rss("a|Cook|Example|Ulm|/a", "b|Baker|Example|Ulm|/b")))
		site.serve("/feed", rss(order[:]...))
		w.refetch(t, source)
		titles := map[string]int{}
		for _, p := range w.postings(t, user) {
			titles[p.Title]++
		}
		if titles["Baker"] != 1 || titles["Waiter"] != 1 {
			t.Errorf("%v: %v", order, titles)
		}
	}
}

// testLongNames: links and identifiers of any length are kept, and tell postings apart to their ends.
func testLongNames(t *testing.T, w *world) {
	user, site := w.user(t), newSite(t)
	link := "/job?q=" + strings.Repeat("ü", 950)
	site.serve("/links", rss("|Cook|Example|Ulm|"+link, "|Baker|Example|Ulm|"+link+"2"))
	w.refetch(t, w.addSource(t, user, site.URL+"/links"))
	long := strings.Repeat("x", 600)
	w.addSource(t, user, site.serve("/names", rss(long+"1|Waiter|Example|Ulm|/1", long+"2|Clerk|Example|Ulm|/2")))
	if found := w.postings(t, user); len(found) != 4 {
		t.Errorf("%d postings: %+v", len(found), found)
	}
}

func testConditional(t *testing.T, w *world) {
	user, site := w.user(t), newSite(t)
	var asked []string
	var mu sync.Mutex
	url := site.handle("/feed", func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.Header.Get("If-None-Match")+" "+r.Header.Get("If-Modified-Since"))
		rw.Header().Set("ETag", `"v1"`)
		rw.Header().Set("Last-Modified", "Mon, 04 May 2026 10:00:00 GMT")
		if r.Header.Get("If-None-Match") == `"v1"` {
			rw.Header().Del("Last-Modified")
			rw.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = rw.Write([]byte(rss("1|Developer|Example|Ulm|/1")))
	})
	source := w.addSource(t, user, url)
	w.refetch(t, source)
	after := w.refetch(t, source)
	mu.Lock()
	defer mu.Unlock()
	if want := `"v1" Mon, 04 May 2026 10:00:00 GMT`; len(asked) != 3 || asked[0] != " " || asked[1] != want || asked[2] != want {
		t.Errorf("%q", asked)
	}
	if after.Failures != 0 || !after.FetchedAt.Equal(w.clock.Now()) || len(w.postings(t, user)) != 1 {
		t.Errorf("%+v", after)
	}
}

func testFailures(t *testing.T, w *world) {
	user, site := w.user(t), newSite(t)
	answer := func(status int, header string) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) {
			if header != "" {
				rw.Header().Set("Retry-After", header)
			}
			rw.WriteHeader(status)
		}
	}
	source := w.addSource(t, user, site.serve("/feed", rss("1|Developer|Example|Ulm|/1")))
	site.handle("/feed", answer(500, ""))
	var last time.Duration
	for n := 1; n <= 4; n++ {
		after := w.refetch(t, source)
		wait := after.NextFetchAt.Sub(w.clock.Now())
		if after.Failures != n || after.State != "active" || !strings.Contains(after.Problem, "500") || wait < last*3/2 {
			t.Errorf("failure %d: %+v after %s", n, after, last)
		}
		last = wait
	}
	site.handle("/feed", answer(429, "90000"))
	if after := w.refetch(t, source); after.NextFetchAt.Sub(w.clock.Now()) != 25*time.Hour || !strings.Contains(after.Problem, "429") {
		t.Errorf("429: %+v", after)
	}
	site.handle("/feed", answer(503, w.clock.Now().Add(50*time.Hour).Format(http.TimeFormat)))
	if after := w.refetch(t, source); after.NextFetchAt.Sub(w.clock.Now()) != 48*time.Hour {
		t.Errorf("503 until a date: %+v", after)
	}
	site.serve("/feed", rss("1|Developer|Example|Ulm|/1"))
	if after := w.refetch(t, source); after.Failures != 0 || after.Problem != "" || after.State != "active" {
		t.Errorf("recovered: %+v", after)
	}
	site.handle("/feed", answer(500, ""))
	for range 9 {
		w.refetch(t, source)
	}
	if after := w.refetch(t, source); after.State != "failed" || after.Failures != 10 {
		t.Errorf("after the last failure: %+v", after)
	}
	site.handle("/feed", answer(410, ""))
	if after := w.refetch(t, source); after.State != "failed" || !strings.Contains(after.Problem, "410") {
		t.Errorf("gone: %+v", after)
	}
	var metrics strings.Builder
	recorder := httptest.NewRecorder()
	w.metrics.Handler().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	metrics.WriteString(recorder.Body.String())
	for _, line := range []string{
		`assistd_jobs_discovered_total 1`, `assistd_job_source_fetches_total{kind="feed",result="failed"} 17`,
		`assistd_job_source_fetches_total{kind="feed",result="ok"} 2`, `assistd_job_source_fetch_seconds_count 19`,
	} {
		if !strings.Contains(metrics.String(), line) {
			t.Errorf("no %s in the metrics", line)
		}
	}
}

// Two replicas, sources that are due and asked for besides: each is fetched once.
func testTwoReplicas(t *testing.T, w *world) {
	user, site := w.user(t), newSite(t)
	_, second := w.replica(t, nil)
	const sources = 5
	for i := range sources {
		w.addSource(t, user, site.serve(fmt.Sprint("/feed", i), rss(fmt.Sprintf("1|Job %d|Example|Ulm|/1", i))))
	}
	site.asked.Store(0)
	w.clock.advance(2 * time.Hour)
	for range 3 {
		for _, source := range get[page[job.Source]](t, w, user, "/api/v1/job-sources").Items {
			w.want(t, http.StatusAccepted, user, "POST", "/api/v1/job-sources/"+source.ID+"/fetch", nil)
		}
	}
	start(t, second)
	w.work(t, `SELECT count(*) = 1 FROM river_job WHERE kind = 'job_sources_due' AND state = 'completed'`)
	w.eventually(t, `SELECT count(*) = 0 FROM river_job WHERE kind = 'job_source_fetch' AND finalized_at IS NULL`)
	var due int
	w.scan(t, &due, `SELECT count(*) FROM job_sources WHERE next_fetch_at <= $1`, w.clock.Now())
	if asked := site.asked.Load(); asked != sources || due != 0 {
		t.Errorf("asked %d times; %d sources are still due", asked, due)
	}
}

// testDisabled: the sources of a disabled user are not fetched, also not by a job that was queued before; enabled again, they are.
func testDisabled(t *testing.T, w *world) {
	user, other, site := w.user(t), w.user(t), newSite(t)
	w.addSource(t, user, site.serve("/feed", rss("1|Job|Example|Ulm|/1")))
	queued := w.addSource(t, user, site.serve("/queued", rss("2|Job|Example|Ulm|/2")))
	control := w.addSource(t, other, site.serve("/other", rss("3|Job|Example|Ulm|/3")))
	w.clock.advance(3 * time.Hour)
	w.want(t, http.StatusAccepted, user, "POST", "/api/v1/job-sources/"+queued.ID+"/fetch", nil)
	site.asked.Store(0)
	if _, err := w.pool.Exec(t.Context(), `UPDATE users SET disabled_at = now() WHERE id = $1`, user); err != nil {
		t.Fatal(err)
	}
	w.work(t, `SELECT next_fetch_at > $2 AND NOT EXISTS (SELECT FROM river_job WHERE kind = 'job_source_fetch' AND finalized_at IS NULL)
		FROM job_sources WHERE id = $1`, control.ID, w.clock.Now())
	if asked := site.asked.Load(); asked != 1 {
		t.Errorf("asked %d times, want once, for the user who is not disabled", asked)
	}
	if _, err := w.pool.Exec(t.Context(), `UPDATE users SET disabled_at = NULL WHERE id = $1`, user); err != nil {
		t.Fatal(err)
	}
	var due int
	w.scan(t, &due, `SELECT count(*) FROM job_sources WHERE user_id = $1 AND state = 'active' AND next_fetch_at <= $2`, user, w.clock.Now())
	if due != 2 {
		t.Errorf("%d sources are due again, want 2", due)
	}
}
