package mail

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/smart-assistant/platform/service/mail/gmail/gmailtest"
)

// asks says whether a command fetches message 3, and not its size alone.
func asks(command string) bool {
	rest, fetches := strings.CutPrefix(command, "UID FETCH ")
	set, items, _ := strings.Cut(rest, " ")
	var first, last int
	if n, _ := fmt.Sscanf(set, "%d:%d", &first, &last); n == 1 {
		last = first
	}
	return fetches && strings.Contains(items, "BODY") && first <= 3 && 3 <= last
}

// testIMAPAside has a server with one message that it does not send, in each way, and later does.
func testIMAPAside(t *testing.T, w *syncWorld) {
	for name, test := range map[string]struct {
		answer func(out io.Writer, tag string)
		syncs  int // until the messages behind it are there
	}{
		"refuses":          {func(out io.Writer, tag string) { fmt.Fprintf(out, "%s NO [SERVERBUG2] cannot read it\r\n", tag) }, 1},
		"leaves it out":    {func(out io.Writer, tag string) { fmt.Fprintf(out, "%s OK done\r\n", tag) }, 1},
		"breaks off at it": {func(out io.Writer, _ string) { _ = out.(io.Closer).Close() }, 3},
	} {
		t.Run(name, func(t *testing.T) {
			w.exec(t, `DELETE FROM connections`)
			w.exec(t, `DELETE FROM emails`)
			var mended atomic.Bool
			c, id := w.scripted(t, func(out io.Writer, tag, command string) bool {
				fails := asks(command) && !mended.Load()
				if fails {
					test.answer(out, tag)
				}
				return fails
			}, letters(8))
			var seen Connection
			for range test.syncs {
				seen = w.sync(t, c, id)
			}
			if n := w.count(t, `SELECT count(*) FROM emails WHERE subject <> 'message 2'`); n != 7 || seen.State != stateActive || seen.Problem == "" {
				t.Errorf("%d of 7 messages after %d syncs: %+v", n, test.syncs, seen)
			}
			mended.Store(true)
			if seen = w.sync(t, c, id); seen.Problem != "" || seen.Skipped != 0 {
				t.Errorf("once it is sent: %+v", seen)
			}
			w.exactly(t, 8)
		})
	}
}

// testIMAPGivenUp has a server that never sends one of its messages: after a day of asking it counts as skipped, and no sooner.
func testIMAPGivenUp(t *testing.T, w *syncWorld) {
	var ahead atomic.Int64
	c, id := w.scripted(t, func(out io.Writer, tag, command string) bool {
		if asks(command) {
			fmt.Fprintf(out, "%s NO never\r\n", tag)
		}
		return asks(command)
	}, letters(4), func(c *Config) { c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) } })
	var seen Connection
	for range asideTries + 2 {
		ahead.Add(int64(time.Hour))
		seen = w.sync(t, c, id)
	}
	if seen.Skipped != 0 || !strings.Contains(seen.Problem, "1 of its messages") {
		t.Errorf("within a day: %+v", seen)
	}
	ahead.Add(int64(asideFor))
	if seen = w.sync(t, c, id); seen.Skipped != 1 || seen.Problem != "" {
		t.Errorf("after a day: %+v", seen)
	}
	if n := w.count(t, `SELECT count(*) FROM emails`); n != 3 {
		t.Errorf("%d messages are there, want 3", n)
	}
}

// testGmailAside has Gmail fail at one message for a day, in the first sync and in a full one that follows, while all others come.
func testGmailAside(t *testing.T, w *syncWorld) {
	var ahead atomic.Int64
	g, c, id := w.gmail(t, func(c *Config) { c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) } })
	deliver(g, 0, 5)
	bad := g.Deliver(numbered(5), "INBOX")
	fails := func(out http.ResponseWriter, r *http.Request) bool {
		fails := strings.HasSuffix(r.URL.Path, "/"+bad)
		if fails {
			gmailtest.Fail(out, 500, "backendError")
		}
		return fails
	}
	g.SetFault(fails)
	seen := w.sync(t, c, id)
	if seen.LastSyncedAt == nil || !strings.Contains(seen.Problem, "1 of its messages") {
		t.Errorf("with one message that fails: %+v", seen)
	}
	w.exactly(t, 5)
	g.Forget()
	if seen = w.sync(t, c, id); !strings.Contains(seen.Problem, "1 of its messages") {
		t.Errorf("after a full sync: %+v", seen)
	}
	g.SetFault(nil)
	if seen = w.sync(t, c, id); seen.Problem != "" || seen.Skipped != 0 {
		t.Errorf("once it comes: %+v", seen)
	}
	w.exactly(t, 6)

	bad = g.Deliver(numbered(6), "INBOX")
	g.SetFault(fails)
	for range asideTries {
		ahead.Add(int64(asideFor / asideTries))
		seen = w.sync(t, c, id)
	}
	if seen.Skipped != 0 || seen.Problem == "" {
		t.Errorf("within a day: %+v", seen)
	}
	ahead.Add(int64(asideFor))
	if seen = w.sync(t, c, id); seen.Skipped != 1 || seen.Problem != "" {
		t.Errorf("after a day: %+v", seen)
	}
	w.exactly(t, 6)
}

// testGmailIll has Gmail hand out no message at all, which is not put down to the messages.
func testGmailIll(t *testing.T, w *syncWorld) {
	g, c, id := w.gmail(t)
	deliver(g, 0, asideMost+30)
	g.SetFault(func(out http.ResponseWriter, r *http.Request) bool {
		one := strings.Contains(r.URL.Path, "/messages/")
		if one {
			gmailtest.Fail(out, 500, "backendError")
		}
		return one
	})
	if seen := w.sync(t, c, id); seen.LastSyncedAt != nil || !strings.Contains(seen.Problem, "Gmail: ") {
		t.Errorf("with no message: %+v", seen)
	}
	g.SetFault(nil)
	if seen := w.sync(t, c, id); seen.Problem != "" || seen.Skipped != 0 {
		t.Errorf("afterwards: %+v", seen)
	}
	w.exactly(t, asideMost+30)
}
