package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/objectstore"
)

// link is an entry of the chain with the hash of its bytes.
type link struct {
	entry Entry
	hash  string
	etag  string
	err   error // why there is no such entry: an ErrDamaged
}

// last is the newest link, or what the first entry follows.
func last(links []link) *link {
	if len(links) == 0 {
		return &link{hash: hashOf(nil)}
	}
	return &links[len(links)-1]
}

// chain reads and verifies all entries. With an error come those before the break.
func (l *Ledger) chain(ctx context.Context) ([]link, error) {
	l.loadCache()
	links, err := l.readChain(ctx)
	if errors.Is(err, ErrDamaged) {
		l.dropCache() // the damage may be the cache's: only the store's word counts
		links, err = l.readChain(ctx)
	}
	if err != nil {
		l.head.Store(nil) // nothing is appended to what is not known to be sound
		return links, err
	}
	l.head.Store(last(links))
	return links, nil
}

func (l *Ledger) readChain(ctx context.Context) ([]link, error) {
	lease, _, err := l.readLease(ctx) // ahead of the list: what the lease has seen must then be listed
	if err != nil {
		return nil, err
	}
	etags, err := l.list(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the ledger of %s: %w", l.opts.Environment, err)
	}
	links, err := l.fetch(ctx, etags)
	if err != nil {
		return nil, fmt.Errorf("read the ledger of %s: %w", l.opts.Environment, err)
	}
	for i := range links {
		if err := l.verify(links, i); err != nil {
			return links[:i], damaged(err)
		}
	}
	if lease != nil {
		if err := lease.Head.verify(links); err != nil {
			return links, damaged(err)
		}
	}
	return links, nil
}

// maxGap bounds how many entries a listing can pass over: those that were added while it went on.
const maxGap = 1000

// list returns the entries' ETags in the order of their numbers. What the listing passed over has an empty one: it is asked for by name.
func (l *Ledger) list(ctx context.Context) ([]string, error) {
	var etags []string
	for a, err := range l.store.List(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		seq, ok := seqOf(a.Key)
		if !ok {
			return nil, damaged(fmt.Errorf("%s is not the name of an entry: %w", a.Key, ErrDamaged))
		}
		passed := int(seq) - len(etags) - 1
		if passed < 0 || passed > maxGap {
			return nil, damaged(fmt.Errorf("%s is missing: %w", keyOf(int64(len(etags)+1)), ErrDamaged))
		}
		etags = append(append(etags, make([]string, passed)...), a.ETag)
	}
	return etags, nil
}

// fetch gets the entries that are not in the cache, several at a time.
func (l *Ledger) fetch(ctx context.Context, etags []string) ([]link, error) {
	links := make([]link, len(etags))
	fresh := make([]cached, len(etags))
	errs := make([]error, len(etags))
	work := make(chan int)
	var group sync.WaitGroup
	for range min(16, len(etags)) {
		group.Go(func() {
			for i := range work {
				links[i], fresh[i], errs[i] = l.fetchOne(ctx, int64(i+1))
			}
		})
	}
	for i, etag := range etags {
		if known, ok := l.recall(int64(i + 1)); ok && etag != "" && known.etag == etag {
			links[i] = known
		} else {
			work <- i
		}
	}
	close(work)
	group.Wait()
	l.saveCache(slices.DeleteFunc(fresh, func(c cached) bool { return c.ETag == "" }))
	return links, errors.Join(errs...)
}

// fetchOne gets one entry. An absent or unreadable one is the link's error, for verify to report in its place.
func (l *Ledger) fetchOne(ctx context.Context, seq int64) (link, cached, error) {
	key := keyOf(seq)
	raw, a, err := read(ctx, l.store, key)
	if errors.Is(err, objectstore.ErrNotExist) {
		return link{err: fmt.Errorf("%s is missing: %w", key, ErrDamaged)}, cached{}, nil
	}
	if err != nil {
		return link{}, cached{}, err
	}
	k := newLink(key, raw, a.ETag)
	var line cached
	if k.err == nil {
		l.remember(k)
		line = cached{ETag: a.ETag, Raw: string(raw)}
	}
	return k, line, nil
}

func newLink(key string, raw []byte, etag string) link {
	e, err := parseEntry(key, raw)
	return link{entry: e, hash: hashOf(raw), etag: etag, err: err}
}

// verify holds one link against the one before.
func (l *Ledger) verify(links []link, i int) error {
	this, before := links[i], last(links[:i])
	switch {
	case this.err != nil:
		return this.err
	case this.entry.Environment != l.opts.Environment:
		return fmt.Errorf("%s belongs to environment %s, not %s: %w", keyOf(this.entry.Seq), this.entry.Environment, l.opts.Environment, ErrDamaged)
	case this.entry.Prev != before.hash && i == 0:
		return fmt.Errorf("%s is not the start of a chain: %w", keyOf(1), ErrDamaged)
	case this.entry.Prev != before.hash:
		return fmt.Errorf("%s is not what %s was written after: one of them was changed: %w", keyOf(before.entry.Seq), keyOf(this.entry.Seq), ErrDamaged)
	case this.entry.Fence < before.entry.Fence:
		return fmt.Errorf("%s was written under fence %d, after fence %d: %w", keyOf(this.entry.Seq), this.entry.Fence, before.entry.Fence, ErrDamaged)
	}
	return nil
}

// seal is what the lease holds of the chain: its newest entry, which no other vouches for yet.
type seal struct {
	Seq  int64  `json:"seq"`
	Hash string `json:"hash"` // as the next entry's Prev will be
}

func sealOf(head *link) seal { return seal{Seq: head.entry.Seq, Hash: head.hash} }

func (s seal) verify(links []link) error {
	switch {
	case s.Seq == 0:
		return nil
	case s.Seq > int64(len(links)):
		return fmt.Errorf("%s is missing, the lease has seen it: %w", keyOf(s.Seq), ErrDamaged)
	case links[s.Seq-1].hash != s.Hash:
		return fmt.Errorf("%s is not the one that the lease has seen: %w", keyOf(s.Seq), ErrDamaged)
	}
	return nil
}

func damaged(err error) error {
	return fault.Code(fault.Hint(err, "bring the named object back from a copy of the bucket; nothing is changed while the chain is broken"), fault.Damaged)
}

func (l *Ledger) remember(k link) {
	l.cacheLock.Lock()
	defer l.cacheLock.Unlock()
	l.cache[k.entry.Seq] = k
}

func (l *Ledger) recall(seq int64) (link, bool) {
	l.cacheLock.Lock()
	defer l.cacheLock.Unlock()
	k, ok := l.cache[seq]
	return k, ok
}

// read gets a small object whole.
func read(ctx context.Context, store objectstore.Store, key string) ([]byte, objectstore.Attributes, error) {
	body, a, err := store.Get(ctx, key)
	if err != nil {
		return nil, a, err
	}
	raw, err := io.ReadAll(io.LimitReader(body, maxEntry+1))
	if err := errors.Join(err, body.Close()); err != nil {
		return nil, a, fmt.Errorf("read %s: %w", key, err)
	}
	return raw, a, nil
}

// writeAttempts is how often write tries a store that fails; the store itself has repeated each request before.
const writeAttempts = 4

// write puts a small object under a condition and finds out whether it was written when the store does not say. The bytes hold a
// nonce, so that finding them means that they are ours. It returns false when somebody else's object is there.
func write(ctx context.Context, store objectstore.Store, key string, raw []byte, cond objectstore.Condition) (objectstore.Attributes, bool, error) {
	for attempt := 1; ; attempt++ {
		a, err := store.Put(ctx, key, bytes.NewReader(raw), cond)
		if err == nil {
			return a, true, nil
		}
		found, a, readErr := read(ctx, store, key)
		switch {
		case readErr == nil && slices.Equal(found, raw):
			return a, true, nil
		case errors.Is(err, objectstore.ErrPrecondition) && (readErr == nil || errors.Is(readErr, objectstore.ErrNotExist)):
			return a, false, nil
		case attempt == writeAttempts:
			return a, false, err
		}
		select {
		case <-ctx.Done():
			return a, false, fmt.Errorf("%w (%w)", context.Cause(ctx), err)
		case <-time.After(time.Duration(attempt) * (50*time.Millisecond + rand.N(100*time.Millisecond))):
		}
	}
}
