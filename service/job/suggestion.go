package job

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/job/jobdb"
	"github.com/smart-assistant/platform/service/mail"
)

// Suggestion is what a mail seems to say about an application; it waits for the user.
type Suggestion struct {
	ID            string    `json:"id" format:"uuid"`
	ApplicationID string    `json:"application_id,omitempty" format:"uuid" doc:"Absent when a new application is suggested"`
	EmailID       string    `json:"email_id" format:"uuid"`
	Company       string    `json:"company"`
	Title         string    `json:"title"`
	ToStatus      Status    `json:"to_status"`
	Reason        string    `json:"reason"`
	CreatedAt     time.Time `json:"created_at"`
}

const (
	// sure is the least score of a mail's category that is worth a suggestion.
	sure = 0.6
	// maxMatched is how many of a user's applications, the last changed ones, a mail is compared with.
	maxMatched = 500
)

// says is what a category says about an application.
var says = map[mail.Category]struct {
	to     Status
	reason string
}{
	mail.Application: {Applied, "The mail looks like a confirmation that an application arrived"},
	mail.Interview:   {Interview, "The mail looks like an invitation to an interview"},
	mail.Offer:       {Offer, "The mail looks like an offer"},
	mail.Rejection:   {Rejected, "The mail looks like a rejection"},
}

// rank orders the statuses on the way of an application; those that end it come last. Nothing is suggested that leads back.
var rank = map[Status]int{Interested: 0, Applied: 1, Interview: 2, Offer: 3, Accepted: 4, Rejected: 4, Withdrawn: 4}

// EmailStored implements mail.Observer: mail about an application becomes a suggestion. It moves nothing, whatever the mail says: what
// the mail's text is taken for is its category and the names in sender and subject.
func (s *Service) EmailStored(ctx context.Context, tx pgx.Tx, userID string, email mail.Summary) error {
	said, relevant := says[email.Category]
	if !relevant || email.Score < sure {
		return nil
	}
	db := s.db.WithTx(tx)
	rows, err := db.ApplicationsToMatch(ctx, jobdb.ApplicationsToMatchParams{UserID: userID, Most: maxMatched})
	if err != nil {
		return fmt.Errorf("read the applications of %s: %w", userID, err)
	}
	from := readSender(email)
	match, evidence := bestMatch(from, rows)
	switch {
	case match != nil && rank[Status(match.Status)] < rank[said.to]:
		return s.suggestMove(ctx, db, userID, email, match, evidence)
	case match != nil && rank[Status(match.Status)] < rank[Accepted]:
		return nil // it is there already, or further
	case said.to == Applied && from.company != "":
		if suggested, err := s.suggested(ctx, db, userID, from); err != nil || suggested {
			return err
		}
		return s.suggest(ctx, db, email, jobdb.CreateSuggestionParams{UserID: userID, Company: from.company, Title: from.title},
			"there is no open application that it belongs to")
	}
	return nil // what it is about may be confirmed later: see lookBack
}

// suggestMove suggests what a mail says about an application.
func (s *Service) suggestMove(ctx context.Context, db *jobdb.Queries, userID string, email mail.Summary, about *jobdb.ApplicationsToMatchRow, evidence string) error {
	return s.suggest(ctx, db, email, jobdb.CreateSuggestionParams{
		UserID: userID, ApplicationID: &about.ID, Company: about.Company, Title: about.Title,
	}, evidence)
}

// suggest stores a suggestion, one a mail.
func (s *Service) suggest(ctx context.Context, db *jobdb.Queries, email mail.Summary, suggestion jobdb.CreateSuggestionParams, evidence string) (err error) {
	said := says[email.Category]
	suggestion.EmailID, suggestion.ToStatus, suggestion.CreatedAt = email.ID, string(said.to), s.config.Now()
	suggestion.Reason = fmt.Sprintf("%s (score %.2f), and %s", said.reason, email.Score, evidence)
	if suggestion.ID, err = newID(); err != nil {
		return err
	}
	if _, err := db.CreateSuggestion(ctx, suggestion); err != nil {
		return fmt.Errorf("suggest a move for mail %s: %w", email.ID, err)
	}
	return nil
}

// suggested says whether the application that a mail confirms waits for the user already: employers confirm more than once.
func (s *Service) suggested(ctx context.Context, db *jobdb.Queries, userID string, from sender) (bool, error) {
	rows, err := db.SuggestedApplications(ctx, jobdb.SuggestedApplicationsParams{UserID: userID, Most: maxMatched})
	if err != nil {
		return false, fmt.Errorf("read the suggestions of %s: %w", userID, err)
	}
	for _, row := range rows {
		if sameApplication(row.Company, row.Title, from.company, from.title) {
			return true, nil
		}
	}
	return false, nil
}

// sameApplication says whether two names of a company and of a job there may be of one application. One without a title may be any.
func sameApplication(company, title, otherCompany, otherTitle string) bool {
	title, otherTitle = plainTitle(title), plainTitle(otherTitle)
	return companyName(company) == companyName(otherCompany) && (title == otherTitle || title == "" || otherTitle == "")
}

// The states of a suggestion.
const (
	open      = "open"
	accepted  = "accepted"
	dismissed = "dismissed"
)

// Suggestions returns what waits for the user, newest first.
func (s *Service) Suggestions(ctx context.Context, userID string, page api.Page) ([]Suggestion, string, error) {
	from, err := begin(page)
	if err != nil {
		return nil, "", err
	}
	rows, err := s.db.Suggestions(ctx, jobdb.SuggestionsParams{
		UserID: userID, State: open, BeforeAt: from.At, BeforeID: from.ID.String(), Most: most(page),
	})
	if err != nil {
		return nil, "", fmt.Errorf("list suggestions of %s: %w", userID, err)
	}
	rows, cursor, err := finish(rows, page, func(r jobdb.ApplicationSuggestion) (time.Time, string) { return r.CreatedAt, r.ID })
	if err != nil {
		return nil, "", err
	}
	suggestions := make([]Suggestion, 0, len(rows))
	for _, row := range rows {
		suggestions = append(suggestions, suggestionOf(row))
	}
	return suggestions, cursor, nil
}

// Accept does what was suggested, once, and returns the application as it is then. An application that got further meanwhile stays
// where it is. ConflictError when the suggestion was dismissed.
func (s *Service) Accept(ctx context.Context, userID, id string) (Application, error) {
	var a Application
	err := pgx.BeginFunc(ctx, s.config.Pool, func(tx pgx.Tx) error {
		row, err := s.db.WithTx(tx).LockSuggestion(ctx, jobdb.LockSuggestionParams{ID: id, UserID: userID})
		if err != nil {
			return kept(err, "read suggestion "+id)
		}
		if row.State == dismissed {
			return &ConflictError{"the suggestion was dismissed"}
		}
		if row.ApplicationID != nil {
			if a, err = s.lock(ctx, tx, userID, *row.ApplicationID, 0); err != nil {
				return err
			}
		}
		if row.State == accepted {
			return nil
		}
		if err := s.follow(ctx, tx, userID, &a, row); err != nil {
			return err
		}
		return s.decide(ctx, tx, row, accepted, &a.ID)
	})
	return a, err
}

// follow makes the suggested application, or moves the one that is there.
func (s *Service) follow(ctx context.Context, tx pgx.Tx, userID string, a *Application, row jobdb.ApplicationSuggestion) error {
	to := Status(row.ToStatus)
	if row.ApplicationID == nil {
		id, err := s.madeSince(ctx, tx, row)
		if err != nil {
			return err
		}
		if id == "" {
			*a = Application{Company: row.Company, Title: row.Title, Status: to}
			return s.create(ctx, tx, userID, a, &row.EmailID)
		}
		if *a, err = s.lock(ctx, tx, userID, id, 0); err != nil {
			return err
		}
	}
	if rank[a.Status] >= rank[to] {
		return nil
	}
	return s.change(ctx, tx, userID, a, ApplicationChange{Status: &to}, &row.EmailID)
}

// madeSince returns the open application that a suggestion of a new one is about after all: made by the user, or of another suggestion.
func (s *Service) madeSince(ctx context.Context, tx pgx.Tx, row jobdb.ApplicationSuggestion) (id string, err error) {
	db := s.db.WithTx(tx)
	if err := db.LockApplications(ctx, row.UserID); err != nil {
		return "", fmt.Errorf("lock the applications of %s: %w", row.UserID, err)
	}
	rows, err := db.ApplicationsToMatch(ctx, jobdb.ApplicationsToMatchParams{UserID: row.UserID, Most: maxMatched})
	if err != nil {
		return "", fmt.Errorf("read the applications of %s: %w", row.UserID, err)
	}
	for _, a := range rows {
		if rank[Status(a.Status)] < rank[Accepted] && sameApplication(a.Company, a.Title, row.Company, row.Title) {
			return a.ID, nil
		}
	}
	return "", nil
}

// Dismiss puts a suggestion away. ConflictError when it was accepted.
func (s *Service) Dismiss(ctx context.Context, userID, id string) error {
	return pgx.BeginFunc(ctx, s.config.Pool, func(tx pgx.Tx) error {
		row, err := s.db.WithTx(tx).LockSuggestion(ctx, jobdb.LockSuggestionParams{ID: id, UserID: userID})
		switch {
		case err != nil:
			return kept(err, "read suggestion "+id)
		case row.State == accepted:
			return &ConflictError{"the suggestion was accepted; change the application instead"}
		case row.State == dismissed:
			return nil
		}
		return s.decide(ctx, tx, row, dismissed, row.ApplicationID)
	})
}

func (s *Service) decide(ctx context.Context, tx pgx.Tx, row jobdb.ApplicationSuggestion, state string, applicationID *string) error {
	now := s.config.Now()
	if err := s.db.WithTx(tx).DecideSuggestion(ctx, jobdb.DecideSuggestionParams{
		ID: row.ID, UserID: row.UserID, State: state, ApplicationID: applicationID, DecidedAt: &now,
	}); err != nil {
		return fmt.Errorf("decide suggestion %s: %w", row.ID, err)
	}
	return nil
}

func suggestionOf(row jobdb.ApplicationSuggestion) Suggestion {
	suggestion := Suggestion{
		ID: row.ID, EmailID: row.EmailID, Company: row.Company, Title: row.Title,
		ToStatus: Status(row.ToStatus), Reason: row.Reason, CreatedAt: row.CreatedAt,
	}
	set(&suggestion.ApplicationID, row.ApplicationID)
	return suggestion
}
