package account_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/smart-assistant/platform/service/account"
	"github.com/smart-assistant/platform/service/encryption"
	"github.com/smart-assistant/platform/test/database"
)

// TestOnDatabase runs every test that needs one on one PostgreSQL server, each with a database of its own.
func TestOnDatabase(t *testing.T) {
	postgres := database.Start(t)
	for name, test := range map[string]func(*testing.T, *world){
		"IndexKey":     testIndexKey,
		"Authenticate": testAuthenticate,
		"RevokedKey":   testRevokedKey,
		"Rehash":       testRehash,
		"DeleteAsks":   testDeleteAsks,
		"Delete":       testDelete,
		"Forgotten":    testForgottenDeletion,
		"Retention":    testAuditRetention,
		"Lockout":      testLockoutElsewhere,
		"MailsAreFew":  testMailsAreFew,
		"MailOutlasts": testMailOutlastsItsAttempts,
		"MailTells":    testMailTells,
		"MailIsTried":  testMailIsTriedAgain,
		"Indexes":      func(t *testing.T, w *world) { database.WantIndexes(t, w.pool, "queries.sql") },
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{pool: postgres.Pool(t), keys: newKeys(t)}
			test(t, w)
		})
	}
}

// world is what a test's services share: a database, keys and a clock.
type world struct {
	pool  *pgxpool.Pool
	keys  account.Keys
	ahead atomic.Int64 // nanoseconds that the services' clock is ahead of ours
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

func (w *world) pass(d time.Duration) { w.ahead.Add(int64(d)) }

const password = "correct horse battery"

func (w *world) service(t testing.TB, change ...func(*account.Config)) *account.Service {
	t.Helper()
	keyring, err := encryption.Parse([]byte(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	config := account.Config{
		Pool: w.pool, Keyring: keyring, Keys: w.keys, Issuer: "assistd", Audience: "assistd",
		Log: slog.New(slog.DiscardHandler), Now: w.now, Rand: rand.Reader, BcryptCost: 4,
	}
	for _, c := range change {
		c(&config)
	}
	s, err := account.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func register(t *testing.T, s *account.Service, email string) (userID string) {
	t.Helper()
	id, err := s.Register(t.Context(), email, password, "")
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func newKeys(t testing.TB) account.Keys {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := account.ParseKeys(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}
