package mail

import (
	"context"
	"errors"
	"fmt"

	"github.com/smart-assistant/platform/service/mail/maildb"
	"github.com/smart-assistant/platform/service/work"
)

// Erase deletes all mail of a user who is deleted, and takes back what the user consented to at Google: an account.Eraser. What is here
// goes first, whatever Google says.
func (s *Service) Erase(ctx context.Context, userID string, attempt int) error {
	c, db := s.connections, maildb.New(s.config.Pool)
	if err := c.db.LeaveConnections(ctx, maildb.LeaveConnectionsParams{UserID: userID, Now: s.config.Now()}); err != nil {
		return fmt.Errorf("end the connections: %w", err)
	}
	for what, some := range map[string]func(context.Context, string) (int64, error){"messages": db.DeleteEmailsOf, "vectors": db.DeleteEmbeddingsOf} {
		if err := work.Batches(ctx, func(ctx context.Context) (int64, error) { return some(ctx, userID) }); err != nil {
			return fmt.Errorf("delete %s: %w", what, err)
		}
	}
	rows, err := c.db.LeavingConnections(ctx, userID)
	if err != nil {
		return fmt.Errorf("list the connections: %w", err)
	}
	var failures []error
	for _, row := range rows {
		err := c.takeBack(ctx, row, attempt)
		if err == nil {
			err = c.remove(ctx, row)
		}
		failures = append(failures, err)
	}
	return errors.Join(failures...)
}
