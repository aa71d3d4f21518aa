package account_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"io"
	"net"
	netmail "net/mail"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wneessen/go-mail"

	"github.com/smart-assistant/platform/service/account"
)

// Where a mailer of these tests sends, and what no error may hold.
const (
	elsewhere  = "mail.example.org:587" // the tests' server under a name that is not loopback's
	mailSecret = "the-token-in-the-mail"
)

func at() time.Time { return time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC) }

// mailer sends to a server at host:port, whatever the host is, and believes whom the server's certificate is signed by.
func (s *smtpServer) mailer(t *testing.T, scheme, host, password string, believed *x509.CertPool) account.Mailer {
	t.Helper()
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		t.Fatal(err)
	}
	options := []mail.Option{mail.WithTLSConfig(&tls.Config{MinVersion: tls.VersionTLS12, ServerName: name, RootCAs: believed})}
	if host == elsewhere {
		options = append(options, mail.WithDialContextFunc(func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, s.address)
		}))
	}
	server := url.URL{Scheme: scheme, Host: host}
	if password != "" {
		server.User = url.UserPassword(smtpUser, password)
	}
	m, err := account.NewSMTPMailerWith(server.String(), "Assistant <assistant@example.org>", at, options...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestSMTPMailer: a mail arrives under TLS, or at a server beside us; whatever is wrong, it is not sent, neither it nor the password goes
// out in clear, and the error holds neither.
func TestSMTPMailer(t *testing.T) {
	for name, test := range map[string]struct {
		scheme, host, password string
		server                 func(*smtpServer)
		stranger               bool // the server's certificate is signed by nobody whom we know
		fails                  string
	}{
		"TLS from the start":        {scheme: "smtps", password: smtpPassword, server: func(s *smtpServer) { s.implicit = true }},
		"STARTTLS":                  {scheme: "smtp", host: elsewhere, password: smtpPassword},
		"STARTTLS on loopback":      {scheme: "smtp", password: smtpPassword},
		"in clear on loopback":      {scheme: "smtp", server: func(s *smtpServer) { s.plain = true }},
		"in clear elsewhere":        {scheme: "smtp", host: elsewhere, server: func(s *smtpServer) { s.plain = true }, fails: "STARTTLS"},
		"password in clear":         {scheme: "smtp", host: elsewhere, password: smtpPassword, server: func(s *smtpServer) { s.plain = true }, fails: "STARTTLS"},
		"wrong password":            {scheme: "smtp", host: elsewhere, password: "another password", fails: "535"},
		"unknown certificate":       {scheme: "smtp", host: elsewhere, password: smtpPassword, stranger: true, fails: "certificate"},
		"unknown certificate, TLS":  {scheme: "smtps", password: smtpPassword, server: func(s *smtpServer) { s.implicit = true }, stranger: true, fails: "certificate"},
		"refused for what it says":  {scheme: "smtp", host: elsewhere, password: smtpPassword, server: func(s *smtpServer) { s.rejecting = true }, fails: "554 5.7.1"},
		"server hangs up":           {scheme: "smtp", password: smtpPassword, server: func(s *smtpServer) { s.away.Store(true) }, fails: "EOF"},
		"log-in is not offered":     {scheme: "smtp", password: smtpPassword, server: func(s *smtpServer) { s.plain = true }, fails: "AUTH"},
		"TLS where it is not meant": {scheme: "smtps", password: smtpPassword, fails: "TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			if test.server == nil {
				test.server = func(*smtpServer) {}
			}
			s := startSMTP(t, test.server)
			if test.host == "" {
				test.host = s.address
			}
			believed := s.certified
			if test.stranger {
				believed = x509.NewCertPool()
			}
			err := s.mailer(t, test.scheme, test.host, test.password, believed).Send(t.Context(), "ada@example.net", "Grüße", "Open this:\n\n.\n"+mailSecret+"\n")
			mails, inClear := s.seen()
			if slices.Contains(inClear, "AUTH") || test.host == elsewhere && slices.Contains(inClear, "MAIL") {
				t.Errorf("in clear: %v", inClear)
			}
			if test.fails == "" {
				if err != nil || len(mails) != 1 {
					t.Fatalf("%d mails (%v)", len(mails), err)
				}
				wantMail(t, mails[0])
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.fails) || len(mails) > 0 {
				t.Fatalf("%v, want %q; %d mails", err, test.fails, len(mails))
			}
			for _, secret := range []string{mailSecret, test.password, base64.StdEncoding.EncodeToString([]byte("\x00" + smtpUser + "\x00" + test.password))} {
				if secret != "" && strings.Contains(err.Error(), secret) {
					t.Errorf("the error tells %q: %v", secret, err)
				}
			}
		})
	}
}

func wantMail(t *testing.T, text string) {
	t.Helper()
	m, err := netmail.ReadMessage(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(m.Body)
	if err != nil {
		t.Fatal(err)
	}
	date, err := m.Header.Date()
	if err != nil || !date.Equal(at()) {
		t.Errorf("date %s (%v)", date, err)
	}
	if got, want := strings.TrimRight(string(body), "\r\n"), "Open this:\r\n\r\n.\r\n"+mailSecret; got != want {
		t.Errorf("text %q, want %q", got, want)
	}
	for name, want := range map[string]string{"From": "assistant@example.org", "To": "<ada@example.net>", "Subject": "=?UTF-8?q?Gr=C3=BC=C3=9Fe?=", "Message-Id": "@example.org>"} {
		if got := m.Header.Get(name); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestMailerSettings: what is wrong is named, and the password in the address of a server is not repeated.
func TestMailerSettings(t *testing.T) {
	for server, want := range map[string]string{
		"smtps://u:" + smtpPassword + "@host:port":    "not a URL",
		"https://u:secretword@host":                   `"https"`,
		"host:465":                                    "smtps or smtp",
		"smtps://u:secretword@":                       "",
		"smtps://u:secretword@mail.example.org:99999": "port",
	} {
		_, err := account.NewSMTPMailer(server, "a@example.org", at)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secretword") || strings.Contains(err.Error(), smtpPassword) {
			t.Errorf("%s: %v", server, err)
		}
	}
	for _, from := range []string{"", "nobody", "a@example.org, b@example.org", "a@example.org\r\nBcc: b@example.org"} {
		if _, err := account.NewSMTPMailer("smtps://mail.example.org", from, at); err == nil || !strings.Contains(err.Error(), "sender") {
			t.Errorf("from %q: %v", from, err)
		}
		if _, err := account.NewFolderMailer(t.TempDir(), from, at); err == nil || !strings.Contains(err.Error(), "sender") {
			t.Errorf("from %q: %v", from, err)
		}
	}
}

// TestFolderMailer: each file is its owner's only, and whole from the moment that it is there, however many are written at once.
func TestFolderMailer(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "new", "mails")
	m, err := account.NewFolderMailer(folder, "assistant@example.org", at)
	if err != nil {
		t.Fatal(err)
	}
	const mails = 40
	text := strings.Repeat("A line of a mail.\n", 5000) + "The end.\n"
	var all sync.WaitGroup
	for range mails {
		all.Go(func() {
			if err := m.Send(t.Context(), "ada@example.net", "Hello", text); err != nil {
				t.Error(err)
			}
		})
	}
	for seen := 0; seen < mails && !t.Failed(); {
		files, err := filepath.Glob(filepath.Join(folder, "*.eml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			mail, err := os.ReadFile(file)
			if err != nil || !strings.HasSuffix(strings.TrimRight(string(mail), "\r\n"), "The end.") {
				t.Fatalf("%s is not whole: %d bytes (%v)", file, len(mail), err)
			}
		}
		seen = len(files)
	}
	all.Wait()
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) != mails {
		t.Errorf("%d files (%v), want %d", len(entries), err, mails)
	}
	for _, entry := range entries {
		if info, err := entry.Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s has mode %s (%v)", entry.Name(), info.Mode(), err)
		}
	}
	if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder has mode %s (%v)", info.Mode(), err)
	}
	if err := m.Send(t.Context(), "ada@example.net\r\nBcc: b@example.org", "Hello", text); err == nil || strings.Contains(err.Error(), "Bcc") {
		t.Errorf("a recipient that adds a header: %v", err)
	}
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if err := m.Send(t.Context(), "ada@example.net", "Hello", mailSecret); err == nil || strings.Contains(err.Error(), mailSecret) {
		t.Errorf("without its folder: %v", err)
	}
}
