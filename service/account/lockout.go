package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/service/account/accountdb"
)

// An account that is guessed at is locked for a while, which nobody is told: the answers stay what they were. The lock ends by
// itself and counts nothing while it lasts, so that nobody is kept out for longer by more guesses.
const (
	freeFailures   = 5              // in a row, before the first lock
	firstLock      = time.Minute    // doubled by each further failure
	longestLock    = time.Hour      //
	failuresFadeIn = 24 * time.Hour // after the last one, counting begins anew
)

func isLocked(user accountdb.LockUserRow, now time.Time) bool {
	return user.LockedUntil != nil && now.Before(*user.LockedUntil)
}

// lockAfter is how long an account is locked after so many failures in a row.
func lockAfter(failures int32) time.Duration {
	if failures < freeFailures {
		return 0
	}
	return min(longestLock, firstLock<<min(failures-freeFailures, 10))
}

// countFailure counts a wrong password and returns told. It does not wait for the disk, which an unknown user's log-in does
// not either.
func (s *Service) countFailure(ctx context.Context, userID string, told error) error {
	if userID == "" {
		userID = noUser
	}
	err := s.transact(ctx, func(tx pgx.Tx, db *accountdb.Queries) error {
		if _, err := tx.Exec(ctx, "SET LOCAL synchronous_commit = off"); err != nil {
			return err
		}
		now := s.config.Now()
		user, err := db.LockUser(ctx, userID)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil || isLocked(user, now) {
			return err
		}
		failures := user.FailedLogins + 1
		if user.LastFailedAt == nil || now.Sub(*user.LastFailedAt) > failuresFadeIn {
			failures = 1
		}
		count := accountdb.CountFailureParams{ID: user.ID, FailedLogins: failures, LastFailedAt: &now}
		if err := s.audit(ctx, db, event{action: "login-failed", user: user.ID}); err != nil {
			return err
		}
		if lock := lockAfter(failures); lock > 0 {
			until := now.Add(lock)
			count.LockedUntil = &until
			if err := s.audit(ctx, db, event{action: "locked", user: user.ID, detail: map[string]any{"until": until}}); err != nil {
				return err
			}
		}
		return db.CountFailure(ctx, count)
	})
	if err != nil {
		return fmt.Errorf("count a failed log-in: %w", err)
	}
	return told
}

// noUser is the id of nobody.
const noUser = "00000000-0000-0000-0000-000000000000"
