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
}

// readGmailCursor reads a cursor. One that cannot be read is none: what is there already is recognised.
func readGmailCursor(text []byte) gmailCursor {
	var cursor gmailCursor
	if json.Unmarshal(text, &cursor) != nil {
		return gmailCursor{}
	}
	return cursor
}

// gmail fetches what is new: everything the first time, and when Gmail has forgotten the history since.
func (r *run) gmail(ctx context.Context) error {
	address := r.config.GmailURL
	if address == "" {
		address = gmail.URL
	}
	client := &gmail.Client{
		HTTP: r.google, URL: address, Now: r.config.Now, Message: r.sync.MaxMessage,
		Token: func(ctx context.Context, stale string) (string, error) { return r.accessToken(ctx, r.row, stale) },
	}
	cursor := readGmailCursor(r.row.Cursor)
	if cursor.History != "" && !cursor.Full {
		err := r.gmailChanges(ctx, client, cursor)
		if !errors.Is(err, gmail.ErrHistory) {
			return err
		}
	}
	if cursor.History == "" || !cursor.Full {
		profile, err := client.Profile(ctx) // before the list: what comes in between is in both
		if err != nil {
			return err
		}
		cursor = gmailCursor{History: profile.History, Full: true}
	}
	return r.gmailFull(ctx, client, cursor)
}

// gmailFull fetches what the list has and is not here, newest first.
func (r *run) gmailFull(ctx context.Context, client *gmail.Client, cursor gmailCursor) error {
	listed := 0
	for page, more := "", true; more && listed < r.sync.GmailMost; more = page != "" {
		ids, next, err := client.List(ctx, page)
		if err != nil {
			return err
		}
		ids = ids[:min(len(ids), r.sync.GmailMost-listed)]
		listed += len(ids)
		if err := r.gmailMessages(ctx, client, ids, cursor); err != nil {
			return err
		}
		page = next
	}
	return r.keepGmail(ctx, nil, gmailCursor{History: cursor.History})
}

// gmailChanges fetches what was added since the cursor. The new cursor is where the mailbox was at the first page: what comes while the
// pages are read is asked for again.
func (r *run) gmailChanges(ctx context.Context, client *gmail.Client, cursor gmailCursor) error {
	var next string
	for page, more := "", true; more; more = page != "" {
		changes, err := client.Changes(ctx, cursor.History, page)
		if err != nil {
			return err
		}
		if err := r.gmailMessages(ctx, client, changes.Added, cursor); err != nil {
			return err
		}
		if page = changes.Next; next == "" {
			next = changes.History
		}
	}
	return r.keepGmail(ctx, nil, gmailCursor{History: next})
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
		if slices.Contains(known, id) {
			continue
		}
		raw, err := client.Get(ctx, id)
		switch {
		case errors.Is(err, gmail.ErrNotFound), err == nil && raw == nil:
			continue // gone since it was listed, or no mail
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

func (r *run) keepGmail(ctx context.Context, batch []fetched, cursor gmailCursor) error {
	text, err := json.Marshal(cursor)
	if err != nil {
		return fmt.Errorf("write the cursor of connection %s: %w", r.row.ID, err)
	}
	return r.keep(ctx, batch, text)
}
