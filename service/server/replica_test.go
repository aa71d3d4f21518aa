package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/postgres"
	"github.com/smart-assistant/platform/cli/postgres/postgrestest"
	"github.com/smart-assistant/platform/service/server"
	"github.com/smart-assistant/platform/service/telemetry"
)

func testRequestIDs(t *testing.T, w *world) {
	r := w.start(t, func(c *server.Config) { c.Replica = "prod-2" })
	for sent, kept := range map[string]bool{"": false, "abc-123_X.y": true, "two words": false, strings.Repeat("x", 65): false, "ünïcode": false} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+"/version", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-Request-Id", sent)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		id := response.Header.Get("X-Request-Id")
		if kept && id != sent || !kept && !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(id) {
			t.Errorf("sent %q, answered %q", sent, id)
		}
		if response.Header.Get("X-Replica") != "prod-2" {
			t.Errorf("X-Replica: %q", response.Header.Get("X-Replica"))
		}
		eventually(t, "the log has the request", func() bool { return strings.Contains(w.log.String(), `"request_id":"`+id+`"`) })
	}
	for line := range strings.Lines(w.log.String()) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry["msg"] == nil || entry["level"] == nil {
			t.Errorf("no JSON log line: %s", line)
		}
	}
}

func testLimits(t *testing.T, w *world) {
	r := w.start(t, func(c *server.Config) { c.MaxBody = 1000 })
	a := r.call(t, "POST", "/api/v1/auth/login", "", object{"email": "a@example.org", "password": strings.Repeat("x", 1000)})
	if a.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a body above the limit: %s %s", a.Status, a.text)
	}
	lock := connect(t, w.url) // makes every read of a profile wait
	slow := w.start(t, func(c *server.Config) { c.RequestTimeout = 200 * time.Millisecond })
	token := slow.user(t, "a@example.org").AccessToken
	exec(t, lock, "BEGIN; LOCK TABLE profiles IN ACCESS EXCLUSIVE MODE")
	if a := slow.call(t, "GET", "/api/v1/me", token, nil); a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" || strings.Contains(a.text, "context") {
		t.Errorf("a request that takes too long: %s %s", a.Status, a.text)
	}
	exec(t, lock, "ROLLBACK")
	slow.want(t, 200, "GET", "/api/v1/me", token, nil)
}

func testOpenAPI(t *testing.T, w *world) {
	r := w.start(t)
	var document struct {
		OpenAPI string `json:"openapi"`
		Paths   map[string]map[string]struct {
			OperationID string           `json:"operationId"`
			Security    []map[string]any `json:"security"`
		} `json:"paths"`
	}
	text := r.want(t, 200, "GET", "/openapi.json", "", nil)
	text.decode(t, &document)
	if !strings.HasPrefix(document.OpenAPI, "3.1") || strings.Contains(text.text, "$schema") {
		t.Errorf("OpenAPI %s, $schema in it: %v", document.OpenAPI, strings.Contains(text.text, "$schema"))
	}
	for path, operations := range document.Paths {
		for method, operation := range operations {
			if operation.OperationID == "" {
				t.Errorf("%s %s has no operationId", method, path)
			}
			private := strings.HasPrefix(path, "/api/v1/") && !strings.HasPrefix(path, "/api/v1/auth/") && !strings.HasPrefix(path, "/api/v1/oauth/")
			if private != (len(operation.Security) > 0) {
				t.Errorf("%s %s: private %v, security %v", method, path, private, operation.Security)
			}
			if private {
				if a := r.call(t, strings.ToUpper(method), path, "", "{}"); a.StatusCode != http.StatusUnauthorized {
					t.Errorf("%s %s without a token: %s", method, path, a.Status)
				}
			}
		}
	}
	if len(document.Paths) < 7 {
		t.Errorf("only %d paths", len(document.Paths))
	}
	if a := r.user(t, "a@example.org"); strings.Contains(r.call(t, "GET", "/api/v1/me", a.AccessToken, nil).text, "$schema") {
		t.Error("$schema in a body")
	}
}

func testMetrics(t *testing.T, w *world) {
	r := w.start(t)
	token := r.user(t, "a@example.org").AccessToken
	r.want(t, 200, "GET", "/api/v1/me", token, nil)
	r.want(t, 404, "GET", "/metrics", "", nil)
	r.want(t, 404, "GET", "/nowhere/42", "", nil)
	a, err := try(t.Context(), "BREW", r.url+"/health", "", nil)
	if err != nil || a.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("BREW: %v %v", a.Response, err)
	}
	var text string
	eventually(t, "the requests are counted", func() bool {
		a, err := try(t.Context(), "GET", r.metrics+"/metrics", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		text = a.text
		return strings.Contains(text, `method="other"`)
	})
	for _, want := range []string{
		`assistd_http_requests_total{method="GET",route="/api/v1/me",status="200"} 1`,
		`assistd_http_requests_total{method="GET",route="none",status="404"} 2`,
		`assistd_http_requests_total{method="other",route="none",status="405"} 1`,
		`assistd_http_request_duration_seconds_count{method="POST",route="/api/v1/auth/login"} 1`,
		`assistd_http_requests_in_flight 0`, `assistd_db_connections{state="idle"}`,
		`assistd_build_info{commit="abc",version="v0.0.1"} 1`, "go_goroutines", "process_open_fds",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(text, "example.org") || strings.Contains(text, "nowhere") {
		t.Error("a label says who or where")
	}
	var page telemetry.Page // registered, logged in, a profile, two to nowhere; no probe
	if a, err := try(t.Context(), "GET", r.metrics+telemetry.TrafficPath+"?window=1m", "", nil); err != nil || a.StatusCode != http.StatusOK {
		t.Errorf("traffic: %v %v", a.Response, err)
	} else if err := json.Unmarshal([]byte(a.text), &page); err != nil || page.Version != "v0.0.1" || page.Requests != 5 || page.Failed != 0 || page.P95 == 0 {
		t.Errorf("traffic: %v %s", err, a.text)
	}
	r.want(t, 404, "GET", telemetry.TrafficPath, "", nil)
	if a, err := try(t.Context(), "GET", r.metrics+"/api/v1/me", token, nil); err != nil || a.StatusCode != http.StatusNotFound {
		t.Errorf("the API on the metrics' port: %v %v", a.Response, err)
	}
}

func testReadyFollowsTheSchema(t *testing.T, w *world) {
	r := w.start(t)
	r.want(t, 200, "GET", "/ready", "", nil)
	db := connect(t, w.url)
	newer := func(version, needs int, phase string) {
		exec(t, db, `INSERT INTO schema_history (version, name, phase, sha256, needs, concurrent, applied_at, duration_ms, release)
			VALUES ($1, 'newer', $2, '', $3, false, now(), 0, 'v9')`, version, phase, needs)
	}
	newer(1000, 0, "expand")
	r.want(t, 200, "GET", "/ready", "", nil)
	newer(1001, 1, "contract")
	r.want(t, 200, "GET", "/ready", "", nil)
	newer(1002, 1001, "contract")
	if a := r.want(t, 503, "GET", "/ready", "", nil); !strings.Contains(a.text, "1002") {
		t.Errorf("the reason does not name the contract: %s", a.text)
	}
	exec(t, db, `DELETE FROM schema_history WHERE version = 1002`)
	r.want(t, 200, "GET", "/ready", "", nil)
	exec(t, db, `DELETE FROM schema_history WHERE version = 2`)
	if a := r.want(t, 503, "GET", "/ready", "", nil); !strings.Contains(a.text, "migration 2") {
		t.Errorf("the reason does not name the migration: %s", a.text)
	}
	r.want(t, 200, "GET", "/health", "", nil)
	exec(t, db, `DROP TABLE schema_history`)
	r.want(t, 503, "GET", "/ready", "", nil)
}

// testDrainDropsNothing stops one of two replicas under load. The load does what a proxy does: it looks at /ready all the
// time, sends to whoever is ready over connections that it keeps, and never sends anything twice.
func testDrainDropsNothing(t *testing.T, w *world) {
	replicas := []*replica{
		w.start(t, func(c *server.Config) { c.DrainDelay = 500 * time.Millisecond }),
		w.start(t),
	}
	token := replicas[0].user(t, "a@example.org").AccessToken
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}
	defer client.CloseIdleConnections()

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var ready [2]atomic.Bool
	var work sync.WaitGroup
	for i, r := range replicas {
		ready[i].Store(true)
		work.Go(func() {
			for ctx.Err() == nil {
				a, err := try(ctx, "GET", r.url+"/ready", "", nil)
				ready[i].Store(err == nil && a.StatusCode == http.StatusOK)
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	var sent, failed [2]atomic.Int64
	for range 16 {
		work.Go(func() {
			for turn := 0; ctx.Err() == nil; turn++ {
				i := turn % 2
				if !ready[i].Load() {
					i = 1 - i
				}
				request, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodPatch, replicas[i].url+"/api/v1/me",
					strings.NewReader(fmt.Sprintf(`{"about": "%d"}`, turn)))
				if err != nil {
					t.Error(err)
					return
				}
				request.GetBody = nil // so that net/http never repeats it by itself
				request.Header.Set("Content-Type", "application/json")
				request.Header.Set("Authorization", "Bearer "+token)
				response, err := client.Do(request)
				sent[i].Add(1)
				if err == nil {
					response.Body.Close()
				}
				if err != nil || response.StatusCode != http.StatusOK {
					failed[i].Add(1)
					t.Errorf("replica %d: %v %v", i, response, err)
				}
			}
		})
	}
	eventually(t, "both replicas are under load", func() bool { return sent[0].Load() > 200 && sent[1].Load() > 200 })
	if err := replicas[0].stop(); err != nil {
		t.Error(err)
	}
	after := sent[1].Load()
	eventually(t, "the other one carries on", func() bool { return sent[1].Load() > after+200 })
	stop()
	work.Wait()
	t.Logf("%d and %d requests, %d and %d failed", sent[0].Load(), sent[1].Load(), failed[0].Load(), failed[1].Load())
}

// testDrainFinishesRequests stops a replica while a request is being answered.
func testDrainFinishesRequests(t *testing.T, w *world) {
	r := w.start(t)
	token := r.user(t, "a@example.org").AccessToken
	lock := connect(t, w.url)
	exec(t, lock, "BEGIN; LOCK TABLE profiles IN ACCESS EXCLUSIVE MODE")
	result := make(chan error, 1)
	go func() {
		a, err := try(context.WithoutCancel(t.Context()), "PATCH", r.url+"/api/v1/me", token, object{"about": "late"})
		if err == nil && a.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s %s", a.Status, a.text)
		}
		result <- err
	}()
	watcher := connect(t, w.url)
	eventually(t, "the request waits", func() bool {
		var waits bool
		if err := watcher.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity
			WHERE wait_event_type = 'Lock' AND datname = current_database())`).Scan(&waits); err != nil {
			t.Fatal(err)
		}
		return waits
	})
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	eventually(t, "nobody listens any more", func() bool {
		_, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(r.url + "/health") //nolint:bodyclose,noctx // an error is what is waited for
		return err != nil
	})
	select {
	case err := <-stopped:
		t.Fatalf("it stopped with a request unanswered: %v", err)
	default:
	}
	exec(t, lock, "ROLLBACK")
	if err := <-result; err != nil {
		t.Errorf("the request: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("the replica: %v", err)
	}
}

func testPortIsTaken(t *testing.T, w *world) {
	r := w.start(t)
	err := server.Run(t.Context(), server.Config{
		Build: w.build, DatabaseURL: w.url, Keys: w.keys, Keyring: w.keyring, Listen: strings.TrimPrefix(r.url, "http://"),
		Now: w.now, Rand: strings.NewReader(strings.Repeat("x", 1000)), BcryptCost: 4,
	})
	if err == nil || !strings.Contains(err.Error(), "listen for the API") {
		t.Errorf("got %v", err)
	}
}

// testDatabaseNeedNotBeThere starts a replica before its database, and takes the database away from it.
func testDatabaseNeedNotBeThere(t *testing.T, w *world) {
	database := postgrestest.New(t)
	if err := database.Init(t.Context(), postgrestest.Password); err != nil {
		t.Fatal(err)
	}
	w.url = database.URL("postgres")
	r := w.start(t)
	r.want(t, 200, "GET", "/health", "", nil)
	if a := r.want(t, 503, "GET", "/ready", "", nil); strings.Contains(a.text, "127.0.0.1") {
		t.Errorf("the reason says where the database is: %s", a.text)
	}
	for range 2 {
		if err := database.Server.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		migrate(t, w.url)
		eventually(t, "it is ready", func() bool { return r.call(t, "GET", "/ready", "", nil).StatusCode == http.StatusOK })
		if err := database.Stop(t.Context(), postgres.Fast); err != nil {
			t.Fatal(err)
		}
		r.want(t, 503, "GET", "/ready", "", nil)
	}
	r.want(t, 200, "GET", "/health", "", nil)
}
