package mail

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/smart-assistant/platform/service/mail/imap"
)

// imapCursor is how far each mailbox was read.
type imapCursor struct {
	Mailboxes map[string]imapPosition `json:"mailboxes"`
}

// imapPosition is the last message that was read. UIDs of another validity are other messages (RFC 3501, section 2.3.1.1).
type imapPosition struct {
	Validity uint32 `json:"uidvalidity"`
	UID      uint32 `json:"uid"`
}

// readIMAPCursor reads a cursor. One that cannot be read is the beginning: what is there already is recognised.
func readIMAPCursor(text []byte) imapCursor {
	var cursor imapCursor
	if json.Unmarshal(text, &cursor) != nil || cursor.Mailboxes == nil {
		cursor = imapCursor{Mailboxes: map[string]imapPosition{}}
	}
	return cursor
}

// imap fetches what is new in each mailbox.
func (r *run) imap(ctx context.Context) error {
	seen, err := r.view(r.row)
	if err != nil {
		return err
	}
	password, err := r.config.Keyring.Open(r.row.Secret, secretCell(r.row.UserID, r.row.ID))
	if err != nil {
		return fmt.Errorf("open the password of connection %s: %w", r.row.ID, err)
	}
	session, err := imap.Connect(ctx, seen.Server.account(string(password)), r.imapOptions())
	if err != nil {
		return err
	}
	defer session.Close()
	chosen, missing, err := chooseMailboxes(session, seen.Server.Mailboxes)
	if err != nil {
		return err
	}
	cursor := readIMAPCursor(r.row.Cursor)
	for _, mailbox := range chosen {
		err := r.mailbox(ctx, session, mailbox, cursor)
		if errors.Is(err, imap.ErrNoMailbox) { // deleted since it was listed
			missing = append(missing, mailbox)
		} else if err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		r.notice = missingMailboxes(missing)
	}
	return nil
}

// mailbox fetches what is new in one mailbox.
func (r *run) mailbox(ctx context.Context, session *imap.Session, name string, cursor imapCursor) error {
	validity, err := session.Open(name)
	if err != nil {
		return err
	}
	position := cursor.Mailboxes[name]
	if position.Validity != validity {
		position = imapPosition{Validity: validity}
	}
	uids, err := session.After(position.UID)
	if err != nil {
		return err
	}
	limits := imap.Limits{Messages: batchMessages, Bytes: batchBytes, Message: r.sync.MaxMessage}
	return session.Fetch(ctx, uids, limits, func(ctx context.Context, messages []imap.Message, last uint32) error {
		batch := make([]fetched, len(messages))
		for i, m := range messages {
			batch[i] = fetched{imapName(name, validity, m.UID), m.Raw}
		}
		cursor.Mailboxes[name] = imapPosition{validity, last}
		text, err := json.Marshal(cursor)
		if err != nil {
			return fmt.Errorf("write the cursor of connection %s: %w", r.row.ID, err)
		}
		return r.keep(ctx, batch, text)
	})
}

// imapName is a message's name on its server. Long names of mailboxes are replaced by their hash.
func imapName(mailbox string, validity, uid uint32) string {
	if len(mailbox) > 400 {
		mailbox = fmt.Sprintf("%x", sha256.Sum256([]byte(mailbox)))
	}
	return fmt.Sprintf("%s/%d/%d", mailbox, validity, uid)
}
