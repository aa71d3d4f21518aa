// Package ledger owns an environment's record of what was done to it, and the lease that lets one writer at a time do it.
//
// The record is a hash chain of small JSON objects in the environment's bucket, ledger/000000000001.json onwards. Each is
// written once (If-None-Match: *) and holds the SHA-256 of the exact bytes of the one before, so an edited, missing or swapped
// entry breaks the chain at a place that can be named; the lease holds the hash of the newest, which no entry follows yet. The
// lease is one object, replaced with If-Match. Each acquisition gets a higher fencing number, every entry carries the fence in
// force, and along the chain the fence never falls: a writer whose lease was taken over cannot append any more once its successor
// has, however late it wakes up.
//
// The chain shows damage and mistakes. It does not stop somebody who may write to the bucket from writing all of it anew.
//
// The package needs a store with conditional writes and nothing else: no server, no lock file, no common clock. It does not know
// what a promotion or a restore is; to it a run is a numbered list of steps with opaque data.
package ledger

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/objectstore"
)

var (
	// ErrFenced says that somebody acquired the lease after this writer did and has written since: stop, nothing was appended.
	ErrFenced = errors.New("the lease was taken over")
	// ErrLeaseLost is the cause of a lease's contexts when the lease was taken over or could not be renewed before it expired.
	ErrLeaseLost = errors.New("lease lost")
	// ErrDamaged says that the chain or the lease is not what was written; the message names the object.
	ErrDamaged = errors.New("ledger is damaged")
	// ErrNoRun says that the ledger has no run of that number.
	ErrNoRun = errors.New("no such run")
	// ErrEnded says that the run has ended and takes no further steps.
	ErrEnded = errors.New("run has ended")
)

// Options of Open. Environment and Actor are required.
type Options struct {
	Environment string           // a chain or lease of another environment is refused
	Actor       string           // who writes, e.g. anna@laptop
	TTL         time.Duration    // life of a lease without renewal; default 30 s, from 1 s to 1 h; renewed each third of it
	Now         func() time.Time // default time.Now
	Rand        io.Reader        // default crypto/rand.Reader
	Cache       string           // file of this environment's entries read before; "" for none
}

// Ledger is one environment's chain and lease. It may be used from several goroutines.
type Ledger struct {
	store objectstore.Store
	opts  Options
	self  process

	appending sync.Mutex           // one Append of this process at a time
	head      atomic.Pointer[link] // newest entry known; nil when it has to be looked for
	loadOnce  sync.Once
	cacheLock sync.Mutex
	cache     map[int64]link // entries read before, good as long as the store lists them with the same ETag
}

// Open returns the ledger in the store's bucket. It makes no request.
func Open(store objectstore.Store, o Options) *Ledger {
	if o.TTL == 0 {
		o.TTL = 30 * time.Second
	}
	o.TTL = min(max(o.TTL, minTTL), maxTTL)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	return &Ledger{store: store, opts: o, self: thisProcess(), cache: map[int64]link{}}
}

// Entries reads and verifies the whole chain and yields the entries with Seq ≥ from (1 for all). After the entries that are sound,
// a break is yielded as an ErrDamaged that names the object.
func (l *Ledger) Entries(ctx context.Context, from int64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		links, err := l.chain(ctx)
		for _, link := range links {
			if link.entry.Seq >= from && !yield(link.entry, nil) {
				return
			}
		}
		if err != nil {
			yield(Entry{}, err)
		}
	}
}

// Append adds an entry at the end of the chain and returns it as written. Kind, Run, Step, Phase and Data are the caller's, and
// so is Fence: the lease's, or 0 for what needs no lease (an approval, a note). The rest is filled in.
//
// It returns ErrFenced when the chain carries a higher fence. After any other error the entry may yet be there (the store did
// not answer); the next Append finds out.
func (l *Ledger) Append(ctx context.Context, e Entry) (Entry, error) {
	written, _, err := l.append(ctx, e, nil)
	return written, err
}

// append adds an entry. With complete it reads the whole chain first and lets complete see it and fill in or refuse the entry; the
// entry is then written as the direct successor of what complete saw, which is also returned.
func (l *Ledger) append(ctx context.Context, e Entry, complete func(e *Entry, before []link) error) (Entry, []link, error) {
	l.appending.Lock()
	defer l.appending.Unlock()
	for {
		var before []link
		head := l.head.Load()
		if head == nil || complete != nil {
			var err error
			if before, err = l.chain(ctx); err != nil {
				return Entry{}, nil, fmt.Errorf("append to the ledger of %s: %w", l.opts.Environment, err)
			}
			head = last(before)
		}
		if complete != nil {
			if err := complete(&e, before); err != nil {
				return Entry{}, nil, err
			}
		}
		next, raw, err := l.follow(*head, e)
		if err != nil {
			return Entry{}, nil, err
		}
		l.head.Store(nil) // until it is known what the store has
		attributes, ours, err := write(ctx, l.store, keyOf(next.Seq), raw, objectstore.IfAbsent())
		if err != nil {
			return Entry{}, nil, fmt.Errorf("append %s %s: %w", next.Kind, next.Phase, err)
		}
		if ours {
			written := link{entry: next, hash: hashOf(raw), etag: attributes.ETag}
			l.remember(written)
			l.head.Store(&written)
			return next, before, nil
		}
	}
}

// follow makes e the successor of the head.
func (l *Ledger) follow(head link, e Entry) (Entry, []byte, error) {
	if e.Fence == 0 {
		e.Fence = head.entry.Fence
	}
	if e.Fence < head.entry.Fence {
		return Entry{}, nil, fault.Code(fmt.Errorf("append %s %s under fence %d: %s wrote under %d: %w",
			e.Kind, e.Phase, e.Fence, head.entry.Actor, head.entry.Fence, ErrFenced), fault.Held)
	}
	nonce, err := l.random()
	if err != nil {
		return Entry{}, nil, err
	}
	e.Seq, e.Prev, e.Nonce = head.entry.Seq+1, head.hash, nonce
	e.Environment, e.Actor, e.Time = l.opts.Environment, l.opts.Actor, l.opts.Now().UTC().Truncate(time.Millisecond)
	raw, err := e.encode()
	return e, raw, err
}

func (l *Ledger) random() (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(l.opts.Rand, b[:]); err != nil {
		return "", fmt.Errorf("ledger of %s: random number: %w", l.opts.Environment, err)
	}
	return hex.EncodeToString(b[:]), nil
}
