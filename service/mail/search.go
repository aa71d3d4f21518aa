package mail

import (
	"context"
	"errors"
	"fmt"

	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/mail/index"
	"github.com/smart-assistant/platform/service/mail/maildb"
)

// InvalidError is a question that cannot be asked. Its text is for the user.
type InvalidError struct{ Field, Problem string }

func (e *InvalidError) Error() string { return e.Field + ": " + e.Problem }

// Search returns the messages that meet all terms of the query, newest first, and the cursor of the next page. Words are found in any of
// their forms, "quoted words" have to stand together, -word must not occur, from:word and subject:word have to stand there
// (index.Query). An InvalidError when no word has to occur.
func (s *Service) Search(ctx context.Context, userID, query string, filter Filter, page api.Page) ([]Summary, string, error) {
	before, since, err := filter.start(&page)
	if err != nil {
		return nil, "", err
	}
	user, err := s.indexOf(ctx, s.config.Pool, userID)
	if err != nil {
		return nil, "", err
	}
	terms, err := user.index.Query(query)
	if errors.Is(err, index.ErrNoWord) || errors.Is(err, index.ErrTooLong) {
		return nil, "", &InvalidError{"q", err.Error()}
	}
	if err != nil {
		return nil, "", err
	}
	found, err := maildb.New(maildb.Planned(s.config.Pool)).SearchEmails(ctx, maildb.SearchEmailsParams{
		UserID: userID, Query: terms, Category: string(filter.Category), Since: since, Before: before.At, BeforeID: before.ID, Most: int32(page.Limit + 1),
	})
	if err != nil {
		return nil, "", fmt.Errorf("search messages of %s: %w", userID, err)
	}
	rows := make([]maildb.ListEmailsRow, len(found))
	for i, row := range found {
		rows[i] = maildb.ListEmailsRow(row)
	}
	return s.page(userID, rows, page.Limit)
}
