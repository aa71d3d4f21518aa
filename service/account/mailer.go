package account

import (
	"context"
	"errors"
	"fmt"
	netmail "net/mail"
	"net/netip"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"github.com/smart-assistant/platform/service/telemetry"
)

// mailTimeout is the longest time of each step towards an SMTP server.
const mailTimeout = 20 * time.Second

// NewSMTPMailer sends by an SMTP server: smtps://user:password@host:port speaks TLS from the start (RFC 8314), smtp:// upgrades by
// STARTTLS and insists on it, but for a server on loopback. No error of it holds the password or what a mail says.
func NewSMTPMailer(server, from string, now telemetry.Clock) (Mailer, error) {
	return newSMTPMailer(server, from, now)
}

func newSMTPMailer(server, from string, now telemetry.Clock, more ...mail.Option) (Mailer, error) {
	address, err := netmail.ParseAddress(from)
	if err != nil {
		return nil, fmt.Errorf("the sender %q is not an e-mail address", from)
	}
	u, err := url.Parse(server)
	if err != nil { // its error repeats the URL, which holds the password
		return nil, errors.New("the SMTP server is not a URL: want smtps://user:password@host:port")
	}
	options := []mail.Option{mail.WithTimeout(mailTimeout)}
	switch {
	case u.Scheme == "smtps":
		options = append(options, mail.WithSSLPort(false))
	case u.Scheme == "smtp" && isLoopback(u.Hostname()):
		options = append(options, mail.WithTLSPortPolicy(mail.TLSOpportunistic))
	case u.Scheme == "smtp":
		options = append(options, mail.WithTLSPortPolicy(mail.TLSMandatory))
	default:
		return nil, fmt.Errorf("the SMTP server's scheme is %q: want smtps or smtp", u.Scheme)
	}
	if port := u.Port(); port != "" {
		number, err := strconv.Atoi(port)
		if err != nil {
			return nil, fmt.Errorf("the SMTP server's port is %q: want a number", port)
		}
		options = append(options, mail.WithPort(number))
	}
	if user := u.User; user != nil {
		password, _ := user.Password()
		options = append(options, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(user.Username()), mail.WithPassword(password))
	}
	client, err := mail.NewClient(u.Hostname(), append(options, more...)...)
	if err != nil {
		return nil, fmt.Errorf("set up mail by %s: %w", u.Host, err)
	}
	return &smtpMailer{client, address, now}, nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

type smtpMailer struct {
	client *mail.Client
	from   *netmail.Address
	now    telemetry.Clock
}

func (m *smtpMailer) Send(ctx context.Context, to, subject, text string) error {
	message, err := compose(m.from, to, subject, text, m.now())
	if err != nil {
		return err
	}
	if err := m.client.DialAndSendWithContext(ctx, message); err != nil {
		return fmt.Errorf("send by SMTP: %w", withoutWords(err))
	}
	return nil
}

// withoutWords leaves of a server's answer its codes (RFC 5321, section 4.2; RFC 3463). Its words may repeat what it was sent: the
// password, or the token in a mail.
func withoutWords(err error) error {
	if failed, is := errors.AsType[*mail.SendError](err); is {
		return fmt.Errorf("%s: the server answered %d %s", failed.Reason, failed.ErrorCode(), failed.EnhancedStatusCode())
	}
	if answer, is := errors.AsType[*textproto.Error](err); is {
		return fmt.Errorf("before the mail: the server answered %d", answer.Code)
	}
	if _, is := errors.AsType[textproto.ProtocolError](err); is || errors.Is(err, smtp.ErrUnexpectedServerResponse) {
		return errors.New("before the mail: the server's answer is not SMTP")
	}
	return err
}

// NewFolderMailer writes each mail as an .eml file (RFC 5322) into a folder, for development. Only its owner may read the files: they
// hold tokens.
func NewFolderMailer(folder, from string, now telemetry.Clock) (Mailer, error) {
	address, err := netmail.ParseAddress(from)
	if err != nil {
		return nil, fmt.Errorf("the sender %q is not an e-mail address", from)
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for mails: %w", err)
	}
	return &folderMailer{folder, address, now}, nil
}

type folderMailer struct {
	folder string
	from   *netmail.Address
	now    telemetry.Clock
}

func (m *folderMailer) Send(_ context.Context, to, subject, text string) error {
	message, err := compose(m.from, to, subject, text, m.now())
	if err != nil {
		return err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("name a mail: %w", err)
	}
	// It appears whole: whoever watches the folder never reads half a mail.
	path := filepath.Join(m.folder, id.String()+".eml")
	file, err := os.OpenFile(path+".part", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // the operator names the folder
	if err != nil {
		return fmt.Errorf("write a mail: %w", err)
	}
	_, err = message.WriteTo(file)
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write a mail: %w", errors.Join(err, os.Remove(file.Name())))
	}
	return nil
}

// compose refuses addresses that would add headers: go-mail parses them.
func compose(from *netmail.Address, to, subject, text string, at time.Time) (*mail.Msg, error) {
	message := mail.NewMsg(mail.WithEncoding(mail.NoEncoding), mail.WithNoDefaultUserAgent())
	message.FromMailAddress(from)
	if err := message.To(to); err != nil {
		return nil, errors.New("compose a mail: the recipient is not an address that mail can go to")
	}
	message.Subject(subject)
	message.SetDateWithValue(at)
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("name a mail: %w", err)
	}
	message.SetMessageIDWithValue(id.String() + from.Address[strings.LastIndexByte(from.Address, '@'):])
	message.SetBodyString(mail.TypeTextPlain, text)
	return message, nil
}
