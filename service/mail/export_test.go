package mail

import (
	"context"

	"github.com/smart-assistant/platform/service/mail/classify"
)

// What tests do that jobs do otherwise.

func (s *Service) Embed(ctx context.Context, userID string, ids []string) error {
	return s.embed(ctx, userID, ids)
}

func (s *Service) Reclassify(ctx context.Context) (int, error) {
	return s.reclassify(ctx, classify.Version+1)
}
