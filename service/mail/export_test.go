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

// Nearest returns the ids of the nearest vectors, and whether pgvector found them.
func Nearest(ctx context.Context, db querier, userID, model string, vector []float32, limit int) (ids []string, similarities []float64, byVector bool, err error) {
	v := vectors{most: maxCompared}
	found, err := v.nearest(ctx, db, userID, model, vector, limit)
	for _, n := range found {
		ids, similarities = append(ids, n.id), append(similarities, n.similarity)
	}
	return ids, similarities, v.installed.Load(), err
}

// CompareWith bounds a search by meaning to so many messages.
func (s *Service) CompareWith(most int) { s.vectors.most = most }
