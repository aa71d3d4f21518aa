package mail_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/mail"
	"github.com/smart-assistant/platform/service/mail/classify"
)

func page(limit int) api.Page { return api.Page{Limit: limit} }

func (w *world) send(t testing.TB, user, file string) (report mail.Report) {
	t.Helper()
	answer := w.call(t, user, http.MethodPost, mail.ImportPath, strings.NewReader(file), "Content-Type", "application/mbox")
	if err := json.Unmarshal(answer.Body.Bytes(), &report); err != nil || answer.Code != http.StatusOK {
		t.Fatalf("%d %s", answer.Code, answer.Body)
	}
	return report
}

// testImport: messages of a file are stored once, what is none is said by its number, and its copies are seen.
func testImport(t *testing.T, w *world) {
	user := w.user(t)
	raws := letters(250)
	file := mbox(append(raws, raws[3], "this is no mail\nat all\n")...)
	report := w.send(t, user, file)
	if report.Imported != 250 || report.Duplicates != 1 || len(report.Skipped) != 1 || report.Skipped[0].Number != 252 || report.Seconds <= 0 {
		t.Errorf("%+v", report)
	}
	if again := w.send(t, user, file); again.Imported != 0 || again.Duplicates != 251 || w.count(t, "SELECT count(*) FROM emails") != 250 {
		t.Errorf("again: %+v", again)
	}
	answer := &strings.Builder{}
	scrape(t, w, answer)
	for _, line := range []string{`assistd_mail_processed_total{result="stored",source="import"} 250`, `assistd_mail_processed_total{result="skipped",source="import"} 2`} {
		if !strings.Contains(answer.String(), line) {
			t.Errorf("no %s in %s", line, answer)
		}
	}
}

func scrape(t *testing.T, w *world, to io.Writer) {
	t.Helper()
	answer := &recorder{to, http.Header{}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	w.config.Metrics.Handler().ServeHTTP(answer, request)
}

type recorder struct {
	io.Writer
	header http.Header
}

func (r *recorder) Header() http.Header { return r.header }
func (r *recorder) WriteHeader(int)     {}

// testImportFormats: the same mail as mbox, Maildir and single message, packed or not, is the same mail.
func testImportFormats(t *testing.T, w *world) {
	user := w.user(t)
	raws := letters(3)
	var tarred, packed bytes.Buffer
	archive := tar.NewWriter(&tarred)
	for i, raw := range raws {
		raw = strings.ReplaceAll(raw, "\n", "\r\n")
		if err := archive.WriteHeader(&tar.Header{Name: fmt.Sprintf("Mail/cur/%d:2,S", i), Size: int64(len(raw)), Typeflag: tar.TypeReg, Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
		_, _ = archive.Write([]byte(raw))
	}
	_ = archive.Close()
	zip := gzip.NewWriter(&packed)
	_, _ = zip.Write(tarred.Bytes())
	_ = zip.Close()
	if report := w.send(t, user, tarred.String()); report.Imported != 3 {
		t.Errorf("tar: %+v", report)
	}
	for name, file := range map[string]string{"gzip": packed.String(), "mbox": mbox(raws...)} {
		if report := w.send(t, user, file); report.Imported != 0 || report.Duplicates != 3 {
			t.Errorf("%s: %+v", name, report)
		}
	}
	if report := w.send(t, user, raws[0]); report.Imported != 0 || report.Duplicates != 1 {
		t.Errorf("message: %+v", report)
	}
	answer := w.call(t, user, http.MethodPost, mail.ImportPath, bytes.NewReader(append([]byte(nil), tarred.Bytes()[:1600]...)))
	if answer.Code != http.StatusUnprocessableEntity || !strings.Contains(answer.Body.String(), "1 were there already") {
		t.Errorf("half a tar: %d %s", answer.Code, answer.Body)
	}
}

// testImportIsCutOff: a client that leaves at any place of the file leaves each message once or not at all, and the whole file sent again
// brings exactly the rest.
func testImportIsCutOff(t *testing.T, w *world) {
	raws := letters(120)
	file := mbox(raws...)
	gone := errors.New("the client left")
	for cut := 0; cut <= len(file); cut += len(file)/23 + 1 {
		user := w.user(t)
		first, err := w.service.Import(t.Context(), user, io.MultiReader(strings.NewReader(file[:cut]), iotest.ErrReader(gone)))
		if !errors.Is(err, gone) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		there := w.count(t, "SELECT count(*) FROM emails WHERE user_id = $1", user)
		second, err := w.service.Import(t.Context(), user, strings.NewReader(file))
		if err != nil || there != first.Imported || first.Imported+second.Imported != 120 || second.Duplicates != first.Imported ||
			w.count(t, "SELECT count(*) FROM emails WHERE user_id = $1", user) != 120 || w.count(t, "SELECT count(*) FROM embeddings WHERE user_id = $1", user) != 120 {
			t.Fatalf("cut at %d: %+v, then %+v %v", cut, first, second, err)
		}
	}
}

// testImportTwiceAtOnce: the same file sent to several replicas is stored once, and all are told so.
func testImportTwiceAtOnce(t *testing.T, w *world) {
	user := w.user(t)
	raws := letters(700)
	backwards := make([]string, len(raws))
	for i, raw := range raws {
		backwards[len(raws)-1-i] = raw
	}
	var reports [3]mail.Report
	var failures [3]error
	var all sync.WaitGroup
	for i, file := range []string{mbox(raws...), mbox(backwards...), mbox(raws...)} {
		replica := newWorld(t, w.url)
		all.Go(func() { reports[i], failures[i] = replica.service.Import(t.Context(), user, strings.NewReader(file)) })
	}
	all.Wait()
	if err := errors.Join(failures[:]...); err != nil {
		t.Fatal(err)
	}
	imported := 0
	for _, report := range reports {
		imported += report.Imported
		if report.Imported+report.Duplicates != 700 {
			t.Errorf("%+v", report)
		}
	}
	if imported != 700 || w.count(t, "SELECT count(*) FROM emails") != 700 {
		t.Errorf("%d imported, %d there", imported, w.count(t, "SELECT count(*) FROM emails"))
	}
}

// testImportIsKilled: a process that is killed (SIGKILL) in the middle of an import, again and again, loses and doubles nothing.
func testImportIsKilled(t *testing.T, w *world) {
	user := w.user(t)
	file := mbox(letters(2000)...)
	path := t.TempDir() + "/mail.mbox"
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	for round := 1; round <= 4; round++ {
		before := w.count(t, "SELECT count(*) FROM emails")
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestImportProcess$")
		child.Env = append(os.Environ(), "MAIL_TEST_DATABASE="+w.url, "MAIL_TEST_USER="+user, "MAIL_TEST_FILE="+path)
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		for w.count(t, "SELECT count(*) FROM emails") <= before { // until it has stored something
			if child.ProcessState != nil {
				t.Fatal("the process ended by itself")
			}
			time.Sleep(time.Millisecond)
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = child.Wait()
	}
	there := w.count(t, "SELECT count(*) FROM emails")
	if report := w.send(t, user, file); report.Imported != 2000-there || report.Duplicates != there || there == 2000 {
		t.Errorf("%d were there, then %+v", there, report)
	}
	if n := w.count(t, "SELECT count(DISTINCT subject) FROM emails"); n != 2000 || w.count(t, "SELECT count(*) FROM emails") != 2000 {
		t.Errorf("%d different messages", n)
	}
}

// TestImportProcess is the process that testImportIsKilled kills.
func TestImportProcess(t *testing.T) {
	url := os.Getenv("MAIL_TEST_DATABASE")
	if url == "" {
		t.SkipNow()
	}
	file, err := os.Open(os.Getenv("MAIL_TEST_FILE"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newWorld(t, url).service.Import(context.Background(), os.Getenv("MAIL_TEST_USER"), file); err != nil {
		t.Fatal(err)
	}
}

// testStore: a message is one row whether it comes by import or by connections, and a name that is known is not looked at again.
func testStore(t *testing.T, w *world) {
	user, other := w.user(t), w.user(t)
	var first, second string
	for i, id := range []*string{&first, &second} {
		err := w.pool.QueryRow(t.Context(), `INSERT INTO connections (id, user_id, kind, account, next_sync_at, created_at, updated_at)
			VALUES (gen_random_uuid(), $1, 'imap', $2, $3, $3, $3) RETURNING id`, user, fmt.Sprint(i), time.Now()).Scan(id)
		if err != nil {
			t.Fatal(err)
		}
	}
	raw := letters(1)[0]
	w.add(t, user, raw)
	for _, test := range []struct {
		origin mail.Origin
		raw    string
	}{
		{mail.Origin{Connection: first, ExternalID: "1"}, strings.ReplaceAll(raw, "\n", "\r\n")},
		{mail.Origin{Connection: first, ExternalID: "1"}, "nothing like it"},
		{mail.Origin{Connection: second, ExternalID: "1", Kind: "imap"}, raw},
	} {
		stored, err := w.store(t.Context(), user, test.origin, test.raw)
		if err != nil || stored.New || stored.ID == "" {
			t.Errorf("%+v: %+v %v", test.origin, stored, err)
		}
	}
	stored, err := w.store(t.Context(), user, mail.Origin{Connection: first, ExternalID: "2"}, letters(2)[1])
	if err != nil || !stored.New {
		t.Fatalf("%+v %v", stored, err)
	}
	if err := w.service.Delete(t.Context(), user, stored.ID); err != nil {
		t.Fatal(err)
	}
	if again, err := w.store(t.Context(), user, mail.Origin{Connection: first, ExternalID: "2"}, letters(2)[1]); err != nil || again.New || again.ID != "" {
		t.Errorf("deleted, then synced: %+v %v", again, err)
	}
	if _, err := w.store(t.Context(), other, mail.Origin{Connection: first, ExternalID: "1"}, raw); err != nil {
		t.Error(err)
	}
	if n := w.count(t, "SELECT count(*) FROM email_origins"); n != 3 {
		t.Errorf("%d origins", n)
	}
}

// testStoreIsRolledBack: nothing of a message is there without its transaction.
func testStoreIsRolledBack(t *testing.T, w *world) {
	user := w.user(t)
	changed := errors.New("the caller changed its mind")
	err := pgx.BeginFunc(t.Context(), w.pool, func(tx pgx.Tx) error {
		if stored, err := w.service.Store(t.Context(), tx, user, mail.Incoming{Raw: []byte(withFiles)}); err != nil || !stored[0].New {
			t.Errorf("%+v %v", stored, err)
		}
		return changed
	})
	if !errors.Is(err, changed) || w.count(t, "SELECT (SELECT count(*) FROM emails) + (SELECT count(*) FROM attachments) + (SELECT count(*) FROM embeddings)") != 0 {
		t.Errorf("%v", err)
	}
}

type observer func(user string, email mail.Summary) error

func (o observer) EmailStored(_ context.Context, _ pgx.Tx, user string, email mail.Summary) error {
	return o(user, email)
}

// testObservers: they hear of each new message once, and their failure keeps it from being stored.
func testObservers(t *testing.T, w *world) {
	user := w.user(t)
	heard, failure := map[string]int{}, error(nil)
	w.service.Observe(observer(func(id string, email mail.Summary) error {
		if id != user || email.ID == "" || email.Snippet == "" {
			t.Errorf("%s %+v", id, email)
		}
		heard[email.Subject]++
		return failure
	}))
	raws := letters(5)
	w.send(t, user, mbox(append(raws, raws...)...))
	w.add(t, user, raws[0])
	if len(heard) != 5 || heard["Number 0"] != 1 {
		t.Errorf("%v", heard)
	}
	var own string
	if err := w.pool.QueryRow(t.Context(), "SELECT email FROM users WHERE id = $1", user).Scan(&own); err != nil {
		t.Fatal(err)
	}
	w.add(t, user, letter(7, own, "My own", "I applied."))
	if heard["My own"] != 0 {
		t.Error("the user's own message is news")
	}
	failure = errors.New("no")
	if _, err := w.store(t.Context(), user, mail.Origin{}, letter(9, "a@x", "New", "text")); !errors.Is(err, failure) || w.count(t, "SELECT count(*) FROM emails") != 6 {
		t.Errorf("%v", err)
	}
}

// testReclassify: a new version of the classifier judges again what it judged before, and not what the user did.
func testReclassify(t *testing.T, w *world) {
	user := w.user(t)
	w.add(t, user, letters(3)...)
	if _, err := w.pool.Exec(t.Context(), "UPDATE emails SET reason = 'old', category = 'offer', classifier = CASE subject WHEN 'Number 0' THEN 0 ELSE classifier END"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{2, 0} {
		if n, err := w.service.Reclassify(t.Context()); err != nil || n != want {
			t.Errorf("%d %v", n, err)
		}
	}
	if n := w.count(t, "SELECT count(*) FROM emails WHERE classifier = $1 AND reason <> 'old'", classify.Version+1); n != 2 {
		t.Errorf("%d were classified again", n)
	}
	if n := w.count(t, "SELECT count(*) FROM emails WHERE classifier = 0 AND reason = 'old' AND category = 'offer'"); n != 1 {
		t.Error("the user's word was changed")
	}
}

// testHostileMailIsStored: Store takes whatever there is, because a sync that fails at one message would fail for good.
func testHostileMailIsStored(t *testing.T, w *world) {
	user := w.user(t)
	for i, raw := range []string{
		"", "\x00\xff", "no header at all", "From: \x00\nSubject: \xff\xfe\x00\n\n\x00" + strings.Repeat("\xc3", 1000),
		"Message-ID: " + strings.Repeat("x", 10_000) + "\nFrom: " + strings.Repeat("y", 10_000) + "@x\nSubject: " + strings.Repeat("ü", 10_000) + "\n\n" + strings.Repeat("word ", 100_000),
		"From: a@x\nDate: Mon, 2 Mar 99999 00:00:00 +0000\n\n'\\ : & | !",
	} {
		if stored, err := w.store(t.Context(), user, mail.Origin{}, raw); err != nil || !stored.New {
			t.Errorf("message %d: %+v %v", i, stored, err)
		}
	}
	if found := get[list](t, w, user, "/api/v1/emails/search?q=word"); len(found.Items) != 1 || len(get[list](t, w, user, "/api/v1/emails").Items) != 6 {
		t.Errorf("%+v", found)
	}
}

// BenchmarkImport measures an import of small messages, one after the other.
func BenchmarkImport(b *testing.B) {
	url := os.Getenv("MAIL_BENCH_DATABASE")
	if url == "" {
		b.Skip("set MAIL_BENCH_DATABASE to a migrated database")
	}
	w := newWorld(b, url)
	file := mbox(letters(5000)...)
	for b.Loop() {
		report, err := w.service.Import(context.Background(), w.user(b), strings.NewReader(file))
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(report.Imported)/report.Seconds, "messages/s")
	}
}
