package account_test

import (
	"bytes"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/smart-assistant/platform/service/account"
	"github.com/smart-assistant/platform/service/work"
)

// testMailIsTriedAgain: a mail that the server did not take is tried again until it does, and neither the log nor the table of jobs
// tells the password or a token.
func testMailIsTriedAgain(t *testing.T, w *world) {
	server := startSMTP(t, func(s *smtpServer) { s.away.Store(true) })
	var log logBuffer
	s := w.service(t, func(c *account.Config) {
		c.Mailer, c.PublicURL = server.mailer(t, "smtp", elsewhere, smtpPassword, server.certified), "https://api.example.org"
		c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	queue := work.New(work.Config{Pool: w.pool, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	s.Background(queue)
	if err := queue.Build(); err != nil {
		t.Fatal(err)
	}
	if err := queue.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := queue.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	if _, err := s.Register(t.Context(), "ada@example.org", password, ""); err != nil {
		t.Fatal(err)
	}
	job := func() (text string) {
		t.Helper()
		if err := w.pool.QueryRow(t.Context(), "SELECT to_jsonb(j)::text FROM river_job j WHERE kind = 'account-mail'").Scan(&text); err != nil {
			t.Fatal(err)
		}
		return text
	}
	eventually(t, "it was tried in vain", func() bool { return strings.Contains(job(), "send by SMTP") })
	server.away.Store(false)
	eventually(t, "it arrives", func() bool { mails, _ := server.seen(); return len(mails) == 1 })
	eventually(t, "the job is done", func() bool { return strings.Contains(job(), `"completed"`) })
	mails, _ := server.seen()
	token := regexp.MustCompile(`#token=(\S+)`).FindStringSubmatch(mails[0])
	if token == nil {
		t.Fatalf("no token in %s", mails[0])
	}
	if err := s.Verify(t.Context(), token[1]); err != nil {
		t.Error(err)
	}
	for name, text := range map[string]string{"log": log.String(), "job": job()} {
		for _, secret := range []string{smtpPassword, token[1], password, "ada@example.org"} {
			if strings.Contains(text, secret) {
				t.Errorf("the %s tells %q", name, secret)
			}
		}
	}
	if !strings.Contains(log.String(), "send by SMTP") {
		t.Error("the log does not tell of the failure")
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("a minute on, this still does not hold: %s", what)
		}
	}
}

// logBuffer is a log that several goroutines write.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
