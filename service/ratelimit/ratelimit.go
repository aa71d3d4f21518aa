// Package ratelimit counts what clients do and says when it is too much.
//
// It owns the counting: in Valkey (or any server that speaks RESP), so that replicas count together, and in the process where there is
// no Valkey or while it does not answer. What is limited, and by which key, is its caller's business.
//
// Both count by the generic cell rate algorithm (ITU-T I.371): a client may do a limit's events at once, and regains them evenly. In
// the process each replica counts alone, so that a client who reaches n replicas gets up to n times the limit, and never less than it.
package ratelimit

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/go-redis/redis_rate/v10"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"

	"github.com/smart-assistant/platform/service/telemetry"
)

// Limit is so many events in a period. The name keeps limits apart.
type Limit struct {
	Name   string
	Events int
	Period time.Duration
}

// Decision is what became of one event.
type Decision struct {
	Allowed    bool
	Remaining  int
	RetryAfter time.Duration // until the next event is allowed; 0 when this one is
}

const (
	// Patience is how long Valkey is waited for, by default: no limit is worth more of a request's time.
	Patience = 100 * time.Millisecond

	pause      = time.Second // after Valkey did not answer, before it is asked again
	mostLocal  = 100_000     // clients that a process remembers
	keysPrefix = "assistd:rate:"
)

// Config is what a Limiter works with.
type Config struct {
	Valkey redis.UniversalClient // of Connect; nil counts in the process
	Log    *slog.Logger
	Now    telemetry.Clock
}

// Connect makes a client of Valkey that waits for no step longer than this, whatever Valkey does: it may be reachable and say nothing.
// Nothing is sent yet.
func Connect(url string, patience time.Duration) (*redis.Client, error) {
	options, err := redis.ParseURL(url)
	if err != nil {
		return nil, errors.New("read the Valkey URL: want redis://user:password@host:port or rediss://…") // the cause repeats the password
	}
	options.ContextTimeoutEnabled, options.MaxRetries = true, -1
	options.DialTimeout, options.ReadTimeout, options.WriteTimeout, options.PoolTimeout = patience, patience, patience, patience
	return redis.NewClient(options), nil
}

// Limiter counts. It is safe for concurrent use.
type Limiter struct {
	config    Config
	shared    *redis_rate.Limiter
	local     *lru.Cache[string, *rate.Limiter]
	retryAt   atomic.Int64 // when Valkey is asked again, in Unix nanoseconds; 0 while it answers
	decisions *prometheus.CounterVec
	degraded  prometheus.GaugeFunc
}

// New makes a limiter and registers its metrics; metrics may be nil.
func New(config Config, metrics *telemetry.Metrics) (*Limiter, error) {
	local, err := lru.New[string, *rate.Limiter](mostLocal)
	if err != nil {
		return nil, err
	}
	l := &Limiter{config: config, local: local}
	if config.Valkey != nil {
		l.shared = redis_rate.NewLimiter(config.Valkey)
	}
	l.decisions = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "assistd_rate_limit_decisions_total", Help: "Events that a rate limit allowed or refused.",
	}, []string{"limit", "decision"})
	l.degraded = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "assistd_rate_limit_degraded", Help: "1 while Valkey is configured and does not answer, so that each replica counts alone.",
	}, func() float64 {
		if l.shared != nil && l.retryAt.Load() != 0 {
			return 1
		}
		return 0
	})
	if metrics == nil {
		return l, nil
	}
	return l, errors.Join(metrics.Register(l.decisions), metrics.Register(l.degraded))
}

// Allow counts one event of the key. It always answers: without Valkey by what this process saw.
func (l *Limiter) Allow(ctx context.Context, limit Limit, key string) Decision {
	decision, counted := l.askValkey(ctx, limit, key)
	if !counted {
		decision = l.here(limit, key)
	}
	said := "refused"
	if decision.Allowed {
		said = "allowed"
	}
	l.decisions.WithLabelValues(limit.Name, said).Inc()
	return decision
}

func (l *Limiter) askValkey(ctx context.Context, limit Limit, key string) (Decision, bool) {
	now := l.config.Now().UnixNano()
	if l.shared == nil || !l.mayAsk(now) {
		return Decision{}, false
	}
	result, err := l.shared.Allow(ctx, keysPrefix+limit.Name+":"+key, redis_rate.Limit{Rate: limit.Events, Burst: limit.Events, Period: limit.Period})
	if err != nil {
		if ctx.Err() == nil && l.retryAt.Swap(now+int64(pause)) == 0 {
			l.config.Log.WarnContext(ctx, "Valkey does not answer: each replica limits rates alone", "error", err)
		}
		return Decision{}, false
	}
	if l.retryAt.Swap(0) != 0 {
		l.config.Log.InfoContext(ctx, "Valkey answers again: replicas limit rates together")
	}
	return Decision{Allowed: result.Allowed > 0, Remaining: result.Remaining, RetryAfter: max(0, result.RetryAfter)}, true
}

// mayAsk says whether Valkey is to be asked. While it does not answer, one request tries it now and then.
func (l *Limiter) mayAsk(now int64) bool {
	at := l.retryAt.Load()
	return at == 0 || now >= at && l.retryAt.CompareAndSwap(at, now+int64(pause))
}

func (l *Limiter) here(limit Limit, key string) Decision {
	key = limit.Name + ":" + key
	every := rate.Every(limit.Period / time.Duration(limit.Events))
	bucket := rate.NewLimiter(every, limit.Events)
	if known, found, _ := l.local.PeekOrAdd(key, bucket); found {
		bucket = known
		l.local.Get(key) // keeps it from being the first that is forgotten
	}
	now := l.config.Now()
	if bucket.AllowN(now, 1) {
		return Decision{Allowed: true, Remaining: int(bucket.TokensAt(now))}
	}
	missing := 1 - bucket.TokensAt(now)
	return Decision{RetryAfter: time.Duration(missing / float64(every) * float64(time.Second))}
}
