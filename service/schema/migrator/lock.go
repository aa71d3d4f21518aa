package migrator

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/smart-assistant/platform/service/schema"
)

// lockID is the advisory lock that all runners of this service share ("assist" in ASCII).
const lockID int64 = 0x617373697374

// runnerLock is goose's SessionLocker. It polls pg_try_advisory_lock: a session that waits inside pg_advisory_lock has a
// snapshot, for which another session's CREATE INDEX CONCURRENTLY waits in turn, and neither ever ends.
type runnerLock struct {
	wait    time.Duration
	waiting func(holder string) // called once, when the lock is not free at the first try
}

// SessionLock takes the lock. A session may take it more than once; it lets go when it has unlocked it as often.
func (l runnerLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
	ctx, cancel := context.WithTimeoutCause(ctx, l.wait, errRunnerWait)
	defer cancel()
	for told := false; ; {
		var locked bool
		if err := conn.QueryRowContext(ctx, `SELECT pg_try_advisory_lock($1)`, lockID).Scan(&locked); err != nil {
			return fmt.Errorf("take the migration lock: %w", err)
		}
		if locked {
			return nil
		}
		holder, err := lockHolder(ctx, conn)
		if err != nil {
			return err
		}
		if !told {
			l.waiting(holder)
			told = true
		}
		if err := sleep(ctx, 100*time.Millisecond+rand.N(100*time.Millisecond)); err != nil {
			if errors.Is(err, errRunnerWait) {
				return &RunnerError{holder}
			}
			return err
		}
	}
}

var errRunnerWait = errors.New("waited long enough for another runner")

// SessionUnlock undoes one SessionLock.
func (l runnerLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	var unlocked bool
	if err := conn.QueryRowContext(ctx, `SELECT pg_advisory_unlock($1)`, lockID).Scan(&unlocked); err != nil {
		return fmt.Errorf("release the migration lock: %w", err)
	}
	if !unlocked {
		return errors.New("release the migration lock: this session did not hold it")
	}
	return nil
}

func lockHolder(ctx context.Context, conn *sql.Conn) (string, error) {
	var holder string
	err := conn.QueryRowContext(ctx, `
		SELECT format('%s, backend %s, connected %s', a.application_name, a.pid, date_trunc('second', a.backend_start))
		FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
		  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
		  AND (l.classid::bigint << 32) | l.objid::bigint = $1`, lockID).Scan(&holder)
	if errors.Is(err, sql.ErrNoRows) {
		return "it has just let go", nil
	}
	if err != nil {
		return "", fmt.Errorf("see who holds the migration lock: %w", err)
	}
	return holder, nil
}

// locked runs do while this migrator's session holds the lock. goose takes and releases the same lock again around each
// migration, in the same session; that costs nothing, and it still guards a migration when the session had to be renewed.
func (m *Migrator) locked(ctx context.Context, direction schema.Direction, do func() error) error {
	lock := runnerLock{wait: m.options.RunnerWait, waiting: func(holder string) {
		m.options.Report(schema.Event{Event: schema.WaitingLock, Direction: direction, Detail: holder})
	}}
	if err := m.withSession(ctx, lock.SessionLock); err != nil {
		return err
	}
	err := do()
	unlock := context.WithoutCancel(ctx)
	if unlockErr := m.withSession(unlock, lock.SessionUnlock); unlockErr != nil && err == nil {
		// The session is closed either way, and the lock goes with it; but a lock that was lost in between is not nothing.
		return unlockErr
	}
	return err
}

func (m *Migrator) withSession(ctx context.Context, do func(context.Context, *sql.Conn) error) error {
	conn, err := m.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect to the database: %w", err)
	}
	return errors.Join(do(ctx, conn), conn.Close())
}
