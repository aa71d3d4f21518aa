package service_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/smart-assistant/platform/test/load"
)

const (
	rounds     = 3  // in each of which both replicas are replaced
	perImport  = 40 // messages: one job that embeds them
	sources    = 5
	perSource  = 10 // postings
	scheduled  = 10 // briefings
	jobsByHand = 3  // of a kind that is inserted in each step
)

// testRollingRestart replaces two replicas, one after the other and over and over, while users read, write, search and import, and jobs are
// added and done. No request fails, and every job is done once.
func testRollingRestart(t *testing.T, w *world) {
	entrance := startEntrance(t)
	watching, stopWatching := context.WithCancel(t.Context())
	var others sync.WaitGroup
	defer others.Wait()
	defer stopWatching()
	start := func() *replica {
		r := w.start(t)
		others.Go(func() { entrance.watch(watching, t, r) })
		eventually(t, time.Minute, "the entrance knows the replica", func() bool { return entrance.knows(r) })
		return r
	}
	replicas := []*replica{start(), start()}
	w.settled(t)
	w.model.set(3*time.Second, false) // longer than the time from SIGTERM to the end of listening
	token := signUp(t, entrance.url, "rolling@example.org")
	imported := importLetters(t, entrance.url, token)
	addSources(t, entrance.url, token)
	w.schedule(t, "rolling", scheduled)

	traffic, err := load.Start(t.Context(), load.Options{URL: entrance.url, Rate: 40, Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	reading, stopReading := context.WithCancel(t.Context())
	defer stopReading()
	others.Go(func() { readMail(reading, t, entrance.url, token) })

	for range rounds {
		for i := range replicas {
			w.exec(t, `UPDATE job_sources SET next_fetch_at = now()`)
			w.insert(t, "jobs", "job_sources_due", jobsByHand)
			w.insert(t, "briefings", "briefings_due", jobsByHand)
			imported += importLetters(t, entrance.url, token)
			eventually(t, time.Minute, "a job is under way", func() bool {
				return w.count(t, `SELECT count(*) FROM river_job WHERE kind = 'mail_embed' AND state = 'running'`) > 0
			})
			replicas[i].stop(t)
			replicas[i] = start()
		}
	}
	stopReading()
	if report := traffic.Stop(); report.Failed > 0 || report.Sent == 0 {
		t.Error(report)
	} else {
		t.Log(report)
	}
	for _, kind := range []string{"mail_embed", "job_sources_due", "job_source_fetch", "briefings_due", "briefing_write"} {
		w.jobs(t, kind, 1)
	}
	for what, numbers := range map[string][2]int{
		"messages": {w.count(t, `SELECT count(*) FROM emails`), imported},
		"vectors":  {w.count(t, `SELECT count(*) FROM embeddings WHERE model = 'test-vectors' AND kind = 'email'`), imported},
		"postings": {w.count(t, `SELECT count(*) FROM postings`), sources * perSource},
		"briefings, and of different users": {
			w.count(t, `SELECT count(*) FROM briefings WHERE state = 'ready'`), w.count(t, `SELECT count(DISTINCT user_id) FROM briefings`),
		},
		"briefings": {w.count(t, `SELECT count(*) FROM briefings`), scheduled},
	} {
		if numbers[0] != numbers[1] {
			t.Errorf("%s: %d, want %d", what, numbers[0], numbers[1])
		}
	}
	if most, all := w.model.times(); most != 1 || all != imported {
		t.Errorf("the model embedded %d texts, one of them %d times; want %d, each once", all, most, imported)
	}
}

func importLetters(t *testing.T, url, token string) int {
	t.Helper()
	a := want(t, http.StatusOK, "POST", url+"/api/v1/mail-imports", token, strings.NewReader(letters(perImport)))
	if !strings.Contains(a.text, fmt.Sprintf(`"imported":%d,`, perImport)) {
		t.Errorf("imported: %s", a.text)
	}
	return perImport
}

// addSources serves feeds, slowly, and adds each as a source.
func addSources(t *testing.T, url, token string) {
	t.Helper()
	feeds := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(300 * time.Millisecond) // so that fetches are under way when a replica is told to stop
		items := make([]string, perSource)
		for i := range items {
			items[i] = fmt.Sprintf(`{"id": "%d", "title": "Job %d of %s at Example", "url": "https://example.com%s/%d"}`, i, i, r.URL.Path, r.URL.Path, i)
		}
		_, _ = fmt.Fprintf(w, `{"version": "https://jsonfeed.org/version/1.1", "title": "Feed", "items": [%s]}`, strings.Join(items, ","))
	}))
	t.Cleanup(feeds.Close)
	for i := range sources {
		want(t, http.StatusCreated, "POST", url+"/api/v1/job-sources", token, object{"url": fmt.Sprintf("%s/feed%d", feeds.URL, i)})
	}
}

// readMail lists and searches until ctx ends.
func readMail(ctx context.Context, t *testing.T, url, token string) {
	t.Helper()
	for n := 0; ctx.Err() == nil; n++ {
		path := []string{"/api/v1/emails", "/api/v1/emails/search?q=interview", "/api/v1/jobs", "/api/v1/briefings"}[n%4]
		a, err := ask(context.WithoutCancel(ctx), "GET", url+path, token, nil)
		if err != nil || a.status != http.StatusOK {
			t.Errorf("GET %s: %d %s %v", path, a.status, a.text, err)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}
