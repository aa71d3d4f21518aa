package encryption_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/smart-assistant/platform/service/encryption"
	"github.com/smart-assistant/platform/test/database"
)

var indexKeys = encryption.Column{Table: "user_keys", Name: "index_key", Key: "user_id", Owner: "user_id"}

func cellOf(user string) encryption.Cell {
	return encryption.Cell{Table: "user_keys", Column: "index_key", Owner: user, Row: user}
}

// fill makes users with a key each, sealed by k, and returns their ids.
func fill(t *testing.T, pool *pgxpool.Pool, k *encryption.Keyring, n int) []string {
	t.Helper()
	var users []string
	for i := range n {
		var id string
		err := pool.QueryRow(t.Context(), `INSERT INTO users (email, password_hash, created_at) VALUES ($1, '', now()) RETURNING id`, fmt.Sprintf("u%d@example.org", i)).Scan(&id)
		if err != nil {
			t.Fatal(err)
		}
		users = append(users, id)
		save(t, pool, k, id, "key of "+id)
	}
	return users
}

func save(t *testing.T, pool *pgxpool.Pool, k *encryption.Keyring, user, value string) {
	t.Helper()
	sealed, err := k.Seal([]byte(value), cellOf(user))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), `INSERT INTO user_keys (user_id, index_key, created_at) VALUES ($1, $2, now())
		ON CONFLICT (user_id) DO UPDATE SET index_key = excluded.index_key`, user, sealed); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, pool *pgxpool.Pool, k *encryption.Keyring, user string) string {
	t.Helper()
	var sealed []byte
	if err := pool.QueryRow(t.Context(), `SELECT index_key FROM user_keys WHERE user_id = $1`, user).Scan(&sealed); err != nil {
		t.Fatal(err)
	}
	plain, err := k.Open(sealed, cellOf(user))
	if err != nil {
		t.Fatalf("%s: %v", user, err)
	}
	return string(plain)
}

func TestRewrap(t *testing.T) {
	server := database.Start(t)
	t.Run("WhileServing", func(t *testing.T) { testWhileServing(t, server.Pool(t)) })
	t.Run("InterruptedAndBegunAgain", func(t *testing.T) { testInterrupted(t, server.Pool(t)) })
	t.Run("ValuesThatDoNotOpenAreNamedAndPassedOver", func(t *testing.T) { testDoesNotOpen(t, server.Pool(t)) })
	t.Run("LargeValuesAFewAtATime", func(t *testing.T) { testLargeValues(t, server.Pool(t)) })
}

// testWhileServing: replicas read and write with both keys while all values are re-wrapped; afterwards the new key alone opens each.
func testWhileServing(t *testing.T, pool *pgxpool.Pool) {
	users := fill(t, pool, keyring(t, master('a')), 500)
	both := keyring(t, master('b')+master('a'))
	var stop atomic.Bool
	var serving sync.WaitGroup
	for part := range 2 {
		serving.Go(func() {
			for i := part; !stop.Load(); i += 2 {
				user := users[i%len(users)]
				if got := open(t, pool, both, user); got != "key of "+user {
					t.Errorf("%s reads %q", user, got)
				}
				save(t, pool, both, user, "key of "+user)
			}
		})
	}
	done, err := encryption.Rewrap(t.Context(), pool, both, indexKeys, nil)
	stop.Store(true)
	serving.Wait()
	if err != nil || done.Read != 500 || done.Rewrapped == 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	only := keyring(t, master('b'))
	for _, user := range users {
		if got := open(t, pool, only, user); got != "key of "+user {
			t.Errorf("%s is %q", user, got)
		}
	}
	if done, err := encryption.Rewrap(t.Context(), pool, both, indexKeys, nil); err != nil || done.Rewrapped != 0 {
		t.Errorf("a second time: %+v, %v", done, err)
	}
}

func testInterrupted(t *testing.T, pool *pgxpool.Pool) {
	users := fill(t, pool, keyring(t, master('a')), 450)
	both := keyring(t, master('b')+master('a'))
	ctx, cancel := context.WithCancel(t.Context())
	first, err := encryption.Rewrap(ctx, pool, both, indexKeys, func(encryption.Progress) { cancel() })
	if !errors.Is(err, context.Canceled) || first.Rewrapped != 200 {
		t.Fatalf("%+v, %v", first, err)
	}
	second, err := encryption.RewrapAll(t.Context(), pool, both, []encryption.Column{indexKeys}, nil)
	if err != nil || second[0].Rewrapped != 250 {
		t.Errorf("%+v, %v", second, err)
	}
	for _, user := range users {
		open(t, pool, keyring(t, master('b')), user)
	}
}

// testDoesNotOpen: values that do not open, whether damaged or of a key that is gone, keep no other from the new key. Each is counted and named.
func testDoesNotOpen(t *testing.T, pool *pgxpool.Pool) {
	users := fill(t, pool, keyring(t, master('a')), 450)
	if _, err := pool.Exec(t.Context(), `UPDATE user_keys SET index_key = overlay(index_key PLACING '\x0000' FROM 40) WHERE user_id = ANY($1)`, users[:2]); err != nil {
		t.Fatal(err)
	}
	save(t, pool, keyring(t, master('c')), users[2], "sealed under a key that is gone")
	done, err := encryption.Rewrap(t.Context(), pool, keyring(t, master('b')+master('a')), indexKeys, nil)
	if !errors.Is(err, encryption.ErrSealed) || !errors.Is(err, encryption.ErrUnknownKey) || done.Rewrapped != 447 || done.Failed != 3 {
		t.Errorf("%+v, %v", done, err)
	}
	for i, user := range users {
		if i > 2 {
			open(t, pool, keyring(t, master('b')), user)
		} else if !slices.Contains(done.Unopened, user) || !strings.Contains(err.Error(), user) {
			t.Errorf("%s is not named: %v", user, err)
		}
	}
}

// testLargeValues: however many rows there are, a transaction has as many bytes as a pod can hold several times.
func testLargeValues(t *testing.T, pool *pgxpool.Pool) {
	const size = 3 << 20
	old := keyring(t, master('a'))
	users := fill(t, pool, old, 12)
	for _, user := range users {
		save(t, pool, old, user, strings.Repeat("x", size))
	}
	steps, before := 0, int64(0)
	done, err := encryption.Rewrap(t.Context(), pool, keyring(t, master('b')+master('a')), indexKeys, func(p encryption.Progress) {
		if p.Rewrapped-before > 1 {
			t.Errorf("%d values of %d bytes in one transaction", p.Rewrapped-before, size)
		}
		steps, before = steps+1, p.Rewrapped
	})
	if err != nil || done.Rewrapped != 12 || steps != 12 {
		t.Errorf("%+v in %d steps, %v", done, steps, err)
	}
	for _, user := range users {
		if got := open(t, pool, keyring(t, master('b')), user); len(got) != size {
			t.Errorf("%s has %d bytes", user, len(got))
		}
	}
}
