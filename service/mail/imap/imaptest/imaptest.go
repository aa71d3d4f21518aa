// Package imaptest is an IMAP server that says what a test wants, for what no real server does when asked to.
package imaptest

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// Host is what the server's certificate is for.
const Host = "127.0.0.1"

// Greeting is that of a server which takes AUTHENTICATE PLAIN, and STARTTLS where it is not encrypted from the start.
const Greeting = "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR STARTTLS] ready\r\n"

// Server is a server on loopback.
type Server struct {
	Port  int
	Roots *x509.CertPool

	listener net.Listener
	sessions sync.WaitGroup
	mu       sync.Mutex
	heard    strings.Builder
}

// Start starts a server that ends with the test. answer writes what follows a command.
func Start(t testing.TB, encrypted bool, greeting string, answer func(w io.Writer, tag, command string)) *Server {
	t.Helper()
	certified := httptest.NewTLSServer(nil)
	t.Cleanup(certified.Close)
	listener, err := net.Listen("tcp", Host+":0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Port: listener.Addr().(*net.TCPAddr).Port, Roots: certified.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, listener: listener}
	if encrypted {
		s.listener = tls.NewListener(listener, &tls.Config{Certificates: certified.TLS.Certificates})
	}
	t.Cleanup(func() { _ = s.listener.Close() })
	s.sessions.Go(func() {
		for {
			conn, err := s.listener.Accept()
			if err != nil {
				return
			}
			s.sessions.Go(func() { s.talk(conn, greeting, answer) })
		}
	})
	return s
}

func (s *Server) talk(conn net.Conn, greeting string, answer func(w io.Writer, tag, command string)) {
	defer conn.Close()
	fmt.Fprint(conn, greeting)
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		s.mu.Lock()
		s.heard.WriteString(lines.Text() + "\n")
		s.mu.Unlock()
		tag, command, _ := strings.Cut(lines.Text(), " ")
		answer(conn, tag, command)
	}
}

// Heard ends the server, waits until its clients have gone and returns what they said.
func (s *Server) Heard() string {
	_ = s.listener.Close()
	s.sessions.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heard.String()
}

// Mailbox answers as a server does whose only mailbox is an INBOX with a few messages of the UIDs 1, 2, ….
func Mailbox(messages ...string) func(w io.Writer, tag, command string) {
	return func(w io.Writer, tag, command string) {
		switch {
		case strings.HasPrefix(command, "LIST"):
			fmt.Fprint(w, "* LIST () \"/\" INBOX\r\n")
		case strings.HasPrefix(command, "EXAMINE"):
			fmt.Fprintf(w, "* %d EXISTS\r\n* OK [UIDVALIDITY 1] UIDs are valid\r\n", len(messages))
		case strings.HasPrefix(command, "UID SEARCH"):
			fmt.Fprint(w, "* SEARCH")
			for i := range messages {
				fmt.Fprintf(w, " %d", i+1)
			}
			fmt.Fprint(w, "\r\n")
		case strings.HasPrefix(command, "UID FETCH"):
			uids, _, _ := strings.Cut(strings.TrimPrefix(command, "UID FETCH "), " ")
			for i, text := range messages {
				switch {
				case !within(uids, i+1):
				case strings.Contains(command, "RFC822.SIZE"):
					fmt.Fprintf(w, "* %d FETCH (UID %d RFC822.SIZE %d)\r\n", i+1, i+1, len(text))
				default:
					fmt.Fprintf(w, "* %d FETCH (UID %d BODY[] {%d}\r\n%s)\r\n", i+1, i+1, len(text), text)
				}
			}
		}
		fmt.Fprintf(w, "%s OK done\r\n", tag)
	}
}

// within says whether a set of UIDs, such as 1:3,7, has one.
func within(set string, uid int) bool {
	for part := range strings.SplitSeq(set, ",") {
		var first, last int
		if n, _ := fmt.Sscanf(part, "%d:%d", &first, &last); n == 1 {
			last = first
		}
		if first <= uid && uid <= last {
			return true
		}
	}
	return false
}
