package account

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/smart-assistant/platform/service/account/accountdb"
)

// Mailer sends a plain text mail. What it returns must hold neither the text nor a password.
type Mailer interface {
	Send(ctx context.Context, to, subject, text string) error
}

// purpose is what a mail is about, and what the token in it is for.
type purpose string

const (
	verification    purpose = "verify"
	reset           purpose = "reset"
	registeredAgain purpose = "registered-again" // somebody registered with an address that has an account
)

// mailsAnHour bounds the mails of one purpose to one user, whoever asks for them.
const mailsAnHour = 5

// mailArgs is the job that sends a mail. It names neither an address nor a token: the worker makes the token, and only the mail holds it.
type mailArgs struct {
	UserID  string  `json:"user_id"`
	Purpose purpose `json:"purpose"`
}

func (mailArgs) Kind() string { return "account-mail" }

// send puts a mail into the queue, in a transaction where one is given. The answer that waits for it takes as long for nobody's id.
func (s *Service) send(ctx context.Context, tx pgx.Tx, userID string, about purpose) error {
	if s.queue == nil {
		return errors.New("send a mail: accounts have no queue")
	}
	return s.queue.Insert(ctx, tx, mailArgs{userID, about}, nil)
}

type mailWorker struct {
	river.WorkerDefaults[mailArgs]
	accounts *Service
}

// Work sends the mail. A job that is run again sends another, with a token of its own.
func (w *mailWorker) Work(ctx context.Context, job *river.Job[mailArgs]) error {
	s := w.accounts
	user, err := s.db.UserByID(ctx, job.Args.UserID)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && (user.DisabledAt != nil || !s.provesAddress(user.Email)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read user %s: %w", job.Args.UserID, err)
	}
	text, err := s.mail(ctx, user, job.Args.Purpose)
	if err != nil || text == "" {
		return err
	}
	subject, body, _ := strings.Cut(text, "\n\n")
	if err := s.config.Mailer.Send(ctx, user.Email, subject, body); err != nil {
		return fmt.Errorf("send mail %s to user %s: %w", job.Args.Purpose, user.ID, err)
	}
	return nil
}

// mail is what a mail says, for the account as it is now; empty where there is nothing to say. An address that is not proved and whose
// account has no password gets a link that sets one: nobody confirms a password that somebody else chose.
func (s *Service) mail(ctx context.Context, user accountdb.UserByIDRow, about purpose) (string, error) {
	switch proved := user.VerifiedAt != nil; {
	case about == reset:
		return s.withToken(ctx, user.ID, reset, resetLifetime, resetMail)
	case proved && about == registeredAgain:
		return registeredAgainMail, nil
	case proved:
		return "", nil
	case user.PasswordHash == "":
		return s.withToken(ctx, user.ID, reset, verificationLifetime, choosePasswordMail)
	default:
		return s.withToken(ctx, user.ID, verification, verificationLifetime, verificationMail)
	}
}

// withToken makes a token and the mail that holds it; no mail when there were enough of them.
func (s *Service) withToken(ctx context.Context, userID string, about purpose, lifetime time.Duration, mail string) (string, error) {
	now := s.config.Now()
	n, err := s.db.RecentOneTimeTokens(ctx, accountdb.RecentOneTimeTokensParams{UserID: userID, Purpose: string(about), Since: now.Add(-time.Hour)})
	if err != nil {
		return "", fmt.Errorf("count tokens: %w", err)
	}
	if n >= mailsAnHour {
		return "", nil
	}
	token, err := s.randomToken()
	if err != nil {
		return "", err
	}
	if err := s.db.CreateOneTimeToken(ctx, accountdb.CreateOneTimeTokenParams{
		TokenHash: hashToken(token), UserID: userID, Purpose: string(about), CreatedAt: now, ExpiresAt: now.Add(lifetime),
	}); err != nil {
		return "", fmt.Errorf("keep a token: %w", err)
	}
	return strings.NewReplacer("{url}", strings.TrimSuffix(s.config.PublicURL, "/"), "{token}", token).Replace(mail), nil
}

// The mails: the subject, an empty line, the text. The token stands behind # in a link, where no server and no log sees it.
const (
	verificationMail = `Confirm your e-mail address

Somebody, hopefully you, made an account with this address. To confirm it, open

{url}/account/verify#token={token}

within two days. If it was not you, ignore this mail: without confirmation the account stays unusable.
`
	resetMail = `Set a new password

Somebody, hopefully you, asked to set a new password for the account of this address. To do so, open

{url}/account/reset#token={token}

within an hour. If it was not you, ignore this mail: your password stays what it is.
`
	choosePasswordMail = `Confirm your e-mail address

Somebody, hopefully you, made an account with this address, and it was not the first time. To confirm the address and choose a password,
open

{url}/account/reset#token={token}

within two days. If it was not you, ignore this mail: without confirmation the account stays unusable.
`
	registeredAgainMail = `You already have an account

Somebody, hopefully you, tried to make an account with this address, which has one already. Log in with it; if you have forgotten its
password, ask for a mail to set a new one. If it was not you, ignore this mail: nothing has changed.
`
)
