package signin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/service/encryption"
	"github.com/smart-assistant/platform/service/signin/signindb"
)

const (
	flowLifetime = 10 * time.Minute // a user may have to find their second factor
	codeLifetime = time.Minute

	tokenLength = 43 // characters of 32 bytes in base64url
	maxProvider = 50
	maxReturnTo = 2000
)

// What a flow is for.
const (
	purposeLogin    = "login"
	purposeLink     = "link"
	purposeConnect  = "connect"
	purposeExchange = "exchange" // no way to a provider: the one-time code after a log-in
)

// flow is a way to a provider and back.
type flow struct {
	provider string
	purpose  string
	userID   string // who links or connects, or has logged in; empty in a log-in
	returnTo string // where the browser goes in the end; empty for an answer in JSON
	secrets  secrets
}

// secrets are what only this service knows of a flow.
type secrets struct {
	Nonce    string `json:"nonce,omitempty"`
	Verifier string `json:"verifier,omitempty"` // RFC 7636, section 4.1
}

// begin keeps a flow and returns the state that leads back to it. The flow is bound to the browser that holds the token.
func (s *Service) begin(ctx context.Context, f flow, browser string, lifetime time.Duration) (state string, err error) {
	if state, err = s.token(); err != nil {
		return "", err
	}
	hash := hashToken(state)
	text, err := json.Marshal(f.secrets)
	if err != nil {
		return "", fmt.Errorf("write the secrets of a flow: %w", err)
	}
	sealed, err := s.config.Keyring.Seal(text, cell(hash, f.userID))
	if err != nil {
		return "", fmt.Errorf("seal the secrets of a flow: %w", err)
	}
	now := s.config.Now()
	if err := s.db.CreateFlow(ctx, signindb.CreateFlowParams{
		StateHash: hash, BrowserHash: hashToken(browser), Provider: f.provider, Purpose: f.purpose, UserID: f.userID,
		Secrets: sealed, ReturnTo: f.returnTo, CreatedAt: now, ExpiresAt: now.Add(lifetime),
	}); err != nil {
		return "", fmt.Errorf("keep a flow to %s: %w", f.provider, err)
	}
	return state, nil
}

// errNoFlow is one answer to whatever is wrong with a state or a code, so that nobody learns what it is.
var errNoFlow = refuse(http.StatusBadRequest, "invalid_request",
	"this log-in was not begun in this browser, has ended, or took too long: begin again where you began")

// take ends a flow, whatever comes of it, and returns it to the browser that began it. errNoFlow when there is none for this one.
func (s *Service) take(ctx context.Context, state, browser string) (flow, error) {
	if len(state) != tokenLength {
		return flow{}, errNoFlow
	}
	hash := hashToken(state)
	row, err := s.db.TakeFlow(ctx, hash)
	if errors.Is(err, pgx.ErrNoRows) {
		return flow{}, errNoFlow
	}
	if err != nil {
		return flow{}, fmt.Errorf("read a flow: %w", err)
	}
	if subtle.ConstantTimeCompare(row.BrowserHash, hashToken(browser)) != 1 || !s.config.Now().Before(row.ExpiresAt) {
		return flow{}, errNoFlow
	}
	f := flow{provider: row.Provider, purpose: row.Purpose, userID: row.UserID, returnTo: row.ReturnTo}
	text, err := s.config.Keyring.Open(row.Secrets, cell(hash, f.userID))
	if err != nil {
		return flow{}, fmt.Errorf("open the secrets of a flow: %w", err)
	}
	if err := json.Unmarshal(text, &f.secrets); err != nil {
		return flow{}, fmt.Errorf("read the secrets of a flow: %w", err)
	}
	return f, nil
}

// cell is where the secrets of a flow stand. Its row is named as PostgreSQL writes the key as text.
func cell(stateHash []byte, userID string) encryption.Cell {
	return encryption.Cell{Table: "oauth_flows", Column: "secrets", Owner: userID, Row: fmt.Sprintf(`\x%x`, stateHash)}
}

// token makes 256 random bits that fit into a URL.
func (s *Service) token() (string, error) {
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

// browserToken is what the cookie of this browser says, or a new one. It stays the same for as long as flows begin, so that two tabs
// can log in at once.
func (s *Service) browserToken(cookies []*http.Cookie) (string, error) {
	if token := s.readBrowser(cookies); token != "" {
		return token, nil
	}
	return s.token()
}

// readBrowser returns the browser's token; empty when it has none.
func (s *Service) readBrowser(cookies []*http.Cookie) string {
	for _, c := range cookies {
		if c.Name == s.cookie && len(c.Value) == tokenLength {
			return c.Value
		}
	}
	return ""
}

// browserCookie binds flows to a browser. Lax lets it come along when the provider sends the browser back, and with no request that
// another site makes by itself.
func (s *Service) browserCookie(token string) http.Cookie {
	return http.Cookie{ //nolint:gosec // Secure wherever the service is reached by https
		Name: s.cookie, Value: token, Path: "/", MaxAge: int((flowLifetime + codeLifetime).Seconds()),
		HttpOnly: true, Secure: s.secure, SameSite: http.SameSiteLaxMode,
	}
}
