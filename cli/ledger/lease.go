package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/objectstore"
)

// Lease is the right to change the environment, held until Release or until it is lost.
//
// The holder judges by its own clock, from before it sent the renewal that succeeded, and gives up after the TTL. Others judge by
// the store's clock, from when the store wrote that renewal, and wait for at least the TTL. So the holder always stops first.
type Lease struct {
	ledger *Ledger
	fence  int64

	life context.Context // ends with the lease; its cause says how
	end  context.CancelCauseFunc

	quit chan struct{} // closed by Release: no more renewals
	done chan struct{} // closed when the last renewal is over
	once sync.Once

	// Only the renewing goroutine touches these until done is closed.
	record   record
	etag     string
	sent     time.Time   // when the last successful write was begun, by the local clock
	watchdog *time.Timer // ends the lease when a renewal hangs
}

var errReleased = errors.New("lease released")

// Acquire takes the lease and keeps it, whatever becomes of ctx, until Release. It returns a *HeldError when somebody else holds it.
// Purpose is what others are told: "promote v1.9.1". A broken chain is refused with ErrDamaged.
func (l *Ledger) Acquire(ctx context.Context, purpose string) (*Lease, error) {
	nonce, err := l.random()
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host" // it is only shown
	}
	mine := record{
		Environment: l.opts.Environment, Nonce: nonce, TTL: l.opts.TTL.Milliseconds(), Actor: l.opts.Actor, Host: host,
		Process: l.self, Purpose: purpose, Since: l.opts.Now().UTC().Truncate(time.Second),
	}
	for {
		current, a, err := l.readLease(ctx)
		if err != nil {
			return nil, err
		}
		if current != nil && !current.free(a, l.self) {
			return nil, l.held(current.holder(a))
		}
		links, err := l.chain(ctx)
		if err != nil {
			return nil, err
		}
		head, cond := last(links), objectstore.IfAbsent()
		mine.Fence, mine.Head = head.entry.Fence+1, sealOf(head)
		if current != nil {
			mine.Fence, cond = max(current.Fence+1, mine.Fence), objectstore.IfMatch(a.ETag)
		}
		lease := &Lease{ledger: l, fence: mine.Fence, quit: make(chan struct{}), done: make(chan struct{})}
		ours, err := lease.put(ctx, mine, cond)
		if err != nil {
			return nil, fmt.Errorf("acquire the lease of %s: %w", l.opts.Environment, err)
		}
		if ours { // else somebody was quicker: see who
			lease.start(ctx)
			return lease, nil
		}
	}
}

// start begins the lease's life, which is not that of ctx.
func (le *Lease) start(ctx context.Context) {
	le.life, le.end = context.WithCancelCause(context.WithoutCancel(ctx))
	le.watchdog = time.AfterFunc(le.left(), le.expire)
	go le.keep()
}

// put writes the next version of the lease.
func (le *Lease) put(ctx context.Context, r record, cond objectstore.Condition) (bool, error) {
	raw, err := json.Marshal(r)
	if err != nil {
		return false, fmt.Errorf("encode: %w", err)
	}
	sent := le.ledger.opts.Now()
	a, ours, err := write(ctx, le.ledger.store, leaseKey, append(raw, '\n'), cond)
	if ours {
		le.record, le.etag, le.sent = r, a.ETag, sent
	}
	return ours, err
}

// left is how long the lease lasts without renewal. A suspended machine's monotonic clock stands still, so its wall clock counts as well.
func (le *Lease) left() time.Duration {
	now := le.ledger.opts.Now()
	return le.record.ttl() - max(now.Sub(le.sent), now.Round(0).Sub(le.sent.Round(0)))
}

func (le *Lease) expire() { le.lose("it could not be renewed in time") }

func (le *Lease) lose(why string) {
	le.end(fault.Code(fmt.Errorf("%s: %s: %w", le.ledger.opts.Environment, why, ErrLeaseLost), fault.Held))
}

// keep renews the lease until it is released or lost.
func (le *Lease) keep() {
	defer close(le.done)
	defer le.watchdog.Stop()
	for {
		pause := time.NewTimer(le.record.ttl() / 3)
		select {
		case <-le.quit:
		case <-le.life.Done():
		case <-pause.C:
			if le.renew() {
				le.watchdog.Reset(le.left())
				continue
			}
		}
		pause.Stop()
		return
	}
}

// renew writes the lease anew, and again while the store fails, until the lease runs out.
func (le *Lease) renew() bool {
	next := le.record
	next.Renewals++
	if head := le.ledger.head.Load(); head != nil {
		next.Head = sealOf(head)
	}
	for {
		if le.left() <= 0 {
			le.expire()
			return false
		}
		ours, err := le.put(le.life, next, objectstore.IfMatch(le.etag))
		switch {
		case ours:
			return true
		case err == nil:
			le.lose("somebody else took it over")
			return false
		}
		select {
		case <-le.life.Done():
			return false
		case <-le.quit:
			return false
		case <-time.After(le.record.ttl() / 20):
		}
	}
}

// Fence returns the lease's fencing number, higher than that of every lease before.
func (le *Lease) Fence() int64 { return le.fence }

// Context returns a child of parent that is cancelled when the lease is lost, with a cause that is ErrLeaseLost, and when it is released.
func (le *Lease) Context(parent context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	stop := context.AfterFunc(le.life, func() { cancel(context.Cause(le.life)) })
	context.AfterFunc(ctx, func() { stop() })
	return ctx
}

// Release ends the lease's contexts and gives the lease back. It returns ErrLeaseLost when there was nothing left to give back.
// When the store does not answer, the lease runs out by itself. A second Release does nothing.
func (le *Lease) Release(ctx context.Context) error {
	var err error
	le.once.Do(func() { err = le.release(ctx) })
	return err
}

func (le *Lease) release(ctx context.Context) error {
	close(le.quit)
	select {
	case <-le.done:
	case <-ctx.Done():
	}
	le.end(errReleased)
	<-le.done // at once: the renewal's context has ended
	if cause := context.Cause(le.life); errors.Is(cause, ErrLeaseLost) {
		return fmt.Errorf("release: %w", cause)
	}
	next := le.record
	next.Renewals++
	next.Released = true
	if head := le.ledger.head.Load(); head != nil {
		next.Head = sealOf(head)
	}
	cond := objectstore.IfMatch(le.etag)
	for range 2 {
		ours, err := le.put(ctx, next, cond)
		if err != nil {
			return fmt.Errorf("release the lease of %s: %w", next.Environment, err)
		}
		if ours {
			return nil
		}
		// A renewal whose answer nobody waited for may have been written.
		current, a, err := le.ledger.readLease(ctx)
		if err != nil {
			return err
		}
		if current == nil || current.Nonce != next.Nonce {
			break
		}
		next.Renewals, cond = current.Renewals+1, objectstore.IfMatch(a.ETag)
	}
	return fault.Code(fmt.Errorf("release: %s: somebody else took it over: %w", next.Environment, ErrLeaseLost), fault.Held)
}
