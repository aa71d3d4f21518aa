package imap_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/smart-assistant/platform/service/mail/imap"
	"github.com/smart-assistant/platform/service/outbound"
	"github.com/smart-assistant/platform/test/dovecot"
)

var loopback = outbound.New(netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))

func message(n, size int) []byte {
	return fmt.Appendf(nil, "Message-ID: <%d@example.org>\r\nFrom: a@example.org\r\nSubject: number %d\r\n\r\n%s\r\n", n, n, strings.Repeat("x", size))
}

func account(s *dovecot.Server) imap.Account {
	return imap.Account{Host: dovecot.Host, Port: s.Port, Security: imap.TLS, Username: "ada", Password: "correct horse"}
}

func connect(t *testing.T, s *dovecot.Server, a imap.Account) *imap.Session {
	t.Helper()
	session, err := imap.Connect(t.Context(), a, imap.Options{Dialer: loopback, Roots: s.Roots})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(session.Close)
	return session
}

func TestConnect(t *testing.T) {
	s := dovecot.Start(t)
	s.User(t, "ada", "correct horse")
	s.User(t, "eva", "pässwörd \"\\")
	tests := map[string]struct {
		change func(*imap.Account, *imap.Options)
		want   error
	}{
		"tls":                     {func(*imap.Account, *imap.Options) {}, nil},
		"starttls":                {func(a *imap.Account, _ *imap.Options) { a.Security, a.Port = imap.STARTTLS, s.Plain }, nil},
		"a password of all kinds": {func(a *imap.Account, _ *imap.Options) { a.Username, a.Password = "eva", "pässwörd \"\\" }, nil},
		"a wrong password":        {func(a *imap.Account, _ *imap.Options) { a.Password = "wrong" }, imap.ErrCredentials},
		"an unknown user":         {func(a *imap.Account, _ *imap.Options) { a.Username = "nobody-here" }, imap.ErrCredentials},
		"another authority":       {func(_ *imap.Account, o *imap.Options) { o.Roots = x509.NewCertPool() }, imap.ErrSecurity},
		"another name":            {func(a *imap.Account, _ *imap.Options) { a.Host = "127.0.0.1" }, imap.ErrSecurity},
		"starttls, another authority": {func(a *imap.Account, o *imap.Options) {
			a.Security, a.Port, o.Roots = imap.STARTTLS, s.Plain, x509.NewCertPool()
		}, imap.ErrSecurity},
		"tls at a port without": {func(a *imap.Account, _ *imap.Options) { a.Port = s.Plain }, imap.ErrSecurity},
		"no security":           {func(a *imap.Account, _ *imap.Options) { a.Security = "none" }, imap.ErrSecurity},
		"a private address":     {func(_ *imap.Account, o *imap.Options) { o.Dialer = outbound.New() }, outbound.ErrForbidden},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a, o := account(s), imap.Options{Dialer: loopback, Roots: s.Roots}
			test.change(&a, &o)
			session, err := imap.Connect(t.Context(), a, o)
			if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			if err == nil {
				session.Close()
			} else if strings.Contains(err.Error(), a.Password) {
				t.Errorf("the error tells the password: %v", err)
			}
		})
	}
}

func TestMailboxes(t *testing.T) {
	s := dovecot.Start(t)
	s.User(t, "ada", "correct horse")
	s.Deliver(t, "ada", "Archives", message(1, 10))
	boxes, err := connect(t, s, account(s)).Mailboxes()
	if err != nil {
		t.Fatal(err)
	}
	var all, read []string
	for _, box := range boxes {
		all = append(all, box.Name)
		if box.Default {
			read = append(read, box.Name)
		}
	}
	slices.Sort(all)
	slices.Sort(read)
	if want := []string{"Archive", "Archives", "INBOX", "Junk", "Trash"}; !slices.Equal(all, want) {
		t.Errorf("got %q, want %q", all, want)
	}
	if want := []string{"Archive", "INBOX"}; !slices.Equal(read, want) {
		t.Errorf("read by default %q, want %q", read, want)
	}
}

func TestFetchInBatches(t *testing.T) {
	s := dovecot.Start(t)
	s.User(t, "ada", "correct horse")
	for n := range 25 {
		s.Deliver(t, "ada", "INBOX", message(n, 100))
	}
	s.Deliver(t, "ada", "INBOX", message(25, 5000))
	session := connect(t, s, account(s))
	if _, err := session.Open("INBOX"); err != nil {
		t.Fatal(err)
	}
	uids, err := session.After(3)
	if err != nil || len(uids) != 23 || uids[0] != 4 {
		t.Fatalf("after 3: %v, %v", uids, err)
	}
	var got, ends []uint32
	err = session.Fetch(t.Context(), append(uids, 1000), imap.Limits{Messages: 4, Bytes: 600, Message: 4000},
		func(_ context.Context, messages []imap.Message, last uint32) error {
			ends = append(ends, last)
			for _, m := range messages {
				got = append(got, m.UID)
				if (m.Raw == nil) != (m.Size > 4000) || m.Raw != nil && int64(len(m.Raw)) != m.Size {
					t.Errorf("message %d of %d bytes came as %d", m.UID, m.Size, len(m.Raw))
				}
			}
			return nil
		})
	if err != nil || !slices.Equal(got, uids) || !slices.IsSorted(ends) || ends[len(ends)-1] != 1000 || len(ends) < 23/4 {
		t.Errorf("fetched %v in batches that end at %v, error %v; want %v", got, ends, err, uids)
	}
	if uids, err := session.After(26); err != nil || len(uids) != 0 {
		t.Errorf("after the last: %v, %v", uids, err)
	}
	if _, err := session.Open("not there"); !errors.Is(err, imap.ErrNoMailbox) {
		t.Errorf("a mailbox that is not there: %v", err)
	}
}

func TestEndsWithTheContext(t *testing.T) {
	s := dovecot.Start(t)
	s.User(t, "ada", "correct horse")
	ctx, cancel := context.WithCancel(t.Context())
	session, err := imap.Connect(ctx, account(s), imap.Options{Dialer: loopback, Roots: s.Roots})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := session.After(0); err == nil {
		t.Error("a session outlives its context")
	}
	if _, err := imap.Connect(ctx, account(s), imap.Options{Dialer: &net.Dialer{}, Roots: s.Roots}); !errors.Is(err, context.Canceled) {
		t.Errorf("connect with an ended context: %v", err)
	}
}
