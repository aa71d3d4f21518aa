// Package migrator applies a build's migrations to a database, one runner at a time.
//
// It owns the lock, the history table, retries after a lock timeout and the repair of what a crash left behind. What is
// applied, pending or drifted is decided by package schema. Statements are run by goose's Provider.
//
// All work of a run happens in one database session. That session holds the advisory lock, so the lock lasts exactly as
// long as the session's work: when the process is killed, the next runner waits until the server has ended what was running.
package migrator

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/smart-assistant/platform/service/schema"
)

// Options bound how long a run waits and say who runs it. The zero value of each duration or number means its default.
type Options struct {
	Release string // version of this build, recorded with each migration

	// LockTimeout bounds how long one statement waits for a table lock (default 1 s). Readers and writers queue up behind a
	// waiting ALTER, so this is also how long they can be held up by one attempt.
	LockTimeout time.Duration
	// Attempts bounds how often one migration is tried when it meets a lock timeout or a deadlock (default 60).
	Attempts int
	// RunnerWait bounds the wait for another runner to finish (default 15 min).
	RunnerWait time.Duration

	// Report is told each event as it happens; nil tells nobody. It is called from the goroutine that runs the migrations.
	Report func(schema.Event)
	// Now tells the time; nil is the system's clock.
	Now func() time.Time
}

// Migrator works on one database with the migrations of one build.
type Migrator struct {
	set      schema.Set
	options  Options
	db       *sql.DB // one connection: see the package's comment
	store    *store
	provider *goose.Provider
}

// Open prepares a migrator. It does not connect: the first operation does.
func Open(databaseURL string, set schema.Set, options Options) (*Migrator, error) {
	config, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return nil, fmt.Errorf("read the database URL: %w", err)
	}
	options = options.withDefaults()
	config.RuntimeParams["application_name"] = "assistd migrate " + options.Release
	// Also said before each migration; here it holds for a session that had to be renewed in between.
	config.RuntimeParams["lock_timeout"] = milliseconds(options.LockTimeout)
	// A server that no longer has a client stops its statement within this time instead of finishing it for nobody.
	config.RuntimeParams["client_connection_check_interval"] = "1s"

	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(1)
	db.SetMaxIdleConns(1)
	m := &Migrator{set: set, options: options, db: db, store: newStore(set, options)}
	m.provider, err = goose.NewProvider(goose.DialectCustom, db, set.Files(),
		goose.WithStore(m.store),
		goose.WithSessionLocker(runnerLock{wait: options.RunnerWait, waiting: func(string) {}}),
		goose.WithDisableGlobalRegistry(true),
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare migrations: %w", err), db.Close())
	}
	return m, nil
}

// Close ends the session. Nothing is rolled back: every operation is complete when it returns.
func (m *Migrator) Close() error { return m.db.Close() }

// Set is the list of migrations that the migrator works with.
func (m *Migrator) Set() schema.Set { return m.set }

// Status compares the database with the build. It takes no lock and changes nothing.
func (m *Migrator) Status(ctx context.Context) (schema.Status, error) {
	history, err := schema.History(ctx, m.db)
	if err != nil {
		return schema.Status{}, err
	}
	status := schema.Compare(m.set.Migrations(), history)
	if status.InvalidIndexes, err = invalidIndexes(ctx, m.db); err != nil {
		return schema.Status{}, err
	}
	return status, nil
}

// Up applies every pending migration up to version to (0 means the build's head), in order. It refuses to start on drift.
// A failure is a *RunError that says what was applied, what failed and what remains.
func (m *Migrator) Up(ctx context.Context, to int64) error {
	return m.run(ctx, schema.Up, func(s schema.Status) ([]schema.Migration, error) {
		if len(s.Drift) > 0 {
			return nil, &DriftError{s.Drift}
		}
		plan := []schema.Migration{}
		for _, pending := range s.Pending {
			if to == 0 || pending.Version <= to {
				plan = append(plan, pending)
			}
		}
		return plan, nil
	})
}

// Down takes back every applied migration above version to, newest first. It needs the files of all of them: what a later
// release applied is taken back by that release.
func (m *Migrator) Down(ctx context.Context, to int64) error {
	return m.run(ctx, schema.Down, func(s schema.Status) ([]schema.Migration, error) {
		plan := []schema.Migration{}
		for i := len(s.Applied) - 1; i >= 0 && s.Applied[i].Version > to; i-- {
			migration, known := m.set.Get(s.Applied[i].Version)
			if !known {
				return nil, fmt.Errorf("migration %d %s is not in this build (head %d): take it back with release %s, which applied it",
					s.Applied[i].Version, s.Applied[i].Name, s.Head, s.Applied[i].Release)
			}
			plan = append(plan, migration)
		}
		return plan, nil
	})
}

// run takes the lock, asks for the plan under it, and works through the plan.
func (m *Migrator) run(ctx context.Context, direction schema.Direction, plan func(schema.Status) ([]schema.Migration, error)) error {
	began := m.options.Now()
	outcome := schema.Event{Direction: direction}
	err := m.locked(ctx, direction, func() error {
		status, err := m.Status(ctx)
		if err != nil {
			return err
		}
		outcome.Current = status.Current
		todo, err := plan(status)
		if err != nil {
			return err
		}
		for i, migration := range todo {
			if err := m.migrate(ctx, direction, migration); err != nil {
				outcome.Remaining = versions(todo[i:])
				return &RunError{Applied: todo[:i], Failed: migration, Remaining: todo[i+1:], Direction: direction, Err: err}
			}
			outcome.Applied = append(outcome.Applied, migration.Version)
			outcome.Current = after(direction, migration, m.set)
		}
		return nil
	})
	outcome.Event, outcome.Millis = schema.Finished, m.options.Now().Sub(began).Milliseconds()
	if err != nil {
		outcome.Event, outcome.Error = schema.Failed, err.Error()
	}
	m.options.Report(outcome)
	return err
}

// migrate runs one migration until it is through, or fails for a reason that trying again does not mend.
func (m *Migrator) migrate(ctx context.Context, direction schema.Direction, migration schema.Migration) error {
	event := schema.Event{Direction: direction, Version: migration.Version, Name: migration.Name, Phase: migration.Phase}
	began := m.options.Now()
	for attempt := 1; ; attempt++ {
		event.Event, event.Attempt = schema.Start, attempt
		m.options.Report(event)

		err := m.once(ctx, direction, migration, event)
		if err == nil {
			event.Event, event.Attempt, event.Millis = schema.Done, 0, m.options.Now().Sub(began).Milliseconds()
			event.Current = after(direction, migration, m.set)
			m.options.Report(event)
			return nil
		}
		if !contended(err) || attempt == m.options.Attempts {
			return err
		}
		pause := backoff(attempt)
		event.Event, event.Millis, event.Detail = schema.Retry, pause.Milliseconds(), m.blocker(ctx, err)
		m.options.Report(event)
		event.Millis, event.Detail = 0, ""
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// once makes a single attempt. goose rolls a transactional migration back by itself; what a concurrent one leaves is
// dropped here, before the attempt, because the process that left it may be gone.
func (m *Migrator) once(ctx context.Context, direction schema.Direction, migration schema.Migration, event schema.Event) error {
	if migration.Concurrent && direction == schema.Up {
		if err := m.repair(ctx, migration, event); err != nil {
			return err
		}
	}
	timeout := m.options.LockTimeout
	if migration.Concurrent {
		// CREATE INDEX CONCURRENTLY waits for old transactions without holding up anybody, so it may wait long; and each
		// interruption throws the work away.
		timeout = m.options.RunnerWait
	}
	if _, err := m.db.ExecContext(ctx, `SET lock_timeout = '`+milliseconds(timeout)+`'`); err != nil {
		return fmt.Errorf("set lock_timeout: %w", err)
	}
	m.store.began = m.options.Now()
	_, err := m.provider.ApplyVersion(ctx, migration.Version, direction == schema.Up)
	if partial := (*goose.PartialError)(nil); errors.As(err, &partial) {
		return partial.Err
	}
	return err
}

func after(direction schema.Direction, migration schema.Migration, set schema.Set) int64 {
	if direction == schema.Up {
		return migration.Version
	}
	var below int64
	for _, m := range set.Migrations() {
		if m.Version < migration.Version {
			below = m.Version
		}
	}
	return below
}

// backoff doubles from 100 ms to 5 s; half of it is chance, so that two runners or a periodic reader do not stay in step.
func backoff(attempt int) time.Duration {
	full := min(100*time.Millisecond<<min(attempt-1, 10), 5*time.Second)
	return full/2 + rand.N(full/2)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (o Options) withDefaults() Options {
	if o.LockTimeout == 0 {
		o.LockTimeout = time.Second
	}
	if o.Attempts == 0 {
		o.Attempts = 60
	}
	if o.RunnerWait == 0 {
		o.RunnerWait = 15 * time.Minute
	}
	if o.Report == nil {
		o.Report = func(schema.Event) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// milliseconds writes a duration as a server parameter. 0 would mean that there is no limit.
func milliseconds(d time.Duration) string {
	return strconv.FormatInt(max(d.Milliseconds(), 1), 10) + "ms"
}

func versions(list []schema.Migration) []int64 {
	out := make([]int64, len(list))
	for i, m := range list {
		out[i] = m.Version
	}
	return out
}
