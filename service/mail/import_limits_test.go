package mail_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/smart-assistant/platform/service/mail"
)

// reader is a file that a function reads.
type reader func(p []byte) (int, error)

func (r reader) Read(p []byte) (int, error) { return r(p) }

// testOneImportAUser: a second import of one user is refused, the first and others' go on.
func testOneImportAUser(t *testing.T, w *world) {
	user, other := w.user(t), w.user(t)
	file := strings.NewReader(mbox(letters(3)...))
	asked := false
	report, err := w.service.Import(t.Context(), user, reader(func(p []byte) (int, error) {
		if !asked {
			asked = true
			answer := w.call(t, user, http.MethodPost, mail.ImportPath, strings.NewReader(mbox(letters(1)...)))
			if answer.Code != http.StatusConflict || !strings.Contains(answer.Body.String(), "an import of yours is running") {
				t.Errorf("the second: %d %s", answer.Code, answer.Body)
			}
			if report := w.send(t, other, mbox(letters(1)...)); report.Imported != 1 {
				t.Errorf("another's: %+v", report)
			}
		}
		return file.Read(p)
	}))
	if err != nil || report.Imported != 3 {
		t.Errorf("%+v %v", report, err)
	}
	if report := w.send(t, user, mbox(letters(4)...)); report.Imported != 1 {
		t.Errorf("after it: %+v", report)
	}
}

// testSlowImport: a file of a byte now and then is given up within minutes, with 408; one that is slow and steady is read to its end.
func testSlowImport(t *testing.T, w *world) {
	var now atomic.Int64
	now.Store(time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC).UnixNano())
	w = newWorld(t, w.url, func(c *mail.Config) { c.Now = func() time.Time { return time.Unix(0, now.Load()) } })
	began := now.Load()
	slow := func(file io.Reader, bytes int, each time.Duration) io.Reader {
		return reader(func(p []byte) (int, error) {
			now.Add(int64(each))
			return file.Read(p[:min(len(p), bytes)])
		})
	}
	answer := w.call(t, w.user(t), http.MethodPost, mail.ImportPath, slow(strings.NewReader(mbox(letters(100)...)), 1, 14*time.Second))
	if took := time.Duration(now.Load() - began); answer.Code != http.StatusRequestTimeout || took > 2*time.Minute {
		t.Errorf("after %s: %d %s", took, answer.Code, answer.Body)
	}
	file := mbox(letter(1, "a@x", "Long", strings.Repeat("word ", 1<<20)))
	if report, err := w.service.Import(t.Context(), w.user(t), slow(strings.NewReader(file), 64<<10, 3*time.Second)); err != nil || report.Imported != 1 {
		t.Errorf("64 KiB in 3 s: %+v %v", report, err)
	}
}

// testImportComposesFirst: nothing is composed while a transaction waits for it.
func testImportComposesFirst(t *testing.T, w *world) {
	var held atomic.Int32
	pool := w.pool
	w = newWorld(t, w.url, func(c *mail.Config) {
		c.Pool = pool
		c.Now = func() time.Time { // composing asks for the time
			held.Store(max(held.Load(), pool.Stat().AcquiredConns()))
			return time.Now()
		}
	})
	if report := w.send(t, w.user(t), mbox(letters(150)...)); report.Imported != 150 || held.Load() != 0 {
		t.Errorf("%+v with %d connections held", report, held.Load())
	}
}

// testLargeMessages: of messages that are large a replica reads one at a time to its end, and all of them are kept.
func testLargeMessages(t *testing.T, w *world) {
	const from, to = 5 << 20, 11 << 19 // bytes of a file, in the middle of its first message: they are read of one that has room
	var inside, most atomic.Int32
	var all sync.WaitGroup
	for i := range 4 {
		user := w.user(t)
		file := mbox(withLargeFile(i, 6<<20), letter(1, "a@x", "Small", "text"), withLargeFile(i+10, 6<<20))
		all.Go(func() {
			source, read, counted := strings.NewReader(file), 0, false
			report, err := w.service.Import(t.Context(), user, reader(func(p []byte) (int, error) {
				if read > from && read < to && !counted {
					counted = true
					most.Store(max(most.Load(), inside.Add(1)))
				}
				if read >= to && counted {
					counted = false
					inside.Add(-1)
				}
				n, err := source.Read(p)
				read += n
				return n, err
			}))
			if err != nil || report.Imported != 3 {
				t.Errorf("%+v %v", report, err)
			}
		})
	}
	all.Wait()
	if most.Load() != 1 {
		t.Errorf("%d were read at once", most.Load())
	}
	if n := w.count(t, "SELECT count(*) FROM attachments WHERE size > 4000000"); n != 8 {
		t.Errorf("%d files are there", n)
	}
}

// withLargeFile writes a message with one attachment, of so many bytes altogether.
func withLargeFile(number, bytes int) string {
	line := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(rune('a'+number)), 57))) + "\n"
	return fmt.Sprintf("Message-ID: <large%d@test>\nFrom: a@x\nSubject: Large %d\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nSee the file.\n"+
		"--b\nContent-Type: application/pdf; name=a.pdf\nContent-Transfer-Encoding: base64\n\n%s--b--\n", number, number, strings.Repeat(line, bytes/len(line)))
}

// testTooLargeImport: a message beyond the limit is skipped, gives its room back, and those around it are kept.
func testTooLargeImport(t *testing.T, w *world) {
	user := w.user(t)
	file := io.MultiReader(strings.NewReader(mbox(letters(1)...)+"From a@x Mon Mar  2 10:00:00 2026\nA: 1\n\n"), io.LimitReader(endless("line\n"), mail.MaxMessage+10),
		strings.NewReader("\n\n"+mbox(letters(3)[1], withLargeFile(1, 5<<20), letters(3)[2])))
	report, err := w.service.Import(t.Context(), user, file)
	if err != nil || report.Imported != 4 || len(report.Skipped) != 1 || !strings.Contains(report.Skipped[0].Reason, "35 MiB") {
		t.Errorf("%+v %v", report, err)
	}
	gone := errors.New("the client left")
	for range 3 { // in the middle of a large message
		half := io.MultiReader(strings.NewReader(mbox(withLargeFile(2, 5<<20))), reader(func([]byte) (int, error) { return 0, gone }))
		if _, err := w.service.Import(t.Context(), user, half); !errors.Is(err, gone) {
			t.Error(err)
		}
	}
	if report := w.send(t, user, mbox(withLargeFile(3, 5<<20))); report.Imported != 1 {
		t.Errorf("%+v", report)
	}
}

// endless repeats a text.
func endless(text string) io.Reader {
	at := 0
	return reader(func(p []byte) (int, error) {
		for i := range p {
			p[i], at = text[at%len(text)], at+1
		}
		return len(p), nil
	})
}
