package service_test

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/postgres"
	"github.com/smart-assistant/platform/test/database"
)

const (
	outage  = 6 * time.Second
	slow    = 10 * time.Second // for an answer while the database is away: it aims at 3 s
	chatter = 20               // lines a second that a replica may log meanwhile, beside one a request
)

// The phases of an outage, over and over.
const (
	up      = iota // every request is served
	falling        // one may meet either
	down           // none is served, and each is told to come again
	rising
	phases
)

// testOutage stops the database of two replicas under load, as an administrator does and as a crash does, and starts it again. Nobody helps
// the replicas.
func testOutage(t *testing.T, w *world, server *database.Server) {
	replicas := []*replica{w.start(t), w.start(t)}
	token := signUp(t, replicas[0].url, "outage@example.org")
	out := signUp(t, replicas[0].url, "out@example.org")
	importLetters(t, replicas[0].url, token)
	l := &clients{token: token}
	loading, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	for _, r := range replicas {
		for first := range 3 {
			all.Go(func() { l.run(loading, t, r.url, first) })
		}
	}
	l.serve(t)
	before := []int{goroutines(t, replicas[0]), goroutines(t, replicas[1])}
	for _, how := range []string{postgres.Fast, postgres.Immediate} {
		l.phase.Add(1) // falling
		if err := server.Stop(t.Context(), how); err != nil {
			t.Fatal(err)
		}
		l.phase.Add(1) // down
		watchOutage(t, replicas)
		l.phase.Add(1) // rising
		if err := server.Server.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		back := time.Now()
		for _, r := range replicas {
			recovers(t, r, token)
		}
		t.Logf("after a stop that is %s: all is served %v after the database is back", how, time.Since(back).Round(time.Millisecond))
		l.phase.Add(1) // up
		l.serve(t)
	}
	stop()
	all.Wait()
	t.Logf("%d requests were refused while the database was away, the slowest after %v", l.refused.Load(), time.Duration(l.slowest.Load()).Round(time.Millisecond))
	if l.refused.Load() == 0 {
		t.Error("no request met the outage: the test tests nothing")
	}

	// A session that ends is heard of; the row still says that it is open.
	for _, r := range replicas {
		eventually(t, time.Minute, "the replica hears of a session that ended", func() bool {
			w.exec(t, `SELECT pg_notify('assistd_revoked', s.id::text) FROM sessions s JOIN users u ON u.id = s.user_id WHERE u.email = 'out@example.org'`)
			a, err := ask(t.Context(), "GET", r.url+"/api/v1/me", out, nil)
			return err == nil && a.status == http.StatusUnauthorized
		})
	}
	for i, r := range replicas {
		eventually(t, time.Minute, fmt.Sprintf("there are hardly more than %d goroutines again", before[i]), func() bool {
			return goroutines(t, r) <= before[i]+20
		})
	}
	// A leader is elected, looks every minute for what is due, and there are workers.
	w.schedule(t, "after", 5)
	eventually(t, 2*time.Minute, "briefings are written by themselves", func() bool {
		return w.count(t, `SELECT count(*) FROM briefings b JOIN users u ON u.id = b.user_id WHERE b.state = 'ready' AND u.email LIKE 'after%'`) == 5
	})
	for _, r := range replicas {
		r.stop(t)
	}
}

// watchOutage looks at the replicas while their database is away.
func watchOutage(t *testing.T, replicas []*replica) {
	t.Helper()
	from := make([]int, len(replicas))
	for i, r := range replicas {
		_, from[i] = r.log.lines(0)
	}
	began := time.Now()
	for time.Since(began) < outage {
		for _, r := range replicas {
			ready := want(t, http.StatusServiceUnavailable, "GET", r.url+"/ready", "", nil)
			if !strings.Contains(ready.text, `"reason":"the database does not answer"`) || ready.took > slow {
				t.Errorf("/ready says, after %v: %s", ready.took, ready.text)
			}
			want(t, http.StatusOK, "GET", r.url+"/health", "", nil)
		}
		time.Sleep(200 * time.Millisecond)
	}
	for i, r := range replicas {
		lines, _ := r.log.lines(from[i])
		said := map[string]int{}
		for _, line := range lines {
			if !strings.Contains(line, `"msg":"request"`) {
				said[message.FindString(line)]++
			}
		}
		n := 0
		for _, times := range said {
			n += times
		}
		if n > int(time.Since(began).Seconds()*chatter) {
			t.Errorf("in %v a replica logged %d lines: %v", time.Since(began), n, said)
		}
	}
}

var message = regexp.MustCompile(`"msg":"[^"]*"`)

// recovers waits until a replica serves everything again.
func recovers(t *testing.T, r *replica, token string) {
	t.Helper()
	eventually(t, time.Minute, "all is served again", func() bool {
		for n := range requests {
			a, err := requests[n].send(t.Context(), r.url, token)
			if err != nil {
				t.Fatal(err)
			}
			if a.status/100 != 2 {
				return false
			}
		}
		a, err := ask(t.Context(), "GET", r.url+"/ready", "", nil)
		return err == nil && a.status == http.StatusOK
	})
}

// request is one that needs the database.
type request struct{ method, path, body string }

var requests = []request{
	{"GET", "/api/v1/me", ""},
	{"PATCH", "/api/v1/me", `{"about": "x"}`},
	{"GET", "/api/v1/emails", ""},
	{"GET", "/api/v1/emails/search?q=interview", ""},
	{"POST", "/api/v1/mail-imports", "From: a@x\nSubject: Again\n\nThis is one message.\n"},
	{"GET", "/api/v1/jobs", ""},
	{"POST", "/api/v1/applications", `{"company": "ACME", "title": "Cook"}`},
	{"GET", "/api/v1/applications", ""},
	{"PUT", "/api/v1/me/briefing-schedule", `{"enabled": false, "time_zone": "UTC", "at": "07:00"}`},
	{"POST", "/api/v1/auth/login", `{"email": "outage@example.org", "password": "correct horse battery"}`},
	{"POST", "/tools/list_applications", `{}`},
}

func (r request) send(ctx context.Context, url, token string) (answer, error) {
	switch {
	case r.body == "":
		return ask(ctx, r.method, url+r.path, token, nil)
	case strings.HasPrefix(r.body, "{"):
		return ask(ctx, r.method, url+r.path, token, jsonText(r.body))
	}
	return ask(ctx, r.method, url+r.path, token, strings.NewReader(r.body))
}

// jsonText is a body that is JSON already.
type jsonText string

func (j jsonText) MarshalJSON() ([]byte, error) { return []byte(j), nil }

// clients are those of an outage: each asks, and judges the answer by the phase in which it came.
type clients struct {
	token   string
	phase   atomic.Int64 // counts on, through the phases
	served  atomic.Int64
	refused atomic.Int64
	slowest atomic.Int64 // refusal, in nanoseconds
}

// serve waits until a good number of requests were served.
func (l *clients) serve(t *testing.T) {
	t.Helper()
	until := l.served.Load() + int64(5*len(requests))
	eventually(t, time.Minute, "requests are served", func() bool { return l.served.Load() > until })
}

func (l *clients) run(ctx context.Context, t *testing.T, url string, first int) {
	t.Helper()
	for n := first; ctx.Err() == nil; n++ {
		r := requests[n%len(requests)]
		phase := l.phase.Load()
		a, err := r.send(context.WithoutCancel(ctx), url, l.token)
		if err != nil {
			t.Errorf("%s %s: %v", r.method, r.path, err)
			return
		}
		steady := phase == l.phase.Load() // it began and ended in one phase
		switch now := phase % phases; {
		case (a.status/100 == 2 || r.waitsForTwin(a)) && (now != down || !steady):
			l.served.Add(1)
		case a.status == http.StatusServiceUnavailable && (now != up || !steady):
			l.refuse(t, r, a)
		default:
			t.Errorf("%s %s, in phase %d: %d %s", r.method, r.path, now, a.status, a.text)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// waitsForTwin says whether an import was refused because another of the same user is running, as each of these clients is.
func (r request) waitsForTwin(a answer) bool {
	return a.status == http.StatusConflict && r.path == "/api/v1/mail-imports"
}

// refuse looks at an answer that says to come again.
func (l *clients) refuse(t *testing.T, r request, a answer) {
	t.Helper()
	l.refused.Add(1)
	for old := l.slowest.Load(); int64(a.took) > old && !l.slowest.CompareAndSwap(old, int64(a.took)); {
		old = l.slowest.Load()
	}
	if a.took > slow {
		t.Errorf("%s %s is refused after %v", r.method, r.path, a.took)
	}
	if a.header.Get("Retry-After") == "" || a.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s %s is refused with %v: %s", r.method, r.path, a.header, a.text)
	}
}

var goroutineCount = regexp.MustCompile(`(?m)^go_goroutines (\d+)$`)

func goroutines(t *testing.T, r *replica) int {
	t.Helper()
	found := goroutineCount.FindStringSubmatch(want(t, http.StatusOK, "GET", r.metrics+"/metrics", "", nil).text)
	if found == nil {
		t.Fatal("the metrics do not say how many goroutines there are")
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}
