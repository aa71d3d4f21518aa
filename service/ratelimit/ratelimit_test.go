package ratelimit_test

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/smart-assistant/platform/service/ratelimit"
	"github.com/smart-assistant/platform/test/valkey"
)

var perHour = ratelimit.Limit{Name: "test", Events: 20, Period: time.Hour} // regains one in 3 min: no test lasts that long

func limiter(t *testing.T, url string, now func() time.Time) *ratelimit.Limiter {
	t.Helper()
	config := ratelimit.Config{Log: slog.New(slog.DiscardHandler), Now: now}
	if url != "" {
		options, err := redis.ParseURL(url)
		if err != nil {
			t.Fatal(err)
		}
		options.MaxRetries = -1
		client := redis.NewClient(options)
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
