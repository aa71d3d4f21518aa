package mail

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/mail/maildb"
)

// ErrNotFound is a message, connection or file that this user does not have.
var ErrNotFound = errors.New("not found")

// position is where a page of messages ended.
type position struct {
	At time.Time `json:"at"`
	ID string    `json:"id"`
}

// Filter narrows a list. Zero fields do not.
type Filter struct {
	Category     Category
	Since, Until time.Time // received at or after, and before
}

// start turns a filter and a cursor into where a page begins: what is received before it, and the earliest that counts.
func (f Filter) start(page *api.Page) (before position, since time.Time, err error) {
	if page.Limit <= 0 {
		page.Limit = defaultPage
	}
	before = position{f.Until, firstID}
	if f.Until.IsZero() {
		before.At = farAhead
	}
	if since = f.Since; since.IsZero() {
		since = longAgo
	}
	at, given, err := api.Position[position](page.Cursor)
	if err != nil {
		return before, since, err
	}
	if given {
		if uuid.Validate(at.ID) != nil {
			return before, since, huma.Error422UnprocessableEntity("the cursor is not one that this list gave out")
		}
		if at.At.Before(before.At) {
			before = at
		}
	}
	return before, since, nil
}

// found is ErrNotFound for ids that no row can have: PostgreSQL would call them an error.
func found(ids ...string) error {
	for _, id := range ids {
		if uuid.Validate(id) != nil {
			return ErrNotFound
		}
	}
	return nil
}

const (
	defaultPage = 50
	firstID     = "00000000-0000-0000-0000-000000000000"
)

// List returns a user's messages, newest first, and the cursor of the next page ("" on the last).
func (s *Service) List(ctx context.Context, userID string, filter Filter, page api.Page) ([]Summary, string, error) {
	before, since, err := filter.start(&page)
	if err != nil {
		return nil, "", err
	}
	db, most := maildb.New(s.config.Pool), int32(page.Limit+1)
	var rows []maildb.ListEmailsRow
	if filter.Category == "" {
		rows, err = db.ListEmails(ctx, maildb.ListEmailsParams{UserID: userID, Since: since, Before: before.At, BeforeID: before.ID, Most: most})
	} else {
		var same []maildb.ListEmailsOfCategoryRow
		same, err = db.ListEmailsOfCategory(ctx, maildb.ListEmailsOfCategoryParams{
			UserID: userID, Category: string(filter.Category), Since: since, Before: before.At, BeforeID: before.ID, Most: most,
		})
		for _, row := range same {
			rows = append(rows, maildb.ListEmailsRow(row))
		}
	}
	if err != nil {
		return nil, "", fmt.Errorf("list messages of %s: %w", userID, err)
	}
	return s.page(userID, rows, page.Limit)
}

// page opens the rows of a page, and makes the cursor when there is one row more than a page holds.
func (s *Service) page(userID string, rows []maildb.ListEmailsRow, limit int) (list []Summary, next string, err error) {
	more := len(rows) > limit
	if more {
		rows = rows[:limit]
	}
	list = make([]Summary, len(rows))
	for i, row := range rows {
		if list[i], err = s.summary(userID, row); err != nil {
			return nil, "", err
		}
	}
	if more {
		last := rows[limit-1]
		next, err = api.Cursor(position{last.ReceivedAt, last.ID})
	}
	return list, next, err
}

func (s *Service) summary(userID string, row maildb.ListEmailsRow) (Summary, error) {
	text, err := s.config.Keyring.Open(row.Snippet, snippetCell(userID, row.ID))
	if err != nil {
		return Summary{}, fmt.Errorf("read message %s: %w", row.ID, err)
	}
	return Summary{
		ID: row.ID, FromName: row.FromName, FromAddress: row.FromAddress, Subject: row.Subject, ReceivedAt: row.ReceivedAt.UTC(),
		Category: Category(row.Category), Score: row.Score, Reason: row.Reason, Snippet: string(text), Attachments: int(row.Attachments),
	}, nil
}

// Get returns one message. ErrNotFound when the user has none of this id.
func (s *Service) Get(ctx context.Context, userID, id string) (Email, error) {
	if err := found(id); err != nil {
		return Email{}, err
	}
	db := maildb.New(s.config.Pool)
	row, err := db.GetEmail(ctx, maildb.GetEmailParams{UserID: userID, ID: id})
	if errors.Is(err, pgx.ErrNoRows) {
		return Email{}, ErrNotFound
	}
	if err != nil {
		return Email{}, fmt.Errorf("read message %s: %w", id, err)
	}
	list, err := s.emails(ctx, db, userID, []maildb.ExportEmailsRow{maildb.ExportEmailsRow(row)})
	if err != nil {
		return Email{}, err
	}
	return list[0], nil
}

// emails opens whole messages.
func (s *Service) emails(ctx context.Context, db *maildb.Queries, userID string, rows []maildb.ExportEmailsRow) ([]Email, error) {
	list := make([]Email, len(rows))
	numbers := make(map[string]int, len(rows))
	var with []string // attachments
	for i, row := range rows {
		summary, err := s.summary(userID, maildb.ListEmailsRow{
			ID: row.ID, FromName: row.FromName, FromAddress: row.FromAddress, Subject: row.Subject, ReceivedAt: row.ReceivedAt, Category: row.Category,
			Score: row.Score, Reason: row.Reason, Snippet: row.Snippet, Attachments: row.Attachments,
		})
		if err != nil {
			return nil, err
		}
		content, err := s.open(userID, row.ID, row.Body)
		if err != nil {
			return nil, err
		}
		list[i] = Email{Summary: summary, MessageID: row.MessageID, Recipients: row.Recipients, Text: content.Text, Size: row.Size, Files: []Attachment{}}
		numbers[row.ID] = i
		if row.Attachments > 0 {
			with = append(with, row.ID)
		}
	}
	if len(with) == 0 {
		return list, nil
	}
	files, err := db.Attachments(ctx, maildb.AttachmentsParams{UserID: userID, Emails: with})
	if err != nil {
		return nil, fmt.Errorf("list attachments of %s: %w", userID, err)
	}
	for _, file := range files {
		name, err := s.config.Keyring.Open(file.Name, nameCell(userID, file.ID))
		if err != nil {
			return nil, fmt.Errorf("read attachment %s: %w", file.ID, err)
		}
		email := &list[numbers[file.EmailID]]
		email.Files = append(email.Files, Attachment{file.ID, string(name), file.ContentType, file.Size})
	}
	return list, nil
}

func (s *Service) open(userID, id string, sealed []byte) (body, error) {
	var content body
	text, err := s.config.Keyring.Open(sealed, bodyCell(userID, id))
	if err == nil {
		err = json.Unmarshal(text, &content)
	}
	if err != nil {
		return body{}, fmt.Errorf("read the body of message %s: %w", id, err)
	}
	return content, nil
}

// File is an attachment with its content.
type File struct {
	Name, ContentType string
	Content           []byte
}

// Attachment returns a file of a message. ErrNotFound when the user's message has none of this id.
func (s *Service) Attachment(ctx context.Context, userID, emailID, id string) (File, error) {
	if err := found(emailID, id); err != nil {
		return File{}, err
	}
	row, err := maildb.New(s.config.Pool).Attachment(ctx, maildb.AttachmentParams{UserID: userID, EmailID: emailID, ID: id})
	if errors.Is(err, pgx.ErrNoRows) {
		return File{}, ErrNotFound
	}
	if err != nil {
		return File{}, fmt.Errorf("read attachment %s: %w", id, err)
	}
	name, err := s.config.Keyring.Open(row.Name, nameCell(userID, id))
	if err != nil {
		return File{}, fmt.Errorf("read attachment %s: %w", id, err)
	}
	content, err := s.config.Keyring.Open(row.Content, contentCell(userID, id))
	if err != nil {
		return File{}, fmt.Errorf("read attachment %s: %w", id, err)
	}
	return File{string(name), row.ContentType, content}, nil
}

// Delete deletes a message with all that belongs to it. It stays deleted when its mailbox is synced again. ErrNotFound when the user has
// none of this id.
func (s *Service) Delete(ctx context.Context, userID, id string) error {
	if err := found(id); err != nil {
		return err
	}
	err := pgx.BeginFunc(ctx, s.config.Pool, func(tx pgx.Tx) error {
		db := maildb.New(tx)
		n, err := db.DeleteEmail(ctx, maildb.DeleteEmailParams{UserID: userID, ID: id})
		if err != nil {
			return err
		}
		if n == 0 {
			return ErrNotFound
		}
		return db.DeleteEmbeddings(ctx, maildb.DeleteEmbeddingsParams{UserID: userID, ItemID: id})
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("delete message %s: %w", id, err)
	}
	return err
}

// Correct sets a message's category to what the user says; no classifier changes it again. ErrNotFound when the user has none of this id.
func (s *Service) Correct(ctx context.Context, userID, id string, category Category) (Email, error) {
	if err := found(id); err != nil {
		return Email{}, err
	}
	n, err := maildb.New(s.config.Pool).CorrectCategory(ctx, maildb.CorrectCategoryParams{
		Category: string(category), Reason: "you said so", UserID: userID, ID: id,
	})
	if err != nil {
		return Email{}, fmt.Errorf("correct message %s: %w", id, err)
	}
	if n == 0 {
		return Email{}, ErrNotFound
	}
	return s.Get(ctx, userID, id)
}

const exportPage = 20

// Export writes all that is kept of a user's mail: connections without their secrets, emails, then files with their contents.
func (s *Service) Export(ctx context.Context, userID string, write func(section string, item any) error) error {
	if err := s.connections.export(ctx, userID, write); err != nil {
		return err
	}
	err := s.everyPage(ctx, userID, func(list []Email) error {
		for _, email := range list {
			if err := write("emails", email); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.everyPage(ctx, userID, func(list []Email) error {
		for _, email := range list {
			for _, file := range email.Files {
				content, err := s.Attachment(ctx, userID, email.ID, file.ID)
				if err != nil {
					return err
				}
				if err := write("attachments", exportedFile{file, email.ID, content.Content}); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

type exportedFile struct {
	Attachment
	EmailID string `json:"email_id"`
	Content []byte `json:"content"` // base64 in JSON
}

// everyPage goes through all of a user's messages, newest first.
func (s *Service) everyPage(ctx context.Context, userID string, use func([]Email) error) error {
	db := maildb.New(s.config.Pool)
	for before := (position{farAhead, firstID}); ; {
		rows, err := db.ExportEmails(ctx, maildb.ExportEmailsParams{UserID: userID, Before: before.At, BeforeID: before.ID, Most: exportPage})
		if err != nil {
			return fmt.Errorf("list messages of %s: %w", userID, err)
		}
		list, err := s.emails(ctx, db, userID, rows)
		if err != nil {
			return err
		}
		if err := use(list); err != nil {
			return err
		}
		if len(rows) < exportPage {
			return nil
		}
		before = position{rows[len(rows)-1].ReceivedAt, rows[len(rows)-1].ID}
	}
}
