package account_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/smart-assistant/platform/service/account"
	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/work"
)

// part is one that keeps something of users. Its first erasing fails.
type part struct {
	tries  atomic.Int32
	erased atomic.Value
}

func (p *part) Erase(_ context.Context, userID string, attempt int) error {
	if p.tries.Add(1) == 1 || attempt < 2 {
		return errors.New("not now")
	}
	p.erased.Store(userID)
	return nil
}

// background gives a service a queue, which the returned function starts.
func (w *world) background(t *testing.T, s *account.Service) (start func()) {
	t.Helper()
	queue := work.New(work.Config{Pool: w.pool, Log: slog.New(slog.DiscardHandler)})
	s.Background(queue)
	if err := queue.Build(); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := queue.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := queue.Stop(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
}

func (w *world) count(t *testing.T, sql string, args ...any) (n int) {
	t.Helper()
	if err := w.pool.QueryRow(t.Context(), "SELECT count(*) FROM "+sql, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// testDelete: a deleted user is gone for everybody at once, whatever is left to erase, and the address is free. The erasing goes on where
// a part failed, the user's row goes last, and of the audit log the ids stay.
func testDelete(t *testing.T, w *world) {
	s, mail := w.service(t), &part{}
	s.AddEraser("mail", mail)
	start := w.background(t, s)
	id := register(t, s, "ada@example.org")
	for range 30 {
		if _, err := s.Login(t.Context(), "ada@example.org", password); err != nil {
			t.Fatal(err)
		}
	}
	other := register(t, s, "eve@example.org")
	for _, row := range [][2]string{{id, id}, {id, other}, {other, id}, {other, other}} {
		if _, err := w.pool.Exec(t.Context(), `INSERT INTO audit_events (id, at, actor_id, user_id, action, address, request_id, detail)
			VALUES ($1, now(), $2, $3, 'x', '192.0.2.7', 'r', '{"a": 1}')`, uuid.NewString(), row[0], row[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Delete(t.Context(), id, nil); err != nil {
		t.Fatal(err)
	}

	if _, err := s.UserByID(t.Context(), id); !errors.Is(err, account.ErrUnknownUser) {
		t.Errorf("by id: %v", err)
	}
	if _, err := s.UserByEmail(t.Context(), "ada@example.org"); !errors.Is(err, account.ErrUnknownUser) {
		t.Errorf("by address: %v", err)
	}
	if _, err := s.OpenSession(t.Context(), id, "idp"); !errors.Is(err, account.ErrUnknownUser) {
		t.Errorf("let in by another provider: %v", err)
	}
	if _, err := s.Login(t.Context(), "ada@example.org", password); !errors.Is(err, account.ErrCredentials) {
		t.Errorf("by password: %v", err)
	}
	if err := s.Enable(t.Context(), other, id); !errors.Is(err, account.ErrUnknownUser) {
		t.Errorf("enabled again: %v", err)
	}
	if users, _, err := s.Users(t.Context(), "", api.Page{Limit: 10}); err != nil || len(users) != 1 {
		t.Errorf("users: %v, %v", users, err)
	}
	if again := register(t, s, "ada@example.org"); again == id || again == "" {
		t.Errorf("registered again as %q", again)
	}
	if n := w.count(t, "users WHERE id = $1 AND deleted_at IS NOT NULL AND disabled_at IS NOT NULL", id); n != 1 {
		t.Errorf("%d rows to erase from", n)
	}

	start()
	eventually(t, "the user's row is gone", func() bool { return w.count(t, "users WHERE id = $1", id) == 0 })
	if got := mail.erased.Load(); got != id {
		t.Errorf("mail was erased of %v", got)
	}
	if n := w.count(t, "sessions WHERE user_id = $1", id); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
	if n := w.count(t, "audit_events WHERE user_id = $1 AND (address <> '' OR request_id <> '' OR detail <> '{}')", id); n != 0 {
		t.Errorf("%d audit events tell more of the user than the id", n)
	}
	if n := w.count(t, "audit_events WHERE actor_id = $1 AND user_id = $2 AND address = '' AND request_id = '' AND detail <> '{}'", id, other); n != 1 {
		t.Errorf("%d audit events of another's account, want one without the user's address", n)
	}
	if n := w.count(t, "audit_events WHERE user_id = $1", id); n < 33 {
		t.Errorf("only %d audit events are left", n)
	}
	if n := w.count(t, "audit_events WHERE actor_id = $1 AND user_id = $1 AND address <> '' AND detail <> '{}'", other); n != 1 {
		t.Errorf("%d of another's audit events", n)
	}
	if n := w.count(t, "users"); n != 2 {
		t.Errorf("%d users are left", n)
	}
}

// testForgottenDeletion: a deletion whose job is lost is found and done.
func testForgottenDeletion(t *testing.T, w *world) {
	s := w.service(t)
	id := register(t, s, "ada@example.org")
	if err := s.Delete(t.Context(), id, nil); err != nil { // there is no queue yet
		t.Fatal(err)
	}
	if n := w.count(t, "river_job"); n != 0 {
		t.Fatalf("%d jobs", n)
	}
	w.background(t, s)()
	eventually(t, "the user's row is gone", func() bool { return w.count(t, "users") == 0 })
}

// testAuditRetention: the log keeps what is younger than its retention.
func testAuditRetention(t *testing.T, w *world) {
	s := w.service(t, func(c *account.Config) { c.AuditRetention = 100 * 24 * time.Hour })
	for _, days := range []int{0, 99, 101, 1000} {
		if _, err := w.pool.Exec(t.Context(), `INSERT INTO audit_events (id, at, action) VALUES ($1, now() - make_interval(days => $2), 'x')`, uuid.NewString(), days); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.Sweep(t.Context()); err != nil || n != 2 || w.count(t, "audit_events WHERE at > now() - interval '100 days'") != 2 {
		t.Errorf("swept %d, %v", n, err)
	}
}
