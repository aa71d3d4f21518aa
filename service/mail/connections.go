package mail

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/oauth2"

	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/encryption"
	"github.com/smart-assistant/platform/service/mail/imap"
	"github.com/smart-assistant/platform/service/mail/maildb"
)

// Connection is a mailbox elsewhere that mail is fetched from.
type Connection struct {
	ID           string      `json:"id" format:"uuid"`
	Kind         string      `json:"kind" enum:"gmail,imap"`
	Name         string      `json:"name" doc:"What its owner calls it"`
	Account      string      `json:"account" doc:"Whose mailbox: an address at Gmail, user@host:port of IMAP"`
	Server       *MailServer `json:"server,omitempty" doc:"Of IMAP only"`
	State        string      `json:"state" enum:"active,reconnect,paused" doc:"reconnect: the credentials are refused; give new ones"`
	Problem      string      `json:"problem,omitempty" doc:"Why the last sync did not do all of its work, and what to do"`
	Syncing      bool        `json:"syncing"`
	Skipped      int32       `json:"skipped" doc:"Messages that were too large to keep, or that the server did not hand out for a day"`
	LastSyncedAt *time.Time  `json:"last_synced_at,omitempty" doc:"When a sync last came to its end"`
	NextSyncAt   time.Time   `json:"next_sync_at" doc:"When the next one is due, while the connection is active"`
	CreatedAt    time.Time   `json:"created_at"`
}

// MailServer is an IMAP server, and what is read there.
type MailServer struct {
	Host      string        `json:"host" minLength:"1" maxLength:"253" example:"imap.example.org"`
	Port      int           `json:"port,omitempty" minimum:"1" maximum:"65535" doc:"993 with tls and 143 with starttls where it is left out"`
	Security  imap.Security `json:"security" enum:"tls,starttls" doc:"tls: from the first byte; starttls: after the greeting. There is none without"`
	Username  string        `json:"username" minLength:"1" maxLength:"320"`
	Mailboxes []string      `json:"mailboxes,omitempty" maxItems:"50" doc:"What to read; the inbox and the archive where none is named"`
}

// IMAPConnection is what a new connection to an IMAP server takes.
type IMAPConnection struct {
	MailServer
	Password string `json:"password" format:"password" minLength:"1" maxLength:"1000" doc:"Kept encrypted and never shown again; many providers want one made for apps"`
	Name     string `json:"name,omitempty" maxLength:"200" doc:"The user name where it is left out"`
}

// ConnectionChange leaves a field as it is that is nil.
type ConnectionChange struct {
	Name     *string `json:"name,omitempty" maxLength:"200"`
	Paused   *bool   `json:"paused,omitempty" doc:"true fetches no more until false is said"`
	Password *string `json:"password,omitempty" format:"password" minLength:"1" maxLength:"1000" doc:"A new password; of IMAP only"`
}

// The kinds of connections and the states of one, as the table has them.
const (
	kindGmail, kindIMAP = "gmail", "imap"

	stateActive, stateReconnect, statePaused = "active", "reconnect", "paused"
)

const mostConnections = 20 // of a user

// connections is the part of a Service that fetches mail from elsewhere.
type connections struct {
	config  Config
	sync    SyncConfig
	db      *maildb.Queries
	store   storer
	room    *room
	google  *http.Client
	metrics syncMetrics
}

// storer is the Service, as far as a sync needs it.
type storer interface {
	Store(ctx context.Context, tx pgx.Tx, userID string, batch ...Incoming) ([]Stored, error)
}

// newConnections adds the workers to the queue.
func newConnections(config Config, store storer) (*connections, error) {
	metrics, err := newSyncMetrics(config.Metrics)
	if err != nil {
		return nil, err
	}
	c := &connections{
		config: config, sync: config.Sync.withDefaults(), db: maildb.New(config.Pool), store: store,
		metrics: metrics,
	}
	if config.Outbound != nil {
		c.google = config.Outbound.Client(time.Minute)
	}
	if config.Queue != nil {
		c.addWork(config.Queue)
	}
	return c, nil
}

// ConnectGmail keeps what a consent brought and begins to sync. A mailbox that was connected before gets the new tokens.
func (s *Service) ConnectGmail(ctx context.Context, userID, address string, token *oauth2.Token) (connectionID string, err error) {
	return s.connections.connectGmail(ctx, userID, address, token)
}

// Proved pauses the connections of a user whose address is proved for the first time: a stranger may have made them. It is for
// account.Service.OnProof.
func (s *Service) Proved(ctx context.Context, tx pgx.Tx, userID string) error {
	err := s.connections.db.WithTx(tx).PauseConnections(ctx, maildb.PauseConnectionsParams{
		UserID: userID, Now: s.config.Now(), Problem: "it was connected before your e-mail address was proved: resume it if it is yours, remove it otherwise",
	})
	if err != nil {
		return fmt.Errorf("pause the connections of %s: %w", userID, err)
	}
	return nil
}

// What can be wrong with a request. The routes turn them into answers.
var (
	errConnected   = errors.New("this mailbox is connected already; change that connection, or remove it first")
	errTooMany     = fmt.Errorf("an account has at most %d connections; remove one first", mostConnections)
	errPaused      = errors.New("the connection is paused; resume it first")
	errReconnect   = errors.New("the credentials are refused: give a new password, or connect Gmail again")
	errNotPassword = errors.New("a connection to Gmail has no password; connect it again to renew the consent")
)

// fieldError is input that cannot be. Its text is for the user.
type fieldError struct{ field, problem string }

func (e *fieldError) Error() string { return e.field + ": " + e.problem }

// connectIMAP keeps a connection that was seen to work.
func (c *connections) connectIMAP(ctx context.Context, userID string, in IMAPConnection) (Connection, error) {
	if err := in.check(); err != nil {
		return Connection{}, err
	}
	n, err := c.db.CountConnections(ctx, userID)
	if err != nil {
		return Connection{}, fmt.Errorf("count the connections of user %s: %w", userID, err)
	}
	if n >= mostConnections {
		return Connection{}, errTooMany
	}
	if err := c.probe(ctx, in.MailServer, in.Password); err != nil {
		return Connection{}, err
	}
	settings, err := json.Marshal(in.MailServer)
	if err != nil {
		return Connection{}, fmt.Errorf("write the settings of a connection: %w", err)
	}
	new := maildb.CreateConnectionParams{
		ID: uuid.Must(uuid.NewV7()).String(), UserID: userID, Kind: kindIMAP, Name: in.Name, Settings: settings, Now: c.config.Now(),
		Account: in.Username + "@" + in.account("").Address(),
	}
	return c.create(ctx, new, []byte(in.Password))
}

// create keeps a connection and begins its first sync.
func (c *connections) create(ctx context.Context, new maildb.CreateConnectionParams, secret []byte) (Connection, error) {
	var err error
	if new.Secret, err = c.config.Keyring.Seal(secret, secretCell(new.UserID, new.ID)); err != nil {
		return Connection{}, fmt.Errorf("seal the secret of a connection: %w", err)
	}
	err = pgx.BeginFunc(ctx, c.config.Pool, func(tx pgx.Tx) error {
		if err := c.db.WithTx(tx).CreateConnection(ctx, new); err != nil {
			return err
		}
		if err := c.record(ctx, tx, new.UserID, "connection-added", map[string]any{"connection": new.ID, "kind": new.Kind}); err != nil {
			return err
		}
		return c.queueSync(ctx, tx, new.UserID, new.ID)
	})
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "23505" { // unique_violation, PostgreSQL manual, appendix A
		return Connection{}, errConnected
	}
	if err != nil {
		return Connection{}, fmt.Errorf("create a connection of user %s: %w", new.UserID, err)
	}
	return c.get(ctx, new.UserID, new.ID)
}

// export writes a user's connections, without their secrets.
func (c *connections) export(ctx context.Context, userID string, write func(section string, item any) error) error {
	for page := (api.Page{Limit: 200}); ; {
		list, next, err := c.list(ctx, userID, page)
		if err != nil {
			return err
		}
		for _, connection := range list {
			if err := write("connections", connection); err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		page.Cursor = next
	}
}

// list returns a user's connections, the oldest first.
func (c *connections) list(ctx context.Context, userID string, page api.Page) ([]Connection, string, error) {
	after, given, err := api.Position[uuid.UUID](page.Cursor)
	if err != nil {
		return nil, "", err
	}
	if !given {
		after = uuid.Nil
	}
	rows, err := c.db.Connections(ctx, maildb.ConnectionsParams{UserID: userID, After: after.String(), Most: int32(page.Limit) + 1})
	if err != nil {
		return nil, "", fmt.Errorf("list the connections of user %s: %w", userID, err)
	}
	var next string
	if len(rows) > page.Limit {
		rows = rows[:page.Limit]
		if next, err = api.Cursor(rows[page.Limit-1].ID); err != nil {
			return nil, "", err
		}
	}
	found := make([]Connection, len(rows))
	for i, row := range rows {
		if found[i], err = c.view(row); err != nil {
			return nil, "", err
		}
	}
	return found, next, nil
}

func (c *connections) get(ctx context.Context, userID, id string) (Connection, error) {
	row, err := c.db.Connection(ctx, maildb.ConnectionParams{ID: id, UserID: userID})
	if err != nil {
		return Connection{}, missing("read", id, err)
	}
	return c.view(row)
}

// missing is ErrNotFound where there is no row.
func missing(verb, id string, err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrNotFound
	}
	return fmt.Errorf("%s connection %s: %w", verb, id, err)
}

// view is a row as its owner sees it.
func (c *connections) view(row maildb.Connection) (Connection, error) {
	seen := Connection{
		ID: row.ID, Kind: row.Kind, Name: row.Name, Account: row.Account, State: row.State, Problem: row.Problem, Skipped: row.Skipped,
		Syncing: c.runs(row), LastSyncedAt: row.LastSyncedAt, NextSyncAt: row.NextSyncAt, CreatedAt: row.CreatedAt,
	}
	if row.Kind == kindIMAP {
		if err := json.Unmarshal(row.Settings, &seen.Server); err != nil {
			return Connection{}, fmt.Errorf("read the settings of connection %s: %w", row.ID, err)
		}
	}
	return seen, nil
}

// runs says whether a sync runs: one that died ends with its lease.
func (c *connections) runs(row maildb.Connection) bool {
	return row.Lease != nil && row.NextSyncAt.After(c.config.Now())
}

// change changes a connection. A new password is tried before it is kept.
func (c *connections) change(ctx context.Context, userID, id string, change ConnectionChange) (Connection, error) {
	seen, err := c.get(ctx, userID, id)
	if err != nil {
		return Connection{}, err
	}
	if err := change.check(); err != nil {
		return Connection{}, err
	}
	if change.Password != nil {
		if seen.Kind != kindIMAP {
			return Connection{}, errNotPassword
		}
		if err := c.probe(ctx, *seen.Server, *change.Password); err != nil {
			return Connection{}, err
		}
	}
	err = pgx.BeginFunc(ctx, c.config.Pool, func(tx pgx.Tx) error {
		row, err := c.db.WithTx(tx).LockConnection(ctx, maildb.LockConnectionParams{ID: id, UserID: userID})
		if err != nil {
			return missing("lock", id, err)
		}
		return c.apply(ctx, tx, row, change)
	})
	if err != nil {
		return Connection{}, err
	}
	return c.get(ctx, userID, id)
}

// apply writes a change of a row that is locked.
func (c *connections) apply(ctx context.Context, tx pgx.Tx, row maildb.Connection, change ConnectionChange) error {
	db, now := c.db.WithTx(tx), c.config.Now()
	if change.Name != nil {
		if err := db.RenameConnection(ctx, maildb.RenameConnectionParams{ID: row.ID, UserID: row.UserID, Name: *change.Name, Now: now}); err != nil {
			return fmt.Errorf("rename connection %s: %w", row.ID, err)
		}
	}
	secret := row.Secret
	if change.Password != nil {
		var err error
		if secret, err = c.config.Keyring.Seal([]byte(*change.Password), secretCell(row.UserID, row.ID)); err != nil {
			return fmt.Errorf("seal the secret of connection %s: %w", row.ID, err)
		}
	}
	switch {
	case change.Paused != nil && *change.Paused:
		if err := db.PauseConnection(ctx, maildb.PauseConnectionParams{ID: row.ID, UserID: row.UserID, Now: now}); err != nil {
			return fmt.Errorf("pause connection %s: %w", row.ID, err)
		}
		if change.Password == nil {
			return nil
		}
		return db.SaveSecret(ctx, maildb.SaveSecretParams{ID: row.ID, UserID: row.UserID, Secret: secret, Now: now})
	case change.Password != nil, change.Paused != nil && row.State == statePaused:
		return c.activate(ctx, tx, row, secret)
	}
	return nil
}

// activate makes a connection active with a secret and begins a sync.
func (c *connections) activate(ctx context.Context, tx pgx.Tx, row maildb.Connection, secret []byte) error {
	err := c.db.WithTx(tx).ActivateConnection(ctx, maildb.ActivateConnectionParams{ID: row.ID, UserID: row.UserID, Secret: secret, Now: c.config.Now()})
	if err != nil {
		return fmt.Errorf("activate connection %s: %w", row.ID, err)
	}
	return c.queueSync(ctx, tx, row.UserID, row.ID)
}

func (c *connections) record(ctx context.Context, tx pgx.Tx, userID, action string, detail map[string]any) error {
	if c.config.Record == nil {
		return nil
	}
	return c.config.Record(ctx, tx, userID, action, detail)
}

// disconnect hides a connection at once; what hangs on it goes in the background.
func (c *connections) disconnect(ctx context.Context, userID, id string, deleteEmails bool) error {
	return pgx.BeginFunc(ctx, c.config.Pool, func(tx pgx.Tx) error {
		if _, err := c.db.WithTx(tx).LeaveConnection(ctx, maildb.LeaveConnectionParams{ID: id, UserID: userID, Now: c.config.Now()}); err != nil {
			return missing("remove", id, err)
		}
		if err := c.record(ctx, tx, userID, "connection-removed", map[string]any{"connection": id}); err != nil {
			return err
		}
		return c.config.Queue.Insert(ctx, tx, leaveArgs{ConnectionID: id, DeleteEmails: deleteEmails}, leaveOptions())
	})
}

// syncNow begins a sync, or has the one that runs followed by another.
func (c *connections) syncNow(ctx context.Context, userID, id string) (Connection, error) {
	err := pgx.BeginFunc(ctx, c.config.Pool, func(tx pgx.Tx) error {
		db := c.db.WithTx(tx)
		row, err := db.LockConnection(ctx, maildb.LockConnectionParams{ID: id, UserID: userID})
		switch {
		case err != nil:
			return missing("lock", id, err)
		case row.State == statePaused:
			return errPaused
		case row.State == stateReconnect:
			return errReconnect
		case c.runs(row):
			return db.AskAgain(ctx, maildb.AskAgainParams{ID: id, UserID: userID})
		default:
			return c.queueSync(ctx, tx, userID, id)
		}
	})
	if err != nil {
		return Connection{}, err
	}
	return c.get(ctx, userID, id)
}

// queueSync inserts the job of a sync, unless one waits.
func (c *connections) queueSync(ctx context.Context, tx pgx.Tx, userID, id string) error {
	until := c.config.Now().Add(queueGrace)
	if err := c.db.WithTx(tx).Queued(ctx, maildb.QueuedParams{ID: id, UserID: userID, Until: until}); err != nil {
		return fmt.Errorf("queue a sync of connection %s: %w", id, err)
	}
	return c.config.Queue.InsertOnce(ctx, tx, syncArgs{ConnectionID: id}, syncOptions())
}

func secretCell(userID, id string) encryption.Cell {
	return encryption.Cell{Table: "connections", Column: "secret", Owner: userID, Row: id}
}

// sealedConnections lists the sealed columns of connections.
func sealedConnections() []encryption.Column {
	return []encryption.Column{{Table: "connections", Name: "secret", Key: "id", Owner: "user_id"}}
}

// control says whether a text has characters that no line of a protocol may have.
func control(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f })
}
