package job

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/job/jobdb"
	"github.com/smart-assistant/platform/service/mail"
	"github.com/smart-assistant/platform/service/work"
)

// Mail is what looking back asks of package mail.
type Mail interface {
	List(ctx context.Context, userID string, filter mail.Filter, page api.Page) ([]mail.Summary, string, error)
	Get(ctx context.Context, userID, id string) (mail.Email, error)
}

const (
	memory   = 90 * 24 * time.Hour // how long before an application that the user adds mail may be about it
	maxMails = 500                 // of a category, the newest, that are looked at
)

// lookBackArgs is the job that looks for what mail said about an application before it was there: mail comes newest first from some
// servers, and the user may take days to accept a suggested application. Began is the mail that it began with, if any.
type lookBackArgs struct {
	UserID        string `json:"user_id"`
	ApplicationID string `json:"application_id"`
	Began         string `json:"began,omitempty"`
}

func (lookBackArgs) Kind() string { return "application_look_back" }

// InsertOpts implements river.JobArgsWithInsertOpts.
func (lookBackArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: work.Jobs, MaxAttempts: 5}
}

// lookBack suggests moves of an application for mail that is there already. It may be done again: a mail has one suggestion at most.
func (s *Service) lookBack(ctx context.Context, look lookBackArgs) error {
	a, err := s.Application(ctx, look.UserID, look.ApplicationID)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	since := a.CreatedAt.Add(-memory)
	if look.Began != "" {
		began, err := s.config.Mail.Get(ctx, look.UserID, look.Began)
		if err != nil && !errors.Is(err, mail.ErrNotFound) {
			return fmt.Errorf("read the mail that application %s began with: %w", a.ID, err)
		}
		if err == nil {
			since = began.ReceivedAt
		}
	}
	mails, err := s.mailsSince(ctx, look.UserID, since)
	if err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, s.config.Pool, func(tx pgx.Tx) error {
		db := s.db.WithTx(tx)
		rows, err := db.ApplicationsToMatch(ctx, jobdb.ApplicationsToMatchParams{UserID: look.UserID, Most: maxMatched})
		if err != nil {
			return fmt.Errorf("read the applications of %s: %w", look.UserID, err)
		}
		for _, email := range mails {
			match, evidence := bestMatch(readSender(email), rows)
			if match == nil || match.ID != a.ID || rank[Status(match.Status)] >= rank[says[email.Category].to] {
				continue
			}
			if err := s.suggestMove(ctx, db, look.UserID, email, match, evidence); err != nil {
				return err
			}
		}
		return nil
	})
}

// mailsSince are the messages that say something about applications, oldest first.
func (s *Service) mailsSince(ctx context.Context, userID string, since time.Time) ([]mail.Summary, error) {
	var all []mail.Summary
	for category := range says {
		list, _, err := s.config.Mail.List(ctx, userID, mail.Filter{Category: category, Since: since}, api.Page{Limit: maxMails})
		if err != nil {
			return nil, fmt.Errorf("read the mail of %s: %w", userID, err)
		}
		all = append(all, list...)
	}
	all = slices.DeleteFunc(all, func(m mail.Summary) bool { return m.Score < sure })
	slices.SortFunc(all, func(a, b mail.Summary) int { return a.ReceivedAt.Compare(b.ReceivedAt) })
	return all, nil
}
