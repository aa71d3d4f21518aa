package account

import (
	"context"
	"crypto/hmac"
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

// Login opens a session. An unknown user, a wrong password, an account that is locked for a while and an address that was never
// proved give the same error after the same work. ErrDisabled is told to who knows the password.
func (s *Service) Login(ctx context.Context, email, password string) (Tokens, error) {
	if err := checkLength("password", password); err != nil {
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
		return Tokens{}, s.countFailure(ctx, user.ID, ErrCredentials)
	}
	var tokens Tokens
	var refused error // told after the transaction, which may have something to commit
	err = s.transact(ctx, func(_ pgx.Tx, db *accountdb.Queries) error {
		now := s.config.Now()
		locked, err := db.LockUser(ctx, user.ID)
		switch {
		case errors.Is(err, pgx.ErrNoRows): // deleted while we compared
			refused = ErrCredentials
			return nil
		case err != nil:
			return err
		}
		count, err := s.counter(ctx, db, user.ID, elsewhere(locked))
		switch {
		case err != nil:
			return err
		case passwordChanged(user.PasswordChangedAt, locked) || count.isLocked(now) || locked.VerifiedAt == nil && s.provesAddress(locked.Email):
			refused = ErrCredentials
			return nil
		case locked.DisabledAt != nil:
			refused = ErrDisabled
			return nil
		}
		if count.network == "" && count.failures > 0 {
			if _, err := db.ForgetFailures(ctx, locked.ID); err != nil {
				return err
			}
		}
		tokens, err = s.open(ctx, db, locked.ID, nil, now)
		return err
	})
	if err == nil && refused == nil {
		err = s.rehash(ctx, user.ID, user.PasswordHash, password)
	}
	if err != nil {
		return Tokens{}, fmt.Errorf("log in: %w", err)
	}
	return tokens, refused
}

// rehash brings a hash to the configured cost. It is for those who were let in only: the time that it takes would tell others that
// they have guessed the password of a locked account.
func (s *Service) rehash(ctx context.Context, userID, hash, password string) error {
	if len(s.passwords.missing(hash)) == 0 {
		return nil
	}
	next, err := s.passwords.hash(ctx, password)
	if err != nil {
		return err
	}
	if err := s.db.Rehash(ctx, accountdb.RehashParams{ID: userID, Present: hash, Next: next}); err != nil {
		return fmt.Errorf("keep the new hash of a password: %w", err)
	}
	return nil
}

// passwordChanged says whether a password is another than when it was compared; the same one may have been hashed anew.
func passwordChanged(at *time.Time, locked accountdb.LockUserRow) bool {
	if at == nil || locked.PasswordChangedAt == nil {
		return at != locked.PasswordChangedAt
	}
	return !at.Equal(*locked.PasswordChangedAt)
}

// OpenSession opens a session for a user whom another provider let in. ErrUnknownUser, ErrDisabled and ErrUnproved when it may not be.
func (s *Service) OpenSession(ctx context.Context, userID, provider string) (Tokens, error) {
	var tokens Tokens
	err := s.transact(ctx, func(_ pgx.Tx, db *accountdb.Queries) error {
		user, err := db.LockUser(ctx, userID)
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrUnknownUser
		}
		if err != nil {
			return err
		}
		if user.DisabledAt != nil {
			return ErrDisabled
		}
		if user.VerifiedAt == nil && s.provesAddress(user.Email) {
			return ErrUnproved
		}
		tokens, err = s.open(ctx, db, userID, map[string]any{"provider": provider}, s.config.Now())
		return err
	})
	if err != nil {
		return Tokens{}, fmt.Errorf("open a session of %s: %w", userID, err)
	}
	return tokens, nil
}

// open begins a session of a user whose row is locked. The detail is for the audit log.
func (s *Service) open(ctx context.Context, db *accountdb.Queries, userID string, detail map[string]any, now time.Time) (Tokens, error) {
	if from := network(ctx); from != "" {
		if err := db.KeepLoginNetwork(ctx, accountdb.KeepLoginNetworkParams{UserID: userID, Network: from, SeenAt: now}); err != nil {
			return Tokens{}, fmt.Errorf("note the network of a log-in: %w", err)
		}
	}
	session, err := db.CreateSession(ctx, accountdb.CreateSessionParams{
		UserID: userID, CreatedAt: now, ExpiresAt: now.Add(s.config.SessionLifetime), UserAgent: userAgent(ctx), Address: address(ctx),
	})
	if err != nil {
		return Tokens{}, fmt.Errorf("open a session: %w", err)
	}
	if err := s.audit(ctx, db, event{action: "login", actor: userID, user: userID, detail: detail}); err != nil {
		return Tokens{}, err
	}
	refresh, err := s.randomToken()
	if err != nil {
		return Tokens{}, err
	}
	if err := s.keep(ctx, db, refresh, session, now); err != nil {
		return Tokens{}, err
	}
	return s.grant(ctx, db, userID, session, refresh, now)
}

// Refresh gives new tokens for a refresh token, once. A token that comes back after it was used is in two hands, one of
// which stole it: the whole session ends (RFC 9700, section 4.14.2). Within RefreshGrace of its first use it is taken for the
// same client asking twice, because an answer was lost or two of its parts refresh at once: it gets the same next token, so that a
// session has one line of tokens and a thief no line of their own. Once that next token was used, no answer was lost.
func (s *Service) Refresh(ctx context.Context, refreshToken string) (Tokens, error) {
	hash := hashToken(refreshToken)
	now := s.config.Now()
	var tokens Tokens
	var ended string  // the session, where it was revoked
	var refused error // told to the caller after the transaction, which has to commit a revocation
	err := s.transact(ctx, func(_ pgx.Tx, db *accountdb.Queries) error {
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
		}
		stolen := token.RotatedAt != nil && now.Sub(*token.RotatedAt) > s.config.RefreshGrace
		if !stolen && token.SuccessorSalt != nil {
			stolen, err = db.RefreshTokenIsUsed(ctx, hashToken(successor(refreshToken, token.SuccessorSalt)))
			if err != nil {
				return fmt.Errorf("read the next refresh token: %w", err)
			}
		}
		if stolen {
			refused, ended = ErrRefreshToken, token.SessionID
			return s.revokeReused(ctx, db, token.UserID, token.SessionID)
		}
		if token.SuccessorSalt == nil {
			if token.SuccessorSalt, err = s.rotate(ctx, db, refreshToken, token.SessionID, now); err != nil {
				return err
			}
		}
		tokens, err = s.grant(ctx, db, token.UserID, token.SessionID, successor(refreshToken, token.SuccessorSalt), now)
		return err
	})
	if err != nil {
		return Tokens{}, fmt.Errorf("refresh a session: %w", err)
	}
	if ended != "" {
		s.forget([]string{ended})
	}
	return tokens, refused
}

// rotate uses up a refresh token and keeps the next one, which successor tells from the salt.
func (s *Service) rotate(ctx context.Context, db *accountdb.Queries, refreshToken, session string, now time.Time) (salt []byte, err error) {
	salt = make([]byte, sha256.Size)
	if _, err := io.ReadFull(s.config.Rand, salt); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	err = db.RotateRefreshToken(ctx, accountdb.RotateRefreshTokenParams{TokenHash: hashToken(refreshToken), RotatedAt: &now, SuccessorSalt: salt})
	if err != nil {
		return nil, fmt.Errorf("use up a refresh token: %w", err)
	}
	if err := s.keep(ctx, db, successor(refreshToken, salt), session, now); err != nil {
		return nil, err
	}
	err = db.UseSession(ctx, accountdb.UseSessionParams{ID: session, LastUsedAt: &now, Address: address(ctx), UserAgent: userAgent(ctx)})
	if err != nil {
		return nil, fmt.Errorf("note the use of session %s: %w", session, err)
	}
	return salt, nil
}

// successor is the refresh token that follows another. It can be told again to a client that lost it, though the database keeps hashes
// only: it takes the token before, which the database has not, and the salt, which the client has not.
func successor(refreshToken string, salt []byte) string {
	mac := hmac.New(sha256.New, salt)
	mac.Write([]byte(refreshToken))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func (s *Service) revokeReused(ctx context.Context, db *accountdb.Queries, userID, session string) error {
	s.config.Log.WarnContext(ctx, "session revoked: a used refresh token came back", "session", session)
	if _, err := s.endSession(ctx, db, userID, session, "reuse"); err != nil {
		return err
	}
	return s.audit(ctx, db, event{action: "token-reuse", user: userID, detail: map[string]any{"session": session}})
}

// Logout ends the session that a refresh token belongs to. An unknown token is no error: there is nothing left to end.
func (s *Service) Logout(ctx context.Context, refreshToken string) error {
	var session accountdb.SessionByTokenRow
	err := s.transact(ctx, func(_ pgx.Tx, db *accountdb.Queries) (err error) {
		if session, err = db.SessionByToken(ctx, hashToken(refreshToken)); err != nil {
			return err
		}
		if _, err = s.endSession(ctx, db, session.UserID, session.ID, "logout"); err != nil {
			return err
		}
		return s.audit(ctx, db, event{action: "logout", actor: session.UserID, user: session.UserID})
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("end a session: %w", err)
	}
	s.forget([]string{session.ID})
	return nil
}

// Sweep deletes sessions and tokens that ended a day ago or earlier, and audit events that are past their retention, some hundreds at a
// time, and says how many. Replicas may sweep at the same time.
func (s *Service) Sweep(ctx context.Context) (int64, error) {
	now := s.config.Now()
	yesterday := now.Add(-24 * time.Hour)
	var swept int64
	for _, what := range []struct {
		name string
		from func(context.Context, time.Time) (int64, error)
	}{
		{"ended sessions", s.db.DeleteEndedSessions},
		{"one-time tokens", s.db.DeleteEndedOneTimeTokens},
		{"counts of mails", s.db.DeleteCountedMails},
		{"revocations", s.db.DeleteRevocations},
		{"networks of log-ins", func(ctx context.Context, _ time.Time) (int64, error) {
			return s.db.DeleteLoginNetworks(ctx, now.Add(-networkMemory))
		}},
		{"retired signing keys", func(ctx context.Context, before time.Time) (int64, error) {
			return s.db.DeleteRetiredSigningKeys(ctx, &before)
		}},
		{"audit events", func(ctx context.Context, _ time.Time) (int64, error) {
			return s.db.DeleteAuditEvents(ctx, now.Add(-s.config.AuditRetention))
		}},
	} {
		n, err := what.from(ctx, yesterday)
		if err != nil {
			return swept, fmt.Errorf("delete %s: %w", what.name, err)
		}
		swept += n
	}
	return swept, nil
}

// keep makes a refresh token good.
func (s *Service) keep(ctx context.Context, db *accountdb.Queries, refresh, session string, now time.Time) error {
	err := db.CreateRefreshToken(ctx, accountdb.CreateRefreshTokenParams{TokenHash: hashToken(refresh), SessionID: session, IssuedAt: now})
	if err != nil {
		return fmt.Errorf("keep a refresh token: %w", err)
	}
	return nil
}

// grant signs an access token and hands it out with a refresh token.
func (s *Service) grant(ctx context.Context, db *accountdb.Queries, user, session, refresh string, now time.Time) (Tokens, error) {
	if !s.revoked.current(now) { // a key may have been revoked unheard
		if err := s.reloadKeys(ctx, db); err != nil {
			return Tokens{}, err
		}
	}
	access, err := s.issue(user, session, now)
	if err != nil {
		return Tokens{}, err
	}
	return Tokens{AccessToken: access, TokenType: "Bearer", ExpiresIn: int(s.config.AccessLifetime.Seconds()), RefreshToken: refresh}, nil
}

// randomToken is 256 random bits as text.
func (s *Service) randomToken() (string, error) {
	var random [32]byte
	if _, err := io.ReadFull(s.config.Rand, random[:]); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(random[:]), nil
}

// hashToken is what the database keeps. The token has 256 random bits, so that a plain hash cannot be searched.
func hashToken(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}
