// Package server is one replica of the service: it puts the parts together, listens, and stops without dropping a request.
//
// It owns routes that are about the replica itself (/health, /ready, /version, /metrics, /traffic), the middleware and the order in
// which things start and stop. What users do belongs to the parts: account, briefing and those to come (parts.go).
package server

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/oauth2"

	"github.com/smart-assistant/platform/service/account"
	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/encryption"
	"github.com/smart-assistant/platform/service/mail"
	"github.com/smart-assistant/platform/service/outbound"
	"github.com/smart-assistant/platform/service/ratelimit"
	"github.com/smart-assistant/platform/service/schema"
	"github.com/smart-assistant/platform/service/signin"
	"github.com/smart-assistant/platform/service/telemetry"
	"github.com/smart-assistant/platform/service/upstream"
)

// Build says which build this is.
type Build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
}

// Config is what a replica needs. Durations and sizes that are zero take their default.
type Config struct {
	Build       Build
	Replica     string // this replica's name in logs, in /version and in the header X-Replica; may be empty
	DatabaseURL string
	Schema      schema.Set
	Keys        account.Keys
	Keyring     *encryption.Keyring
	Outbound    *outbound.Guard // default: public addresses only
	Upstream    upstream.Config // of the language model; without URL there is none
	Providers   []signin.Provider
	MailSync    mail.SyncConfig
	Gmail       *oauth2.Config // nil where Gmail is not configured
	GmailURL    string         // see signin.Config
	PublicURL   string         // of this service, as users reach it
	ReturnTo    []string       // origins that a log-in elsewhere may end at
	Mailer      account.Mailer // nil where the service sends no mail
	ChatKey     string         // see chat.Config.ConnectionKey
	ChatUserKey string         // see chat.Config.UserTokenKey
	Issuer      string         // of access tokens; default "assistd"
	Audience    string         // of access tokens; default "assistd"

	Access         Access
	ValkeyPatience time.Duration // with each step of asking it (default ratelimit.Patience)
	ValkeyURL      string        // of the server where replicas count together, redis://…; empty: each counts alone

	Listen        string // address of the API, such as 127.0.0.1:8080; port 0 picks a free one
	MetricsListen string // address of /metrics and /traffic, which are not for users; empty for none
	// Listening, when set, is told the addresses once both listeners are open.
	Listening func(api, metrics net.Addr)

	DrainDelay     time.Duration // from the signal to the end of listening, while /ready already fails (default 3 s)
	DrainTimeout   time.Duration // from the end of listening to giving up on requests that do not end (default 30 s)
	RequestTimeout time.Duration // of one request, by its context (default 15 s)
	MaxBody        int64         // bytes of a request's body (default 1 MiB)
	MaxConnections int32         // to the database; 0 leaves it to the URL's pool_max_conns
	QueueWorkers   int           // background jobs that run at once, in each queue (default 2)
	BcryptCost     int           // see account.Config
	AuditRetention time.Duration // see account.Config

	Log    *slog.Logger
	Traces trace.TracerProvider // nil for none
	Now    telemetry.Clock
	Rand   io.Reader
}

func (c Config) withDefaults() Config {
	orDefault(&c.Issuer, "assistd")
	orDefault(&c.Audience, "assistd")
	orDefault(&c.DrainDelay, 3*time.Second)
	orDefault(&c.DrainTimeout, 30*time.Second)
	orDefault(&c.RequestTimeout, 15*time.Second)
	orDefault(&c.MaxBody, 1<<20)
	c.Access = c.Access.withDefaults()
	if c.Outbound == nil {
		c.Outbound = outbound.New()
	}
	return c
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Run serves until ctx ends and then drains: /ready fails first, the listener stays open for DrainDelay so that whoever
// routes to this replica sees it, then requests that are being answered are finished. It returns nil after a clean stop.
//
// The database need not be there when Run begins: /ready says so and everything recovers by itself.
func Run(ctx context.Context, config Config) error {
	config = config.withDefaults()
	replica, err := newReplica(config)
	if err != nil {
		return err
	}
	defer replica.close()

	public, private, err := listen(ctx, config)
	if err != nil {
		return err
	}
	if config.Listening != nil {
		config.Listening(addr(public), addr(private))
	}
	config.Log.InfoContext(ctx, "listening", "api", addr(public), "metrics", addr(private), "schema_head", config.Schema.Head())
	return replica.serve(ctx, public, private)
}

// replica is the running state that the routes look at.
type replica struct {
	config   Config
	pool     *pgxpool.Pool
	history  *sql.DB // for /ready alone: it must be answered while requests use up the pool
	accounts *account.Service
	parts    *parts
	limiter  *ratelimit.Limiter
	repeats  *api.Idempotency
	valkey   *redis.Client // nil where there is none
	metrics  *telemetry.Metrics
	traffic  *telemetry.Traffic
	draining chan struct{} // closed when the replica is about to stop
}

func newReplica(config Config) (*replica, error) {
	if config.Keyring == nil {
		return nil, errors.New("no master key: what is kept sealed could not be opened")
	}
	poolConfig, err := config.poolConfig()
	if err != nil {
		return nil, fmt.Errorf("read the database URL: %w", err)
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), poolConfig) // connects when first asked
	if err != nil {
		return nil, fmt.Errorf("set up the database pool: %w", err)
	}
	accounts, err := account.New(account.Config{
		Pool: pool, Keyring: config.Keyring, Keys: config.Keys, Issuer: config.Issuer, Audience: config.Audience,
		Log: config.Log, Now: config.Now, Rand: config.Rand, BcryptCost: config.BcryptCost,
		Mailer: config.Mailer, PublicURL: config.PublicURL, AuditRetention: config.AuditRetention,
	})
	if err != nil {
		pool.Close()
		return nil, err
	}
	metrics := telemetry.NewMetrics(config.Build.Version, config.Build.Commit)
	if err := metrics.Register(poolCollector{pool}); err != nil {
		pool.Close()
		return nil, fmt.Errorf("register the pool's metrics: %w", err)
	}
	history := stdlib.OpenDB(*poolConfig.ConnConfig.Copy())
	history.SetMaxOpenConns(1)
	r := &replica{
		config: config, pool: pool, history: history, accounts: accounts, metrics: metrics,
		repeats:  api.NewIdempotency(pool, config.Keyring, config.Now, caller, config.MaxBody),
		traffic:  telemetry.NewTraffic(config.Now()),
		draining: make(chan struct{}),
	}
	for _, build := range []func() error{r.connectValkey, r.assemble} {
		if err := build(); err != nil {
			r.close()
			return nil, err
		}
	}
	return r, nil
}

// connectValkey sets up the counting of requests. Valkey need not be there: it is asked when there is something to count.
func (r *replica) connectValkey() error {
	limits := ratelimit.Config{Log: r.config.Log, Now: r.config.Now}
	if r.config.ValkeyURL != "" {
		client, err := ratelimit.Connect(r.config.ValkeyURL, cmp.Or(r.config.ValkeyPatience, ratelimit.Patience))
		if err != nil {
			return err
		}
		r.valkey, limits.Valkey = client, client
	}
	limiter, err := ratelimit.New(limits, r.metrics)
	if err != nil {
		return fmt.Errorf("set up rate limits: %w", err)
	}
	r.limiter = limiter
	return nil
}

func (r *replica) close() {
	if r.valkey != nil {
		if err := r.valkey.Close(); err != nil {
			r.config.Log.Warn("close the connection to Valkey", "error", err)
		}
	}
	if err := r.history.Close(); err != nil {
		r.config.Log.Warn("close a database connection", "error", err)
	}
	r.pool.Close()
}

func listen(ctx context.Context, config Config) (api, metrics net.Listener, err error) {
	var l net.ListenConfig
	if api, err = l.Listen(ctx, "tcp", config.Listen); err != nil {
		return nil, nil, fmt.Errorf("listen for the API: %w", err)
	}
	if config.MetricsListen == "" {
		return api, nil, nil
	}
	if metrics, err = l.Listen(ctx, "tcp", config.MetricsListen); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("listen for metrics: %w", err), api.Close())
	}
	return api, metrics, nil
}

func addr(l net.Listener) net.Addr {
	if l == nil {
		return nil
	}
	return l.Addr()
}

// serve runs both servers and background work until ctx ends or a listener breaks, and stops them in order.
func (r *replica) serve(ctx context.Context, api, metrics net.Listener) error {
	broken := make(chan error, 2)
	start := func(l net.Listener, handler http.Handler) *http.Server {
		server := &http.Server{
			Handler:           handler,
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       r.config.RequestTimeout,
			WriteTimeout:      r.config.RequestTimeout + 5*time.Second, // the context's end comes first and is answered
			IdleTimeout:       2 * time.Minute,
			MaxHeaderBytes:    32 << 10,
			ErrorLog:          slog.NewLogLogger(r.config.Log.Handler(), slog.LevelWarn),
		}
		go func() { broken <- server.Serve(l) }()
		return server
	}
	servers := []*http.Server{start(api, r.handler())}
	if metrics != nil {
		servers = append(servers, start(metrics, r.privateHandler())) // last to stop: it tells about the drain as well
	}
	defer r.watch(context.WithoutCancel(ctx))() // requests that are being finished need it
	background, stopBackground := context.WithCancel(ctx)
	worked := make(chan struct{})
	go func() { defer close(worked); r.work(background) }()

	var failure error
	select {
	case err := <-broken:
		failure = fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	close(r.draining)
	if failure == nil {
		r.config.Log.Info("draining", "delay", r.config.DrainDelay.String())
		time.Sleep(r.config.DrainDelay)
	}
	stopBackground() // where the signal has not: requests and jobs end side by side, in the time of the longer
	failure = errors.Join(failure, r.shutdown(servers))
	<-worked
	return failure
}

func (r *replica) shutdown(servers []*http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), r.config.DrainTimeout)
	defer cancel()
	var failures []error
	for _, server := range servers {
		if err := server.Shutdown(ctx); err != nil {
			failures = append(failures, fmt.Errorf("shut down with requests unfinished after %s: %w", r.config.DrainTimeout, err), server.Close())
		}
	}
	r.config.Log.Info("stopped", "clean", len(failures) == 0)
	return errors.Join(failures...)
}

// watch listens for sessions that end elsewhere until what it returns is called.
func (r *replica) watch(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() { defer close(watched); r.accounts.Watch(ctx) }()
	return func() { cancel(); <-watched }
}

// work runs background jobs until ctx ends. It begins when the database is there and migrated.
func (r *replica) work(ctx context.Context) {
	for wait := time.Duration(0); ; wait = time.Second {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if _, reason := r.checkSchema(ctx); reason != "" {
			continue
		}
		if err := r.parts.queue.Start(context.WithoutCancel(ctx)); err != nil {
			r.config.Log.WarnContext(ctx, "start background work", "error", err)
			continue
		}
		break
	}
	<-ctx.Done()
	if err := r.parts.queue.Stop(context.WithoutCancel(ctx)); err != nil {
		r.config.Log.Warn("stop background work", "error", err)
	}
}
