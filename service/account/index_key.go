package account

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/service/account/accountdb"
	"github.com/smart-assistant/platform/service/encryption"
)

// DBTX runs SQL: a pool, a connection or a transaction.
type DBTX = accountdb.DBTX

const (
	indexKeySize       = 32
	rememberedKeys     = 10_000    // 32 bytes each, some 2 MB with what the cache needs
	longestTransaction = time.Hour // a key that is younger may be undone by the transaction that made it
)

// IndexKey returns a user's own random key, 32 bytes, for search indexes and fingerprints of what is otherwise sealed. It is made when
// it is first asked for, in db, stays when the master key changes, and is deleted with the user. ErrUnknownUser when there is none.
func (s *Service) IndexKey(ctx context.Context, db DBTX, userID string) ([]byte, error) {
	if key, known := s.indexKeys.Get(userID); known {
		return key, nil
	}
	queries := accountdb.New(db)
	row, err := queries.IndexKey(ctx, userID)
	if errors.Is(err, pgx.ErrNoRows) {
		if err := s.createIndexKey(ctx, queries, userID); err != nil {
			return nil, err
		}
		row, err = queries.IndexKey(ctx, userID) // the row may be another transaction's, which was quicker
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, ErrUnknownUser
	}
	if err != nil {
		return nil, fmt.Errorf("read the index key of %s: %w", userID, err)
	}
	key, err := s.config.Keyring.Open(row.IndexKey, indexKeyCell(userID))
	if err != nil {
		return nil, fmt.Errorf("read the index key of %s: %w", userID, err)
	}
	if s.config.Now().Sub(row.CreatedAt) > longestTransaction {
		s.indexKeys.Add(userID, key)
	}
	return key, nil
}

func (s *Service) createIndexKey(ctx context.Context, queries *accountdb.Queries, userID string) error {
	key := make([]byte, indexKeySize)
	if _, err := io.ReadFull(s.config.Rand, key); err != nil {
		return fmt.Errorf("read randomness: %w", err)
	}
	sealed, err := s.config.Keyring.Seal(key, indexKeyCell(userID))
	if err != nil {
		return fmt.Errorf("seal the index key of %s: %w", userID, err)
	}
	err = queries.CreateIndexKey(ctx, accountdb.CreateIndexKeyParams{UserID: userID, IndexKey: sealed, CreatedAt: s.config.Now()})
	if err != nil {
		return fmt.Errorf("keep the index key of %s: %w", userID, err)
	}
	return nil
}

func indexKeyCell(userID string) encryption.Cell {
	return encryption.Cell{Table: "user_keys", Column: "index_key", Owner: userID, Row: userID}
}

// Sealed lists the sealed columns.
func Sealed() []encryption.Column {
	return []encryption.Column{
		{Table: "user_keys", Name: "index_key", Key: "user_id", Owner: "user_id"},
		{Table: "signing_keys", Name: "private_key", Key: "kid"},
	}
}
