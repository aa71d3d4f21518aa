package imap_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/smart-assistant/platform/service/mail/imap"
	"github.com/smart-assistant/platform/service/mail/imap/imaptest"
)

// hostile is a server of the test's own: answer writes what follows a command. It returns what clients sent.
func hostile(t *testing.T, encrypted bool, greeting string, answer func(w io.Writer, tag, command string)) (a imap.Account, o imap.Options, said func() string) {
	t.Helper()
	s := imaptest.Start(t, encrypted, greeting, answer)
	a = imap.Account{Host: imaptest.Host, Port: s.Port, Security: imap.TLS, Username: "ada", Password: "secret-password"}
	return a, imap.Options{Dialer: loopback, Roots: s.Roots, Quiet: 2 * time.Second}, s.Heard
}

const greeting = imaptest.Greeting

func TestSTARTTLSNeverFallsBack(t *testing.T) {
	answers := map[string]string{
		"refused":      "%s NO not today\r\n",
		"unknown":      "%s BAD what?\r\n",
		"with a trail": "%s OK go on\r\n* OK injected\r\n",
		"garbage":      "\x00\x00 %s\r\n",
	}
	for name, line := range answers {
		t.Run(name, func(t *testing.T) {
			a, o, said := hostile(t, false, greeting, func(w io.Writer, tag, command string) {
				if strings.HasPrefix(command, "STARTTLS") {
					fmt.Fprintf(w, line, tag)
				}
			})
			a.Security = imap.STARTTLS
			_, err := imap.Connect(t.Context(), a, o)
			if !errors.Is(err, imap.ErrSecurity) {
				t.Errorf("got %v", err)
			}
			if heard := said(); strings.Contains(heard, "LOGIN") || strings.Contains(heard, "AUTHENTICATE") {
				t.Errorf("the client said %q in the clear", heard)
			}
		})
	}
	t.Run("logged in already", func(t *testing.T) {
		a, o, said := hostile(t, false, "* PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] welcome\r\n", func(w io.Writer, tag, _ string) { fmt.Fprintf(w, "%s NO\r\n", tag) })
		a.Security = imap.STARTTLS
		if _, err := imap.Connect(t.Context(), a, o); !errors.Is(err, imap.ErrSecurity) {
			t.Errorf("got %v", err)
		}
		said()
	})
}

// endless writes until the other side hangs up.
func endless(w io.Writer, start, piece string) {
	_, err := io.WriteString(w, start)
	for piece = strings.Repeat(piece, 1000); err == nil; {
		_, err = io.WriteString(w, piece)
	}
}

func TestHostileServers(t *testing.T) {
	limits := imap.Limits{Messages: 10, Bytes: 1 << 20, Message: 1 << 20}
	usual := func(w io.Writer, tag, command string) {
		switch {
		case strings.HasPrefix(command, "UID SEARCH"):
			fmt.Fprintf(w, "* SEARCH 1 2\r\n%s OK\r\n", tag)
		case strings.Contains(command, "RFC822.SIZE"):
			fmt.Fprintf(w, "* 1 FETCH (UID 1 RFC822.SIZE 5)\r\n* 2 FETCH (UID 2 RFC822.SIZE 5)\r\n%s OK\r\n", tag)
		default:
			fmt.Fprintf(w, "%s OK\r\n", tag)
		}
	}
	tests := map[string]struct {
		on     string // the command that is answered otherwise
		answer func(w io.Writer, tag string)
		want   error // nil for any
		unsent int   // messages that are said not to have been sent, and that is no error
	}{
		"a search without end": {"UID SEARCH", func(w io.Writer, _ string) { endless(w, "* SEARCH", " 7") }, imap.ErrTooMuch, 0},
		"a set of 4 billion": {"UID SEARCH", func(w io.Writer, tag string) {
			fmt.Fprintf(w, "* ESEARCH (TAG %q) UID ALL 1:4294967295\r\n%s OK\r\n", tag, tag)
		}, imap.ErrTooMuch, 0},
		"a message larger than said": {"UID FETCH 1:2 (UID BODY", func(w io.Writer, _ string) { endless(w, "* 1 FETCH (UID 1 BODY[] {4000000000}\r\n", "x") }, nil, 0},
		"a message without its UID": {"UID FETCH 1:2 (UID BODY", func(w io.Writer, tag string) {
			fmt.Fprintf(w, "* 1 FETCH (BODY[] {5}\r\nhello UID 1)\r\n%s OK\r\n", tag)
		}, nil, 2},
		"silence": {"UID SEARCH", func(io.Writer, string) {}, nil, 0},
		"the end": {"UID SEARCH", func(w io.Writer, _ string) { _ = w.(io.Closer).Close() }, nil, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a, o, _ := hostile(t, true, greeting, func(w io.Writer, tag, command string) {
				if strings.HasPrefix(command, test.on) {
					test.answer(w, tag)
					return
				}
				usual(w, tag, command)
			})
			if name == "silence" {
				o.Quiet = 500 * time.Millisecond
			}
			session, err := imap.Connect(t.Context(), a, o)
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			unsent := 0
			uids, err := session.After(0)
			if err == nil {
				err = session.Fetch(t.Context(), uids, limits, func(_ context.Context, messages []imap.Message, _ uint32) error {
					for _, m := range messages {
						if !m.Unsent || m.Raw != nil {
							t.Errorf("message %d was stored", m.UID)
						}
						unsent++
					}
					return nil
				})
			}
			if unsent != test.unsent {
				t.Errorf("%d messages were not sent, want %d", unsent, test.unsent)
			}
			if test.unsent > 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || test.want != nil && !strings.Contains(err.Error(), test.want.Error()) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

// TestLogInLater tells a server that has no time from one that does not know the password: the first is asked again, the second is not.
func TestLogInLater(t *testing.T) {
	for answer, wrong := range map[string]bool{
		"NO [ALERT] Too many simultaneous connections. (Failure)": false,
		"NO Temporary authentication failure. Please try again":   false,
		"NO [UNAVAILABLE] no": false,
		"NO [ALERT] Application-specific password required (Failure)": true,
		"NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)":     true,
		"NO": true,
	} {
		account, options, heard := hostile(t, true, greeting, func(w io.Writer, tag, command string) {
			if strings.HasPrefix(command, "LOGIN") || strings.HasPrefix(command, "AUTHENTICATE") {
				fmt.Fprintf(w, "%s %s\r\n", tag, answer)
				return
			}
			fmt.Fprintf(w, "%s OK done\r\n", tag)
		})
		session, err := imap.Connect(t.Context(), account, options)
		if err == nil {
			session.Close()
			t.Fatalf("%s: logged in", answer)
		}
		if errors.Is(err, imap.ErrCredentials) != wrong {
			t.Errorf("%s: %v", answer, err)
		}
		heard()
	}
}
