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

	Aside aside[uint32] `json:"aside,omitempty"`
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
	waiting := 0
	for _, mailbox := range chosen {
		if err := r.mailboxAgain(ctx, session, mailbox, cursor); err != nil && !errors.Is(err, imap.ErrNoMailbox) {
			return err
		}
		waiting += len(cursor.Mailboxes[mailbox].Aside)
	}
	r.noteAside(waiting)
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
	if position.Aside == nil {
		position.Aside = aside[uint32]{}
	}
	cursor.Mailboxes[name] = position
	uids, err := session.After(position.UID)
	if err != nil {
		return err
	}
	store := func(ctx context.Context, messages []imap.Message, last uint32) error {
		cursor.Mailboxes[name] = imapPosition{validity, last, position.Aside}
		return r.keepIMAP(ctx, name, messages, cursor)
	}
	limits := imap.Limits{Messages: batchMessages, Bytes: batchBytes, Message: r.sync.MaxMessage}
	careful := 0
	if r.row.Failures > 0 { // perhaps at one of the messages that come first now
		careful = min(len(uids), batchMessages)
	}
	alone := limits
	alone.Messages = 1
	if err := session.Fetch(ctx, uids[:careful], alone, store); err != nil {
		return r.brokenOff(ctx, name, cursor, err)
	}
	return session.Fetch(ctx, uids[careful:], limits, store)
}

// keepIMAP keeps a batch of a mailbox's messages, but for those that the server does not send.
func (r *run) keepIMAP(ctx context.Context, mailbox string, messages []imap.Message, cursor imapCursor) error {
	position := cursor.Mailboxes[mailbox]
	var batch []fetched
	for _, m := range messages {
		if m.Unsent {
			if !position.Aside.put(m.UID, r.started) {
				return fmt.Errorf("the server does not send message %d of %q, nor %d others", m.UID, mailbox, asideMost)
			}
			if !position.Aside.hopeless(m.UID, r.started) {
				continue
			}
		}
		delete(position.Aside, m.UID)
		batch = append(batch, fetched{imapName(mailbox, position.Validity, m.UID), m.Raw})
	}
	text, err := json.Marshal(cursor)
	if err != nil {
		return fmt.Errorf("write the cursor of connection %s: %w", r.row.ID, err)
	}
	return r.keep(ctx, batch, text)
}

// brokenOff sets the message aside at which the conversation ended, so that the next one goes on behind it.
func (r *run) brokenOff(ctx context.Context, mailbox string, cursor imapCursor, err error) error {
	var at *imap.MessageError
	if !errors.As(err, &at) || ctx.Err() != nil {
		return err
	}
	position := cursor.Mailboxes[mailbox]
	position.UID = max(position.UID, at.UID)
	cursor.Mailboxes[mailbox] = position
	return errors.Join(err, r.keepIMAP(ctx, mailbox, []imap.Message{{UID: at.UID, Unsent: true}}, cursor))
}

// mailboxAgain asks again for a mailbox's messages that were set aside.
func (r *run) mailboxAgain(ctx context.Context, session *imap.Session, name string, cursor imapCursor) error {
	position := cursor.Mailboxes[name]
	waiting := position.Aside.before(r.started)
	if len(waiting) == 0 {
		return nil
	}
	if validity, err := session.Open(name); err != nil || validity != position.Validity {
		return err
	}
	limits := imap.Limits{Messages: 1, Message: r.sync.MaxMessage}
	err := session.Fetch(ctx, waiting, limits, func(ctx context.Context, messages []imap.Message, uid uint32) error {
		if len(messages) == 0 { // gone
			delete(position.Aside, uid)
		}
		return r.keepIMAP(ctx, name, messages, cursor)
	})
	if err != nil {
		return r.brokenOff(ctx, name, cursor, err)
	}
	return nil
}

// imapName is a message's name on its server. Long names of mailboxes are replaced by their hash.
func imapName(mailbox string, validity, uid uint32) string {
	if len(mailbox) > 400 {
		mailbox = fmt.Sprintf("%x", sha256.Sum256([]byte(mailbox)))
	}
	return fmt.Sprintf("%s/%d/%d", mailbox, validity, uid)
}
