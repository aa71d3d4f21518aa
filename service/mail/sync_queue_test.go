package mail

import (
	"context"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/smart-assistant/platform/service/upstream"
)

func testQueuedOnce(t *testing.T, w *syncWorld) {
	c := w.replica(t)
	id := w.imap(t, c, w.mailbox(t)).ID
	waiting := func(want int, when string) {
		t.Helper()
		if n := w.count(t, `SELECT count(*) FROM river_job WHERE kind = 'sync-connection' AND state = 'available' AND queue = 'mail'`); n != want {
			t.Errorf("%s: %d syncs wait, want %d", when, n, want)
		}
	}
	for range 50 {
		if _, err := c.syncNow(t.Context(), w.user, id); err != nil {
			t.Fatal(err)
		}
	}
	waiting(1, "asked for 50 times")
	w.exec(t, `UPDATE connections SET next_sync_at = now() - interval '1 second'`)
	if n, err := c.queueDue(t.Context()); n != 1 || err != nil {
		t.Errorf("%d are due, error %v", n, err)
	}
	waiting(1, "due while it waits")
	w.sync(t, c, id)
	waiting(0, "synced")
	w.dovecot.User(t, "another-"+w.user, password)
	other := w.imap(t, c, "another-"+w.user)
	w.take(t, other.ID)
	for _, id := range []string{id, other.ID} {
		if _, err := c.syncNow(t.Context(), w.user, id); err != nil {
			t.Fatal(err)
		}
	}
	waiting(2, "two connections")
}

// pause is a store that waits after the first batch of a sync, and then for the test.
type pause struct {
	storer
	once    sync.Once
	reached chan struct{}
	open    chan struct{}
}

func (p *pause) Store(ctx context.Context, tx pgx.Tx, userID string, batch ...Incoming) ([]Stored, error) {
	stored, err := p.storer.Store(ctx, tx, userID, batch...)
	p.once.Do(func() { close(p.reached); <-p.open })
	return stored, err
}

// testDeadlock: a transaction has the connection's row and waits for the table of messages, which the sync has; then the sync waits for
// the row.
func testDeadlock(t *testing.T, w *syncWorld) {
	c, name := w.replica(t), w.mailbox(t)
	for i := range 10 {
		w.dovecot.Deliver(t, name, "INBOX", numbered(i))
	}
	id := w.imap(t, c, name).ID
	p := &pause{storer: c.store, reached: make(chan struct{}), open: make(chan struct{})}
	c.store = p
	ended := make(chan error, 1)
	go func() { ended <- c.syncConnection(t.Context(), id) }()
	<-p.reached
	tx, err := w.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	locked := make(chan error, 1)
	// It is the sync whose wait PostgreSQL finds to be in a circle.
	if _, err := tx.Exec(t.Context(), `SET LOCAL deadlock_timeout = '1h'`); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT FROM connections FOR NO KEY UPDATE`); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := tx.Exec(context.WithoutCancel(t.Context()), `LOCK TABLE emails IN SHARE MODE`)
		locked <- err
	}()
	for w.count(t, `SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'ShareLock'`) == 0 { //nolint:revive // until it waits
	}
	close(p.open)
	if err := <-locked; err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if seen := w.connection(t, c, id); seen.Problem != "" || seen.LastSyncedAt == nil {
		t.Errorf("after the deadlock: %+v", seen)
	}
	w.exactly(t, 10)
}

// testGmailEmbedded: a job of the language model has a batch of messages, and looking for those that lack a vector makes no second one.
func testGmailEmbedded(t *testing.T, w *syncWorld) {
	model, err := upstream.New(upstream.Config{URL: "http://127.0.0.1:1", Key: "k", Model: "m", EmbeddingModel: "e"})
	if err != nil {
		t.Fatal(err)
	}
	g, c, id := w.gmail(t, func(c *Config) { c.Upstream = model })
	deliver(g, 0, batchMessages+10)
	w.sync(t, c, id)
	missing := &embedMissingWorker{mail: c.store.(*Service)}
	for range 3 {
		if n := w.count(t, `SELECT count(*) FROM river_job WHERE kind = 'mail_embed' AND queue = 'mail-upkeep'`); n != 2 {
			t.Errorf("%d jobs embed two batches", n)
		}
		if err := missing.Work(t.Context(), &river.Job[embedMissingArgs]{Args: embedMissingArgs{"e"}}); err != nil {
			t.Fatal(err)
		}
	}
}
