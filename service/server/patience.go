package server

import (
	"context"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/pgxpool"
)

// The database's part of a request's time. Whoever waits for longer is better told to come again (503): behind a database that hangs,
// requests would pile up.
const (
	connectTimeout = 3 * time.Second // until a connection is made
	acquireTimeout = 3 * time.Second // until the pool has one
	pingTimeout    = 2 * time.Second // until one that was idle answers
)

// impatience bounds how long requests wait for a connection of the pool; background work and long requests wait as long as they may.
// pgxpool has no such setting, but it waits by the context that this returns.
type impatience struct{}

type (
	impatientKey struct{}
	giveUpKey    struct{}
)

// impatient marks a request's context.
func impatient(ctx context.Context) context.Context {
	return context.WithValue(ctx, impatientKey{}, true)
}

func (impatience) TraceAcquireStart(ctx context.Context, _ *pgxpool.Pool, _ pgxpool.TraceAcquireStartData) context.Context {
	if ctx.Value(impatientKey{}) == nil {
		return ctx
	}
	ctx, cancel := context.WithTimeout(ctx, acquireTimeout)
	return context.WithValue(ctx, giveUpKey{}, cancel)
}

func (impatience) TraceAcquireEnd(ctx context.Context, _ *pgxpool.Pool, _ pgxpool.TraceAcquireEndData) {
	if cancel, bounded := ctx.Value(giveUpKey{}).(context.CancelFunc); bounded {
		cancel()
	}
}

// poolConfig reads the settings of the pool.
func (c Config) poolConfig() (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(c.DatabaseURL)
	if err != nil {
		return nil, err
	}
	config.ConnConfig.RuntimeParams["application_name"] = "assistd " + c.Build.Version
	config.ConnConfig.ConnectTimeout, config.PingTimeout = connectTimeout, pingTimeout
	if c.MaxConnections > 0 {
		config.MaxConns = c.MaxConnections
	}
	tracers := multitracer.New()
	if c.Traces != nil {
		tracers = multitracer.New(otelpgx.NewTracer(otelpgx.WithTracerProvider(c.Traces)))
	}
	tracers.PoolAcquireTracers = append(tracers.PoolAcquireTracers, impatience{})
	config.ConnConfig.Tracer = tracers
	return config, nil
}
