package job

import (
	"context"

	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/job/jobdb"
)

// Export tells all that is kept of a user, item by item, each with the section that it belongs to.
func (s *Service) Export(ctx context.Context, userID string, write func(section string, item any) error) error {
	postings := func(hidden bool) func(api.Page) ([]Posting, string, error) {
		return func(page api.Page) ([]Posting, string, error) {
			return s.Postings(ctx, userID, PostingFilter{Hidden: hidden}, page)
		}
	}
	for _, section := range []func() error{
		func() error {
			return exportAll("job_sources", write, func(page api.Page) ([]Source, string, error) { return s.Sources(ctx, userID, page) })
		},
		func() error { return exportAll("postings", write, postings(false)) },
		func() error { return exportAll("postings", write, postings(true)) },
		func() error {
			return exportAll("applications", write, func(page api.Page) ([]Application, string, error) {
				return s.Applications(ctx, userID, "", page)
			})
		},
		func() error {
			return exportAll("application_events", write, func(page api.Page) ([]Event, string, error) { return s.history(ctx, userID, page) })
		},
		func() error {
			return exportAll("application_suggestions", write, func(page api.Page) ([]Suggestion, string, error) {
				return s.Suggestions(ctx, userID, page)
			})
		},
	} {
		if err := section(); err != nil {
			return err
		}
	}
	return nil
}

// exportAll writes a list to its end, page by page.
func exportAll[T any](section string, write func(string, any) error, list func(api.Page) ([]T, string, error)) error {
	for page := (api.Page{Limit: 200}); ; {
		items, next, err := list(page)
		if err != nil {
			return err
		}
		for _, item := range items {
			if err := write(section, item); err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		page.Cursor = next
	}
}

// history is the events of all of a user's applications, newest first.
func (s *Service) history(ctx context.Context, userID string, page api.Page) ([]Event, string, error) {
	from, err := begin(page)
	if err != nil {
		return nil, "", err
	}
	rows, err := s.db.EventsOfUser(ctx, jobdb.EventsOfUserParams{UserID: userID, BeforeAt: from.At, BeforeID: from.ID.String(), Most: most(page)})
	if err != nil {
		return nil, "", kept(err, "read the history of "+userID)
	}
	return s.eventsOf(rows, page)
}
