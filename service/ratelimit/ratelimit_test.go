package ratelimit_test

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/smart-assistant/platform/service/ratelimit"
	"github.com/smart-assistant/platform/test/valkey"
)

var perHour = ratelimit.Limit{Name: "test", Events: 20, Period: time.Hour} // regains one in 3 min: no test lasts that long

func limiter(t *testing.T, url string, now func() time.Time) *ratelimit.Limiter {
	t.Helper()
	config := ratelimit.Config{Log: slog.New(slog.DiscardHandler), Now: now}
	if url != "" {
		client, err := ratelimit.Connect(url, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		config.Valkey = client
	}
	l, err := ratelimit.New(config, nil)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// storm asks each limiter 100 times at once and counts what is allowed.
func storm(limiters ...*ratelimit.Limiter) int64 {
	var allowed atomic.Int64
	var all sync.WaitGroup
	for _, l := range limiters {
		for range 4 {
			all.Go(func() {
				for range 25 {
					if l.Allow(context.Background(), perHour, "client").Allowed {
						allowed.Add(1)
					}
				}
			})
		}
	}
	all.Wait()
	return allowed.Load()
}

func TestReplicasCountTogether(t *testing.T) {
	server := valkey.Start(t)
	if n := storm(limiter(t, server.URL(), time.Now), limiter(t, server.URL(), time.Now)); n != 20 {
		t.Errorf("two replicas allowed %d events of 20", n)
	}
}

func TestValkeyGoesAndComesBack(t *testing.T) {
	server := valkey.Start(t)
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	a, b := limiter(t, server.URL(), now), limiter(t, server.URL(), now)
	if n := storm(a, b); n != 20 {
		t.Fatalf("allowed %d events of 20", n)
	}
	server.Stop(t)
	if n := storm(a, b); n != 40 {
		t.Errorf("without Valkey two replicas allowed %d events, not 20 each", n)
	}
	server.Again(t)
	ahead.Add(int64(2 * time.Second)) // past the pause
	if n := storm(a, b); n != 20 {
		t.Errorf("Valkey is back and empty: allowed %d events of 20", n)
	}
}

// TestValkeyIsSilent has a Valkey that takes connections and says nothing, as one that hangs does: one request waits, and for no longer than
// it has patience; the others count here meanwhile.
func TestValkeyIsSilent(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var taken atomic.Int64
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			taken.Add(1)
			defer conn.Close()
		}
	}()
	client, err := ratelimit.Connect("redis://"+listener.Addr().String(), 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	now := time.Unix(1e9, 0)
	l, err := ratelimit.New(ratelimit.Config{Valkey: client, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }}, nil)
	if err != nil {
		t.Fatal(err)
	}
	// The 5 s are those that the client's library waits by default.
	began := time.Now()
	l.Allow(t.Context(), perHour, "client")
	if took := time.Since(began); took > 4*time.Second {
		t.Fatalf("the first request waited %v", took)
	}
	before := taken.Load()
	if n := storm(l); n != 19 {
		t.Errorf("counted here: %d more of 20", n)
	}
	if taken.Load() != before {
		t.Error("Valkey was asked in the pause")
	}
	now = now.Add(2 * time.Second)
	if storm(l); taken.Load() > before+1 {
		t.Errorf("after the pause it was tried %d times at once", taken.Load()-before)
	}
}

func TestCountsInTheProcess(t *testing.T) {
	clock := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	l := limiter(t, "", func() time.Time { return clock })
	if n := storm(l); n != 20 {
		t.Fatalf("allowed %d events of 20", n)
	}
	refused := l.Allow(t.Context(), perHour, "client")
	if refused.Allowed || refused.RetryAfter <= 0 || refused.RetryAfter > 3*time.Minute {
		t.Errorf("the 21st: %+v", refused)
	}
	if !l.Allow(t.Context(), perHour, "another client").Allowed {
		t.Error("another client is refused")
	}
	if !l.Allow(t.Context(), ratelimit.Limit{Name: "another limit", Events: 1, Period: time.Hour}, "client").Allowed {
		t.Error("another limit's count is mixed with it")
	}
	clock = clock.Add(refused.RetryAfter)
	if d := l.Allow(t.Context(), perHour, "client"); !d.Allowed {
		t.Errorf("after RetryAfter: %+v", d)
	}
	if d := l.Allow(t.Context(), perHour, "client"); d.Allowed {
		t.Error("two were regained at once")
	}
}
