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
	freeFailures   = 5                   // in a row, before the first lock
	firstLock      = time.Minute         // doubled by each further failure
	longestLock    = time.Hour           //
	failuresFadeIn = 24 * time.Hour      // after the last one, counting begins anew
	networkMemory  = 90 * 24 * time.Hour // after the last log-in from a network, it is as any other
)

// counter counts the wrong passwords for an account. There is one for each network that the account has logged in from, and one for
// everywhere else: whoever guesses from elsewhere, hour after hour, does not lock the owner out at home.
type counter struct {
	network    string // empty for everywhere else
	failures   int32
	lastFailed *time.Time
	locked     *time.Time // until when
}

func (c counter) isLocked(now time.Time) bool { return c.locked != nil && now.Before(*c.locked) }

// counter is the one that counts for where the request comes from; elsewhere is the user's own.
func (s *Service) counter(ctx context.Context, db *accountdb.Queries, userID string, elsewhere counter) (counter, error) {
	from := network(ctx)
	row, err := db.LoginNetwork(ctx, accountdb.LoginNetworkParams{UserID: userID, Network: from})
	if errors.Is(err, pgx.ErrNoRows) {
		return elsewhere, nil
	}
	if err != nil {
		return counter{}, fmt.Errorf("look up a network of %s: %w", userID, err)
	}
	return counter{from, row.FailedLogins, row.LastFailedAt, row.LockedUntil}, nil
}

func elsewhere(user accountdb.LockUserRow) counter {
	return counter{"", user.FailedLogins, user.LastFailedAt, user.LockedUntil}
}

// LockedError is what a user who is logged in is told of a lock. Others are told nothing.
type LockedError struct {
	Until time.Time
	In    time.Duration
}

func (e *LockedError) Error() string {
	return "too many wrong passwords: try again at " + e.Until.UTC().Format(time.RFC3339)
}

// checkLock is a LockedError where the account is locked for where the request comes from.
func (s *Service) checkLock(ctx context.Context, userID string) error {
	user, err := s.db.UserByID(ctx, userID)
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrUnknownUser
	}
	if err != nil {
		return fmt.Errorf("read user %s: %w", userID, err)
	}
	count, err := s.counter(ctx, s.db, userID, counter{locked: user.LockedUntil})
	if err != nil {
		return err
	}
	if now := s.config.Now(); count.isLocked(now) {
		return &LockedError{*count.locked, count.locked.Sub(now)}
	}
	return nil
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
		if err != nil {
			return err
		}
		count, err := s.counter(ctx, db, user.ID, elsewhere(user))
		if err != nil || count.isLocked(now) {
			return err
		}
		count.failures++
		if count.lastFailed == nil || now.Sub(*count.lastFailed) > failuresFadeIn {
			count.failures = 1
		}
		count.lastFailed, count.locked = &now, nil
		if err := s.audit(ctx, db, event{action: "login-failed", user: user.ID}); err != nil {
			return err
		}
		if lock := lockAfter(count.failures); lock > 0 {
			until := now.Add(lock)
			count.locked = &until
			if err := s.audit(ctx, db, event{action: "locked", user: user.ID, detail: map[string]any{"until": until}}); err != nil {
				return err
			}
		}
		return count.write(ctx, db, user.ID)
	})
	if err != nil {
		return fmt.Errorf("count a failed log-in: %w", err)
	}
	return told
}

func (c counter) write(ctx context.Context, db *accountdb.Queries, userID string) error {
	if c.network == "" {
		return db.CountFailure(ctx, accountdb.CountFailureParams{
			ID: userID, FailedLogins: c.failures, LastFailedAt: c.lastFailed, LockedUntil: c.locked,
		})
	}
	return db.CountNetworkFailure(ctx, accountdb.CountNetworkFailureParams{
		UserID: userID, Network: c.network, FailedLogins: c.failures, LastFailedAt: c.lastFailed, LockedUntil: c.locked,
	})
}

// forgetFailures ends every lock of an account.
func forgetFailures(ctx context.Context, db *accountdb.Queries, userID string) error {
	if _, err := db.ForgetFailures(ctx, userID); err != nil {
		return fmt.Errorf("forget failed log-ins: %w", err)
	}
	if err := db.ForgetNetworkFailures(ctx, userID); err != nil {
		return fmt.Errorf("forget failed log-ins of networks: %w", err)
	}
	return nil
}

// noUser is the id of nobody.
const noUser = "00000000-0000-0000-0000-000000000000"
