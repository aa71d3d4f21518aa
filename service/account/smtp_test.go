package account_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// What an smtpServer lets in.
const smtpUser, smtpPassword = "mailer", "the mailer's password"

// smtpServer takes mails from whoever logs in, as RFC 5321, RFC 3207 and RFC 4954 have it, as far as a client of one mail goes. Its
// refusals repeat what it was sent, which real servers do as well.
type smtpServer struct {
	address   string
	certified *x509.CertPool // who signed its certificate, which is for mail.example.org and 127.0.0.1

	tls       *tls.Config
	implicit  bool // TLS from the start
	plain     bool // no STARTTLS and no log-in
	rejecting bool // whatever a mail says
	away      atomic.Bool

	mu       sync.Mutex
	mails    []string
	commands []string // those of connections without TLS
}

func startSMTP(t *testing.T, change func(*smtpServer)) *smtpServer {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &smtpServer{address: listener.Addr().String()}
	s.tls, s.certified = certificate(t)
	change(s)
	var sessions sync.WaitGroup
	ended := t.Context() // before the cleanups: the client leaves connections open that it gives up
	sessions.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			sessions.Go(func() {
				defer conn.Close()
				defer context.AfterFunc(ended, func() { _ = conn.Close() })()
				if !s.away.Load() {
					s.serve(conn)
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		sessions.Wait()
	})
	return s
}

// serve speaks with one client until it leaves.
func (s *smtpServer) serve(conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	secure := s.implicit
	if secure {
		conn = tls.Server(conn, s.tls)
	}
	lines := bufio.NewReader(conn)
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(conn, format+"\r\n", args...) }
	say("220 mail.example.org")
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, argument, _ := strings.Cut(line, " ")
		if !secure {
			s.note(verb)
		}
		switch verb {
		case "EHLO":
			switch {
			case s.plain:
				say("250-mail.example.org\r\n250 8BITMIME")
			case secure:
				say("250-mail.example.org\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 AUTH PLAIN")
			default:
				say("250-mail.example.org\r\n250 STARTTLS")
			}
		case "STARTTLS":
			say("220 go ahead")
			conn, secure = tls.Server(conn, s.tls), true
			lines = bufio.NewReader(conn)
		case "AUTH":
			sent, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(argument, "PLAIN "))
			if string(sent) != "\x00"+smtpUser+"\x00"+smtpPassword {
				say("535 5.7.8 wrong: %s, which is %q", line, sent)
			} else {
				say("235 2.7.0 welcome")
			}
		case "DATA":
			say("354 go on")
			mail := data(lines)
			if s.rejecting {
				say("554 5.7.1 unwanted: %q", mail)
				continue
			}
			s.keep(mail)
			say("250 2.0.0 kept")
		case "QUIT":
			say("221 2.0.0 bye")
			return
		default:
			say("250 2.0.0 fine")
		}
	}
}

// data reads a mail to its final dot.
func data(lines *bufio.Reader) string {
	var mail strings.Builder
	for {
		line, err := lines.ReadString('\n')
		if err != nil || line == ".\r\n" {
			return mail.String()
		}
		mail.WriteString(strings.TrimPrefix(line, "."))
	}
}

func (s *smtpServer) keep(mail string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mails = append(s.mails, mail)
}

func (s *smtpServer) note(command string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commands = append(s.commands, command)
}

// seen returns the mails that came and the commands that came in clear.
func (s *smtpServer) seen() (mails, inClear []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mails), slices.Clone(s.commands)
}

func certificate(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"mail.example.org"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, pool
}
