package job

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/encryption"
	"github.com/smart-assistant/platform/service/job/jobdb"
)

// Event is one entry of an application's history.
type Event struct {
	ID            string    `json:"id" format:"uuid"`
	ApplicationID string    `json:"application_id" format:"uuid"`
	At            time.Time `json:"at"`
	Kind          string    `json:"kind" enum:"created,status,changed,note"`
	FromStatus    Status    `json:"from_status,omitempty"`
	ToStatus      Status    `json:"to_status,omitempty"`
	Note          string    `json:"note,omitempty"`
	EmailID       string    `json:"email_id,omitempty" format:"uuid" doc:"Of the mail whose suggestion the user accepted"`
}

// Events returns the history of an application, newest first.
func (s *Service) Events(ctx context.Context, userID, applicationID string, page api.Page) ([]Event, string, error) {
	from, err := begin(page)
	if err != nil {
		return nil, "", err
	}
	if _, err := s.db.Application(ctx, jobdb.ApplicationParams{ID: applicationID, UserID: userID}); err != nil {
		return nil, "", kept(err, "read application "+applicationID)
	}
	rows, err := s.db.Events(ctx, jobdb.EventsParams{
		ApplicationID: applicationID, UserID: userID, BeforeAt: from.At, BeforeID: from.ID.String(), Most: most(page),
	})
	if err != nil {
		return nil, "", fmt.Errorf("read the history of application %s: %w", applicationID, err)
	}
	return s.eventsOf(rows, page)
}

func (s *Service) eventsOf(rows []jobdb.ApplicationEvent, page api.Page) ([]Event, string, error) {
	rows, cursor, err := finish(rows, page, func(r jobdb.ApplicationEvent) (time.Time, string) { return r.At, r.ID })
	if err != nil {
		return nil, "", err
	}
	events, err := each(rows, s.eventOf)
	return events, cursor, err
}

// AddNote writes a note into an application's history.
func (s *Service) AddNote(ctx context.Context, userID, applicationID, note string) (Event, error) {
	if note == "" {
		return Event{}, &InvalidError{"note", "is empty"}
	}
	if err := checkText("note", note, 2000); err != nil {
		return Event{}, err
	}
	var event Event
	err := pgx.BeginFunc(ctx, s.config.Pool, func(tx pgx.Tx) error {
		if _, err := s.lock(ctx, tx, userID, applicationID, 0); err != nil {
			return err
		}
		var err error
		event, err = s.record(ctx, tx, userID, Event{ApplicationID: applicationID, Kind: "note", Note: note}, nil)
		return err
	})
	return event, err
}

// record writes an entry of history and returns it with its id and time.
func (s *Service) record(ctx context.Context, tx pgx.Tx, userID string, event Event, emailID *string) (Event, error) {
	var err error
	if event.ID, err = newID(); err != nil {
		return Event{}, err
	}
	event.At = s.config.Now().Truncate(time.Microsecond)
	set(&event.EmailID, emailID)
	note, err := s.config.Keyring.Seal([]byte(event.Note), noteCell(userID, event.ID))
	if err != nil {
		return Event{}, err
	}
	if err := s.db.WithTx(tx).CreateEvent(ctx, jobdb.CreateEventParams{
		ID: event.ID, ApplicationID: event.ApplicationID, UserID: userID, At: event.At, Kind: event.Kind,
		FromStatus: string(event.FromStatus), ToStatus: string(event.ToStatus), Note: note, EmailID: emailID,
	}); err != nil {
		return Event{}, fmt.Errorf("write the history of application %s: %w", event.ApplicationID, err)
	}
	return event, nil
}

func (s *Service) eventOf(row jobdb.ApplicationEvent) (Event, error) {
	note, err := s.open(row.Note, noteCell(row.UserID, row.ID))
	event := Event{
		ID: row.ID, ApplicationID: row.ApplicationID, At: row.At, Kind: row.Kind,
		FromStatus: Status(row.FromStatus), ToStatus: Status(row.ToStatus), Note: note,
	}
	set(&event.EmailID, row.EmailID)
	return event, err
}

func noteCell(userID, id string) encryption.Cell {
	return encryption.Cell{Table: "application_events", Column: "note", Owner: userID, Row: id}
}

// Change is an entry of the history of any application, with what is needed to speak of it.
type Change struct {
	ID            string
	ApplicationID string
	At            time.Time
	Kind          string // created, status, changed or note
	FromStatus    Status
	ToStatus      Status
	Company       string
	Title         string
}

// Changes returns what happened to a user's applications from since until before until, newest first, at most limit entries.
func (s *Service) Changes(ctx context.Context, userID string, since, until time.Time, limit int) ([]Change, error) {
	rows, err := s.db.Changes(ctx, jobdb.ChangesParams{UserID: userID, Since: since, Until: until, Most: int32(min(max(limit, 1), 1000))}) //nolint:gosec // at most 1000
	if err != nil {
		return nil, fmt.Errorf("read what changed for %s: %w", userID, err)
	}
	changes := make([]Change, 0, len(rows))
	for _, row := range rows {
		changes = append(changes, Change{
			ID: row.ID, ApplicationID: row.ApplicationID, At: row.At, Kind: row.Kind,
			FromStatus: Status(row.FromStatus), ToStatus: Status(row.ToStatus), Company: row.Company, Title: row.Title,
		})
	}
	return changes, nil
}
