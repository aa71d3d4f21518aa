package mail

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/smart-assistant/platform/service/mail/imap"
	"github.com/smart-assistant/platform/service/outbound"
)

// probeTime is how long a log-in may take that a user waits for. It is less than a request's time.
const probeTime = 10 * time.Second

// check completes a new connection and refuses what no server takes.
func (in *IMAPConnection) check() error {
	in.Host = strings.TrimSpace(in.Host)
	if address, err := netip.ParseAddr(strings.Trim(in.Host, "[]")); err == nil {
		in.Host = address.String()
	} else if in.Host == "" || strings.ContainsAny(in.Host, " /:@[]") || control(in.Host) {
		return &fieldError{"host", "is not the name of a server, such as imap.example.org"}
	}
	if in.Port == 0 && in.Security == imap.TLS {
		in.Port = 993
	} else if in.Port == 0 {
		in.Port = 143
	}
	if in.Name == "" {
		in.Name = in.Username
	}
	for _, field := range []struct{ name, text string }{{"username", in.Username}, {"password", in.Password}, {"name", in.Name}} {
		if control(field.text) {
			return &fieldError{field.name, "contains a control character"}
		}
	}
	for _, mailbox := range in.Mailboxes {
		if mailbox == "" || len(mailbox) > 1000 || control(mailbox) {
			return &fieldError{"mailboxes", "has a name that no mailbox has"}
		}
	}
	slices.Sort(in.Mailboxes)
	in.Mailboxes = slices.Compact(in.Mailboxes)
	return nil
}

func (change *ConnectionChange) check() error {
	if change.Name != nil && control(*change.Name) {
		return &fieldError{"name", "contains a control character"}
	}
	if change.Password != nil && control(*change.Password) {
		return &fieldError{"password", "contains a control character"}
	}
	return nil
}

// account is how to log in.
func (m MailServer) account(password string) imap.Account {
	return imap.Account{Host: m.Host, Port: m.Port, Security: m.Security, Username: m.Username, Password: password}
}

func (c *connections) imapOptions() imap.Options {
	return imap.Options{Dialer: c.config.Outbound, Roots: c.sync.Roots}
}

// probe logs in and looks for the mailboxes. What is wrong is a fieldError.
func (c *connections) probe(ctx context.Context, server MailServer, password string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	session, err := imap.Connect(ctx, server.account(password), c.imapOptions())
	if err != nil {
		return &fieldError{imapField(err), imapReason(err)}
	}
	defer session.Close()
	_, missing, err := chooseMailboxes(session, server.Mailboxes)
	if err != nil {
		return &fieldError{"host", imapReason(err)}
	}
	if len(missing) > 0 {
		return &fieldError{"mailboxes", missingMailboxes(missing)}
	}
	return nil
}

// chooseMailboxes returns those to read, and those that were named and are not there.
func chooseMailboxes(session *imap.Session, named []string) (chosen, missing []string, err error) {
	boxes, err := session.Mailboxes()
	if err != nil {
		return nil, nil, err
	}
	for _, box := range boxes {
		if box.Default && len(named) == 0 || slices.Contains(named, box.Name) {
			chosen = append(chosen, box.Name)
		}
	}
	for _, name := range named {
		if !slices.Contains(chosen, name) {
			missing = append(missing, name)
		}
	}
	return chosen, missing, nil
}

func missingMailboxes(names []string) string {
	return fmt.Sprintf("the server has no mailbox %q", strings.Join(names, `", "`))
}

// imapField is the field of a request that an error is about.
func imapField(err error) string {
	switch {
	case errors.Is(err, imap.ErrCredentials):
		return "password"
	case errors.Is(err, imap.ErrSecurity):
		return "security"
	default:
		return "host"
	}
}

// imapReason says to a user what is wrong.
func imapReason(err error) string {
	switch {
	case errors.Is(err, imap.ErrCredentials):
		return "the server refuses the user name or the password; many providers want a password made for apps"
	case errors.Is(err, imap.ErrSecurity):
		return "no secure connection is possible, and there is none without: " + outbound.Reason(err)
	case errors.Is(err, imap.ErrTooMuch):
		return "the server sends more than it was asked for"
	default:
		return outbound.Reason(err)
	}
}
