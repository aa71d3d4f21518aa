package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/service/account/accountdb"
	"github.com/smart-assistant/platform/service/api"
)

// Session is a log-in that has not ended.
type Session struct {
	ID         string    `json:"id" format:"uuid"`
	Current    bool      `json:"current" doc:"The one that asks"`
	CreatedAt  time.Time `json:"created_at"`
	LastUsedAt time.Time `json:"last_used_at" doc:"When it was refreshed last"`
	ExpiresAt  time.Time `json:"expires_at" doc:"When it ends, however much it is used"`
	UserAgent  string    `json:"user_agent,omitempty"`
	Address    string    `json:"address,omitempty" doc:"Where it was used from last"`
}

// Sessions lists a user's open sessions, the newest first, and the cursor of the next page. The id of the current one is marked.
func (s *Service) Sessions(ctx context.Context, userID, current string, page api.Page) ([]Session, string, error) {
	after, err := from(page.Cursor)
	if err != nil {
		return nil, "", err
	}
	rows, err := s.db.ListSessions(ctx, accountdb.ListSessionsParams{
		UserID: userID, Now: s.config.Now(), Before: after.At, BeforeID: after.ID, Most: int32(page.Limit) + 1, //nolint:gosec // at most 200
	})
	if err != nil {
		return nil, "", fmt.Errorf("list the sessions of %s: %w", userID, err)
	}
	sessions := make([]Session, len(rows))
	for i, row := range rows {
		sessions[i] = Session{
			ID: row.ID, Current: row.ID == current, CreatedAt: row.CreatedAt, LastUsedAt: row.CreatedAt, ExpiresAt: row.ExpiresAt,
			UserAgent: row.UserAgent, Address: row.Address,
		}
		if row.LastUsedAt != nil {
			sessions[i].LastUsedAt = *row.LastUsedAt
		}
	}
	return cut(sessions, page.Limit, func(s Session) any { return moment{s.CreatedAt, s.ID} })
}

// RevokeSession ends one session of a user, at once. ErrNoSession when the user has none of this id.
func (s *Service) RevokeSession(ctx context.Context, userID, session string) error {
	err := s.transact(ctx, func(_ pgx.Tx, db *accountdb.Queries) error {
		ended, err := s.endSession(ctx, db, userID, session, "user")
		if err != nil {
			return err
		}
		if !ended {
			return ErrNoSession
		}
		return s.audit(ctx, db, event{action: "session-revoked", actor: userID, user: userID, detail: map[string]any{"session": session}})
	})
	if err != nil {
		return fmt.Errorf("revoke session %s: %w", session, err)
	}
	s.forget([]string{session})
	return nil
}

// LogoutEverywhere ends all sessions of a user, the one that asks as well, at once.
func (s *Service) LogoutEverywhere(ctx context.Context, userID string) error {
	var ended []string
	err := s.transact(ctx, func(_ pgx.Tx, db *accountdb.Queries) (err error) {
		if _, err = db.LockUser(ctx, userID); err != nil {
			return err
		}
		if ended, err = s.endSessions(ctx, db, userID, noSession, "everywhere"); err != nil {
			return err
		}
		return s.audit(ctx, db, event{action: "logout-everywhere", actor: userID, user: userID})
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrUnknownUser
	}
	if err != nil {
		return fmt.Errorf("end the sessions of %s: %w", userID, err)
	}
	s.forget(ended)
	return nil
}
