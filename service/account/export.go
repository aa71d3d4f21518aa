package account

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/smart-assistant/platform/service/account/accountdb"
	"github.com/smart-assistant/platform/service/api"
)

// Exporter gives a part's share of all that is kept about a user. It calls write once an item; the items of a section come one after
// another, since they are sent as they come. The items are what JSON can be made of.
type Exporter interface {
	Export(ctx context.Context, userID string, write func(section string, item any) error) error
}

type namedExporter struct {
	name string
	Exporter
}

// AddExporter adds a part to the export; the name is for errors. It is called before the service is used.
func (s *Service) AddExporter(name string, e Exporter) {
	s.exporters = append(s.exporters, namedExporter{name, e})
}

// Export writes everything that is kept about a user to out, as one JSON object of the time and an array for each section. It is
// streamed: an error in the middle leaves half an object.
func (s *Service) Export(ctx context.Context, userID string, out io.Writer) error {
	if err := s.audit(ctx, s.db, event{action: "exported", actor: userID, user: userID}); err != nil {
		return err
	}
	w := &sectionWriter{out: out}
	w.printf(`{"exported_at":%q`, s.config.Now().UTC().Format(time.RFC3339))
	for _, e := range s.exporters {
		if err := e.Export(ctx, userID, w.item); err != nil {
			return fmt.Errorf("export %s of %s: %w", e.name, userID, err)
		}
	}
	w.end()
	w.printf("}\n")
	if w.err != nil {
		return fmt.Errorf("write the export of %s: %w", userID, w.err)
	}
	return nil
}

// sectionWriter writes the members of an object, each an array, item by item.
type sectionWriter struct {
	out      io.Writer
	sections []string // the last is open
	err      error
}

func (w *sectionWriter) item(section string, item any) error {
	text, err := json.Marshal(item)
	if err != nil {
		return fmt.Errorf("write an item of %s: %w", section, err)
	}
	before := ",\n"
	if n := len(w.sections); n == 0 || w.sections[n-1] != section {
		if slices.Contains(w.sections, section) {
			return fmt.Errorf("section %s began before and has ended", section)
		}
		w.end()
		w.sections = append(w.sections, section)
		w.printf(",\n%q:[", section)
		before = "\n"
	}
	w.printf("%s%s", before, text)
	return w.err
}

func (w *sectionWriter) end() {
	if len(w.sections) > 0 {
		w.printf("]")
	}
}

func (w *sectionWriter) printf(format string, args ...any) {
	if w.err == nil {
		_, w.err = fmt.Fprintf(w.out, format, args...)
	}
}

// exporter is the accounts' own share.
type exporter struct{ accounts *Service }

// Export writes profile, user, sessions and audit events.
func (e exporter) Export(ctx context.Context, userID string, write func(section string, item any) error) error {
	user, err := e.accounts.UserByID(ctx, userID)
	if err != nil {
		return err
	}
	profile, err := e.accounts.Profile(ctx, userID)
	if err != nil {
		return err
	}
	err = errors.Join(write("user", user), write("profile", profile))
	if err != nil {
		return err
	}
	err = eachPage(func(page api.Page) ([]Session, string, error) { return e.accounts.Sessions(ctx, userID, "", page) },
		func(s Session) error { return write("sessions", s) })
	if err != nil {
		return err
	}
	if err := e.ended(ctx, userID, write); err != nil {
		return err
	}
	return eachPage(func(page api.Page) ([]AuditEvent, string, error) { return e.accounts.Audit(ctx, userID, page) },
		func(a AuditEvent) error { return write("audit", a) })
}

// endedSession is a session that is over, and not swept yet.
type endedSession struct {
	Session
	RevokedAt *time.Time `json:"revoked_at,omitempty"`
}

func (e exporter) ended(ctx context.Context, userID string, write func(section string, item any) error) error {
	for after := noUser; ; {
		rows, err := e.accounts.db.EndedSessions(ctx, accountdb.EndedSessionsParams{UserID: userID, Now: e.accounts.config.Now(), After: after})
		if err != nil {
			return fmt.Errorf("list the ended sessions: %w", err)
		}
		if len(rows) == 0 {
			return nil
		}
		for _, row := range rows {
			session := Session{
				ID: row.ID, CreatedAt: row.CreatedAt, LastUsedAt: row.CreatedAt, ExpiresAt: row.ExpiresAt, UserAgent: row.UserAgent, Address: row.Address,
			}
			if row.LastUsedAt != nil {
				session.LastUsedAt = *row.LastUsedAt
			}
			if err := write("ended_sessions", endedSession{session, row.RevokedAt}); err != nil {
				return err
			}
			after = row.ID
		}
	}
}

// eachPage hands on every item of a list.
func eachPage[T any](list func(api.Page) ([]T, string, error), each func(T) error) error {
	for page := (api.Page{Limit: 200}); ; {
		items, next, err := list(page)
		if err != nil {
			return err
		}
		for _, item := range items {
			if err := each(item); err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		page.Cursor = next
	}
}
