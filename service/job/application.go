package job

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/encryption"
	"github.com/smart-assistant/platform/service/job/jobdb"
)

// Status is how far an application got.
type Status string

// The statuses.
const (
	Interested Status = "interested"
	Applied    Status = "applied"
	Interview  Status = "interview"
	Offer      Status = "offer"
	Accepted   Status = "accepted"
	Rejected   Status = "rejected"
	Withdrawn  Status = "withdrawn"
)

var statuses = map[Status]bool{Interested: true, Applied: true, Interview: true, Offer: true, Accepted: true, Rejected: true, Withdrawn: true}

// Application is what a user does about a job.
type Application struct {
	ID        string    `json:"id" format:"uuid"`
	PostingID string    `json:"posting_id,omitempty" format:"uuid"`
	Company   string    `json:"company"`
	Title     string    `json:"title"`
	URL       string    `json:"url,omitempty"`
	Status    Status    `json:"status" enum:"interested,applied,interview,offer,accepted,rejected,withdrawn"`
	Notes     string    `json:"notes,omitempty"`
	Version   int       `json:"version" doc:"Counts changes; the ETag"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// NewApplication is what is known when an application begins.
type NewApplication struct {
	PostingID string `json:"posting_id,omitempty" format:"uuid" doc:"Of the posting applied to; company, title and URL default to its"`
	Company   string `json:"company,omitempty" maxLength:"200"`
	Title     string `json:"title,omitempty" maxLength:"300"`
	URL       string `json:"url,omitempty" maxLength:"2000"`
	Status    Status `json:"status,omitempty" enum:"interested,applied,interview,offer,accepted,rejected,withdrawn" default:"applied"`
	Notes     string `json:"notes,omitempty" maxLength:"10000"`
}

// ApplicationChange has the fields to change; nil leaves a field as it is.
type ApplicationChange struct {
	Company *string `json:"company,omitempty" maxLength:"200"`
	Title   *string `json:"title,omitempty" maxLength:"300"`
	URL     *string `json:"url,omitempty" maxLength:"2000"`
	Status  *Status `json:"status,omitempty" enum:"interested,applied,interview,offer,accepted,rejected,withdrawn"`
	Notes   *string `json:"notes,omitempty" maxLength:"10000"`
	Note    *string `json:"note,omitempty" maxLength:"2000" doc:"Said about this change, in the history"`
}

// check refuses what the table would.
func (a Application) check() error {
	if a.Company == "" {
		return &InvalidError{"company", "is needed: say it, or the posting that has one"}
	}
	if !statuses[a.Status] {
		return &InvalidError{"status", "is not one of interested, applied, interview, offer, accepted, rejected, withdrawn"}
	}
	if u, err := url.Parse(a.URL); a.URL != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		return &InvalidError{"url", "is not one that begins with http:// or https://"}
	}
	return errors.Join(checkText("company", a.Company, 200), checkText("title", a.Title, 300), checkText("url", a.URL, 2000),
		checkText("notes", a.Notes, 10000))
}

// Applications returns a user's applications, last changed first; status "" is any.
func (s *Service) Applications(ctx context.Context, userID string, status Status, page api.Page) ([]Application, string, error) {
	from, err := begin(page)
	if err != nil {
		return nil, "", err
	}
	var rows []jobdb.Application
	if status == "" {
		rows, err = s.db.Applications(ctx, jobdb.ApplicationsParams{
			UserID: userID, BeforeAt: from.At, BeforeID: from.ID.String(), Most: most(page),
		})
	} else {
		rows, err = s.db.ApplicationsOfStatus(ctx, jobdb.ApplicationsOfStatusParams{
			UserID: userID, Status: string(status), BeforeAt: from.At, BeforeID: from.ID.String(), Most: most(page),
		})
	}
	if err != nil {
		return nil, "", fmt.Errorf("list applications of %s: %w", userID, err)
	}
	rows, cursor, err := finish(rows, page, func(r jobdb.Application) (time.Time, string) { return r.UpdatedAt, r.ID })
	if err != nil {
		return nil, "", err
	}
	applications, err := each(rows, s.applicationOf)
	return applications, cursor, err
}

// Application returns one application.
func (s *Service) Application(ctx context.Context, userID, id string) (Application, error) {
	row, err := s.db.Application(ctx, jobdb.ApplicationParams{ID: id, UserID: userID})
	if err != nil {
		return Application{}, kept(err, "read application "+id)
	}
	return s.applicationOf(row)
}

// Add makes an application.
func (s *Service) Add(ctx context.Context, userID string, add NewApplication) (Application, error) {
	a := Application{PostingID: add.PostingID, Company: add.Company, Title: add.Title, URL: add.URL, Status: add.Status, Notes: add.Notes}
	if a.Status == "" {
		a.Status = Applied
	}
	if a.PostingID != "" {
		if err := s.complete(ctx, userID, &a); err != nil {
			return Application{}, err
		}
	}
	err := pgx.BeginFunc(ctx, s.config.Pool, func(tx pgx.Tx) error { return s.create(ctx, tx, userID, &a, nil) })
	return a, err
}

// complete fills in what the application does not say from its posting.
func (s *Service) complete(ctx context.Context, userID string, a *Application) error {
	posting, err := s.Posting(ctx, userID, a.PostingID)
	if errors.Is(err, ErrNotFound) {
		return &InvalidError{"posting_id", "is not one of your postings"}
	}
	if err != nil {
		return err
	}
	if posting.Company == "" {
		posting.Company = nameOf("", "", posting.URL) // better a host than nothing
	}
	for _, field := range []struct {
		to   *string
		from string
	}{{&a.Company, posting.Company}, {&a.Title, posting.Title}, {&a.URL, posting.URL}} {
		if *field.to == "" {
			*field.to = field.from
		}
	}
	return nil
}

// create stores an application and the beginning of its history. The mail, if any, is what it began with.
func (s *Service) create(ctx context.Context, tx pgx.Tx, userID string, a *Application, emailID *string) error {
	if err := a.check(); err != nil {
		return err
	}
	id, err := newID()
	if err != nil {
		return err
	}
	now := s.config.Now().Truncate(time.Microsecond) // PostgreSQL's resolution
	a.ID, a.Version, a.CreatedAt, a.UpdatedAt = id, 1, now, now
	notes, err := s.config.Keyring.Seal([]byte(a.Notes), notesCell(userID, id))
	if err != nil {
		return err
	}
	var posting *string
	if a.PostingID != "" {
		posting = &a.PostingID
	}
	if err := s.db.WithTx(tx).CreateApplication(ctx, jobdb.CreateApplicationParams{
		ID: id, UserID: userID, PostingID: posting, Company: a.Company, Title: a.Title, Url: a.URL,
		Status: string(a.Status), Notes: notes, CreatedAt: now,
	}); err != nil {
		return kept(err, "create an application")
	}
	if _, err = s.record(ctx, tx, userID, Event{ApplicationID: id, Kind: "created", ToStatus: a.Status}, emailID); err != nil {
		return err
	}
	look := lookBackArgs{UserID: userID, ApplicationID: id}
	set(&look.Began, emailID)
	return s.config.Queue.Insert(ctx, tx, look, nil)
}

// Update changes an application; version 0 is any, otherwise ErrChanged when it is another by now.
func (s *Service) Update(ctx context.Context, userID, id string, version int, change ApplicationChange) (Application, error) {
	if change.Note != nil {
		if err := checkText("note", *change.Note, 2000); err != nil {
			return Application{}, err
		}
	}
	var a Application
	err := pgx.BeginFunc(ctx, s.config.Pool, func(tx pgx.Tx) error {
		var err error
		a, err = s.lock(ctx, tx, userID, id, version)
		if err != nil {
			return err
		}
		return s.change(ctx, tx, userID, &a, change, nil)
	})
	return a, err
}

// lock reads an application that is about to change.
func (s *Service) lock(ctx context.Context, tx pgx.Tx, userID, id string, version int) (Application, error) {
	row, err := s.db.WithTx(tx).LockApplication(ctx, jobdb.LockApplicationParams{ID: id, UserID: userID})
	if err != nil {
		return Application{}, kept(err, "read application "+id)
	}
	if version != 0 && int(row.Version) != version {
		return Application{}, fmt.Errorf("application %s: %w", id, ErrChanged)
	}
	return s.applicationOf(row)
}

// change applies a change to a locked application and writes its history. A change that changes nothing leaves no trace but a note's.
func (s *Service) change(ctx context.Context, tx pgx.Tx, userID string, a *Application, change ApplicationChange, emailID *string) error {
	former := *a
	set(&a.Company, change.Company)
	set(&a.Title, change.Title)
	set(&a.URL, change.URL)
	set(&a.Status, change.Status)
	set(&a.Notes, change.Notes)
	event := Event{ApplicationID: a.ID, Kind: "changed"}
	set(&event.Note, change.Note)
	if *a == former {
		if event.Kind = "note"; event.Note == "" {
			return nil
		}
		_, err := s.record(ctx, tx, userID, event, emailID)
		return err
	}
	if err := a.check(); err != nil {
		return err
	}
	a.Version, a.UpdatedAt = a.Version+1, s.config.Now().Truncate(time.Microsecond)
	notes, err := s.config.Keyring.Seal([]byte(a.Notes), notesCell(userID, a.ID))
	if err != nil {
		return err
	}
	if err := s.db.WithTx(tx).UpdateApplication(ctx, jobdb.UpdateApplicationParams{
		ID: a.ID, UserID: userID, Company: a.Company, Title: a.Title, Url: a.URL, Status: string(a.Status), Notes: notes,
		Version: int32(a.Version), UpdatedAt: a.UpdatedAt, //nolint:gosec // counts changes
	}); err != nil {
		return fmt.Errorf("change application %s: %w", a.ID, err)
	}
	if a.Status != former.Status {
		event.Kind, event.FromStatus, event.ToStatus = "status", former.Status, a.Status
	}
	_, err = s.record(ctx, tx, userID, event, emailID)
	return err
}

func set[T any](field, value *T) {
	if value != nil {
		*field = *value
	}
}

// Remove deletes an application with its history; version as in Update.
func (s *Service) Remove(ctx context.Context, userID, id string, version int) error {
	return pgx.BeginFunc(ctx, s.config.Pool, func(tx pgx.Tx) error {
		if _, err := s.lock(ctx, tx, userID, id, version); err != nil {
			return err
		}
		if err := s.db.WithTx(tx).DeleteApplication(ctx, jobdb.DeleteApplicationParams{ID: id, UserID: userID}); err != nil {
			return fmt.Errorf("delete application %s: %w", id, err)
		}
		return nil
	})
}

func notesCell(userID, id string) encryption.Cell {
	return encryption.Cell{Table: "applications", Column: "notes", Owner: userID, Row: id}
}

func (s *Service) applicationOf(row jobdb.Application) (Application, error) {
	notes, err := s.open(row.Notes, notesCell(row.UserID, row.ID))
	a := Application{
		ID: row.ID, Company: row.Company, Title: row.Title, URL: row.Url, Status: Status(row.Status), Notes: notes,
		Version: int(row.Version), CreatedAt: row.CreatedAt, UpdatedAt: row.UpdatedAt,
	}
	set(&a.PostingID, row.PostingID)
	return a, err
}

// open decrypts a text. What is empty was never sealed.
func (s *Service) open(sealed []byte, at encryption.Cell) (string, error) {
	if len(sealed) == 0 {
		return "", nil
	}
	text, err := s.config.Keyring.Open(sealed, at)
	return string(text), err
}
