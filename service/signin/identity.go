package signin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/service/account"
	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/signin/signindb"
)

// Identity is an account elsewhere that logs a user in.
type Identity struct {
	ID        string     `json:"id" format:"uuid"`
	Provider  string     `json:"provider,omitempty" doc:"Name of the provider; absent when the service does not know it any more"`
	Issuer    string     `json:"issuer" format:"uri"`
	Email     string     `json:"email" doc:"Address that the provider gave last; it may differ from the account's"`
	CreatedAt time.Time  `json:"created_at"`
	UsedAt    *time.Time `json:"used_at,omitempty" doc:"Last log-in"`
}

var (
	errEmailTaken = refuse(http.StatusConflict, "email_taken",
		"an account with this e-mail address exists: log in with its password and link this provider there. An address alone does not prove whose account it is")
	errUnproved = refuse(http.StatusForbidden, "email_unproved",
		"the provider does not vouch for your e-mail address: prove it there and begin again, or register here with a password and link the provider then")
	errLinkedElsewhere = refuse(http.StatusConflict, "already_linked", "this account at the provider is linked to another user")
	errOnlyWayIn       = refuse(http.StatusConflict, "only_login", "this is the only way to log in: set a password or link another provider first")
	errNoIdentity      = refuse(http.StatusNotFound, "not_found", "you have no such identity")
)

// user finds whom an identity belongs to, and makes an account for a new one. Two callbacks of one new person may race: the second finds
// what the first made.
func (s *Service) user(ctx context.Context, p person) (userID string, err error) {
	if userID, err = s.knownUser(ctx, p); !errors.Is(err, pgx.ErrNoRows) {
		return userID, err
	}
	if p.email == "" {
		return "", refuse(http.StatusForbidden, "login_failed", "the provider does not say your e-mail address, which an account needs")
	}
	if !p.verified { // anybody could take somebody else's address before them
		return "", errUnproved
	}
	userID, err = s.newUser(ctx, p)
	if !errors.Is(err, account.ErrEmailTaken) {
		return userID, err
	}
	if userID, err = s.knownUser(ctx, p); errors.Is(err, pgx.ErrNoRows) {
		return "", errEmailTaken
	}
	return userID, err
}

// knownUser goes by issuer and subject alone: an address can be given to somebody else, and a provider may let anybody claim one.
func (s *Service) knownUser(ctx context.Context, p person) (string, error) {
	now := s.config.Now()
	userID, err := s.db.UseIdentity(ctx, signindb.UseIdentityParams{Issuer: p.issuer, Subject: p.subject, Email: p.email, EmailVerified: p.verified, UsedAt: &now})
	if err != nil {
		return "", fmt.Errorf("look up an identity at %s: %w", p.issuer, err)
	}
	return userID, nil
}

func (s *Service) newUser(ctx context.Context, p person) (userID string, err error) {
	now := s.config.Now()
	err = pgx.BeginFunc(ctx, s.config.Pool, func(tx pgx.Tx) error {
		if userID, err = s.config.Accounts.CreateExternal(ctx, tx, p.email, p.name); err != nil {
			return err
		}
		created, err := s.insert(ctx, s.db.WithTx(tx), p, userID, &now)
		if err == nil && !created {
			err = account.ErrEmailTaken // by the same person, a moment ago, with another address
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("make an account for an identity at %s: %w", p.issuer, err)
	}
	return userID, nil
}

func (s *Service) insert(ctx context.Context, db *signindb.Queries, p person, userID string, used *time.Time) (created bool, err error) {
	id, err := uuid.NewV7()
	if err != nil {
		return false, fmt.Errorf("make an id: %w", err)
	}
	n, err := db.CreateIdentity(ctx, signindb.CreateIdentityParams{
		ID: id.String(), Issuer: p.issuer, Subject: p.subject, UserID: userID, Email: p.email, EmailVerified: p.verified,
		CreatedAt: s.config.Now(), UsedAt: used,
	})
	if err != nil {
		return false, fmt.Errorf("keep an identity: %w", err)
	}
	return n == 1, nil
}

// link gives a user another way to log in. Linking what is linked already changes nothing.
func (s *Service) link(ctx context.Context, p person, f flow) (Identity, error) {
	userID := f.userID
	err := pgx.BeginFunc(ctx, s.config.Pool, func(tx pgx.Tx) error {
		created, err := s.insert(ctx, s.db.WithTx(tx), p, userID, nil)
		if err != nil || !created {
			return err
		}
		return s.config.Accounts.Linked(ctx, tx, userID, f.provider)
	})
	if err != nil {
		return Identity{}, fmt.Errorf("link an identity at %s: %w", p.issuer, err)
	}
	row, err := s.db.Identity(ctx, signindb.IdentityParams{Issuer: p.issuer, Subject: p.subject})
	if err != nil {
		return Identity{}, fmt.Errorf("read an identity of %s: %w", userID, err)
	}
	if row.UserID != userID {
		return Identity{}, errLinkedElsewhere
	}
	return s.identity(signindb.IdentitiesRow{ID: row.ID, Issuer: row.Issuer, Email: row.Email, CreatedAt: row.CreatedAt, UsedAt: row.UsedAt}), nil
}

func (s *Service) identity(row signindb.IdentitiesRow) Identity {
	return Identity{
		ID: row.ID, Provider: s.nameOf(row.Issuer), Issuer: row.Issuer, Email: row.Email, CreatedAt: row.CreatedAt, UsedAt: row.UsedAt,
	}
}

// nameOf is the name of the provider with an issuer; empty where the service does not know it any more.
func (s *Service) nameOf(issuer string) string {
	for name, p := range s.providers {
		if p.Issuer == issuer {
			return name
		}
	}
	return ""
}

// List returns a user's identities, oldest first, and the cursor of the next page ("" on the last).
func (s *Service) List(ctx context.Context, userID string, page api.Page) ([]Identity, string, error) {
	after, given, err := api.Position[uuid.UUID](page.Cursor)
	if err != nil {
		return nil, "", err
	}
	if !given {
		after = uuid.Nil
	}
	rows, err := s.db.Identities(ctx, signindb.IdentitiesParams{UserID: userID, After: after.String(), Most: int32(page.Limit) + 1}) //nolint:gosec // at most 200
	if err != nil {
		return nil, "", fmt.Errorf("list identities of %s: %w", userID, err)
	}
	next := ""
	if len(rows) > page.Limit {
		rows = rows[:page.Limit]
		if next, err = api.Cursor(rows[page.Limit-1].ID); err != nil {
			return nil, "", err
		}
	}
	list := make([]Identity, len(rows))
	for i, row := range rows {
		list[i] = s.identity(row)
	}
	return list, next, nil
}

// Proved ends what may be a stranger's, once an account's address is proved for the first time: identities, but for those whose provider has
// proved the same address, and what was begun and not ended. It is for account.Service.OnProof.
func (s *Service) Proved(ctx context.Context, tx pgx.Tx, userID string) error {
	db := s.db.WithTx(tx)
	if err := db.DeleteUnprovedIdentities(ctx, userID); err != nil {
		return fmt.Errorf("unlink unproved identities of %s: %w", userID, err)
	}
	if err := db.DeleteFlows(ctx, userID); err != nil {
		return fmt.Errorf("end what %s began: %w", userID, err)
	}
	return nil
}

// Forget takes away, in the transaction that deletes a user, every way to log in as them: who comes again from a provider is somebody new.
// It is for account.Service.OnDelete.
func (s *Service) Forget(ctx context.Context, tx pgx.Tx, userID string) error {
	db := s.db.WithTx(tx)
	if err := errors.Join(db.DeleteIdentities(ctx, userID), db.DeleteFlows(ctx, userID)); err != nil {
		return fmt.Errorf("forget the identities of %s: %w", userID, err)
	}
	return nil
}

// Export tells a user's identities: an account.Exporter.
func (s *Service) Export(ctx context.Context, userID string, write func(section string, item any) error) error {
	for page := (api.Page{Limit: 200}); ; {
		list, next, err := s.List(ctx, userID, page)
		if err != nil {
			return err
		}
		for _, identity := range list {
			if err := write("identities", identity); err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		page.Cursor = next
	}
}

// unlink takes a way to log in away, unless it is the only one.
func (s *Service) unlink(ctx context.Context, userID, id string) error {
	err := pgx.BeginFunc(ctx, s.config.Pool, func(tx pgx.Tx) error {
		db := s.db.WithTx(tx)
		password, err := db.HasPassword(ctx, userID)
		if errors.Is(err, pgx.ErrNoRows) {
			return errNoIdentity
		}
		if err != nil {
			return err
		}
		issuer, err := db.DeleteIdentity(ctx, signindb.DeleteIdentityParams{UserID: userID, ID: id})
		if errors.Is(err, pgx.ErrNoRows) {
			return errNoIdentity
		}
		if err != nil {
			return err
		}
		if err := s.config.Accounts.Record(ctx, tx, userID, "identity-unlinked", map[string]any{"provider": s.nameOf(issuer), "identity": id}); err != nil {
			return err
		}
		if password {
			return nil
		}
		another, err := db.HasIdentity(ctx, signindb.HasIdentityParams{UserID: userID, Issuers: s.issuers})
		if err == nil && !another {
			err = errOnlyWayIn
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("unlink identity %s of %s: %w", id, userID, err)
	}
	return nil
}
