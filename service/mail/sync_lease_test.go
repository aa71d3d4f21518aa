package mail

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/service/mail/maildb"
)

func connectionOf(w *syncWorld, id string) maildb.ConnectionParams {
	return maildb.ConnectionParams{ID: id, UserID: w.user}
}

// gate is a store that waits before the first message of a sync, and then for the test.
type gate struct {
	storer
	once    sync.Once
	reached chan struct{}
	open    chan struct{}
}

func newGate(c *connections) *gate {
	g := &gate{storer: c.store, reached: make(chan struct{}), open: make(chan struct{})}
	c.store = g
	return g
}

func (g *gate) Store(ctx context.Context, tx pgx.Tx, userID string, batch ...Incoming) ([]Stored, error) {
	g.once.Do(func() { close(g.reached); <-g.open })
	return g.storer.Store(ctx, tx, userID, batch...)
}

// begun starts a sync of many messages and waits until it stores the first.
func begun(t *testing.T, w *syncWorld, c *connections, messages int) (id string, g *gate, ended chan error) {
	t.Helper()
	name := w.mailbox(t)
	for i := range messages {
		w.dovecot.Deliver(t, name, "INBOX", numbered(i))
	}
	id, g, ended = w.imap(t, c, name).ID, newGate(c), make(chan error, 1)
	w.take(t, id)
	go func() { ended <- c.syncConnection(t.Context(), id) }()
	<-g.reached
	return id, g, ended
}

func testOneSyncAtATime(t *testing.T, w *syncWorld) {
	first, second := w.replica(t), w.replica(t)
	id, g, ended := begun(t, w, first, 120)
	if seen := w.connection(t, second, id); !seen.Syncing {
		t.Errorf("while a sync runs: %+v", seen)
	}
	w.sync(t, second, id)
	w.exactly(t, 0)
	close(g.open)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	w.exactly(t, 120)

	for i := range 5 { // and all at once
		w.dovecot.Deliver(t, w.mailbox(t), "INBOX", numbered(120+i))
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if err := second.syncConnection(t.Context(), id); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	w.sync(t, first, id)
	w.exactly(t, 125)
}

func testLostLease(t *testing.T, w *syncWorld) {
	for name, lose := range map[string]func(*connections, string){
		"paused": func(c *connections, id string) {
			yes, no := true, false
			for _, paused := range []*bool{&yes, &no} {
				if _, err := c.change(t.Context(), w.user, id, ConnectionChange{Paused: paused}); err != nil {
					t.Error(err)
				}
			}
		},
		// The clock of the replica that takes over is ahead, as if the first one had slept through its lease.
		"taken over": func(_ *connections, id string) {
			later := w.replica(t, func(c *Config) { c.Now = func() time.Time { return time.Now().Add(time.Hour) } })
			w.sync(t, later, id)
			w.exactly(t, 120)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w.exec(t, `DELETE FROM emails`)
			w.exec(t, `DELETE FROM connections`)
			c := w.replica(t)
			id, g, ended := begun(t, w, c, 120)
			lose(c, id)
			there := len(w.subjects(t))
			close(g.open)
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			w.exactly(t, there)
			w.sync(t, w.replica(t), id)
			w.exactly(t, 120)
		})
	}
}

func testTurns(t *testing.T, w *syncWorld) {
	var hours atomic.Int64 // each look at the clock is an hour later
	name := w.mailbox(t)
	c := w.replica(t, func(c *Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(hours.Add(1)) * time.Hour) }
	})
	for i := range 120 {
		w.dovecot.Deliver(t, name, "INBOX", numbered(i))
	}
	id := w.imap(t, c, name).ID
	jobs := w.count(t, `SELECT count(*) FROM river_job WHERE kind = 'sync-connection'`)
	w.sync(t, c, id)
	if n := len(w.subjects(t)); n != batchMessages {
		t.Errorf("%d messages are there after the first turn", n)
	}
	if more := w.count(t, `SELECT count(*) FROM river_job WHERE kind = 'sync-connection'`) - jobs; more != 1 {
		t.Errorf("%d jobs go on with it", more)
	}
	w.sync(t, c, id)
	w.sync(t, c, id)
	w.exactly(t, 120)
}

func testStopped(t *testing.T, w *syncWorld) {
	c, name := w.replica(t), w.mailbox(t)
	for i := range 120 {
		w.dovecot.Deliver(t, name, "INBOX", numbered(i))
	}
	id := w.imap(t, c, name).ID
	ctx, stop := context.WithCancel(t.Context())
	g := newGate(c)
	ended := make(chan error, 1)
	go func() { ended <- c.syncConnection(ctx, id) }()
	<-g.reached
	stop()
	close(g.open)
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	seen := w.connection(t, c, id)
	if seen.Syncing || seen.State != stateActive || seen.Problem != "" {
		t.Errorf("after the stop: %+v", seen)
	}
	w.sync(t, w.replica(t), id)
	w.exactly(t, 120)
}

func testAskedAgain(t *testing.T, w *syncWorld) {
	c := w.replica(t)
	id, g, ended := begun(t, w, c, 10)
	before := w.count(t, `SELECT count(*) FROM river_job WHERE kind = 'sync-connection'`)
	for range 2 {
		if seen, err := c.syncNow(t.Context(), w.user, id); err != nil || !seen.Syncing {
			t.Errorf("while a sync runs: %+v, %v", seen, err)
		}
	}
	close(g.open)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if more := w.count(t, `SELECT count(*) FROM river_job WHERE kind = 'sync-connection'`) - before; more != 1 {
		t.Errorf("%d syncs follow", more)
	}
}

func testDue(t *testing.T, w *syncWorld) {
	c := w.replica(t)
	id := w.imap(t, c, w.mailbox(t)).ID
	queue := func(want int, when string) {
		t.Helper()
		if n, err := c.queueDue(t.Context()); n != want || err != nil {
			t.Errorf("%s: %d are due, want %d, error %v", when, n, want, err)
		}
	}
	queue(0, "queued by the connection itself")
	w.sync(t, c, id)
	queue(0, "just synced")
	w.exec(t, `UPDATE connections SET next_sync_at = now() - interval '1 second'`)
	queue(1, "when its time has come")
	queue(0, "queued")
	w.exec(t, `UPDATE connections SET lease = gen_random_uuid(), next_sync_at = now() - interval '1 second'`)
	queue(1, "when its sync died")
	if seen := w.connection(t, c, id); seen.Syncing {
		t.Errorf("a sync that died still runs: %+v", seen)
	}
	w.exec(t, `UPDATE connections SET next_sync_at = now() - interval '1 second'`)
	w.exec(t, `UPDATE users SET disabled_at = now()`)
	queue(0, "of a disabled user")
	w.dovecot.Deliver(t, w.connection(t, c, id).Server.Username, "INBOX", numbered(7))
	if w.sync(t, c, id); w.count(t, `SELECT count(*) FROM emails`) != 0 {
		t.Error("a sync that was queued before fetched the mail of a disabled user")
	}
	w.exec(t, `UPDATE users SET disabled_at = NULL`)
	queue(1, "of a user who is enabled again")
	w.exec(t, `UPDATE connections SET state = 'paused', next_sync_at = now() - interval '1 second'`)
	queue(0, "paused")
}
