package mail

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/smart-assistant/platform/service/mail/gmail"
	"github.com/smart-assistant/platform/service/mail/imap"
	"github.com/smart-assistant/platform/service/mail/maildb"
	"github.com/smart-assistant/platform/service/outbound"
)

// SyncConfig is how mail is fetched from elsewhere. Zero fields take their default.
type SyncConfig struct {
	Interval   time.Duration  // between two syncs of a connection; default 5 min
	Turn       time.Duration  // how long a sync runs before others get their turn; default 10 min. After twice as long it is cut off
	Lease      time.Duration  // how long a sync that died holds its connection; default 2 min
	Refresh    time.Duration  // how long Google may take to renew an access token, while the connection's row is locked; default 8 s
	GmailMost  int            // most messages that the first sync of a Gmail mailbox reads, the newest first; default 50,000
	MaxMessage int64          // bytes of a message; larger ones are counted and not kept; default 25 MiB
	Roots      *x509.CertPool // authorities of IMAP servers' certificates; nil for the system's
}

func (c SyncConfig) withDefaults() SyncConfig {
	if c.Interval == 0 {
		c.Interval = 5 * time.Minute
	}
	if c.Turn == 0 {
		c.Turn = 10 * time.Minute
	}
	if c.Lease == 0 {
		c.Lease = 2 * time.Minute
	}
	if c.Refresh == 0 {
		c.Refresh = 8 * time.Second
	}
	if c.GmailMost == 0 {
		c.GmailMost = 50_000
	}
	if c.MaxMessage == 0 {
		c.MaxMessage = 25 << 20
	}
	return c
}

const (
	batchMessages = 50
	batchBytes    = 4 << 20
	longestWait   = 6 * time.Hour // between two syncs of a connection that fails
)

// How a sync may end before its work is done.
var (
	errLost = errors.New("the connection was paused, removed or changed, or another sync took it over")
	errTurn = errors.New("others get their turn")
	errSlow = errors.New("the turn is long over, and the server is not done")
)

// run is one sync of one connection. Each batch of messages is kept in one transaction with the cursor behind it, which only the holder
// of the connection's lease may move: whenever a sync dies, the next one goes on after the last batch that is kept.
type run struct {
	*connections
	row     maildb.Connection
	started time.Time
	stored  int
	kept    int    // messages that are behind the cursor now, known ones included
	notice  string // for the user, of a sync that did its work
}

// syncConnection runs one sync, unless one runs or the connection is not active.
func (c *connections) syncConnection(ctx context.Context, id string) error {
	lease, now := uuid.NewString(), c.config.Now()
	row, err := c.db.Lease(ctx, maildb.LeaseParams{ID: id, Lease: &lease, Now: now, Until: now.Add(c.sync.Lease)})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("begin a sync of connection %s: %w", id, err)
	}
	r := &run{connections: c, row: row, started: now}
	bounded, cancel := context.WithTimeoutCause(ctx, 2*c.sync.Turn, errSlow)
	defer cancel()
	held, release := r.hold(bounded)
	defer release()
	if row.Kind == kindGmail {
		err = r.gmail(held)
	} else {
		err = r.imap(held)
	}
	if cause := context.Cause(held); err != nil && cause != nil {
		err = cause // what failed did so because of it
	}
	release()
	return r.end(ctx, err)
}

// hold renews the lease until release; the context ends when the lease is lost.
func (r *run) hold(ctx context.Context) (held context.Context, release func()) {
	held, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(r.sync.Lease / 4)
		defer tick.Stop()
		for renewed := time.Now(); ; {
			select {
			case <-held.Done():
				return
			case <-tick.C:
			}
			n, err := r.db.RenewLease(held, maildb.RenewLeaseParams{ID: r.row.ID, Lease: r.row.Lease, Until: r.config.Now().Add(r.sync.Lease)})
			switch {
			case err == nil && n == 1:
				renewed = time.Now()
			case err == nil, time.Since(renewed) > r.sync.Lease:
				cancel(errLost)
			}
		}
	}()
	return held, func() { cancel(nil); <-done }
}

// fetched is a message to keep. Raw is nil when it is too large, or given up.
type fetched struct {
	name string // where it came from: Origin.ExternalID
	raw  []byte
}

// keep stores a batch and moves the cursor behind it. The connection's row is locked last and for a moment: its owner can change it
// while a batch is stored, which undoes the batch.
func (r *run) keep(ctx context.Context, batch []fetched, cursor []byte) error {
	bytes, longest := int64(0), int64(0)
	for _, m := range batch {
		bytes, longest = bytes+int64(len(m.raw)), max(longest, int64(len(m.raw)))
	}
	leave, err := r.room.take(ctx, bytes, longest)
	if err != nil {
		return err
	}
	defer leave()
	var stored int
	err = retried(func() error {
		return pgx.BeginFunc(ctx, r.config.Pool, func(tx pgx.Tx) (err error) {
			stored, err = r.keepAll(ctx, tx, batch, cursor)
			return err
		})
	})
	if errors.Is(err, errLost) {
		return err
	}
	if err != nil {
		return &storeError{err}
	}
	r.stored, r.kept = r.stored+stored, r.kept+len(batch)
	if r.config.Now().Sub(r.started) > r.sync.Turn {
		return errTurn
	}
	return nil
}

// keepAll stores the messages of a batch and remembers those that are skipped.
func (r *run) keepAll(ctx context.Context, tx pgx.Tx, batch []fetched, cursor []byte) (stored int, err error) {
	db, skipped := r.db.WithTx(tx), int32(0)
	var whole []Incoming
	for _, m := range batch {
		if m.raw != nil {
			whole = append(whole, Incoming{Origin{Connection: r.row.ID, ExternalID: m.name, Kind: r.row.Kind}, m.raw})
			continue
		}
		n, err := db.SkipOrigin(ctx, maildb.SkipOriginParams{ConnectionID: r.row.ID, ExternalID: m.name})
		if err != nil {
			return 0, fmt.Errorf("skip message %s: %w", m.name, err)
		}
		skipped += int32(n)
	}
	kept, err := r.store.Store(ctx, tx, r.row.UserID, whole...)
	if err != nil {
		return 0, err
	}
	for _, one := range kept {
		if one.New {
			stored++
		}
	}
	n, err := db.SaveCursor(ctx, maildb.SaveCursorParams{ID: r.row.ID, Lease: r.row.Lease, Cursor: cursor, Skipped: skipped})
	if err == nil && n == 0 {
		return 0, errLost
	}
	return stored, err
}

// retried does a transaction again that PostgreSQL ended for another's sake.
func retried(do func() error) error {
	for attempt := 1; ; attempt++ {
		err := do()
		var failure *pgconn.PgError
		if !errors.As(err, &failure) || attempt == 5 || failure.Code != "40P01" && failure.Code != "40001" { // deadlock_detected, serialization_failure
			return err
		}
	}
}

// storeError is a failure of this service's own.
type storeError struct{ err error }

func (e *storeError) Error() string { return "store a batch of messages: " + e.err.Error() }
func (e *storeError) Unwrap() error { return e.err }

// end gives the lease back and says when the next sync is due. It returns what an operator has to know.
func (r *run) end(ctx context.Context, err error) error {
	now := r.config.Now()
	result, next := r.judge(ctx, err, now)
	r.metrics.observe(r.row.Kind, result, now.Sub(r.started))
	log := r.config.Log.With("connection", r.row.ID, "kind", r.row.Kind, "result", result, "stored", r.stored)
	if err != nil {
		log = log.With("error", err)
	}
	log.InfoContext(ctx, "mail synced")
	if result == resultLost {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second) // also when the process is about to stop
	defer cancel()
	ended := pgx.BeginFunc(ctx, r.config.Pool, func(tx pgx.Tx) error {
		again, err := r.db.WithTx(tx).EndSync(ctx, next)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil // the lease was lost at the last moment
		}
		if err != nil {
			return err
		}
		if next.State == stateActive && (again || result == resultUnfinished) {
			return r.queueSync(ctx, tx, r.row.UserID, r.row.ID)
		}
		return nil
	})
	if ended != nil {
		return fmt.Errorf("end a sync of connection %s: %w", r.row.ID, ended)
	}
	if result == resultError {
		return fmt.Errorf("sync connection %s: %w", r.row.ID, err)
	}
	return nil
}

// The results of a sync, as metrics name them.
const (
	resultOK         = "ok"
	resultUnfinished = "unfinished" // goes on at once, here or elsewhere
	resultLost       = "lost"       // paused, removed or taken over
	resultReconnect  = "reconnect"  // the credentials are refused
	resultProblem    = "problem"    // of the network or the server; tried again later
	resultError      = "error"      // of this service's own
)

// judge says what an error means, and what the row says from now on.
func (r *run) judge(ctx context.Context, err error, now time.Time) (result string, next maildb.EndSyncParams) {
	next = maildb.EndSyncParams{ID: r.row.ID, Lease: r.row.Lease, State: stateActive, Problem: r.notice}
	var wait *gmail.WaitError
	var own *storeError
	switch {
	case err == nil:
		next.LastSyncedAt, next.NextSyncAt = &now, now.Add(jitter(r.sync.Interval))
		return resultOK, next
	case errors.Is(err, errTurn), errors.Is(err, errSlow) && r.kept > 0, ctx.Err() != nil:
		next.NextSyncAt = now
		return resultUnfinished, next
	case errors.Is(err, errLost), errors.Is(err, ErrNotFound):
		return resultLost, next
	case errors.Is(err, imap.ErrCredentials):
		next.State, next.Problem, next.NextSyncAt = stateReconnect, imapReason(err)+"; give the new one", now
		return resultReconnect, next
	case errors.Is(err, gmail.ErrRefused):
		next.State, next.Problem, next.NextSyncAt = stateReconnect, "Google says that the consent is not valid any more: connect again", now
		return resultReconnect, next
	}
	next.Failures = min(r.row.Failures+1, 1000)
	next.NextSyncAt = now.Add(jitter(backoff(r.sync.Interval, next.Failures)))
	switch result = resultProblem; {
	case errors.As(err, &wait):
		next.Problem = "Gmail asks to wait before more is fetched; this goes on by itself"
		if at := now.Add(wait.For); at.After(next.NextSyncAt) {
			next.NextSyncAt = at
		}
	case errors.Is(err, errSlow):
		next.Problem = fmt.Sprintf("the server is so slow that no message came in %s; this is tried again by itself", 2*r.sync.Turn)
	case errors.Is(err, gmail.ErrDisabled):
		next.Problem = "Gmail: its API is not switched on in this service's Google project; ask the operator"
	case errors.Is(err, gmail.ErrAnswer):
		next.Problem = "Gmail: it answers, and not with what was asked for; this is tried again by itself"
	case errors.Is(err, errNoGmail):
		next.Problem = "this service is not set up for Gmail at present; ask its operator"
	case errors.As(err, &own):
		result, next.Problem = resultError, "the service could not store the mail that it fetched; it tries again by itself"
	case r.row.Kind == kindGmail:
		next.Problem = "Gmail: " + outbound.Reason(err)
	default:
		next.Problem = imapReason(err)
	}
	return result, next
}

// backoff doubles the interval with each failure in a row after the first, up to longestWait.
func backoff(interval time.Duration, failures int32) time.Duration {
	for ; failures > 1 && interval < longestWait; failures-- {
		interval = min(2*interval, longestWait)
	}
	return interval
}

// jitter spreads a time by a tenth to both sides, so that connections that failed together do not come back together.
func jitter(d time.Duration) time.Duration {
	return d - d/10 + rand.N(d/5+1)
}
