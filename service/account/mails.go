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
	passwordSet     purpose = "password-set"
	identityLinked  purpose = "identity-linked"
)

// mailsAnHour bounds the mails of one purpose to one user, whoever asks for them.
const mailsAnHour = 5

// mailArgs is the job that sends a mail. It names neither an address nor a token: the worker makes the token, and only the mail holds it.
type mailArgs struct {
	UserID   string  `json:"user_id"`
	Purpose  purpose `json:"purpose"`
	Provider string  `json:"provider,omitempty"` // that was linked
}

func (mailArgs) Kind() string { return "account-mail" }

// send puts a mail into the queue, in a transaction where one is given. The answer that waits for it takes as long for nobody's id.
func (s *Service) send(ctx context.Context, tx pgx.Tx, userID string, about purpose) error {
	if s.queue == nil {
		return errors.New("send a mail: accounts have no queue")
	}
	return s.queue.Insert(ctx, tx, mailArgs{UserID: userID, Purpose: about}, nil)
}

// notify sends a mail to the owner of an account about what was done to it, where the service sends mail.
func (s *Service) notify(ctx context.Context, tx pgx.Tx, what mailArgs) error {
	if s.config.Mailer == nil || s.queue == nil {
		return nil
	}
	return s.queue.Insert(ctx, tx, what, nil)
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
	what := job.Args.letter(user)
	if what.text == "" {
		return nil
	}
	now := s.config.Now()
	counted, err := s.db.CountMail(ctx, accountdb.CountMailParams{
		JobID: job.ID, UserID: user.ID, Purpose: string(job.Args.Purpose), At: now, Since: now.Add(-time.Hour), Most: mailsAnHour,
	})
	if err != nil {
		return fmt.Errorf("count the mails to user %s: %w", user.ID, err)
	}
	if counted == 0 {
		s.config.Log.InfoContext(ctx, "mail not sent: there were enough of its kind in an hour", "purpose", job.Args.Purpose, "user", user.ID)
		return nil
	}
	text, err := s.write(ctx, user.ID, what)
	if err != nil {
		return err
	}
	subject, body, _ := strings.Cut(text, "\n\n")
	if err := s.config.Mailer.Send(ctx, user.Email, subject, body); err != nil {
		return fmt.Errorf("send mail %s to user %s: %w", job.Args.Purpose, user.ID, err)
	}
	return nil
}

// letter is a mail before it is written: its text, and the token that the text has a place for.
type letter struct {
	text     string
	token    purpose // empty for none
	lifetime time.Duration
}

// letter is what a mail says, for the account as it is now; without a text where there is nothing to say. An address that is not proved
// and whose account has no password gets a link that sets one: nobody confirms a password that somebody else chose.
func (a mailArgs) letter(user accountdb.UserByIDRow) letter {
	proved := user.VerifiedAt != nil
	switch a.Purpose {
	case reset:
		return letter{resetMail, reset, resetLifetime}
	case verification, registeredAgain:
		switch {
		case !proved && user.PasswordHash == "":
			return letter{registeredTwiceMail, reset, verificationLifetime}
		case !proved:
			return letter{verificationMail, verification, verificationLifetime}
		case a.Purpose == registeredAgain:
			return letter{text: registeredAgainMail}
		}
	case passwordSet:
		if proved {
			return letter{text: passwordChangedMail}
		}
	case identityLinked:
		if proved {
			return letter{text: strings.ReplaceAll(identityLinkedMail, "{provider}", a.Provider)}
		}
	}
	return letter{}
}

// write fills a letter in, with a new token.
func (s *Service) write(ctx context.Context, userID string, what letter) (string, error) {
	if what.token == "" {
		return what.text, nil
	}
	token, err := s.randomToken()
	if err != nil {
		return "", err
	}
	now := s.config.Now()
	if err := s.db.CreateOneTimeToken(ctx, accountdb.CreateOneTimeTokenParams{
		TokenHash: hashToken(token), UserID: userID, Purpose: string(what.token), CreatedAt: now, ExpiresAt: now.Add(what.lifetime),
	}); err != nil {
		return "", fmt.Errorf("keep a token: %w", err)
	}
	return strings.NewReplacer("{url}", strings.TrimSuffix(s.config.PublicURL, "/"), "{token}", token).Replace(what.text), nil
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
	registeredTwiceMail = `Confirm your e-mail address

Somebody, hopefully you, made an account with this address, and it was not the first time. To confirm the address and choose a password,
open

{url}/account/reset#token={token}

within two days. If it was not you, ignore this mail: without confirmation the account stays unusable.
`
	registeredAgainMail = `You already have an account

Somebody, hopefully you, tried to make an account with this address, which has one already. Log in with it; if you have forgotten its
password, ask for a mail to set a new one. If it was not you, ignore this mail: nothing has changed.
`
	passwordChangedMail = `Your password was changed

The password of the account of this address was changed a moment ago, and its other sessions have ended. Accounts at other providers that
are linked to it still log in, and connected mailboxes stay so: your account lists both. If it was not you, ask for a mail to set a new
password at once, and then unlink and disconnect what is not yours.
`
	identityLinkedMail = `An account elsewhere was linked to yours

From now on an account at {provider} logs in to the account of this address. If it was not you, unlink it and set a new password at once.
`
)
