package mail

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/smart-assistant/platform/service/mail/gmail"
	"github.com/smart-assistant/platform/service/mail/maildb"
)

// gmailCursor is how far a mailbox of Gmail was read: all that came up to History is here, once Full is false. While it is true, a full
// sync is under way that began when the history was there.
type gmailCursor struct {
	History string `json:"history"`
	Full    bool   `json:"full,omitempty"`

	Aside aside[string] `json:"aside,omitempty"`
}

// readGmailCursor reads a cursor. One that cannot be read is none: what is there already is recognised.
func readGmailCursor(text []byte) gmailCursor {
	var cursor gmailCursor
	if json.Unmarshal(text, &cursor) != nil {
		cursor = gmailCursor{}
	}
	if cursor.Aside == nil {
		cursor.Aside = aside[string]{}
	}
	return cursor
}

// gmail fetches what is new, and asks again for what did not come before.
func (r *run) gmail(ctx context.Context) error {
	address := r.config.GmailURL
	if address == "" {
		address = gmail.URL
	}
	client := &gmail.Client{
		HTTP: r.google, URL: address, Now: r.config.Now, Message: r.sync.MaxMessage,
		Token: func(ctx context.Context, stale string) (string, error) { return r.accessToken(ctx, r.row, stale) },
	}
	cursor, err := r.gmailNew(ctx, client, readGmailCursor(r.row.Cursor))
	if err != nil {
		return err
	}
	for _, id := range cursor.Aside.before(r.started) {
		if err := r.gmailAgain(ctx, client, id, cursor); err != nil {
			return err
		}
	}
	r.noteAside(len(cursor.Aside))
	return nil
}

// gmailNew fetches what is new: everything the first time, and when Gmail has forgotten the history since. It returns the cursor behind it.
func (r *run) gmailNew(ctx context.Context, client *gmail.Client, cursor gmailCursor) (gmailCursor, error) {
	if cursor.History != "" && !cursor.Full {
		next, err := r.gmailChanges(ctx, client, cursor)
		if !errors.Is(err, gmail.ErrHistory) {
			return next, err
		}
	}
	if cursor.History == "" || !cursor.Full {
		profile, err := client.Profile(ctx) // before the list: what comes in between is in both
		if err != nil {
			return cursor, err
		}
		cursor.History, cursor.Full = profile.History, true
	}
	return r.gmailFull(ctx, client, cursor)
}

// gmailFull fetches what the list has and is not here, newest first.
func (r *run) gmailFull(ctx context.Context, client *gmail.Client, cursor gmailCursor) (gmailCursor, error) {
	listed := 0
	for page, more := "", true; more && listed < r.sync.GmailMost; more = page != "" {
		ids, next, err := client.List(ctx, page)
		if err != nil {
			return cursor, err
		}
		ids = ids[:min(len(ids), r.sync.GmailMost-listed)]
		listed += len(ids)
		if err := r.gmailMessages(ctx, client, ids, cursor); err != nil {
			return cursor, err
		}
		page = next
	}
	cursor.Full = false
	return cursor, r.keepGmail(ctx, nil, cursor)
}

// gmailChanges fetches what was added since the cursor. The new cursor is where the mailbox was at the first page: what comes while the
// pages are read is asked for again.
func (r *run) gmailChanges(ctx context.Context, client *gmail.Client, cursor gmailCursor) (gmailCursor, error) {
	var next string
	for page, more := "", true; more; more = page != "" {
		changes, err := client.Changes(ctx, cursor.History, page)
		if err != nil {
			return cursor, err
		}
		if err := r.gmailMessages(ctx, client, changes.Added, cursor); err != nil {
			return cursor, err
		}
		if page = changes.Next; next == "" {
			next = changes.History
		}
	}
	cursor.History = next
	return cursor, r.keepGmail(ctx, nil, cursor)
}

// gmailMessages fetches those messages that are not known and keeps them in batches.
func (r *run) gmailMessages(ctx context.Context, client *gmail.Client, ids []string, cursor gmailCursor) error {
	known, err := r.db.KnownOrigins(ctx, maildb.KnownOriginsParams{ConnectionID: r.row.ID, ExternalIds: ids})
	if err != nil {
		return &storeError{err}
	}
	var batch []fetched
	size := 0
	for _, id := range ids {
		if _, later := cursor.Aside[id]; later || slices.Contains(known, id) {
			continue
		}
		raw, err := client.Get(ctx, id)
		switch {
		case errors.Is(err, gmail.ErrNotFound), err == nil && raw == nil:
			continue // gone since it was listed, or no mail
		case errors.Is(err, gmail.ErrAnswer) && cursor.Aside.put(id, r.started):
			continue
		case err != nil && !errors.Is(err, gmail.ErrTooLarge):
			return err
		}
		batch = append(batch, fetched{id, raw})
		if size += len(raw); len(batch) == batchMessages || size > batchBytes {
			if err := r.keepGmail(ctx, batch, cursor); err != nil {
				return err
			}
			batch, size = nil, 0
		}
	}
	return r.keepGmail(ctx, batch, cursor)
}

// gmailAgain asks again for a message that was set aside.
func (r *run) gmailAgain(ctx context.Context, client *gmail.Client, id string, cursor gmailCursor) error {
	raw, err := client.Get(ctx, id)
	batch := []fetched{{id, raw}}
	switch {
	case errors.Is(err, gmail.ErrNotFound), err == nil && raw == nil:
		batch = nil
	case errors.Is(err, gmail.ErrAnswer):
		cursor.Aside.put(id, r.started)
		if !cursor.Aside.hopeless(id, r.started) {
			return r.keepGmail(ctx, nil, cursor)
		}
	case err != nil && !errors.Is(err, gmail.ErrTooLarge):
		return err
	}
	delete(cursor.Aside, id)
	return r.keepGmail(ctx, batch, cursor)
}

func (r *run) keepGmail(ctx context.Context, batch []fetched, cursor gmailCursor) error {
	text, err := json.Marshal(cursor)
	if err != nil {
		return fmt.Errorf("write the cursor of connection %s: %w", r.row.ID, err)
	}
	return r.keep(ctx, batch, text)
}
