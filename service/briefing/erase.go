package briefing

import (
	"context"
	"fmt"

	"github.com/smart-assistant/platform/service/work"
)

// Erase deletes the briefings and the schedule of a user who is deleted: an account.Eraser.
func (s *Service) Erase(ctx context.Context, userID string, _ int) error {
	if err := s.db.EraseSchedule(ctx, userID); err != nil {
		return fmt.Errorf("delete the schedule: %w", err)
	}
	if err := work.Batches(ctx, func(ctx context.Context) (int64, error) { return s.db.EraseBriefings(ctx, userID) }); err != nil {
		return fmt.Errorf("delete briefings: %w", err)
	}
	return nil
}
