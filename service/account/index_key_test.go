package account_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/smart-assistant/platform/service/account"
)

// testIndexKey: a key is one user's, always the same, sealed in the table, undone with the transaction that made it, and gone with the user.
func testIndexKey(t *testing.T, w *world) {
	s, pool := w.service(t), w.pool
	key := func(db account.DBTX, user string) []byte {
		t.Helper()
		key, err := s.IndexKey(t.Context(), db, user)
		if err != nil || len(key) != 32 {
			t.Fatalf("%d bytes: %v", len(key), err)
		}
		return key
	}
	a, b := register(t, s, "a@example.org"), register(t, s, "b@example.org")

	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	undone := key(tx, a)
	if !bytes.Equal(undone, key(tx, a)) {
		t.Error("one transaction sees two keys")
	}
	if err := tx.Rollback(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	kept := key(pool, a)
	if bytes.Equal(kept, undone) {
		t.Error("a key that was undone is still given out")
	}
	if !bytes.Equal(kept, key(pool, a)) || bytes.Equal(kept, key(pool, b)) {
		t.Error("want one key a user")
	}
	w.pass(2 * time.Hour) // from now on it is remembered
	for range 2 {
		if !bytes.Equal(kept, key(pool, a)) {
			t.Error("the remembered key is another")
		}
	}
	var sealed []byte
	if err := pool.QueryRow(t.Context(), `SELECT index_key FROM user_keys WHERE user_id = $1`, a).Scan(&sealed); err != nil || bytes.Contains(sealed, kept) {
		t.Errorf("the table holds the key in clear (%v)", err)
	}
	if err := s.Delete(t.Context(), a, nil); err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{a, uuid.NewString()} {
		if _, err := s.IndexKey(t.Context(), pool, user); !errors.Is(err, account.ErrUnknownUser) {
			t.Errorf("%s: %v", user, err)
		}
	}
}
