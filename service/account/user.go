package account

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/service/account/accountdb"
)

// User is an account as the service's other parts and its administrators see it.
type User struct {
	ID          string     `json:"id" format:"uuid"`
	Email       string     `json:"email" format:"email"`
	CreatedAt   time.Time  `json:"created_at"`
	VerifiedAt  *time.Time `json:"verified_at,omitempty" doc:"When the address was proved; absent where it is not"`
	DisabledAt  *time.Time `json:"disabled_at,omitempty" doc:"Absent where the account is not disabled"`
	LockedUntil *time.Time `json:"locked_until,omitempty" doc:"No log-in with a password before, but from networks that the user has logged in from; absent where there were no failures"`
	Role        string     `json:"role" enum:"user,admin"`
}

// UserByID reads a user. ErrUnknownUser when there is none.
func (s *Service) UserByID(ctx context.Context, id string) (User, error) {
	row, err := s.db.UserByID(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return User{}, ErrUnknownUser
	}
	if err != nil {
		return User{}, fmt.Errorf("read user %s: %w", id, err)
	}
	return asUser(accountdb.UserByEmailRow(row)), nil
}

// UserByEmail reads the user of an address, in whatever case it is written. ErrUnknownUser when there is none.
func (s *Service) UserByEmail(ctx context.Context, email string) (User, error) {
	row, err := s.user(ctx, email)
	if err == nil && row.ID == "" {
		err = ErrUnknownUser
	}
	return asUser(row), err
}

func asUser(row accountdb.UserByEmailRow) User {
	return User{
		ID: row.ID, Email: row.Email, CreatedAt: row.CreatedAt, VerifiedAt: row.VerifiedAt, DisabledAt: row.DisabledAt,
		LockedUntil: row.LockedUntil, Role: row.Role,
	}
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

// Register makes a user with an empty profile. Where mail is configured, the owner of the address gets one, the answer is the same
// for a taken address, and the id is empty; otherwise ErrEmailTaken tells.
func (s *Service) Register(ctx context.Context, email, password, displayName string) (id string, err error) {
	email, err = parseEmail(email)
	if err != nil {
		return "", err
	}
	if err := checkText("display_name", displayName, maxDisplayName); err != nil {
		return "", err
	}
	if err := checkPassword("password", password, email); err != nil {
		return "", err
	}
	hash, err := s.passwords.hash(ctx, password)
	if err != nil {
		return "", err
	}
	proof := s.provesAddress(email)
	err = s.transact(ctx, func(tx pgx.Tx, db *accountdb.Queries) error {
		id, err = s.create(ctx, db, accountdb.CreateUserParams{Email: email, PasswordHash: hash}, displayName)
		if errors.Is(err, ErrEmailTaken) && proof {
			return s.registerAgain(ctx, tx, db, email, displayName)
		}
		if err != nil || !proof {
			return err
		}
		return s.send(ctx, tx, id, verification)
	})
	if errors.Is(err, ErrEmailTaken) {
		return "", ErrEmailTaken
	}
	if err != nil {
		return "", fmt.Errorf("create user: %w", err)
	}
	if proof {
		return "", nil
	}
	return id, nil
}

// registerAgain is for an address that has an account. Where nobody has proved the address, whoever registered before may be a stranger
// who waits for its owner to confirm their password: it is dropped with the links that were sent, and the mail asks for a new one.
func (s *Service) registerAgain(ctx context.Context, tx pgx.Tx, db *accountdb.Queries, email, displayName string) error {
	owner, err := db.UserByEmail(ctx, email)
	if err != nil {
		return err
	}
	user, err := db.LockUser(ctx, owner.ID)
	if err != nil {
		return err
	}
	if user.VerifiedAt == nil {
		now := s.config.Now()
		if err := db.SetPassword(ctx, accountdb.SetPasswordParams{ID: user.ID, PasswordChangedAt: &now}); err != nil {
			return fmt.Errorf("drop the password of %s: %w", user.ID, err)
		}
		if err := db.DropOneTimeTokens(ctx, accountdb.DropOneTimeTokensParams{UserID: user.ID, Purpose: string(verification)}); err != nil {
			return fmt.Errorf("drop the tokens of %s: %w", user.ID, err)
		}
		if _, err := db.UpdateProfile(ctx, accountdb.UpdateProfileParams{ID: user.ID, DisplayName: &displayName, UpdatedAt: now}); err != nil {
			return fmt.Errorf("change the profile of %s: %w", user.ID, err)
		}
	}
	return s.send(ctx, tx, user.ID, registeredAgain)
}

// CreateExternal makes a user without a password, for somebody whose provider has proved the address. It runs in the caller's transaction,
// which ErrEmailTaken leaves usable: an account is never taken over because a provider names its address.
func (s *Service) CreateExternal(ctx context.Context, tx pgx.Tx, email, displayName string) (id string, err error) {
	if email, err = parseEmail(email); err != nil {
		return "", err
	}
	if err := checkText("display_name", displayName, maxDisplayName); err != nil {
		displayName = "" // the provider's, not the user's to correct
	}
	now := s.config.Now()
	return s.create(ctx, s.db.WithTx(tx), accountdb.CreateUserParams{Email: email, VerifiedAt: &now}, displayName)
}

func (s *Service) create(ctx context.Context, db *accountdb.Queries, user accountdb.CreateUserParams, displayName string) (id string, err error) {
	user.CreatedAt = s.config.Now()
	id, err = db.CreateUser(ctx, user)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", ErrEmailTaken
	}
	if err != nil {
		return "", fmt.Errorf("create user: %w", err)
	}
	err = db.CreateProfile(ctx, accountdb.CreateProfileParams{UserID: id, DisplayName: displayName, UpdatedAt: user.CreatedAt})
	if err != nil {
		return "", fmt.Errorf("create the profile of %s: %w", id, err)
	}
	return id, s.audit(ctx, db, event{action: "register", actor: id, user: id})
}

// Delete removes a user: at once for everybody, and what the user had in the background (erase.go); only the audit log keeps the id. A
// password that is given has to be the user's: ErrPassword otherwise, and ErrNoPassword when the user has none. ErrUnknownUser when there
// is none.
func (s *Service) Delete(ctx context.Context, id string, password *string) error {
	known := func(accountdb.LockUserRow) bool { return true }
	if password != nil {
		var err error
		if known, err = s.confirm(ctx, id, "password", *password); err != nil {
			return err
		}
	}
	var sessions []string
	err := s.transact(ctx, func(tx pgx.Tx, db *accountdb.Queries) error {
		user, err := db.LockUser(ctx, id)
		if err != nil {
			return err
		}
		if !known(user) {
			return ErrPassword
		}
		if sessions, err = s.endSessions(ctx, db, id, noSession, "deleted"); err != nil {
			return err
		}
		if err := s.audit(ctx, db, event{action: "deleted", actor: id, user: id}); err != nil {
			return err
		}
		return s.hide(ctx, tx, id)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrUnknownUser
	}
	if err != nil {
		return fmt.Errorf("delete user %s: %w", id, err)
	}
	s.forget(sessions)
	s.indexKeys.Remove(id)
	return nil
}

// parseEmail accepts a bare address of RFC 5321's length, without a display name.
func parseEmail(text string) (string, error) {
	text = strings.TrimSpace(text)
	address, err := mail.ParseAddress(text)
	if err != nil || address.Address != text || len(text) > 254 || strings.ContainsRune(text, 0) {
		return "", &InvalidError{"email", "is not an e-mail address"}
	}
	return text, nil
}

// checkText refuses what a text column would: more characters than the table's limit, and NUL.
func checkText(field, text string, limit int) error {
	if utf8.RuneCountInString(text) > limit {
		return &InvalidError{field, fmt.Sprintf("is longer than %d characters", limit)}
	}
	if strings.ContainsRune(text, 0) {
		return &InvalidError{field, "contains a NUL character"}
	}
	return nil
}
