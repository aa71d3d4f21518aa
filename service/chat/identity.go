package chat

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// userTokenHeader is what Open WebUI calls its signed user token (FORWARD_USER_INFO_HEADER_JWT there, backend/open_webui/utils/headers.py).
const userTokenHeader = "X-OpenWebUI-User-Jwt" //nolint:gosec // a header's name

// userTokenIssuer is what it writes as iss.
const userTokenIssuer = "open-webui"

// userClaims are those of a user token that are read: beside them it has sub (Open WebUI's own id of the user), name and role.
type userClaims struct {
	jwt.RegisteredClaims
	Email string `json:"email"`
}

// user finds out who asks. The error is an *apiError unless something is broken.
func (s *Service) user(r *http.Request) (userID string, err error) {
	key, err := bearer(r)
	if err != nil {
		return "", err
	}
	if !s.isConnection(key) {
		userID, err := s.config.Users.Authenticate(r.Context(), key)
		if errors.Is(err, ErrNoUser) {
			return "", errKey
		}
		if err != nil {
			return "", fmt.Errorf("check an access token: %w", err)
		}
		return userID, nil
	}
	email, err := s.connectionEmail(r)
	if err != nil {
		return "", err
	}
	userID, err = s.config.Users.ByEmail(r.Context(), email)
	if errors.Is(err, ErrNoUser) {
		return "", errUnlinked
	}
	if err != nil {
		return "", fmt.Errorf("look up the user of a connection: %w", err)
	}
	return userID, nil
}

func bearer(r *http.Request) (string, error) {
	scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if key = strings.TrimSpace(key); !strings.EqualFold(scheme, "Bearer") || key == "" {
		return "", errNoKey
	}
	return key, nil
}

// isConnection compares hashes, so that neither content nor length shows in the time it takes.
func (s *Service) isConnection(key string) bool {
	given, want := sha256.Sum256([]byte(key)), sha256.Sum256([]byte(s.config.ConnectionKey))
	return s.config.ConnectionKey != "" && subtle.ConstantTimeCompare(given[:], want[:]) == 1
}

func (s *Service) connectionEmail(r *http.Request) (string, error) {
	tokens := r.Header.Values(userTokenHeader)
	if len(tokens) != 1 {
		return "", errNoUser
	}
	return s.userToken(tokens[0])
}

// ConnectionUser tells apart whom Open WebUI asks for, since all its users come from its address: a name to count requests by, which does
// not show who it is. It is "" unless the request is for a route of this package and has both the connection's key and a valid user token.
func (s *Service) ConnectionUser(r *http.Request) string {
	key, err := bearer(r)
	if err != nil || !s.isConnection(key) || !Owns(r.URL.Path) && !strings.HasPrefix(r.URL.Path, "/tools/") {
		return ""
	}
	email, err := s.connectionEmail(r)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256([]byte(strings.ToLower(email)))
	return hex.EncodeToString(sum[:])
}

// userToken checks a user token and returns the address in it.
func (s *Service) userToken(token string) (email string, err error) {
	const longest = 4096 // Open WebUI's have a few hundred bytes
	if len(token) > longest {
		return "", errUserToken
	}
	var claims userClaims
	_, err = jwt.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return []byte(s.config.UserTokenKey), nil },
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithIssuer(userTokenIssuer),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
		jwt.WithTimeFunc(s.config.Now),
		jwt.WithLeeway(5*time.Second), // the machines' clocks differ
	)
	if err != nil || claims.Email == "" {
		return "", errUserToken
	}
	return claims.Email, nil
}

type userKey struct{}

// UserID is whom a request that was let in is from, "" outside one.
func UserID(ctx context.Context) string {
	id, _ := ctx.Value(userKey{}).(string)
	return id
}

// identify lets users in, as many times a minute as they may.
func (s *Service) identify(r *http.Request) (*http.Request, error) {
	user, err := s.user(r)
	if err != nil {
		return nil, err
	}
	if s.config.Allow != nil {
		if wait, allowed := s.config.Allow(r.Context(), user); !allowed {
			e := newError(http.StatusTooManyRequests, "rate_limit_exceeded", "too many requests of this account: wait a moment")
			e.after = wait
			return nil, e
		}
	}
	return r.WithContext(context.WithValue(r.Context(), userKey{}, user)), nil
}

// forUser answers errors as OpenAI does.
func (s *Service) forUser(next func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		known, err := s.identify(r)
		if err == nil {
			err = next(w, known)
		}
		if err != nil {
			e := asAPIError(err)
			s.logError(r.Context(), e)
			writeError(w, e)
		}
	}
}

func (s *Service) logError(ctx context.Context, e *apiError) {
	if e.Status == http.StatusInternalServerError {
		s.config.Log.ErrorContext(ctx, "request failed", "error", e.cause)
	} else if e.cause != nil {
		s.config.Log.WarnContext(ctx, "request not served", "code", e.Code, "error", e.cause)
	}
}
