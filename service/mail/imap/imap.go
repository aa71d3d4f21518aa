// Package imap reads messages from an IMAP server (RFC 3501 and 9051), always over TLS and without changing anything there.
//
// It owns the conversation with the server and its limits. What to read next and what becomes of a message is the caller's.
package imap

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"
)

// Security says when TLS begins.
type Security string

// The kinds of security. There is none without TLS.
const (
	TLS      Security = "tls"      // from the first byte (RFC 8314), port 993 as a rule
	STARTTLS Security = "starttls" // after the greeting, port 143 as a rule
)

// Account is a mailbox owner's way in.
type Account struct {
	Host     string
	Port     int
	Security Security
	Username string
	Password string
}

// Address is the server's host:port.
func (a Account) Address() string { return net.JoinHostPort(a.Host, strconv.Itoa(a.Port)) }

// Dialer opens connections. The guarded one is package outbound's.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// Options are how to connect.
type Options struct {
	Dialer Dialer
	Roots  *x509.CertPool // that the server's certificate is checked by; nil for the system's
	Quiet  time.Duration  // how long the server may say nothing; default 1 min
}

// What can be wrong with an account or a server. Other errors are failures to reach it, which may pass.
var (
	ErrCredentials = errors.New("the server refuses the user name or the password")
	ErrSecurity    = errors.New("no trustworthy TLS with the server")
	ErrNoMailbox   = errors.New("there is no such mailbox")
	ErrTooMuch     = errors.New("the server sent more than it was asked for")
)

// Session is a logged-in connection. It is for one goroutine.
type Session struct {
	client *imapclient.Client
	conn   *limitedConn
	stop   func() bool
}

// Connect connects and logs in. The session ends when ctx does.
func Connect(ctx context.Context, account Account, options Options) (*Session, error) {
	if options.Quiet == 0 {
		options.Quiet = time.Minute
	}
	plain, err := options.Dialer.DialContext(ctx, "tcp", account.Address())
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", account.Address(), err)
	}
	s := &Session{conn: newLimitedConn(plain, options.Quiet)}
	s.stop = context.AfterFunc(ctx, func() { _ = plain.Close() })
	if err := s.open(ctx, account, options.Roots); err != nil {
		s.stop()
		_ = plain.Close()
		return nil, fmt.Errorf("log in to %s: %w", account.Address(), errors.Join(err, context.Cause(ctx)))
	}
	return s, nil
}

// open begins TLS and logs in.
func (s *Session) open(ctx context.Context, account Account, roots *x509.CertPool) error {
	config := &tls.Config{ServerName: account.Host, RootCAs: roots, MinVersion: tls.VersionTLS12, NextProtos: []string{"imap"}}
	switch account.Security {
	case TLS:
		conn := tls.Client(s.conn, config)
		if err := conn.HandshakeContext(ctx); err != nil {
			return insecure(err)
		}
		s.client = imapclient.New(conn, nil)
	case STARTTLS:
		// Without STARTTLS, or with a greeting that skips the log-in, this is an error: nothing is ever said in the clear.
		client, err := imapclient.NewStartTLS(s.conn, &imapclient.Options{TLSConfig: config})
		if err != nil {
			return insecure(err)
		}
		s.client = client
	default:
		return fmt.Errorf("security %q: %w", account.Security, ErrSecurity)
	}
	if err := s.client.WaitGreeting(); err != nil {
		return err
	}
	return s.login(account)
}

// insecure tells failures of TLS from those of the network.
func insecure(err error) error {
	var network net.Error
	if errors.As(err, &network) && network.Timeout() {
		return err
	}
	return fmt.Errorf("%w: %w", ErrSecurity, err)
}

// login prefers AUTHENTICATE PLAIN (RFC 4616), which takes any UTF-8, to LOGIN.
func (s *Session) login(account Account) error {
	var err error
	if s.client.Caps().Has(imap.AuthCap(sasl.Plain)) {
		err = s.client.Authenticate(sasl.NewPlainClient("", account.Username, account.Password))
	} else {
		err = s.client.Login(account.Username, account.Password).Wait()
	}
	var answer *imap.Error
	if !errors.As(err, &answer) {
		return err
	}
	if answer.Type == imap.StatusResponseTypeNo && !passing(answer) {
		return fmt.Errorf("%w: %w", ErrCredentials, err)
	}
	return err
}

// passing is an answer that the server cannot look now (RFC 5530); any other NO is about who asks, or what for.
func passing(answer *imap.Error) bool {
	codes := []imap.ResponseCode{
		imap.ResponseCodeUnavailable, imap.ResponseCodeInUse, imap.ResponseCodeLimit, imap.ResponseCodeServerBug, imap.ResponseCodeContactAdmin,
	}
	return slices.Contains(codes, answer.Code) || saysLater(answer.Text)
}

// saysLater recognises the words of servers that have no code for it, such as Gmail's "[ALERT] Too many simultaneous connections".
func saysLater(text string) bool {
	text = strings.ToLower(text)
	return slices.ContainsFunc([]string{"too many", "try again", "temporar", "later"}, func(words string) bool { return strings.Contains(text, words) })
}

// farewell is how long a server may take to say good-bye.
const farewell = 5 * time.Second

// Close logs out where that still works, and ends the connection. What goes wrong with that matters to nobody: all that was asked for
// has come.
func (s *Session) Close() {
	defer s.stop()
	defer time.AfterFunc(farewell, func() { _ = s.conn.Conn.Close() }).Stop()
	s.conn.allow(small)
	_ = s.client.Logout().Wait()
	_ = s.client.Close()
}
