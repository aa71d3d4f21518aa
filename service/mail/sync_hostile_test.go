package mail

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/smart-assistant/platform/service/mail/imap"
	"github.com/smart-assistant/platform/service/mail/imap/imaptest"
)

// scripted connects to an IMAP server that answers commands as a mailbox with messages does, unless otherwise has answered them.
func (w *syncWorld) scripted(t testing.TB, otherwise func(out io.Writer, tag, command string) bool, messages []string, change ...func(*Config)) (*connections, string) {
	t.Helper()
	usual := imaptest.Mailbox(messages...)
	s := imaptest.Start(t, true, imaptest.Greeting, func(out io.Writer, tag, command string) {
		if !otherwise(out, tag, command) {
			usual(out, tag, command)
		}
	})
	c := w.replica(t, append([]func(*Config){func(c *Config) { c.Sync.Roots = s.Roots }}, change...)...)
	server := MailServer{Host: imaptest.Host, Port: s.Port, Security: imap.TLS, Username: "ada"}
	made, err := c.connectIMAP(t.Context(), w.user, IMAPConnection{MailServer: server, Password: password})
	if err != nil {
		t.Fatal(err)
	}
	return c, made.ID
}

func letters(n int) (texts []string) {
	for i := range n {
		texts = append(texts, string(numbered(i)))
	}
	return texts
}

// testIMAPDrips has a server that is never silent and never done: first with the list of its messages, then with the second batch of them.
func testIMAPDrips(t *testing.T, w *syncWorld) {
	drip := func(out io.Writer, start string) {
		_, err := io.WriteString(out, start)
		for err == nil {
			_, err = io.WriteString(out, " 1")
			time.Sleep(10 * time.Millisecond)
		}
	}
	for name, test := range map[string]struct {
		command, start, result string
	}{
		"before any message": {"UID SEARCH", "* SEARCH", "so slow"},
		"after some":         {fmt.Sprintf("UID FETCH %d:", batchMessages+1), "* BAD", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w.exec(t, `DELETE FROM connections`)
			c, id := w.scripted(t, func(out io.Writer, _, command string) bool {
				drips := strings.HasPrefix(command, test.command) && !strings.Contains(command, "RFC822.SIZE")
				if drips {
					drip(out, test.start)
				}
				return drips
			}, letters(batchMessages+10), func(c *Config) { c.Sync.Turn = 2 * time.Second })
			seen := w.sync(t, c, id)
			if seen.State != stateActive || seen.Syncing || seen.LastSyncedAt != nil || (seen.Problem == "") != (test.result == "") || !strings.Contains(seen.Problem, test.result) {
				t.Errorf("after the turn: %+v", seen)
			}
			if failures := w.count(t, `SELECT failures FROM connections`); (failures == 1) != (test.result != "") {
				t.Errorf("%d failures are remembered", failures)
			}
		})
	}
}

// testIMAPLogout has a server that does not say good-bye.
func testIMAPLogout(t *testing.T, w *syncWorld) {
	c, id := w.scripted(t, func(out io.Writer, _, command string) bool {
		if command == "LOGOUT" {
			_ = out.(interface{ NetConn() net.Conn }).NetConn().(*net.TCPConn).SetLinger(0) // a reset
			_ = out.(io.Closer).Close()
		}
		return command == "LOGOUT"
	}, letters(3))
	if seen := w.sync(t, c, id); seen.Problem != "" || seen.LastSyncedAt == nil {
		t.Errorf("without a good-bye: %+v", seen)
	}
	w.exactly(t, 3)
}
