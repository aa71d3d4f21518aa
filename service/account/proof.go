package account

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/service/account/accountdb"
)

// How long a token that was sent by mail is good.
const (
	verificationLifetime = 48 * time.Hour
	resetLifetime        = time.Hour
)

// provesAddress says whether an address has to be proved before its account is used. One under .invalid can be nobody's (RFC 2606,
// section 2): it gets no mail and needs no proof, which is how a release is tested on a service that sends mail.
func (s *Service) provesAddress(email string) bool {
	return s.config.Mailer != nil && !strings.HasSuffix(strings.ToLower(email), ".invalid")
}

// AskVerification sends another mail to prove an address, where there is an account that needs it. The caller is not told.
func (s *Service) AskVerification(ctx context.Context, email string) error {
	return s.ask(ctx, email, verification)
}

// ForgotPassword sends a mail to set a new password, where there is an account. The caller is not told.
func (s *Service) ForgotPassword(ctx context.Context, email string) error {
	return s.ask(ctx, email, reset)
}

func (s *Service) ask(ctx context.Context, email string, about purpose) error {
	if s.config.Mailer == nil {
		return ErrNoMail
	}
	user, err := s.user(ctx, email)
	if err != nil {
		return err
	}
	if user.ID == "" {
		if user.ID, err = s.newID(); err != nil { // of nobody: the same work, and the worker finds nothing to do
			return err
		}
	}
	return s.send(ctx, nil, user.ID, about)
}

// OnProof adds what a part does, in the transaction, when an account's address is proved by mail for the first time. Until then the account
// may have been a stranger's who named somebody else's address: what lets them in or sends them something has to go. It is called before
// the service is used.
func (s *Service) OnProof(do func(ctx context.Context, tx pgx.Tx, userID string) error) {
	s.onProof = append(s.onProof, do)
}

// Verify proves an address by the token that was sent to it. ErrOneTimeToken when it is not good any more.
func (s *Service) Verify(ctx context.Context, token string) error {
	var ended []string
	err := s.transact(ctx, func(tx pgx.Tx, db *accountdb.Queries) error {
		user, err := s.use(ctx, db, token, verification)
		if err != nil {
			return err
		}
		ended, err = s.prove(ctx, tx, db, user.ID)
		return err
	})
	if err != nil {
		return fmt.Errorf("verify an address: %w", err)
	}
	s.forget(ended)
	return nil
}

// prove notes that a user, whose row is locked, has the address. The first time it ends all sessions. After the transaction, forget is due.
func (s *Service) prove(ctx context.Context, tx pgx.Tx, db *accountdb.Queries, userID string) (ended []string, err error) {
	now := s.config.Now()
	n, err := db.SetVerified(ctx, accountdb.SetVerifiedParams{ID: userID, VerifiedAt: &now})
	if err != nil || n == 0 {
		return nil, err
	}
	for _, do := range s.onProof {
		if err := do(ctx, tx, userID); err != nil {
			return nil, fmt.Errorf("end what came before the proof of an address: %w", err)
		}
	}
	if ended, err = s.endSessions(ctx, db, userID, noSession, "proof"); err != nil {
		return nil, err
	}
	return ended, s.audit(ctx, db, event{action: "verified", actor: userID, user: userID})
}

// ResetPassword sets a password by a token that was sent to the account's address, which that proves, and ends all of its sessions.
// ErrOneTimeToken when the token is not good any more.
func (s *Service) ResetPassword(ctx context.Context, token, password string) error {
	if err := checkPassword("password", password, ""); err != nil {
		return err
	}
	row, err := s.db.OneTimeToken(ctx, accountdb.OneTimeTokenParams{TokenHash: hashToken(token), Purpose: string(reset)})
	if errors.Is(err, pgx.ErrNoRows) || err == nil && (row.UsedAt != nil || !s.config.Now().Before(row.ExpiresAt)) {
		return ErrOneTimeToken // before the work of hashing
	}
	if err != nil {
		return fmt.Errorf("read a token: %w", err)
	}
	user, err := s.UserByID(ctx, row.UserID)
	if err != nil {
		return err
	}
	if err := checkPassword("password", password, user.Email); err != nil {
		return err
	}
	hash, err := s.passwords.hash(ctx, password)
	if err != nil {
		return err
	}
	var ended, proved []string
	err = s.transact(ctx, func(tx pgx.Tx, db *accountdb.Queries) error {
		user, err := s.use(ctx, db, token, reset)
		if err != nil {
			return err
		}
		if proved, err = s.prove(ctx, tx, db, user.ID); err != nil {
			return err
		}
		if ended, err = s.setPassword(ctx, db, user.ID, hash, noSession); err != nil {
			return err
		}
		if err := s.notify(ctx, tx, mailArgs{UserID: user.ID, Purpose: passwordSet}); err != nil {
			return err
		}
		return s.audit(ctx, db, event{action: "password-reset", actor: user.ID, user: user.ID})
	})
	if err != nil {
		return fmt.Errorf("reset a password: %w", err)
	}
	s.forget(append(ended, proved...))
	return nil
}

// ChangePassword sets another password for a user who knows the present one, and ends all sessions but this one. ErrPassword when
// the present one is wrong, which counts as a failed log-in does; ErrNoPassword for a user who has none.
func (s *Service) ChangePassword(ctx context.Context, userID, session, present, next string) error {
	user, err := s.UserByID(ctx, userID)
	if err != nil {
		return err
	}
	if err := checkPassword("new_password", next, user.Email); err != nil {
		return err
	}
	known, err := s.confirm(ctx, userID, "current_password", present)
	if err != nil {
		return err
	}
	hash, err := s.passwords.hash(ctx, next)
	if err != nil {
		return err
	}
	var ended []string
	err = s.transact(ctx, func(tx pgx.Tx, db *accountdb.Queries) error {
		user, err := db.LockUser(ctx, userID)
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrUnknownUser
		}
		if err != nil {
			return err
		}
		if !known(user) {
			return ErrPassword
		}
		if ended, err = s.setPassword(ctx, db, userID, hash, session); err != nil {
			return err
		}
		if err := s.notify(ctx, tx, mailArgs{UserID: userID, Purpose: passwordSet}); err != nil {
			return err
		}
		return s.audit(ctx, db, event{action: "password-change", actor: userID, user: userID})
	})
	if err != nil {
		return fmt.Errorf("change the password of %s: %w", userID, err)
	}
	s.forget(ended)
	return nil
}

// confirm asks a user for the present password again. What it returns says whether that still counts once the user's row is locked.
// ErrPassword when it is wrong, which counts as a failed log-in does; a LockedError while there were too many of them; ErrNoPassword for a
// user who has none.
func (s *Service) confirm(ctx context.Context, userID, field, present string) (known func(accountdb.LockUserRow) bool, err error) {
	if err := checkLength(field, present); err != nil {
		return nil, err
	}
	row, err := s.db.UserByID(ctx, userID)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, ErrUnknownUser
	}
	if err != nil {
		return nil, fmt.Errorf("read user %s: %w", userID, err)
	}
	if row.PasswordHash == "" {
		return nil, ErrNoPassword
	}
	if err := s.checkLock(ctx, userID); err != nil {
		return nil, err
	}
	match, err := s.passwords.compare(ctx, row.PasswordHash, present)
	if err != nil {
		return nil, err
	}
	if !match {
		return nil, s.countFailure(ctx, userID, ErrPassword)
	}
	if err := s.checkLock(ctx, userID); err != nil { // by others of many guesses at once
		return nil, err
	}
	return func(locked accountdb.LockUserRow) bool { return !passwordChanged(row.PasswordChangedAt, locked) }, nil
}

// setPassword also ends what the password before let in: sessions, but for one, and ways to reset it.
func (s *Service) setPassword(ctx context.Context, db *accountdb.Queries, userID, hash, but string) (ended []string, err error) {
	now := s.config.Now()
	if err := db.SetPassword(ctx, accountdb.SetPasswordParams{ID: userID, PasswordHash: hash, PasswordChangedAt: &now}); err != nil {
		return nil, fmt.Errorf("set the password: %w", err)
	}
	if err := db.DropOneTimeTokens(ctx, accountdb.DropOneTimeTokensParams{UserID: userID, Purpose: string(reset)}); err != nil {
		return nil, fmt.Errorf("drop tokens: %w", err)
	}
	if err := db.ForgetNetworkFailures(ctx, userID); err != nil {
		return nil, fmt.Errorf("forget failed log-ins of networks: %w", err)
	}
	return s.endSessions(ctx, db, userID, but, "password")
}

// use takes a one-time token, once, and locks its user's row. A disabled user's is not good.
func (s *Service) use(ctx context.Context, db *accountdb.Queries, token string, about purpose) (accountdb.LockUserRow, error) {
	hash := hashToken(token)
	now := s.config.Now()
	row, err := db.OneTimeToken(ctx, accountdb.OneTimeTokenParams{TokenHash: hash, Purpose: string(about)})
	if errors.Is(err, pgx.ErrNoRows) || err == nil && !now.Before(row.ExpiresAt) {
		return accountdb.LockUserRow{}, ErrOneTimeToken
	}
	if err != nil {
		return accountdb.LockUserRow{}, fmt.Errorf("read a token: %w", err)
	}
	user, err := db.LockUser(ctx, row.UserID)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && user.DisabledAt != nil {
		return accountdb.LockUserRow{}, ErrOneTimeToken
	}
	if err != nil {
		return accountdb.LockUserRow{}, fmt.Errorf("lock the user: %w", err)
	}
	n, err := db.UseOneTimeToken(ctx, accountdb.UseOneTimeTokenParams{TokenHash: hash, UsedAt: &now})
	if err != nil {
		return accountdb.LockUserRow{}, fmt.Errorf("use a token: %w", err)
	}
	if n == 0 {
		return accountdb.LockUserRow{}, ErrOneTimeToken
	}
	return user, nil
}
