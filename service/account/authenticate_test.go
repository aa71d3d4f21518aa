package account_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/smart-assistant/platform/service/account"
)

// testAuthenticate: a token is good while its session lasts, and nothing that differs from it in a byte is.
func testAuthenticate(t *testing.T, w *world) {
	s := w.service(t)
	id := register(t, s, "a@example.org")
	tokens, err := s.Login(t.Context(), "a@example.org", password)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second is remembered
		if user, session, err := s.Authenticate(t.Context(), tokens.AccessToken); err != nil || user != id || session == "" {
			t.Fatalf("%q %q %v", user, session, err)
		}
	}
	for i := range len(tokens.AccessToken) {
		text := []byte(tokens.AccessToken)
		text[i] ^= 1
		if _, _, err := s.Authenticate(t.Context(), string(text)); !errors.Is(err, account.ErrAccessToken) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	w.pass(5*time.Minute + 6*time.Second)
	if _, _, err := s.Authenticate(t.Context(), tokens.AccessToken); !errors.Is(err, account.ErrAccessToken) {
		t.Errorf("a remembered token does not expire: %v", err)
	}
}

// testRevokedKey: a key that was revoked checks nowhere, not even where nobody heard of it.
func testRevokedKey(t *testing.T, w *world) {
	s, deaf := w.service(t), w.service(t) // neither listens, so that each token is asked about
	register(t, s, "a@example.org")
	first, err := s.RotateKeys(t.Context(), "", false)
	if err != nil {
		t.Fatal(err)
	}
	w.pass(first.ActivatesAt.Sub(w.now()) + time.Second)
	tokens, err := s.Login(t.Context(), "a@example.org", password)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := deaf.Authenticate(t.Context(), tokens.AccessToken); err != nil {
		t.Fatal(err)
	}
	second, err := s.RotateKeys(t.Context(), "", true)
	if err != nil || !slices.Equal(second.Revoked, []string{first.KeyID}) || len(second.FileKeys) != 1 {
		t.Fatalf("%+v %v", second, err)
	}
	for _, replica := range []*account.Service{s, deaf} {
		if _, _, err := replica.Authenticate(t.Context(), tokens.AccessToken); !errors.Is(err, account.ErrAccessToken) {
			t.Errorf("a token of a revoked key: %v", err)
		}
	}
	if tokens, err = s.Refresh(t.Context(), tokens.RefreshToken); err != nil {
		t.Fatal(err)
	}
	if _, _, err := deaf.Authenticate(t.Context(), tokens.AccessToken); err != nil {
		t.Errorf("after a refresh: %v", err)
	}
}

// FuzzAuthenticate: nothing that others make is a token. The database does not answer, which lets nobody in either.
func FuzzAuthenticate(f *testing.F) {
	pool, err := pgxpool.New(f.Context(), "postgres://127.0.0.1:1/none")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(pool.Close)
	w := &world{pool: pool, keys: newKeys(f)}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	forged, err := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"sub": "x", "sid": "y"}).SignedString(key)
	if err != nil {
		f.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	f.Add(forged)
	f.Add(encode([]byte(`{"alg":"none","typ":"at+jwt"}`)) + "." + encode([]byte(`{"sub":"x","sub":"y"}`)) + ".")
	f.Add(encode([]byte(`{"alg":"none","alg":"ES256","typ":"at+jwt"}`)) + ".." + strings.Repeat("A", 86))
	f.Add(encode([]byte(`{"alg":"ES256","typ":"at+jwt","kid":"../../etc/passwd"}`)) + "." + encode([]byte(`{"sub":"x","sid":"y","exp":9999999999}`)) + "." + strings.Repeat("A", 86))
	f.Add("..")
	s := w.service(f)
	f.Fuzz(func(t *testing.T, token string) {
		if user, _, err := s.Authenticate(t.Context(), token); err == nil {
			t.Errorf("%q lets %q in", token, user)
		}
	})
}
