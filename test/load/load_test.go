package load_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/smart-assistant/platform/test/load"
)

// service is as much of the API as the load asks for, over real HTTP; answer may take over a profile request.
func service(t *testing.T, answer func(n int64, w http.ResponseWriter) bool) string {
	t.Helper()
	var (
		profiles atomic.Int64
		mux      = http.NewServeMux()
		reply    = func(w http.ResponseWriter, v any) {
			if err := json.NewEncoder(w).Encode(v); err != nil {
				t.Errorf("answer: %v", err)
			}
		}
		me = func(w http.ResponseWriter, r *http.Request) {
			email, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer token of ")
			if !ok {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			if answer(profiles.Add(1), w) {
				return
			}
			reply(w, map[string]string{"email": email})
		}
	)
	mux.HandleFunc("POST /api/v1/auth/register", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
	})
	mux.HandleFunc("POST /api/v1/auth/login", func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Email string }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Errorf("login: %v", err)
		}
		reply(w, map[string]string{"access_token": "token of " + in.Email})
	})
	mux.HandleFunc("GET /api/v1/me", me)
	mux.HandleFunc("PATCH /api/v1/me", me)
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]string{"version": "v9"})
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// until polls the report until it holds.
func until(t *testing.T, r *load.Runner, holds func(load.Report) bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(r.Report()); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not reached: %v", r.Report())
		}
	}
}

func TestCountsEveryFailureByKind(t *testing.T) {
	url := service(t, func(n int64, w http.ResponseWriter) bool {
		switch n {
		case 3:
			w.WriteHeader(http.StatusBadGateway)
		case 4:
			_, _ = w.Write([]byte(`{"email":"somebody@else"}`))
		case 5:
			panic(http.ErrAbortHandler) // the connection ends without an answer
		default:
			return false
		}
		return true
	})
	r, err := load.Start(t.Context(), load.Options{URL: url, Rate: 500})
	if err != nil {
		t.Fatal(err)
	}
	until(t, r, func(r load.Report) bool { return r.Sent >= 40 })
	got := r.Stop()

	if got.Failed != 3 && got.Failed != 2 { // an aborted read may have been repeated by the HTTP client
		t.Errorf("failed = %d, want 3: %v", got.Failed, got)
	}
	if got.Failed+got.Retried < 3 {
		t.Errorf("failed %d, retried %d: an aborted connection went uncounted: %v", got.Failed, got.Retried, got)
	}
	if got.Errors["status 502"] != 1 || got.Errors["wrong answer"] != 1 {
		t.Errorf("errors = %v", got.Errors)
	}
	if len(got.Samples) != got.Failed {
		t.Errorf("samples = %q, want one a failure", got.Samples)
	}
	if got.Sent != got.OK+got.Failed {
		t.Errorf("sent %d ≠ ok %d + failed %d", got.Sent, got.OK, got.Failed)
	}
	if got.Versions["v9"] == 0 {
		t.Errorf("versions = %v", got.Versions)
	}
}

// A server that stops answering for a while is to blame for every request that was due meanwhile.
func TestStallCountsFromWhenRequestsWereDue(t *testing.T) {
	const stall = 400 * time.Millisecond
	var (
		mu    sync.Mutex
		first = true
	)
	url := service(t, func(int64, http.ResponseWriter) bool {
		mu.Lock() // everybody waits behind the first
		defer mu.Unlock()
		if first {
			first = false
			time.Sleep(stall)
		}
		return false
	})
	r, err := load.Start(t.Context(), load.Options{URL: url, Rate: 200})
	if err != nil {
		t.Fatal(err)
	}
	// Of the 80 requests due in the stall, those in its first half waited for at least the other half.
	until(t, r, func(r load.Report) bool { return r.OK >= 80 })
	got := r.Stop()
	if got.Max < float64(stall.Milliseconds()) {
		t.Errorf("max = %.0f ms, want at least %v", got.Max, stall)
	}
	if got.P95 < float64(stall.Milliseconds())/2 {
		t.Errorf("p95 = %.0f ms: the requests behind the stalled one were not measured from when they were due", got.P95)
	}
	if got.Failed != 0 {
		t.Errorf("failed: %v", got)
	}
}

func TestRefusesOtherMachines(t *testing.T) {
	for _, url := range []string{"http://192.0.2.1:80", "http://example.com", "ftp://127.0.0.1", "://", ""} {
		if _, err := load.Start(t.Context(), load.Options{URL: url}); err == nil {
			t.Errorf("%q was accepted", url)
		}
	}
	for _, o := range []load.Options{{Rate: load.MaxRate + 1}, {Rate: -1}, {Users: -1}, {Duration: 2 * load.MaxDuration}} {
		o.URL = "http://127.0.0.1:1"
		if _, err := load.Start(t.Context(), o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

func TestEndsByItself(t *testing.T) {
	url := service(t, func(int64, http.ResponseWriter) bool { return false })
	r, err := load.Start(t.Context(), load.Options{URL: url, Rate: 100, Duration: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	<-r.Done()
	got := r.Stop()
	if got.Sent == 0 || got.Sent > 31 || got.Failed != 0 {
		t.Errorf("a rate of 100/s for 0.3 s: %v", got)
	}
}
