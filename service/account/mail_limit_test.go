package account_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/service/account"
	"github.com/smart-assistant/platform/service/work"
)

// postbox keeps the mails that are sent, once it takes any.
type postbox struct {
	mu    sync.Mutex
	away  int // how many it does not take
	mails []string
}

func (p *postbox) Send(_ context.Context, _, subject, text string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.away > 0 {
		p.away--
		return errors.New("the server is away")
	}
	p.mails = append(p.mails, subject+"\n"+text)
	return nil
}

func (p *postbox) about(subject string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, mail := range p.mails {
		if strings.Contains(mail, subject) {
			n++
		}
	}
	return n
}

// mailing is a service that sends mail to box, at work until the test ends.
func (w *world) mailing(t *testing.T, box *postbox) *account.Service {
	t.Helper()
	s := w.service(t, func(c *account.Config) { c.Mailer, c.PublicURL = box, "https://api.example.org" })
	queue := work.New(work.Config{Pool: w.pool})
	s.Background(queue)
	if err := queue.Build(); err != nil {
		t.Fatal(err)
	}
	if err := queue.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := queue.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (w *world) rows(t *testing.T, what string) (n int) {
	t.Helper()
	if err := w.pool.QueryRow(t.Context(), "SELECT count(*) FROM "+what).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// testMailsAreFew: whoever registers with somebody's address again and again sends its owner five mails an hour.
func testMailsAreFew(t *testing.T, w *world) {
	box := &postbox{}
	s := w.mailing(t, box)
	register(t, s, "ada@example.org")
	if _, err := w.pool.Exec(t.Context(), "UPDATE users SET verified_at = now()"); err != nil {
		t.Fatal(err)
	}
	done := func(jobs int) {
		t.Helper()
		eventually(t, "the jobs are done", func() bool {
			return w.rows(t, "river_job WHERE kind = 'account-mail' AND state = 'completed'") == jobs
		})
	}
	done(1)
	for range 20 {
		register(t, s, "ada@example.org")
	}
	done(21)
	if n := box.about("You already have an account"); n < 1 || n > 5 {
		t.Errorf("20 registrations sent %d mails", n)
	}
	w.pass(61 * time.Minute)
	before := box.about("You already have an account")
	register(t, s, "ada@example.org")
	done(22)
	if n := box.about("You already have an account"); n != before+1 {
		t.Errorf("an hour later %d mails were sent", n-before)
	}
}

// testMailOutlastsItsAttempts: a mail whose server is away for more attempts than mails may be sent in an hour still comes.
func testMailOutlastsItsAttempts(t *testing.T, w *world) {
	box := &postbox{away: 7}
	s := w.mailing(t, box)
	register(t, s, "ada@example.org")
	eventually(t, "it arrives", func() bool {
		if w.rows(t, "river_job WHERE kind = 'account-mail' AND state = 'completed'") == 1 && box.about("Confirm") == 0 {
			t.Fatal("the job is done and there is no mail")
		}
		if _, err := w.pool.Exec(t.Context(), "UPDATE river_job SET state = 'available', scheduled_at = now() WHERE state = 'retryable'"); err != nil {
			t.Fatal(err)
		}
		return box.about("Confirm") == 1
	})
}

// testMailTells: the owner hears of a new password and of a new way in.
func testMailTells(t *testing.T, w *world) {
	box := &postbox{}
	s := w.mailing(t, box)
	register(t, s, "ada@example.org")
	var id string
	if err := w.pool.QueryRow(t.Context(), "UPDATE users SET verified_at = now() RETURNING id").Scan(&id); err != nil {
		t.Fatal(err)
	}
	if err := s.ChangePassword(t.Context(), id, "00000000-0000-0000-0000-000000000000", password, "four other words here"); err != nil {
		t.Fatal(err)
	}
	if err := pgx.BeginFunc(t.Context(), w.pool, func(tx pgx.Tx) error { return s.Linked(t.Context(), tx, id, "idp") }); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both mails come", func() bool {
		return box.about("Your password was changed") == 1 && box.about(fmt.Sprintf("an account at %s logs in", "idp")) == 1
	})
}
