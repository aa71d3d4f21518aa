package mail

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/oauth2"

	"github.com/smart-assistant/platform/service/mail/gmail"
	"github.com/smart-assistant/platform/service/mail/maildb"
)

// tokens is the secret of a connection to Gmail.
type tokens struct {
	Access  string    `json:"access_token"`
	Refresh string    `json:"refresh_token"`
	Expiry  time.Time `json:"expiry"`
}

// plain is what is sealed of them.
func (t tokens) plain() ([]byte, error) {
	text, err := json.Marshal(t) //nolint:gosec // to be sealed
	if err != nil {
		return nil, fmt.Errorf("write the tokens of Gmail: %w", err)
	}
	return text, nil
}

// connectGmail keeps the tokens of a consent: in the connection to this address, or in a new one.
func (c *connections) connectGmail(ctx context.Context, userID, address string, token *oauth2.Token) (string, error) {
	if token.RefreshToken == "" {
		return "", errors.New("connect Gmail: the consent brought no refresh token (access_type=offline asks for one)")
	}
	address = strings.ToLower(address)
	secret, err := tokens{token.AccessToken, token.RefreshToken, token.Expiry}.plain()
	if err != nil {
		return "", err
	}
	id, err := c.renewGmail(ctx, userID, address, secret)
	if !errors.Is(err, pgx.ErrNoRows) {
		return id, err
	}
	made, err := c.create(ctx, maildb.CreateConnectionParams{
		ID: uuid.Must(uuid.NewV7()).String(), UserID: userID, Kind: kindGmail, Name: address, Account: address,
		Settings: []byte("{}"), Now: c.config.Now(),
	}, secret)
	if errors.Is(err, errConnected) { // by another consent at the same moment
		return c.renewGmail(ctx, userID, address, secret)
	}
	return made.ID, err
}

// renewGmail gives a connection new tokens. pgx.ErrNoRows when there is none.
func (c *connections) renewGmail(ctx context.Context, userID, address string, secret []byte) (id string, err error) {
	err = pgx.BeginFunc(ctx, c.config.Pool, func(tx pgx.Tx) error {
		id, err = c.db.WithTx(tx).LockAccount(ctx, maildb.LockAccountParams{UserID: userID, Kind: kindGmail, Account: address})
		if err != nil {
			return fmt.Errorf("find a connection to Gmail: %w", err)
		}
		sealed, err := c.config.Keyring.Seal(secret, secretCell(userID, id))
		if err != nil {
			return fmt.Errorf("seal the tokens of connection %s: %w", id, err)
		}
		return c.activate(ctx, tx, maildb.Connection{ID: id, UserID: userID}, sealed)
	})
	return id, err
}

// errNoGmail is an operator's matter.
var errNoGmail = errors.New("this service has no client at Google any more")

// accessToken returns an access token of a connection that is not the stale one. It refreshes under the row's lock and keeps what that
// brings before anybody uses it, so that a refresh token which is replaced by each refresh is never used twice.
func (c *connections) accessToken(ctx context.Context, row maildb.Connection, stale string) (access string, err error) {
	err = pgx.BeginFunc(ctx, c.config.Pool, func(tx pgx.Tx) error {
		db := c.db.WithTx(tx)
		locked, err := db.LockConnection(ctx, maildb.LockConnectionParams{ID: row.ID, UserID: row.UserID})
		if err != nil {
			return missing("lock", row.ID, err)
		}
		kept, err := c.openTokens(locked)
		if err != nil {
			return err
		}
		if kept.Access != "" && kept.Access != stale && kept.Expiry.After(c.config.Now().Add(time.Minute)) {
			access = kept.Access
			return nil
		}
		fresh, err := c.refresh(ctx, kept.Refresh)
		if err != nil {
			return err
		}
		access = fresh.Access
		return c.saveTokens(ctx, db, row, fresh)
	})
	return access, err
}

// refresh asks Google for new tokens. gmail.ErrRefused when the consent is gone (invalid_grant, RFC 6749, section 5.2).
func (c *connections) refresh(ctx context.Context, refreshToken string) (tokens, error) {
	if c.config.Gmail == nil {
		return tokens{}, errNoGmail
	}
	ctx, cancel := context.WithTimeout(ctx, c.sync.Refresh)
	defer cancel()
	ctx = context.WithValue(ctx, oauth2.HTTPClient, c.google)
	token, err := c.config.Gmail.TokenSource(ctx, &oauth2.Token{RefreshToken: refreshToken}).Token()
	var refused *oauth2.RetrieveError
	switch {
	case errors.As(err, &refused) && refused.ErrorCode == "invalid_grant":
		return tokens{}, fmt.Errorf("refresh a token of Gmail: %w", gmail.ErrRefused)
	case errors.As(err, &refused): // the error holds the answer, which is not for logs
		return tokens{}, fmt.Errorf("refresh a token of Gmail: the answer is %d %.40q", refused.Response.StatusCode, refused.ErrorCode)
	case err != nil:
		return tokens{}, fmt.Errorf("refresh a token of Gmail: %w", err)
	}
	return tokens{token.AccessToken, token.RefreshToken, token.Expiry}, nil
}

func (c *connections) openTokens(row maildb.Connection) (kept tokens, err error) {
	secret, err := c.config.Keyring.Open(row.Secret, secretCell(row.UserID, row.ID))
	if err == nil {
		err = json.Unmarshal(secret, &kept)
	}
	if err != nil {
		return tokens{}, fmt.Errorf("open the tokens of connection %s: %w", row.ID, err)
	}
	return kept, nil
}

func (c *connections) saveTokens(ctx context.Context, db *maildb.Queries, row maildb.Connection, fresh tokens) error {
	text, err := fresh.plain()
	if err != nil {
		return err
	}
	sealed, err := c.config.Keyring.Seal(text, secretCell(row.UserID, row.ID))
	if err != nil {
		return fmt.Errorf("seal the tokens of connection %s: %w", row.ID, err)
	}
	err = db.SaveSecret(ctx, maildb.SaveSecretParams{ID: row.ID, UserID: row.UserID, Secret: sealed, Now: c.config.Now()})
	if err != nil {
		return fmt.Errorf("keep the tokens of connection %s: %w", row.ID, err)
	}
	return nil
}
