package account_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/smart-assistant/platform/service/account"
	"github.com/smart-assistant/platform/service/api"
)

// testLockoutElsewhere: wrong passwords from elsewhere lock elsewhere. Where the account has logged in before, its owner gets in, however
// long others guess; and guessing from there locks there.
func testLockoutElsewhere(t *testing.T, w *world) {
	s := w.service(t)
	id := register(t, s, "ada@example.org")
	from := func(address string) context.Context {
		return api.WithClientAddress(t.Context(), netip.MustParseAddr(address))
	}
	home, sofa, home6, away := from("198.51.100.7"), from("::ffff:198.51.100.99"), from("2001:db8::1"), from("203.0.113.7")
	login := func(from context.Context, want error) {
		t.Helper()
		if _, err := s.Login(from, "ada@example.org", password); !errors.Is(err, want) {
			t.Errorf("log-in: %v, want %v", err, want)
		}
	}
	guess := func(from context.Context) {
		t.Helper()
		for range 5 {
			if _, err := s.Login(from, "ada@example.org", "wrong password"); !errors.Is(err, account.ErrCredentials) {
				t.Errorf("a guess: %v", err)
			}
		}
	}
	login(home, nil)
	login(home6, nil)
	for range 24 { // and an hour later again
		guess(away)
		login(away, account.ErrCredentials)
		login(from("192.0.2.1"), account.ErrCredentials)
		w.pass(time.Hour)
	}
	guess(away)
	login(home, nil)
	login(sofa, nil)
	login(from("2001:db8::ffff"), nil)
	login(away, account.ErrCredentials)

	guess(home)
	login(sofa, account.ErrCredentials)
	login(home6, nil)
	locked, is := errors.AsType[*account.LockedError](s.ChangePassword(home, id, "", password, "four other words here"))
	if !is || locked.In <= 0 || locked.In > time.Minute || locked.Until.Sub(w.now()) > time.Minute {
		t.Errorf("the right password, while it is locked: %+v", locked)
	}
	if err := s.Unlock(t.Context(), id, id); err != nil {
		t.Fatal(err)
	}
	login(home, nil)
	login(away, nil)
	guess(away) // its own counter by now
	login(from("192.0.2.1"), nil)
	w.pass(61 * time.Second)
	login(away, nil)
}
