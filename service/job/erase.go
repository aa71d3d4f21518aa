package job

import (
	"context"
	"fmt"

	"github.com/smart-assistant/platform/service/work"
)

// Erase deletes all that is kept of a user who is deleted: an account.Eraser.
func (s *Service) Erase(ctx context.Context, userID string, _ int) error {
	for _, part := range []struct {
		name string
		some func(context.Context, string) (int64, error)
	}{
		{"suggestions", s.db.EraseSuggestions},
		{"events of applications", s.db.EraseEvents},
		{"applications", s.db.EraseApplications},
		{"postings", s.db.ErasePostings},
		{"job sources", s.db.EraseSources},
	} {
		if err := work.Batches(ctx, func(ctx context.Context) (int64, error) { return part.some(ctx, userID) }); err != nil {
			return fmt.Errorf("delete %s: %w", part.name, err)
		}
	}
	return nil
}
