package account

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/service/account/accountdb"
	"github.com/smart-assistant/platform/service/api"
)

// Roles. An administrator may also disable, unlock and verify accounts, rotate keys and read the audit log; nobody's data is open to them.
const (
	RoleUser  = "user"
	RoleAdmin = "admin"
)

// ErrYourself is an administrator who would lock themselves out.
var ErrYourself = errors.New("you cannot disable yourself: ask another administrator")

// Users lists users whose address begins with a prefix, by address, and the cursor of the next page.
func (s *Service) Users(ctx context.Context, prefix string, page api.Page) ([]User, string, error) {
	after, _, err := api.Position[string](page.Cursor)
	if err != nil {
		return nil, "", err
	}
	if strings.ContainsRune(prefix+after, 0) {
		return nil, "", &InvalidError{"email_prefix", "contains a NUL character"}
	}
	rows, err := s.db.ListUsers(ctx, accountdb.ListUsersParams{
		After: after, Prefix: prefix, Most: int32(page.Limit) + 1, //nolint:gosec // at most 200
	})
	if err != nil {
		return nil, "", fmt.Errorf("list users: %w", err)
	}
	rows, next, err := cut(rows, page.Limit, func(row accountdb.ListUsersRow) any { return row.Position })
	users := make([]User, len(rows))
	for i, row := range rows {
		users[i] = User{
			ID: row.ID, Email: row.Email, CreatedAt: row.CreatedAt, VerifiedAt: row.VerifiedAt, DisabledAt: row.DisabledAt,
			LockedUntil: row.LockedUntil, Role: row.Role,
		}
	}
	return users, next, err
}

// Disable shuts a user out at once, on every replica. A user who is disabled stays so; ErrUnknownUser when there is none.
func (s *Service) Disable(ctx context.Context, admin, userID string) error {
	if admin == userID {
		return ErrYourself
	}
	var ended []string
	err := s.change(ctx, userID, func(db *accountdb.Queries) error {
		now := s.config.Now()
		n, err := db.SetDisabled(ctx, accountdb.SetDisabledParams{ID: userID, DisabledAt: &now})
		if err != nil {
			return err
		}
		if ended, err = s.endSessions(ctx, db, userID, noSession, "disabled"); err != nil || n == 0 {
			return err
		}
		return s.audit(ctx, db, event{action: "disabled", actor: admin, user: userID})
	})
	if err != nil {
		return fmt.Errorf("disable %s: %w", userID, err)
	}
	s.forget(ended)
	return nil
}

// Enable lets a disabled user log in again. ErrUnknownUser when there is none.
func (s *Service) Enable(ctx context.Context, admin, userID string) error {
	err := s.change(ctx, userID, func(db *accountdb.Queries) error {
		n, err := db.SetDisabled(ctx, accountdb.SetDisabledParams{ID: userID})
		if err != nil || n == 0 {
			return err
		}
		return s.audit(ctx, db, event{action: "enabled", actor: admin, user: userID})
	})
	if err != nil {
		return fmt.Errorf("enable %s: %w", userID, err)
	}
	return nil
}

// Unlock forgets a user's failed log-ins. ErrUnknownUser when there is none.
func (s *Service) Unlock(ctx context.Context, admin, userID string) error {
	err := s.change(ctx, userID, func(db *accountdb.Queries) error {
		if err := forgetFailures(ctx, db, userID); err != nil {
			return err
		}
		return s.audit(ctx, db, event{action: "unlocked", actor: admin, user: userID})
	})
	if err != nil {
		return fmt.Errorf("unlock %s: %w", userID, err)
	}
	return nil
}

// VerifyUser takes an administrator's word for it that an account belongs to whom its address belongs to: the way where the service sends no
// mail. What is in the account stays. ErrUnknownUser when there is none.
func (s *Service) VerifyUser(ctx context.Context, admin, userID string) error {
	err := s.change(ctx, userID, func(db *accountdb.Queries) error {
		now := s.config.Now()
		n, err := db.SetVerified(ctx, accountdb.SetVerifiedParams{ID: userID, VerifiedAt: &now})
		if err != nil || n == 0 {
			return err
		}
		return s.audit(ctx, db, event{action: "verified", actor: admin, user: userID, detail: byHand})
	})
	if err != nil {
		return fmt.Errorf("verify the address of %s: %w", userID, err)
	}
	return nil
}

// byHand is what the audit log says of an address that no mail has proved.
var byHand = map[string]any{"by": "administrator"}

// change runs do with the user's row locked.
func (s *Service) change(ctx context.Context, userID string, do func(*accountdb.Queries) error) error {
	return s.transact(ctx, func(_ pgx.Tx, db *accountdb.Queries) error {
		if _, err := db.LockUser(ctx, userID); errors.Is(err, pgx.ErrNoRows) {
			return ErrUnknownUser
		} else if err != nil {
			return err
		}
		return do(db)
	})
}

// SigningKeys lists the keys of the database that sign or check, the newest first. Those of the file are not among them.
func (s *Service) SigningKeys(ctx context.Context) ([]SigningKey, error) {
	now := s.config.Now()
	rows, err := s.db.SigningKeys(ctx, &now)
	if err != nil {
		return nil, fmt.Errorf("list the signing keys: %w", err)
	}
	keys := make([]SigningKey, len(rows))
	for i, row := range rows {
		keys[i] = SigningKey{KeyID: row.Kid, CreatedAt: row.CreatedAt, ActivatesAt: row.ActivatesAt, RetiresAt: row.RetiresAt}
	}
	return keys, nil
}

// VerifyEmail is VerifyUser by the operator's own hand on the database. ErrUnknownUser when no account has the address.
func VerifyEmail(ctx context.Context, conn *pgx.Conn, email string, now time.Time) error {
	err := onDatabase(ctx, conn, now, func(db *accountdb.Queries) (event, error) {
		user, err := db.SetVerifiedByEmail(ctx, accountdb.SetVerifiedByEmailParams{Email: strings.TrimSpace(email), VerifiedAt: &now})
		return event{action: "verified", user: user, detail: byHand}, err
	})
	if err != nil {
		return fmt.Errorf("verify %s: %w", email, err)
	}
	return nil
}

// SetRole makes the user of an address an administrator or takes that away, by the operator's own hand on the database. It counts
// from the next request on. ErrUnknownUser when there is no such user.
func SetRole(ctx context.Context, conn *pgx.Conn, email, role string, now time.Time) error {
	err := onDatabase(ctx, conn, now, func(db *accountdb.Queries) (event, error) {
		user, err := db.SetRole(ctx, accountdb.SetRoleParams{Email: strings.TrimSpace(email), Role: role})
		action := "role-granted"
		if role != RoleAdmin {
			action = "role-revoked"
		}
		return event{action: action, user: user, detail: map[string]any{"role": RoleAdmin}}, err
	})
	if err != nil {
		return fmt.Errorf("make %s %s: %w", email, role, err)
	}
	return nil
}

// onDatabase does what an operator asks for, and writes it into the audit log.
func onDatabase(ctx context.Context, conn *pgx.Conn, now time.Time, do func(*accountdb.Queries) (event, error)) error {
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("make an id: %w", err)
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		db := accountdb.New(tx)
		done, err := do(db)
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrUnknownUser
		}
		if err != nil {
			return err
		}
		return writeAudit(ctx, db, id.String(), now, done)
	})
}
