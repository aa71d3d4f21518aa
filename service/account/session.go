package account

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/service/account/accountdb"
)

// Tokens is the answer to a log-in and to a refresh, in the words of RFC 6749, section 5.1.
type Tokens struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type" enum:"Bearer"`
	ExpiresIn    int    `json:"expires_in" doc:"Seconds until the access token ends"`
	RefreshToken string `json:"refresh_token" doc:"Good for one use"`
}

// Login opens a session. A wrong password and an unknown user give the same error after the same work.
func (s *Service) Login(ctx context.Context, email, password string) (Tokens, error) {
	if err := checkLength(password); err != nil {
		return Tokens{}, err
	}
	user, err := s.user(ctx, email)
	if err != nil {
		return Tokens{}, err
	}
	match, err := s.passwords.compare(ctx, user.PasswordHash, password)
	if err != nil {
		return Tokens{}, err
	}
	if !match {
		return Tokens{}, ErrCredentials
	}

	now := s.config.Now()
	var tokens Tokens
	err = pgx.BeginFunc(ctx, s.config.Pool, func(tx pgx.Tx) error {
		db := s.db.WithTx(tx)
		session, err := db.CreateSession(ctx, accountdb.CreateSessionParams{
			UserID: user.ID, CreatedAt: now, ExpiresAt: now.Add(s.config.SessionLifetime),
		})
		if err != nil {
			return err
		}
		tokens, err = s.grant(ctx, db, user.ID, session, now)
		return err
	})
	if err != nil {
		return Tokens{}, fmt.Errorf("open a session: %w", err)
	}
	return tokens, nil
}

// user looks for an account; an unknown one is the zero row, which has no password hash.
func (s *Service) user(ctx context.Context, email string) (accountdb.UserByEmailRow, error) {
	address, err := parseEmail(email)
	if err != nil {
		return accountdb.UserByEmailRow{}, nil //nolint:nilerr // an address that cannot exist is an unknown user
	}
	user, err := s.db.UserByEmail(ctx, address)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return accountdb.UserByEmailRow{}, fmt.Errorf("look up a user: %w", err)
	}
	return user, nil
}

// Refresh gives new tokens for a refresh token, once. A token that comes back after it was used is in two hands, one of
// which stole it: the whole session ends (RFC 9700, section 4.14.2). Within RefreshGrace of its first use it is taken for the
// same client asking twice, because an answer was lost or two of its parts refresh at once.
func (s *Service) Refresh(ctx context.Context, refreshToken string) (Tokens, error) {
	hash := hashToken(refreshToken)
	now := s.config.Now()
	var tokens Tokens
	var refused error // told to the caller after the transaction, which has to commit a revocation
	err := pgx.BeginFunc(ctx, s.config.Pool, func(tx pgx.Tx) error {
		db := s.db.WithTx(tx)
		token, err := db.LockRefreshToken(ctx, hash)
		if errors.Is(err, pgx.ErrNoRows) {
			refused = ErrRefreshToken
			return nil
		}
		if err != nil {
			return err
		}
		switch {
		case token.RevokedAt != nil || !now.Before(token.ExpiresAt):
			refused = ErrRefreshToken
			return nil
		case token.RotatedAt != nil && now.Sub(*token.RotatedAt) > s.config.RefreshGrace:
			refused = ErrRefreshToken
			s.config.Log.WarnContext(ctx, "session revoked: a used refresh token came back", "session", token.SessionID)
			reason := "reuse"
			return db.RevokeSession(ctx, accountdb.RevokeSessionParams{ID: token.SessionID, RevokedAt: &now, RevokeReason: &reason})
		case token.RotatedAt == nil:
			if err := db.RotateRefreshToken(ctx, accountdb.RotateRefreshTokenParams{TokenHash: hash, RotatedAt: &now}); err != nil {
				return err
			}
		}
		tokens, err = s.grant(ctx, db, token.UserID, token.SessionID, now)
		return err
	})
	if err != nil {
		return Tokens{}, fmt.Errorf("refresh a session: %w", err)
	}
	return tokens, refused
}

// Logout ends the session that a refresh token belongs to. An unknown token is no error: there is nothing left to end.
func (s *Service) Logout(ctx context.Context, refreshToken string) error {
	now := s.config.Now()
	err := s.db.RevokeSessionByToken(ctx, accountdb.RevokeSessionByTokenParams{TokenHash: hashToken(refreshToken), RevokedAt: &now})
	if err != nil {
		return fmt.Errorf("end a session: %w", err)
	}
	return nil
}

// Sweep deletes sessions that ended a day ago or earlier, some hundreds at a time, and says how many. Replicas may sweep at
// the same time.
func (s *Service) Sweep(ctx context.Context) (int64, error) {
	n, err := s.db.DeleteEndedSessions(ctx, s.config.Now().Add(-24*time.Hour))
	if err != nil {
		return 0, fmt.Errorf("delete ended sessions: %w", err)
	}
	return n, nil
}

// grant writes a new refresh token and signs an access token beside it.
func (s *Service) grant(ctx context.Context, db *accountdb.Queries, user, session string, now time.Time) (Tokens, error) {
	var random [32]byte
	if _, err := io.ReadFull(s.config.Rand, random[:]); err != nil {
		return Tokens{}, fmt.Errorf("read randomness: %w", err)
	}
	refresh := base64.RawURLEncoding.EncodeToString(random[:])
	err := db.CreateRefreshToken(ctx, accountdb.CreateRefreshTokenParams{TokenHash: hashToken(refresh), SessionID: session, IssuedAt: now})
	if err != nil {
		return Tokens{}, err
	}
	access, err := s.issue(user, session, now)
	if err != nil {
		return Tokens{}, err
	}
	return Tokens{AccessToken: access, TokenType: "Bearer", ExpiresIn: int(s.config.AccessLifetime.Seconds()), RefreshToken: refresh}, nil
}

// hashToken is what the database keeps. The token has 256 random bits, so that a plain hash cannot be searched.
func hashToken(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}
