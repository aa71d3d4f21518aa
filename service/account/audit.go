package account

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/service/account/accountdb"
	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/telemetry"
)

// AuditEvent is something that was done to an account, or by an administrator.
type AuditEvent struct {
	ID        string         `json:"id" format:"uuid"`
	At        time.Time      `json:"at"`
	Action    string         `json:"action" doc:"What was done, such as login, login-failed, locked, password-change or token-reuse"`
	ActorID   string         `json:"actor_id,omitempty" doc:"Who did it; absent where nobody proved to be anybody"`
	UserID    string         `json:"user_id,omitempty" doc:"Whose account it was done to"`
	Address   string         `json:"address,omitempty" doc:"Where the request came from"`
	RequestID string         `json:"request_id,omitempty" doc:"The request in the service's log"`
	Detail    map[string]any `json:"detail,omitempty"`
}

// event is what an audit event says beside when, where and in which request.
type event struct {
	action      string
	actor, user string // ids; empty for nobody
	detail      map[string]any
}

// audit writes an event, best in the transaction that does what it tells of.
func (s *Service) audit(ctx context.Context, db *accountdb.Queries, e event) error {
	id, err := s.newID()
	if err != nil {
		return err
	}
	return writeAudit(ctx, db, id, s.config.Now(), e)
}

func writeAudit(ctx context.Context, db *accountdb.Queries, id string, at time.Time, e event) error {
	detail := []byte("{}")
	if e.detail != nil {
		var err error
		if detail, err = json.Marshal(e.detail); err != nil {
			return fmt.Errorf("write audit event %s: %w", e.action, err)
		}
	}
	err := db.CreateAuditEvent(ctx, accountdb.CreateAuditEventParams{
		ID: id, At: at, ActorID: orNull(e.actor), UserID: orNull(e.user), Action: e.action, Detail: detail,
		Address: address(ctx), RequestID: telemetry.RequestID(ctx),
	})
	if err != nil {
		return fmt.Errorf("write audit event %s: %w", e.action, err)
	}
	return nil
}

// Record writes an event of another part, in the transaction that does what it tells of: something that a user did to their own account.
// The detail outlives the account: it holds ids and names of providers only.
func (s *Service) Record(ctx context.Context, tx pgx.Tx, userID, action string, detail map[string]any) error {
	return s.audit(ctx, s.db.WithTx(tx), event{action: action, actor: userID, user: userID, detail: detail})
}

// Linked records that an account at another provider logs in from now on, and tells the owner by mail where the service sends any.
func (s *Service) Linked(ctx context.Context, tx pgx.Tx, userID, provider string) error {
	if err := s.Record(ctx, tx, userID, "identity-linked", map[string]any{"provider": provider}); err != nil {
		return err
	}
	return s.notify(ctx, tx, mailArgs{UserID: userID, Purpose: identityLinked, Provider: provider})
}

// newID makes the id of a row: a UUIDv7 (RFC 9562), so that rows lie in the order of their time.
func (s *Service) newID() (string, error) {
	id, err := uuid.NewV7FromReader(s.config.Rand)
	if err != nil {
		return "", fmt.Errorf("make an id: %w", err)
	}
	return id.String(), nil
}

func orNull(id string) *string {
	if id == "" {
		return nil
	}
	return &id
}

// moment is a position in a list by time, newest first.
type moment struct {
	At time.Time `json:"at"`
	ID string    `json:"id"`
}

// endOfTime is before everything in a list that begins with the newest.
var endOfTime = moment{At: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), ID: noUser}

// from is where a page begins.
func from(cursor string) (moment, error) {
	position, given, err := api.Position[moment](cursor)
	if err != nil {
		return moment{}, err
	}
	if !given {
		return endOfTime, nil
	}
	if _, err := uuid.Parse(position.ID); err != nil {
		return moment{}, &InvalidError{"cursor", "is not one of this list"}
	}
	return position, nil
}

// Audit lists events, the newest first: those of one user, or all where userID is empty. It returns the cursor of the next page.
func (s *Service) Audit(ctx context.Context, userID string, page api.Page) ([]AuditEvent, string, error) {
	after, err := from(page.Cursor)
	if err != nil {
		return nil, "", err
	}
	most := int32(page.Limit) + 1 //nolint:gosec // at most 200
	var rows []accountdb.AuditEvent
	if userID == "" {
		rows, err = s.db.AuditEvents(ctx, accountdb.AuditEventsParams{Before: after.At, BeforeID: after.ID, Most: most})
	} else {
		rows, err = s.db.AuditEventsOf(ctx, accountdb.AuditEventsOfParams{UserID: &userID, Before: after.At, BeforeID: after.ID, Most: most})
	}
	if err != nil {
		return nil, "", fmt.Errorf("list audit events: %w", err)
	}
	events := make([]AuditEvent, len(rows))
	for i, row := range rows {
		events[i] = AuditEvent{
			ID: row.ID, At: row.At, Action: row.Action, ActorID: orEmpty(row.ActorID), UserID: orEmpty(row.UserID),
			Address: row.Address, RequestID: row.RequestID,
		}
		if err := json.Unmarshal(row.Detail, &events[i].Detail); err != nil {
			return nil, "", fmt.Errorf("read audit event %s: %w", row.ID, err)
		}
	}
	return cut(events, page.Limit, func(e AuditEvent) any { return moment{e.At, e.ID} })
}

func orEmpty(id *string) string {
	if id == nil {
		return ""
	}
	return *id
}

// cut takes off the item that was read beyond the page, and makes the cursor of the next one where there was such an item.
func cut[T any](items []T, limit int, position func(T) any) ([]T, string, error) {
	if len(items) <= limit {
		return items, "", nil
	}
	items = items[:limit]
	cursor, err := api.Cursor(position(items[limit-1]))
	return items, cursor, err
}
