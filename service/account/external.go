package account

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/service/account/accountdb"
)

// CreateExternal makes a user who has no password and logs in with another provider, in a transaction. ErrEmailTaken when the address has
// an account, an InvalidError when it is none.
func (s *Service) CreateExternal(ctx context.Context, tx pgx.Tx, email string, verified bool, displayName string) (userID string, err error) {
	email, err = parseEmail(email)
	if err != nil {
		return "", err
	}
	if err := checkText("display_name", displayName, maxDisplayName); err != nil {
		return "", err
	}
	now := s.config.Now()
	db := s.db.WithTx(tx)
	id, err := db.CreateUser(ctx, accountdb.CreateUserParams{Email: email, CreatedAt: now})
	if isUniqueViolation(err) {
		return "", ErrEmailTaken
	}
	if err != nil {
		return "", fmt.Errorf("create user: %w", err)
	}
	if verified {
		if err := db.VerifyUser(ctx, accountdb.VerifyUserParams{ID: id, VerifiedAt: &now}); err != nil {
			return "", fmt.Errorf("verify user %s: %w", id, err)
		}
	}
	if err := db.CreateProfile(ctx, accountdb.CreateProfileParams{UserID: id, DisplayName: displayName, UpdatedAt: now}); err != nil {
		return "", fmt.Errorf("create profile of %s: %w", id, err)
	}
	return id, nil
}

// OpenSession begins a session of a user who proved elsewhere who they are.
func (s *Service) OpenSession(ctx context.Context, userID string) (Tokens, error) {
	now := s.config.Now()
	var tokens Tokens
	err := pgx.BeginFunc(ctx, s.config.Pool, func(tx pgx.Tx) error {
		db := s.db.WithTx(tx)
		session, err := db.CreateSession(ctx, accountdb.CreateSessionParams{UserID: userID, CreatedAt: now, ExpiresAt: now.Add(s.config.SessionLifetime)})
		if err != nil {
			return err
		}
		tokens, err = s.grant(ctx, db, userID, session, now)
		return err
	})
	if err != nil {
		return Tokens{}, fmt.Errorf("open a session of %s: %w", userID, err)
	}
	return tokens, nil
}
