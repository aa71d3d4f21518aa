package mail

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/smart-assistant/platform/service/mail/gmail"
	"github.com/smart-assistant/platform/service/mail/maildb"
	"github.com/smart-assistant/platform/service/work"
)

// leaveArgs is the job that ends a connection which its owner removed. The consent to take back stays in the connection's row, sealed,
// until that is done or given up.
type leaveArgs struct {
	ConnectionID string `json:"connection_id"`
	DeleteEmails bool   `json:"delete_emails"`
}

func (leaveArgs) Kind() string { return "leave-connection" }

// revokeAttempts is how often Google is asked to take a consent back: over two and a half hours, with River's intervals.
const revokeAttempts = 8

func leaveOptions() *river.InsertOpts { return &river.InsertOpts{Queue: work.MailUpkeep} }

type leaver struct {
	river.WorkerDefaults[leaveArgs]
	connections *connections
}

// Timeout is for mailboxes with many messages; what is done by then stays done.
func (l *leaver) Timeout(*river.Job[leaveArgs]) time.Duration { return 10 * time.Minute }

// Work does one thing after the other, each of which may be done already.
func (l *leaver) Work(ctx context.Context, job *river.Job[leaveArgs]) error {
	c := l.connections
	row, err := c.db.LeavingConnection(ctx, job.Args.ConnectionID)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read connection %s that is leaving: %w", job.Args.ConnectionID, err)
	}
	if err := c.takeBack(ctx, row, job.Attempt); err != nil {
		return err
	}
	if err := c.leaveEmails(ctx, row, job.Args.DeleteEmails); err != nil {
		return err
	}
	return c.remove(ctx, row)
}

// remove deletes a connection whose messages are gone or nobody's.
func (c *connections) remove(ctx context.Context, row maildb.Connection) error {
	err := work.Batches(ctx, func(ctx context.Context) (int64, error) { return c.db.DeleteOrigins(ctx, row.ID) })
	if err != nil {
		return fmt.Errorf("delete what is known of connection %s: %w", row.ID, err)
	}
	if err := c.db.DeleteConnection(ctx, row.ID); err != nil {
		return fmt.Errorf("delete connection %s: %w", row.ID, err)
	}
	return nil
}

// takeBack revokes a consent at Google and forgets its tokens, in the end without Google's word.
func (c *connections) takeBack(ctx context.Context, row maildb.Connection, attempt int) error {
	if row.Kind != kindGmail || row.Secret == nil {
		return nil
	}
	err := c.revoke(ctx, row)
	if err != nil && attempt < revokeAttempts {
		return fmt.Errorf("take back the consent of connection %s: %w", row.ID, err)
	}
	if err != nil {
		c.config.Log.WarnContext(ctx, "a consent at Google stays: taking it back failed too often", "connection", row.ID, "error", err)
	}
	if err := c.db.ForgetSecret(ctx, row.ID); err != nil {
		return fmt.Errorf("forget the tokens of connection %s: %w", row.ID, err)
	}
	return nil
}

// revoke takes a consent back, unless the user consented again in the meantime: Google revokes all tokens of a user at once.
func (c *connections) revoke(ctx context.Context, row maildb.Connection) error {
	again, err := c.db.HasAccount(ctx, maildb.HasAccountParams{UserID: row.UserID, Kind: kindGmail, Account: row.Account})
	if err != nil || again {
		return err
	}
	kept, err := c.openTokens(row)
	if err != nil {
		return err
	}
	address := c.config.GmailRevokeURL
	if address == "" {
		address = gmail.RevokeURL
	}
	return gmail.Revoke(ctx, c.google, address, kept.Refresh)
}

// leaveEmails deletes the messages that a connection brought, or keeps them as nobody's. A message that another connection has as well
// is kept.
func (c *connections) leaveEmails(ctx context.Context, row maildb.Connection, remove bool) error {
	for {
		found, err := c.db.LeavingEmails(ctx, row.ID)
		if err != nil {
			return fmt.Errorf("list the messages of connection %s: %w", row.ID, err)
		}
		if len(found) == 0 {
			return nil
		}
		var keep, drop []string
		for _, email := range found {
			if remove && !email.Shared {
				drop = append(drop, email.ID)
			} else {
				keep = append(keep, email.ID)
			}
		}
		err = pgx.BeginFunc(ctx, c.config.Pool, func(tx pgx.Tx) error {
			db := c.db.WithTx(tx)
			return errors.Join(
				db.ReleaseEmails(ctx, maildb.ReleaseEmailsParams{Ids: keep, UserID: row.UserID}),
				db.DeleteConnectionEmails(ctx, maildb.DeleteConnectionEmailsParams{Ids: drop, UserID: row.UserID}),
			)
		})
		if err != nil {
			return fmt.Errorf("part with the messages of connection %s: %w", row.ID, err)
		}
	}
}
