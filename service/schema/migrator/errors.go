package migrator

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/smart-assistant/platform/service/schema"
)

// RunError says how far a run came. What is in Applied stays applied.
type RunError struct {
	Direction schema.Direction
	Applied   []schema.Migration
	Failed    schema.Migration
	Remaining []schema.Migration // after Failed
	Err       error
}

func (e *RunError) Error() string {
	return fmt.Sprintf("migrate %s %d %s: %v", e.Direction, e.Failed.Version, e.Failed.Name, e.Err)
}

func (e *RunError) Unwrap() error { return e.Err }

// DriftError refuses a run because the database is not what the build's files made.
type DriftError struct{ Drift []schema.Drift }

func (e *DriftError) Error() string {
	lines := make([]string, len(e.Drift))
	for i, d := range e.Drift {
		lines[i] = d.String()
	}
	return "the database's history and this build disagree: " + strings.Join(lines, "; ")
}

// RunnerError refuses a run because another one kept the lock for too long.
type RunnerError struct{ Holder string }

func (e *RunnerError) Error() string {
	return "another migration runner holds the lock: " + e.Holder
}

// SQLSTATE codes, from appendix A of PostgreSQL's manual.
const (
	lockNotAvailable = "55P03"
	deadlockDetected = "40P01"
)

// contended tells errors that go away by themselves from those that do not.
func contended(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == lockNotAvailable || pg.Code == deadlockDetected)
}
