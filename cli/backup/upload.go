package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/smart-assistant/platform/cli/objectstore"
)

const (
	partSize = 16 << 20 // bytes of each part but the last
	maxPart  = 64 << 20 // the largest part that a reader accepts
	inFlight = 3        // parts on their way to the store, besides the one being filled
)

// uploader puts the parts of a backup, several at a time, out of a fixed number of buffers: when the store is slower than the
// server, the server waits. The first part that cannot be put ends the whole backup.
type uploader struct {
	store  objectstore.Store
	prefix string
	size   int // of a part
	free   chan []byte

	ctx    context.Context
	cancel context.CancelCauseFunc
	puts   sync.WaitGroup
}

func newUploader(ctx context.Context, store objectstore.Store, prefix string, size int) *uploader {
	u := &uploader{store: store, prefix: prefix, size: size, free: make(chan []byte, 1+inFlight)}
	u.ctx, u.cancel = context.WithCancelCause(ctx)
	for range cap(u.free) {
		u.free <- nil // allocated when first used
	}
	return u
}

// wait waits for the parts on their way and says whether all parts so far are stored.
func (u *uploader) wait() error {
	u.puts.Wait()
	return context.Cause(u.ctx)
}

// close stops what is under way.
func (u *uploader) close() {
	u.cancel(context.Canceled)
	u.puts.Wait()
}

// partWriter cuts one stream into parts named <name>.000001 and so on, whose order is that of their names.
type partWriter struct {
	uploader *uploader
	name     string
	part     []byte
	objects  []*Object // complete once the uploader has waited
}

func (w *partWriter) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		if w.part == nil {
			select {
			case w.part = <-w.uploader.free:
			case <-w.uploader.ctx.Done():
				return written, context.Cause(w.uploader.ctx)
			}
			if w.part == nil {
				w.part = make([]byte, 0, w.uploader.size)
			}
		}
		n := min(len(p), cap(w.part)-len(w.part))
		w.part = append(w.part, p[:n]...)
		written, p = written+n, p[n:]
		if len(w.part) == cap(w.part) {
			w.put()
		}
	}
	return written, nil
}

// Close sends the last part on its way.
func (w *partWriter) Close() error {
	if len(w.part) > 0 {
		w.put()
	}
	return context.Cause(w.uploader.ctx)
}

func (w *partWriter) put() {
	u, part := w.uploader, w.part
	object := &Object{Name: fmt.Sprintf("%s.%06d", w.name, len(w.objects)+1)}
	w.objects, w.part = append(w.objects, object), nil
	u.puts.Go(func() {
		stored, err := putOnce(u.ctx, u.store, u.prefix+object.Name, part)
		if err != nil {
			u.cancel(err)
		}
		object.Size, object.SHA256 = stored.Size, stored.SHA256
		u.free <- part[:0]
	})
}

const (
	attempts   = 5
	firstPause = 200 * time.Millisecond // doubled each time
)

// putOnce writes an object that nobody else may write. An answer that was lost is made good: when the object turns out to be there,
// with these bytes, it has been written.
func putOnce(ctx context.Context, store objectstore.Store, key string, content []byte) (Object, error) {
	sum := sha256.Sum256(content)
	object := Object{Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:])}
	return object, again(ctx, func() error {
		_, err := store.Put(ctx, key, bytes.NewReader(content), objectstore.IfAbsent())
		if errors.Is(err, objectstore.ErrPrecondition) {
			found, err := sumOf(ctx, store, key)
			switch {
			case errors.Is(err, objectstore.ErrNotExist):
				return err // a concurrent write that failed: try again
			case err != nil:
				return err
			case found != sum:
				return final{fmt.Errorf("store %s: somebody else wrote it: %w", key, objectstore.ErrPrecondition)}
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("store %s: %w", key, err)
		}
		return nil
	})
}

func sumOf(ctx context.Context, store objectstore.Store, key string) (sum [sha256.Size]byte, err error) {
	body, _, err := store.Get(ctx, key)
	if err != nil {
		return sum, fmt.Errorf("fetch %s: %w", key, err)
	}
	defer body.Close()
	h := sha256.New()
	if _, err := copyBuffer(h, body); err != nil {
		return sum, fmt.Errorf("fetch %s: %w", key, err)
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

// final marks an error that trying again does not help.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// again tries a few times, with growing pauses.
func again(ctx context.Context, try func() error) error {
	pause := firstPause
	for attempt := 1; ; attempt++ {
		err := try()
		if err == nil || errors.As(err, new(final)) {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if attempt == attempts {
			return fmt.Errorf("%w (tried %d times)", err, attempts)
		}
		select {
		case <-time.After(pause):
			pause *= 2
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
