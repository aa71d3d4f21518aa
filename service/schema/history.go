package schema

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"
)

// Applied is a migration as the database remembers it.
type Applied struct {
	Migration
	AppliedAt time.Time     `json:"applied_at"`
	Duration  time.Duration `json:"-"`
	Millis    int64         `json:"ms"`
	Release   string        `json:"release"` // version of the build that applied it
}

// HistoryTable is the table in which the migrator records what it applied, in the transaction of goose's own row.
const HistoryTable = "schema_history"

// Queryer is satisfied by *sql.DB, *sql.Conn and *sql.Tx.
type Queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// History reads what was applied, in ascending order. A database that was never migrated has the empty history.
func History(ctx context.Context, db Queryer) ([]Applied, error) {
	var exists bool
	if err := db.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, HistoryTable).Scan(&exists); err != nil {
		return nil, fmt.Errorf("look for table %s: %w", HistoryTable, err)
	}
	if !exists {
		return nil, nil
	}
	rows, err := db.QueryContext(ctx, `SELECT version, name, phase, sha256, needs, concurrent, applied_at, duration_ms, release
		FROM `+HistoryTable+` ORDER BY version`)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", HistoryTable, err)
	}
	defer rows.Close()
	var history []Applied
	for rows.Next() {
		var a Applied
		if err := rows.Scan(&a.Version, &a.Name, &a.Phase, &a.SHA256, &a.Needs, &a.Concurrent, &a.AppliedAt, &a.Millis, &a.Release); err != nil {
			return nil, fmt.Errorf("read %s: %w", HistoryTable, err)
		}
		a.Duration = time.Duration(a.Millis) * time.Millisecond
		history = append(history, a)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", HistoryTable, err)
	}
	return history, nil
}

// DriftKind names how a database's history and a list of migrations disagree.
type DriftKind string

const (
	Edited     DriftKind = "edited"       // applied with other content than the file has now
	Missing    DriftKind = "missing"      // applied, older than the head, and the list does not have it
	OutOfOrder DriftKind = "out-of-order" // not applied although a later one is
)

// Drift is one such disagreement.
type Drift struct {
	Version int64     `json:"version"`
	Name    string    `json:"name"`
	Kind    DriftKind `json:"kind"`
	Detail  string    `json:"detail"`
}

func (d Drift) String() string {
	return fmt.Sprintf("%s: %d %s: %s", d.Kind, d.Version, d.Name, d.Detail)
}

// Status compares a database with a list of migrations.
type Status struct {
	Current int64       `json:"current"` // highest version in the database
	Head    int64       `json:"head"`    // highest version in the list
	Applied []Applied   `json:"applied"` // everything in the database, later ones included
	Pending []Migration `json:"pending"` // in the list and not in the database
	Later   []Applied   `json:"later"`   // in the database above the head: a newer release was here
	Drift   []Drift     `json:"drift"`

	// InvalidIndexes names indexes that an interrupted CREATE INDEX CONCURRENTLY left behind.
	InvalidIndexes []string `json:"invalid_indexes"`
}

// Compare says what is applied, pending and drifted. Both lists are in ascending order; list may come from a build or from a
// release's manifest.
func Compare(list []Migration, history []Applied) Status {
	s := Status{Applied: history, Pending: []Migration{}, Later: []Applied{}, Drift: []Drift{}, InvalidIndexes: []string{}}
	if history == nil {
		s.Applied = []Applied{}
	}
	if n := len(list); n > 0 {
		s.Head = list[n-1].Version
	}
	if n := len(history); n > 0 {
		s.Current = history[n-1].Version
	}
	applied := make(map[int64]Applied, len(history))
	for _, a := range history {
		applied[a.Version] = a
	}
	known := make(map[int64]bool, len(list))
	for _, m := range list {
		known[m.Version] = true
		a, isApplied := applied[m.Version]
		switch {
		case !isApplied:
			s.Pending = append(s.Pending, m)
			if m.Version < s.Current {
				s.Drift = append(s.Drift, Drift{m.Version, m.Name, OutOfOrder, fmt.Sprintf("not applied, although %d is", s.Current)})
			}
		case a.SHA256 != m.SHA256:
			s.Drift = append(s.Drift, Drift{m.Version, m.Name, Edited, editedDetail(a, m)})
		}
	}
	for _, a := range history {
		switch {
		case known[a.Version]:
		case a.Version > s.Head:
			s.Later = append(s.Later, a)
		default:
			s.Drift = append(s.Drift, Drift{a.Version, a.Name, Missing, fmt.Sprintf("applied by %s, and not among the migrations here", a.by())})
		}
	}
	slices.SortStableFunc(s.Drift, func(a, b Drift) int { return int(a.Version - b.Version) })
	return s
}

func editedDetail(a Applied, m Migration) string {
	if a.SHA256 == "" {
		return "applied by something else than the service: its content is not known"
	}
	detail := fmt.Sprintf("applied by %s with SHA-256 %.12s, the file now has %.12s", a.by(), a.SHA256, m.SHA256)
	if a.Name != m.Name {
		detail += fmt.Sprintf("; it was named %s then", a.Name)
	}
	return detail
}

func (a Applied) by() string {
	if a.Release == "" {
		return "an unknown release"
	}
	return a.Release
}

// NotReady is why a build cannot serve from a database.
type NotReady struct{ Reason string }

func (e *NotReady) Error() string { return e.Reason }

// Ready decides whether a build with this list can serve from a database with this history: each migration of the build is
// applied, and none of a later release has taken away what the build still needs. It returns nil or a *NotReady.
func Ready(list []Migration, history []Applied) error {
	s := Compare(list, history)
	if len(s.Pending) > 0 {
		next := s.Pending[0]
		return &NotReady{fmt.Sprintf("schema is at %d and this build needs %d: migration %d %s is not applied", s.Current, s.Head, next.Version, next.Name)}
	}
	for _, later := range s.Later {
		if later.Phase == Contract && s.Head < later.Needs {
			return &NotReady{fmt.Sprintf("migration %d %s dropped what builds with a schema head below %d need, this one has %d",
				later.Version, later.Name, later.Needs, s.Head)}
		}
	}
	return nil
}

// Plan is what a run upwards would do.
type Plan struct {
	Current    int64       `json:"current"`
	Head       int64       `json:"head"`
	Migrations []Migration `json:"migrations"` // to apply, in this order
	Drift      []Drift     `json:"drift"`      // while there is any, the run is refused
}

// Plan is the part of a status that a run upwards acts on.
func (s Status) Plan() Plan {
	return Plan{Current: s.Current, Head: s.Head, Migrations: s.Pending, Drift: s.Drift}
}
