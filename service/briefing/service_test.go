package briefing

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/encryption"
	"github.com/smart-assistant/platform/service/work"
	"github.com/smart-assistant/platform/test/database"
)

var update = flag.Bool("update", false, "write the golden files")

func TestService(t *testing.T) {
	server := database.Start(t)
	for name, test := range map[string]func(*testing.T, *world){
		"golden":       testGolden,
		"on demand":    testOnDemand,
		"since":        testSince,
		"lists":        testLists,
		"disabled":     testDisabled,
		"tenants":      testTenants,
		"sealed":       testSealed,
		"export":       testExport,
		"model":        testModel,
		"upstream":     testUpstream,
		"replicas":     testReplicas,
		"old release":  testReleaseBefore,
		"missed":       testMissed,
		"schedules":    testSchedules,
		"dies":         testWorkerDies,
		"gives up":     testGivesUp,
		"forgotten":    testForgotten,
		"indexes":      testIndexes,
		"routes":       testRoutes,
		"unknown zone": testUnknownZone,
		"late mail":    testLateMail,
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) { test(t, newWorld(t, server.Pool(t))) })
	}
}

// world is one database and what the replicas on it share: a clock, mail, jobs and a model.
type world struct {
	pool    *pgxpool.Pool
	keyring *encryption.Keyring
	mu      sync.Mutex
	now     time.Time
	mail    Mail
	jobs    Jobs
	model   Model
	caller  string
}

func newWorld(t *testing.T, pool *pgxpool.Pool) *world {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	keyring := must[*encryption.Keyring](t)(encryption.Parse([]byte(base64.StdEncoding.EncodeToString(key)), rand.Reader))
	w := &world{pool: pool, keyring: keyring, now: monday}
	w.mail, w.jobs = week()
	return w
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) set(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = now
}

// replica makes a service whose queue can take jobs; running ones also do them until the test ends.
func (w *world) replica(t *testing.T, running bool) *Service {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	queue := work.New(work.Config{Pool: w.pool, Log: log})
	s := must[*Service](t)(New(Config{
		Pool: w.pool, Keyring: w.keyring, Queue: queue, Mail: w.mail, Jobs: w.jobs, Upstream: w.model, Log: log, Now: w.clock,
		Caller: func(context.Context) string { return w.caller }, Patience: time.Second,
	}))
	if err := queue.Build(); err != nil {
		t.Fatal(err)
	}
	if running {
		if err := queue.Start(context.WithoutCancel(t.Context())); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := queue.Stop(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	return s
}

func (w *world) user(t *testing.T, name string) (userID string) {
	t.Helper()
	err := w.pool.QueryRow(t.Context(), `INSERT INTO users (email, password_hash, created_at) VALUES ($1, 'x', now()) RETURNING id`, name+"@example.org").Scan(&userID)
	if err != nil {
		t.Fatal(err)
	}
	return userID
}

func (w *world) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := w.pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

// rows reads one column of text.
func (w *world) rows(t *testing.T, sql string, args ...any) string {
	t.Helper()
	var text *string
	if err := w.pool.QueryRow(t.Context(), `SELECT string_agg(x.line, E'\n' ORDER BY x.line) FROM (`+sql+`) AS x(line)`, args...).Scan(&text); err != nil {
		t.Fatal(err)
	}
	if text == nil {
		return ""
	}
	return *text
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("a minute on, this still does not hold: %s", what)
		}
	}
}

func testGolden(t *testing.T, w *world) {
	box, table := week()
	crowd, crowded := many()
	box2, table2 := week()
	box2.mails = append(box2.mails, hostile())
	for name, mine := range map[string]struct {
		mail Mail
		jobs Jobs
		zone string
	}{
		"week": {box, table, "Europe/Berlin"}, "quiet": {&mailbox{}, &desk{}, "UTC"}, "many": {crowd, crowded, "Asia/Kolkata"},
		"hostile": {box2, table2, "America/New_York"},
	} {
		w.mail, w.jobs = mine.mail, mine.jobs
		s := w.replica(t, false)
		user := w.user(t, name)
		if err := s.SetSchedule(t.Context(), user, Schedule{TimeZone: mine.zone, At: "07:00"}); err != nil {
			t.Fatal(err)
		}
		b := must[Briefing](t)(s.Generate(t.Context(), user))
		var text strings.Builder
		text.WriteString(b.Text + "\n---\n\n")
		for _, source := range b.Sources {
			fmt.Fprintf(&text, "    [%d] %s %q\n", source.Number, source.Kind, source.Title)
		}
		path := filepath.Join("testdata", name+".md")
		if *update {
			if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if want := must[[]byte](t)(os.ReadFile(path)); text.String() != string(want) {
			t.Errorf("%s: the text is not that of the file (-update writes it):\n%s", path, text.String())
		}
	}
}

func testOnDemand(t *testing.T, w *world) {
	s := w.replica(t, false)
	user := w.user(t, "ada")
	if _, err := s.Latest(t.Context(), user); !errors.Is(err, ErrNotFound) {
		t.Errorf("latest of none: %v", err)
	}
	written := must[Briefing](t)(s.Generate(t.Context(), user))
	if written.State != "ready" || written.Writer != "extractive" || !written.Until.Equal(monday) || !written.Since.Equal(monday.Add(-longest)) {
		t.Errorf("written: %+v", written.Overview)
	}
	for _, read := range []Briefing{must[Briefing](t)(s.Latest(t.Context(), user)), must[Briefing](t)(s.Get(t.Context(), user, written.ID))} {
		if read.Text != written.Text || len(read.Sources) != len(written.Sources) || read.ID != written.ID || !read.Since.Equal(written.Since) {
			t.Errorf("read %+v, written %+v", read, written)
		}
	}
	if _, err := s.Generate(t.Context(), id("nobody")); !errors.Is(err, ErrUnknownUser) {
		t.Errorf("for nobody: %v", err)
	}
	w.mail = &mailbox{broken: errors.New("down")}
	if _, err := w.replica(t, false).Generate(t.Context(), user); err == nil {
		t.Error("without mail there is a briefing")
	}
}

func testSince(t *testing.T, w *world) {
	s := w.replica(t, false)
	user := w.user(t, "ada")
	for _, test := range []struct{ after, since time.Duration }{{0, -longest}, {3 * time.Hour, 0}, {20 * 24 * time.Hour, 13 * 24 * time.Hour}} {
		w.set(monday.Add(test.after))
		if b := must[Briefing](t)(s.Generate(t.Context(), user)); !b.Since.Equal(monday.Add(test.since)) || !b.Until.Equal(monday.Add(test.after)) {
			t.Errorf("after %s: from %s to %s", test.after, b.Since, b.Until)
		}
	}
	w.set(monday) // a clock behind the one that wrote the last
	if b := must[Briefing](t)(s.Generate(t.Context(), user)); b.Since.After(b.Until) {
		t.Errorf("from %s to %s", b.Since, b.Until)
	}
}

func testLists(t *testing.T, w *world) {
	s := w.replica(t, false)
	user := w.user(t, "ada")
	var want, got []string
	for i := range 7 {
		if i%2 == 0 {
			w.set(w.clock().Add(time.Minute)) // some at the same time
		}
		want = append(want, must[Briefing](t)(s.Generate(t.Context(), user)).ID)
	}
	for cursor := ""; ; {
		page, next, err := s.List(t.Context(), user, api.Page{Limit: 3, Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page {
			got = append([]string{o.ID}, got...)
		}
		if cursor = next; next == "" {
			break
		}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("listed %v, written %v", got, want)
	}
}

func testTenants(t *testing.T, w *world) {
	s := w.replica(t, false)
	ada, bob := w.user(t, "ada"), w.user(t, "bob")
	b := must[Briefing](t)(s.Generate(t.Context(), ada))
	_, err := s.Get(t.Context(), bob, b.ID)
	_, latest := s.Latest(t.Context(), bob)
	list, _, listed := s.List(t.Context(), bob, api.Page{Limit: 10})
	if !errors.Is(err, ErrNotFound) || !errors.Is(latest, ErrNotFound) || listed != nil || len(list) != 0 || !errors.Is(s.Delete(t.Context(), bob, b.ID), ErrNotFound) {
		t.Errorf("bob sees ada's: %v, %v, %v", err, latest, list)
	}
	if err := s.Delete(t.Context(), ada, b.ID); err != nil {
		t.Error(err)
	}
	if _, err := s.Get(t.Context(), ada, b.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted: %v", err)
	}
}

func testSealed(t *testing.T, w *world) {
	s := w.replica(t, false)
	ada := w.user(t, "ada")
	one, two := must[Briefing](t)(s.Generate(t.Context(), ada)), must[Briefing](t)(s.Generate(t.Context(), ada))
	var stored []byte
	if err := w.pool.QueryRow(t.Context(), `SELECT content FROM briefings WHERE id = $1`, one.ID).Scan(&stored); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(stored, []byte("Acme")) || bytes.Contains(stored, []byte("Briefing")) {
		t.Error("the text is stored in the clear")
	}
	w.exec(t, `UPDATE briefings SET content = $1 WHERE id = $2`, stored, two.ID)
	if _, err := s.Get(t.Context(), ada, two.ID); !errors.Is(err, encryption.ErrSealed) {
		t.Errorf("moved to another row it opens: %v", err)
	}
}

func testExport(t *testing.T, w *world) {
	s := w.replica(t, false)
	ada := w.user(t, "ada")
	for range 23 {
		must[Briefing](t)(s.Generate(t.Context(), ada))
	}
	count := map[string]int{}
	if err := s.Export(t.Context(), ada, func(section string, item any) error {
		if b, is := item.(Briefing); is && b.Text == "" {
			t.Errorf("without text: %+v", b)
		}
		count[section]++
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if count["briefings"] != 23 || count["briefing_schedule"] != 1 {
		t.Errorf("exported %v", count)
	}
	full := errors.New("full")
	if err := s.Export(t.Context(), ada, func(string, any) error { return full }); !errors.Is(err, full) {
		t.Errorf("a failed write is not told: %v", err)
	}
}

func testLateMail(t *testing.T, w *world) {
	box := &mailbox{}
	w.mail, w.jobs = box, &desk{}
	w.set(time.Now().UTC())
	s := w.replica(t, false)
	ada := w.user(t, "ada")
	must[Briefing](t)(s.Generate(t.Context(), ada))
	late := message("interview", "Late", "Interview", 0, "Your interview is on Monday at 10:00.")
	late.ReceivedAt, late.ID = w.clock().Add(-time.Hour), newID(t)
	box.mails = append(box.mails, late)
	w.set(w.clock().Add(time.Minute))
	if b := must[Briefing](t)(s.Generate(t.Context(), ada)); len(b.Sources) != 1 || b.Sources[0].ID != late.ID {
		t.Errorf("a mail that was received before the last briefing and stored after it: %s", b.Text)
	}
	w.set(w.clock().Add(time.Hour))
	if b := must[Briefing](t)(s.Generate(t.Context(), ada)); len(b.Sources) != 0 {
		t.Errorf("it is told twice: %s", b.Text)
	}
}
