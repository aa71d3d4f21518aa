package mail

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/service/encryption"
	"github.com/smart-assistant/platform/service/mail/classify"
	"github.com/smart-assistant/platform/service/mail/index"
	"github.com/smart-assistant/platform/service/mail/maildb"
	"github.com/smart-assistant/platform/service/mail/message"
)

// MaxMessage is the longest message that is kept, in bytes.
const MaxMessage = 35 << 20

const (
	snippetSize     = 200     // characters
	attachmentBytes = 1 << 20 // that are sent to the database at once, unless one attachment is longer
)

// Origin is where a message came from: a connection and its name there. The zero Origin is an import.
type Origin struct {
	Connection, ExternalID string
	Kind                   string // gmail or imap, for metrics
}

// Stored is what became of a message.
type Stored struct {
	ID  string // of the message, also when it was there already; empty when the user has deleted it since
	New bool
}

// Incoming is one raw message (RFC 5322) and where it came from.
type Incoming struct {
	Origin Origin
	Raw    []byte
}

// Store keeps messages of one connection, or of none, in a transaction, each once: a second copy is recognised. What the caller writes in
// the same transaction, such as a sync's cursor, is true exactly when the messages are stored. What a message holds never makes Store
// fail: the errors are the database's.
func (s *Service) Store(ctx context.Context, tx pgx.Tx, userID string, batch ...Incoming) ([]Stored, error) {
	began := s.config.Now()
	stored := make([]Stored, len(batch))
	if len(batch) == 0 {
		return stored, nil
	}
	there, err := origins(ctx, tx, userID, batch)
	if err != nil {
		return nil, err
	}
	user, err := s.indexOf(ctx, tx, userID)
	if err != nil {
		return nil, err
	}
	var drafts []*draft
	var places []int // of the drafts, in the batch
	for i, m := range batch {
		if id, known := there[m.Origin.ExternalID]; !known {
			drafts, places = append(drafts, s.read(user, m.Raw)), append(places, i)
		} else if id != nil {
			stored[i].ID = *id
		}
	}
	if len(drafts) == 0 {
		return stored, nil
	}
	ids, err := known(ctx, maildb.New(tx), user, drafts)
	if err != nil {
		return nil, err
	}
	news, err := s.composeNew(user, batch[0].Origin, drafts, ids)
	if err != nil {
		return nil, err
	}
	kept, err := s.insert(ctx, tx, user, drafts, news)
	if err != nil {
		return nil, err
	}
	fresh := maildb.InsertOriginsParams{ConnectionID: batch[0].Origin.Connection, UserID: userID}
	each := s.config.Now().Sub(began) / time.Duration(len(batch))
	for i, one := range kept {
		stored[places[i]] = one
		fresh.ExternalIds, fresh.EmailIds = append(fresh.ExternalIds, batch[places[i]].Origin.ExternalID), append(fresh.EmailIds, one.ID)
		s.metrics.processed(batch[places[i]].Origin.Kind, one.New, each)
	}
	if fresh.ConnectionID != "" {
		if err := maildb.New(tx).InsertOrigins(ctx, fresh); err != nil {
			return nil, fmt.Errorf("remember messages of connection %s: %w", fresh.ConnectionID, err)
		}
	}
	return stored, nil
}

// origins returns the messages of a batch that were there before, by their names at their connection. Those that the user has deleted
// since have no id.
func origins(ctx context.Context, tx pgx.Tx, userID string, batch []Incoming) (map[string]*string, error) {
	asked := maildb.EmailsOfOriginsParams{ConnectionID: batch[0].Origin.Connection, UserID: userID}
	if asked.ConnectionID == "" {
		return nil, nil
	}
	for _, m := range batch {
		asked.ExternalIds = append(asked.ExternalIds, m.Origin.ExternalID)
	}
	rows, err := maildb.New(tx).EmailsOfOrigins(ctx, asked)
	if err != nil {
		return nil, fmt.Errorf("look up messages of connection %s: %w", asked.ConnectionID, err)
	}
	known := make(map[string]*string, len(rows))
	for _, row := range rows {
		known[row.ExternalID] = row.EmailID
	}
	return known, nil
}

// owner is a user and the index under the user's key.
type owner struct {
	id    string
	index *index.Index
}

func (s *Service) indexOf(ctx context.Context, db maildb.DBTX, userID string) (*owner, error) {
	key, err := s.config.IndexKey(ctx, db, userID)
	if err != nil {
		return nil, fmt.Errorf("read the index key of %s: %w", userID, err)
	}
	x, err := index.New(key)
	return &owner{userID, x}, err
}

// draft is a message on its way into the database.
type draft struct {
	message     *message.Message // nil once it is composed
	fingerprint []byte
	size        int64
	empty       error // why it is no message, if it is none

	known       string // the id of its copy that is there already
	id          string
	row         maildb.InsertEmailsParams
	attachments []maildb.InsertAttachmentsParams
	vector      []float32
	summary     Summary
}

func (s *Service) read(user *owner, raw []byte) *draft {
	m, err := message.Parse(raw, s.config.Now())
	return &draft{message: m, fingerprint: user.index.Fingerprint(m), size: int64(len(raw)), empty: err}
}

// composeNew composes those messages that are not known, each once.
func (s *Service) composeNew(user *owner, origin Origin, drafts []*draft, ids map[string]string) (fresh []*draft, err error) {
	for _, d := range drafts {
		if d.known = ids[string(d.fingerprint)]; d.known != "" {
			continue
		}
		if err := s.compose(user, origin, d); err != nil {
			return nil, err
		}
		ids[string(d.fingerprint)] = d.id
		fresh = append(fresh, d)
	}
	return fresh, nil
}

// insert keeps the messages that are new, and says of each what became of it, in their order.
func (s *Service) insert(ctx context.Context, tx pgx.Tx, user *owner, drafts, fresh []*draft) ([]Stored, error) {
	db := maildb.New(tx)
	inserted, err := insertEmails(ctx, db, fresh)
	if err != nil {
		return nil, err
	}
	ids := map[string]string{}
	if len(inserted) < len(fresh) { // somebody else has stored them in the meantime
		if ids, err = known(ctx, db, user, fresh); err != nil {
			return nil, err
		}
	}
	if err := s.insertRest(ctx, tx, user, inserted); err != nil {
		return nil, err
	}
	stored := make([]Stored, len(drafts))
	for i, d := range drafts {
		id := cmp.Or(ids[string(d.fingerprint)], d.known, d.id)
		stored[i] = Stored{ID: id, New: id == d.id}
	}
	return stored, nil
}

func known(ctx context.Context, db *maildb.Queries, user *owner, drafts []*draft) (map[string]string, error) {
	fingerprints := make([][]byte, len(drafts))
	for i, d := range drafts {
		fingerprints[i] = d.fingerprint
	}
	rows, err := db.KnownFingerprints(ctx, maildb.KnownFingerprintsParams{UserID: user.id, Fingerprints: fingerprints})
	if err != nil {
		return nil, fmt.Errorf("look for copies: %w", err)
	}
	ids := make(map[string]string, len(rows))
	for _, row := range rows {
		ids[string(row.Fingerprint)] = row.ID
	}
	return ids, nil
}

// insertEmails returns the drafts that were not there. It inserts in the order of the fingerprints, so that two transactions with the
// same messages wait for one another and not in a circle.
func insertEmails(ctx context.Context, db *maildb.Queries, drafts []*draft) (inserted []*draft, err error) {
	slices.SortFunc(drafts, func(a, b *draft) int { return bytes.Compare(a.fingerprint, b.fingerprint) })
	rows := make([]maildb.InsertEmailsParams, len(drafts))
	for i, d := range drafts {
		rows[i] = d.row
	}
	db.InsertEmails(ctx, rows).QueryRow(func(i int, _ string, failure error) {
		switch {
		case failure == nil:
			inserted = append(inserted, drafts[i])
		case !errors.Is(failure, pgx.ErrNoRows) && err == nil:
			err = fmt.Errorf("insert a message: %w", failure)
		}
	})
	return inserted, err
}

// insertRest adds what belongs to messages that are new, and tells the observers.
func (s *Service) insertRest(ctx context.Context, tx pgx.Tx, user *owner, inserted []*draft) error {
	var attachments []maildb.InsertAttachmentsParams
	var vectors []maildb.InsertEmbeddingsParams
	ids := make([]string, len(inserted))
	for i, d := range inserted {
		ids[i] = d.id
		attachments = append(attachments, d.attachments...)
		if d.vector != nil {
			vectors = append(vectors, maildb.InsertEmbeddingsParams{Model: index.Model, Vector: d.vector, CreatedAt: d.row.CreatedAt, EmailID: d.id, UserID: user.id})
		}
	}
	db := maildb.New(tx)
	if err := insertAttachments(ctx, db, attachments); err != nil {
		return err
	}
	var failure error
	if len(vectors) > 0 {
		db.InsertEmbeddings(ctx, vectors).Exec(func(_ int, err error) { failure = cmp.Or(failure, err) })
	}
	if failure != nil {
		return fmt.Errorf("insert the vectors of messages: %w", failure)
	}
	if err := s.embedLater(ctx, tx, user.id, ids); err != nil {
		return err
	}
	return s.tell(ctx, tx, user, inserted)
}

// tell tells the observers of new messages, but for those that the user wrote: nobody else's news is in them.
func (s *Service) tell(ctx context.Context, tx pgx.Tx, user *owner, inserted []*draft) error {
	if len(inserted) == 0 || len(s.observers) == 0 {
		return nil
	}
	own, err := maildb.New(tx).OwnAddresses(ctx, user.id)
	if err != nil {
		return fmt.Errorf("read the addresses of %s: %w", user.id, err)
	}
	for _, d := range inserted {
		if slices.Contains(own, strings.ToLower(d.summary.FromAddress)) {
			continue
		}
		for _, observer := range s.observers {
			if err := observer.EmailStored(ctx, tx, user.id, d.summary); err != nil {
				return fmt.Errorf("tell of message %s: %w", d.id, err)
			}
		}
	}
	return nil
}

// insertAttachments sends a few at a time, because what is sent at once is in memory once more.
func insertAttachments(ctx context.Context, db *maildb.Queries, rows []maildb.InsertAttachmentsParams) (failure error) {
	for first, last := 0, 0; first < len(rows); first = last {
		for bytes := 0; last < len(rows) && (last == first || bytes+len(rows[last].Content) <= attachmentBytes); last++ {
			bytes += len(rows[last].Content)
		}
		db.InsertAttachments(ctx, rows[first:last]).Exec(func(_ int, err error) { failure = cmp.Or(failure, err) })
		if failure != nil {
			return fmt.Errorf("insert attachments: %w", failure)
		}
	}
	return nil
}

// body is what emails.body seals: the text, and what the classifier looks at beside it.
type body struct {
	Text            string `json:"text"`
	ListUnsubscribe string `json:"list_unsubscribe,omitempty"`
	ListID          string `json:"list_id,omitempty"`
	Precedence      string `json:"precedence,omitempty"`
	AutoSubmitted   string `json:"auto_submitted,omitempty"`
	HasCalendar     bool   `json:"has_calendar,omitempty"`
}

func (b *body) classify(fromName, fromAddress, subject string) classify.Result {
	return classify.Classify(classify.Message{
		FromName: fromName, FromAddress: fromAddress, Subject: subject, Text: b.Text, ListUnsubscribe: b.ListUnsubscribe, ListID: b.ListID,
		Precedence: b.Precedence, AutoSubmitted: b.AutoSubmitted, HasCalendar: b.HasCalendar,
	})
}

// compose makes a message's rows: classified, indexed and sealed. The message itself is not needed any more then.
func (s *Service) compose(user *owner, origin Origin, d *draft) error {
	m, now := d.message, s.config.Now()
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("name a message: %w", err)
	}
	d.id = id.String()
	content := body{
		Text: m.Text, ListUnsubscribe: m.Header("List-Unsubscribe"), ListID: m.Header("List-Id"), Precedence: m.Header("Precedence"),
		AutoSubmitted: m.Header("Auto-Submitted"), HasCalendar: m.Calendar,
	}
	result := content.classify(m.From.Name, m.From.Address, m.Subject)
	d.summary = Summary{
		ID: d.id, FromName: m.From.Name, FromAddress: m.From.Address, Subject: m.Subject, ReceivedAt: m.Date, Category: Category(result.Category),
		Score: result.Score, Reason: result.Reason, Snippet: snippet(m.Text), Attachments: len(m.Attachments),
	}
	d.row = maildb.InsertEmailsParams{
		ID: d.id, UserID: user.id, Fingerprint: d.fingerprint, MessageID: m.ID, FromName: m.From.Name, FromAddress: m.From.Address,
		Recipients: m.Recipients, Subject: m.Subject, ReceivedAt: m.Date, Size: d.size, Attachments: int32(len(m.Attachments)),
		Category: result.Category, Score: result.Score, Reason: result.Reason, Classifier: classify.Version,
		Search: user.index.Document(m.From.Name+" "+m.From.Address, m.Subject, m.Text), CreatedAt: now,
	}
	if origin.Connection != "" {
		d.row.ConnectionID = &origin.Connection
	}
	if d.row.Snippet, err = s.config.Keyring.Seal([]byte(d.summary.Snippet), snippetCell(user.id, d.id)); err != nil {
		return fmt.Errorf("seal the snippet of message %s: %w", d.id, err)
	}
	text, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("write the body of message %s: %w", d.id, err)
	}
	if d.row.Body, err = s.config.Keyring.Seal(text, bodyCell(user.id, d.id)); err != nil {
		return fmt.Errorf("seal the body of message %s: %w", d.id, err)
	}
	d.vector = unit(user.index.Embed(meaning(m.From.Name, m.Subject, m.Text)))
	if err := s.composeAttachments(user, d); err != nil {
		return err
	}
	d.message = nil
	return nil
}

func (s *Service) composeAttachments(user *owner, d *draft) error {
	for position, a := range d.message.Attachments {
		id, err := uuid.NewV7()
		if err != nil {
			return fmt.Errorf("name an attachment: %w", err)
		}
		row := maildb.InsertAttachmentsParams{
			ID: id.String(), EmailID: d.id, UserID: user.id, Position: int32(position), ContentType: a.ContentType, Size: int64(len(a.Content)),
		}
		if row.Name, err = s.config.Keyring.Seal([]byte(a.Name), nameCell(user.id, row.ID)); err != nil {
			return fmt.Errorf("seal the name of attachment %s: %w", row.ID, err)
		}
		if row.Content, err = s.config.Keyring.Seal(a.Content, contentCell(user.id, row.ID)); err != nil {
			return fmt.Errorf("seal attachment %s: %w", row.ID, err)
		}
		d.message.Attachments[position].Content = nil // two copies of all would be too much
		d.attachments = append(d.attachments, row)
	}
	return nil
}

// snippet is a text's beginning in one line.
func snippet(text string) string {
	text = strings.Join(strings.Fields(text[:min(len(text), 8*snippetSize)]), " ")
	runes := []rune(strings.ToValidUTF8(text, ""))
	return string(runes[:min(len(runes), snippetSize)])
}

// Sealed lists the sealed columns.
func Sealed() []encryption.Column {
	return append([]encryption.Column{
		{Table: "emails", Name: "snippet", Key: "id", Owner: "user_id"},
		{Table: "emails", Name: "body", Key: "id", Owner: "user_id"},
		{Table: "attachments", Name: "name", Key: "id", Owner: "user_id"},
		{Table: "attachments", Name: "content", Key: "id", Owner: "user_id"},
	}, sealedConnections()...)
}

func snippetCell(user, id string) encryption.Cell {
	return encryption.Cell{Table: "emails", Column: "snippet", Owner: user, Row: id}
}

func bodyCell(user, id string) encryption.Cell {
	return encryption.Cell{Table: "emails", Column: "body", Owner: user, Row: id}
}

func nameCell(user, id string) encryption.Cell {
	return encryption.Cell{Table: "attachments", Column: "name", Owner: user, Row: id}
}

func contentCell(user, id string) encryption.Cell {
	return encryption.Cell{Table: "attachments", Column: "content", Owner: user, Row: id}
}

// longAgo and farAhead are the ends of time for lists.
var (
	longAgo  = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	farAhead = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
)
