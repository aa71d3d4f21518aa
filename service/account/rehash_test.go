package account_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/smart-assistant/platform/service/account"
)

// testRehash: where the operator raises the cost, a log-in brings the user's hash there. One that is refused leaves it, and log-ins at
// the same moment all succeed.
func testRehash(t *testing.T, w *world) {
	id := register(t, w.service(t), "a@example.org")
	hash := func() string {
		t.Helper()
		var hash string
		if err := w.pool.QueryRow(t.Context(), "SELECT password_hash FROM users WHERE id = $1", id).Scan(&hash); err != nil {
			t.Fatal(err)
		}
		return hash
	}
	costs := func(want int) {
		t.Helper()
		if cost, err := bcrypt.Cost([]byte(hash())); err != nil || cost != want {
			t.Errorf("cost %d (%v), want %d", cost, err, want)
		}
	}
	dearer := w.service(t, func(c *account.Config) { c.BcryptCost = 6 })
	for range 5 {
		if _, err := dearer.Login(t.Context(), "a@example.org", "wrong password"); !errors.Is(err, account.ErrCredentials) {
			t.Fatal(err)
		}
	}
	if _, err := dearer.Login(t.Context(), "a@example.org", password); !errors.Is(err, account.ErrCredentials) {
		t.Fatalf("a locked account: %v", err)
	}
	costs(4)
	w.pass(2 * time.Minute)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := dearer.Login(t.Context(), "a@example.org", password); err != nil {
				t.Errorf("one of several at once: %v", err)
			}
		})
	}
	all.Wait()
	costs(6)
	before := hash()
	for _, s := range []*account.Service{w.service(t), dearer} {
		if _, err := s.Login(t.Context(), "a@example.org", password); err != nil {
			t.Error(err)
		}
	}
	if hash() != before {
		t.Error("a hash that costs enough is made anew")
	}
}

// testDeleteAsks: a password that comes with a deletion has to be the user's.
func testDeleteAsks(t *testing.T, w *world) {
	s := w.service(t)
	given := func(password string) *string { return &password }
	id := register(t, s, "a@example.org")
	for _, wrong := range []string{"", "wrong password", password + "x"} {
		if err := s.Delete(t.Context(), id, given(wrong)); !errors.Is(err, account.ErrPassword) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	var invalid *account.InvalidError
	if err := s.Delete(t.Context(), id, given(strings.Repeat("x", 73))); !errors.As(err, &invalid) {
		t.Errorf("a password that is too long: %v", err)
	}
	if err := s.Delete(t.Context(), id, given(password)); err != nil {
		t.Error(err)
	}
	if err := s.Delete(t.Context(), id, given(password)); !errors.Is(err, account.ErrUnknownUser) {
		t.Errorf("deleted twice: %v", err)
	}

	locked := register(t, s, "locked@example.org")
	for range 5 {
		if err := s.Delete(t.Context(), locked, given("wrong password")); !errors.Is(err, account.ErrPassword) {
			t.Fatal(err)
		}
	}
	if _, told := errors.AsType[*account.LockedError](s.Delete(t.Context(), locked, given(password))); !told {
		t.Error("passwords can be guessed here without an end")
	}
	if err := s.Delete(t.Context(), locked, nil); err != nil {
		t.Errorf("without a password: %v", err)
	}
}
