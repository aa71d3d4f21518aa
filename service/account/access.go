package account

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/smart-assistant/platform/service/account/accountdb"
)

const (
	accessType       = "at+jwt"        // RFC 9068: a token made for another purpose is no access token
	leeway           = 5 * time.Second // replicas' clocks differ
	longestToken     = 4096            // bytes; ours have some 450
	rememberedTokens = 10_000          // some 3 MB
)

type accessClaims struct {
	jwt.RegisteredClaims
	Session string `json:"sid"`
}

// grantedAccess is what an access token says once its signature, issuer, audience and type were found right.
type grantedAccess struct {
	user, session, kid string
	expires            time.Time
}

// issue signs an access token for a user's session.
func (s *Service) issue(user, session string, now time.Time) (string, error) {
	var id [16]byte
	if _, err := io.ReadFull(s.config.Rand, id[:]); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	token := jwt.NewWithClaims(jwt.SigningMethodES256, accessClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    s.config.Issuer,
			Audience:  jwt.ClaimStrings{s.config.Audience},
			Subject:   user,
			IssuedAt:  jwt.NewNumericDate(now),
			ExpiresAt: jwt.NewNumericDate(now.Add(s.config.AccessLifetime)),
			ID:        base64.RawURLEncoding.EncodeToString(id[:]),
		},
		Session: session,
	})
	key, kid := s.keys.signing(now)
	token.Header["kid"] = kid
	token.Header["typ"] = accessType
	signed, err := token.SignedString(key)
	if err != nil {
		return "", fmt.Errorf("sign an access token: %w", err)
	}
	return signed, nil
}

// ErrAccessToken is a token that lets nobody in, for whatever reason.
var ErrAccessToken = errors.New("the access token is not valid or has ended")

// Authenticate returns the user that an access token speaks for, and the session that it was granted in. ErrAccessToken when the token
// is not good, or its session was ended or its user disabled or deleted since; other errors are the database's.
func (s *Service) Authenticate(ctx context.Context, token string) (userID, session string, err error) {
	access, err := s.check(ctx, token)
	if err != nil {
		return "", "", err
	}
	ended := s.revoked.has(access.session)
	if !s.revoked.current(s.config.Now()) {
		if ended, err = s.endedUnheard(ctx, access); err != nil {
			return "", "", err
		}
	}
	if ended {
		return "", "", fmt.Errorf("%w: its session has ended", ErrAccessToken)
	}
	return access.user, access.session, nil
}

// endedUnheard asks the database what this replica may not have heard: whether the session has ended, or the key was revoked.
func (s *Service) endedUnheard(ctx context.Context, access grantedAccess) (bool, error) {
	open, err := s.db.SessionIsOpen(ctx, accountdb.SessionIsOpenParams{ID: access.session, UserID: access.user})
	if err != nil {
		return false, fmt.Errorf("look for the session of an access token: %w", err)
	}
	if _, ofFile := s.keys.file.public[access.kid]; !open || ofFile {
		return !open, nil
	}
	now := s.config.Now()
	checks, err := s.db.SigningKeyChecks(ctx, accountdb.SigningKeyChecksParams{Kid: access.kid, Now: &now})
	if err != nil {
		return false, fmt.Errorf("look for the key of an access token: %w", err)
	}
	return !checks, nil
}

// check verifies all that a token itself can tell. A signature is verified once a token: that costs as much as a quick query.
func (s *Service) check(ctx context.Context, token string) (grantedAccess, error) {
	if len(token) > longestToken {
		return grantedAccess{}, fmt.Errorf("%w: it is too long", ErrAccessToken)
	}
	hash := sha256.Sum256([]byte(token))
	now := s.config.Now()
	if access, known := s.checked.Get(hash); known {
		if now.After(access.expires.Add(leeway)) || s.keys.public(access.kid, now) == nil {
			s.checked.Remove(hash)
			return grantedAccess{}, fmt.Errorf("%w: it has expired", ErrAccessToken)
		}
		return access, nil
	}
	var claims accessClaims
	var failed error // of the database, not of the token
	parsed, err := jwt.ParseWithClaims(token, &claims, func(token *jwt.Token) (any, error) { return s.key(ctx, token, &failed) },
		jwt.WithValidMethods([]string{jwt.SigningMethodES256.Alg()}),
		jwt.WithIssuer(s.config.Issuer),
		jwt.WithAudience(s.config.Audience),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
		jwt.WithTimeFunc(s.config.Now),
		jwt.WithLeeway(leeway),
		jwt.WithStrictDecoding(),
	)
	if failed != nil {
		return grantedAccess{}, failed
	}
	if err != nil {
		return grantedAccess{}, fmt.Errorf("%w: %w", ErrAccessToken, err)
	}
	if claims.Subject == "" || claims.Session == "" {
		return grantedAccess{}, fmt.Errorf("%w: it names no user or no session", ErrAccessToken)
	}
	kid, _ := parsed.Header["kid"].(string)
	access := grantedAccess{user: claims.Subject, session: claims.Session, kid: kid, expires: claims.ExpiresAt.Time}
	s.checked.Add(hash, access)
	return access, nil
}

// key finds the key by kid among our own; whatever else a header says (jku, x5u, jwk) is not looked at.
func (s *Service) key(ctx context.Context, token *jwt.Token, failed *error) (any, error) {
	if typ, _ := token.Header["typ"].(string); typ != accessType {
		return nil, fmt.Errorf("its type is %q, not %s", typ, accessType)
	}
	if _, critical := token.Header["crit"]; critical {
		return nil, errors.New("it has critical headers") // RFC 7515, section 4.1.11: whoever does not understand them refuses
	}
	kid, _ := token.Header["kid"].(string)
	key := s.keys.public(kid, s.config.Now())
	if key == nil && s.keys.mayReload(s.config.Now()) { // another replica may have made it a moment ago
		if *failed = s.reloadKeys(ctx, s.db); *failed != nil {
			return nil, *failed
		}
		key = s.keys.public(kid, s.config.Now())
	}
	if key == nil {
		return nil, fmt.Errorf("signed with an unknown key %.64q", kid)
	}
	return key, nil
}
