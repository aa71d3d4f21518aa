package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/objectstore"
)

// fetcher reads the objects of one backup. Each is fetched whole into one of a fixed number of buffers and its SHA-256 compared
// with the commit's before its first byte is used.
type fetcher struct {
	store   objectstore.Store
	prefix  string
	id      age.Identity
	free    chan []byte
	fetched atomic.Int64 // bytes
}

func newFetcher(store objectstore.Store, c Commit, id age.Identity) *fetcher {
	f := &fetcher{store: store, prefix: Prefix(c.ID), id: id, free: make(chan []byte, 1+inFlight)}
	for range cap(f.free) {
		f.free <- nil
	}
	return f
}

// archive opens the tar of an archive: objects in order, decrypted, decompressed.
func (f *fetcher) archive(ctx context.Context, a Archive) (io.ReadCloser, error) {
	parts := f.parts(ctx, a.Objects)
	plain, err := age.Decrypt(parts, f.id)
	if err != nil {
		parts.Close()
		return nil, parts.blame(err)
	}
	tar, err := zstd.NewReader(plain, zstd.WithDecoderConcurrency(decoders), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow), zstd.IgnoreChecksum(true)) // age and SHA-256 have checked these bytes
	if err != nil {
		parts.Close()
		return nil, parts.blame(err)
	}
	return &archiveReader{tar, parts}, nil
}

const (
	decoders  = 2        // stages of one decoder that run in parallel
	maxWindow = 64 << 20 // bytes
)

type archiveReader struct {
	tar   *zstd.Decoder
	parts *partReader
}

func (r *archiveReader) Read(p []byte) (int, error) {
	n, err := r.tar.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // a wrapped one is a failure to fetch
		err = r.parts.blame(err)
	}
	return n, err
}

func (r *archiveReader) Close() error {
	r.parts.Close()
	r.tar.Close()
	return nil
}

// manifest fetches and decrypts PostgreSQL's backup manifest.
func (f *fetcher) manifest(ctx context.Context, o Object) ([]byte, error) {
	object, err := f.fetch(ctx, o, nil)
	if err != nil {
		return nil, err
	}
	plain, err := decrypt(object, f.id)
	if err != nil {
		return nil, notOpened(f.prefix+o.Name, err)
	}
	return plain, nil
}

// fetch reads one object into a buffer, which is replaced when it is too small. A read that fails, or brings other bytes than were
// written, is tried again before it counts.
func (f *fetcher) fetch(ctx context.Context, o Object, buffer []byte) ([]byte, error) {
	if int64(cap(buffer)) < o.Size {
		buffer = make([]byte, o.Size)
	}
	buffer = buffer[:o.Size]
	key, mismatches := f.prefix+o.Name, 0
	err := again(ctx, func() error {
		err := f.fetchOnce(ctx, key, o, buffer)
		if errors.Is(err, objectstore.ErrNotExist) {
			return final{damaged(key, objectstore.ErrNotExist)}
		}
		if wrong, ok := errors.AsType[*mismatch](err); ok {
			if mismatches++; mismatches > 1 {
				return final{damaged(key, wrong)}
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	f.fetched.Add(o.Size)
	return buffer, nil
}

// mismatch says that an object is not the one that the commit names.
type mismatch struct{ what string }

func (m *mismatch) Error() string { return m.what }

func (f *fetcher) fetchOnce(ctx context.Context, key string, o Object, buffer []byte) error {
	body, attributes, err := f.store.Get(ctx, key)
	if err != nil {
		return fmt.Errorf("fetch %s: %w", key, err)
	}
	defer body.Close()
	if attributes.Size != o.Size {
		return &mismatch{fmt.Sprintf("it has %d bytes, the commit says %d", attributes.Size, o.Size)}
	}
	if _, err := io.ReadFull(body, buffer); err != nil {
		return fmt.Errorf("fetch %s: %w", key, err)
	}
	if sum := sha256.Sum256(buffer); hex.EncodeToString(sum[:]) != o.SHA256 {
		return &mismatch{"its SHA-256 is not the one that the commit says"}
	}
	return nil
}

// partReader reads objects one after another as one stream and fetches some of them ahead.
type partReader struct {
	fetcher *fetcher
	cancel  context.CancelFunc
	ahead   chan *fetchedPart // in order
	workers sync.WaitGroup

	part []byte // being read
	rest []byte // of it, not read yet
	name string // of the object being read
	err  error
}

type fetchedPart struct {
	name  string
	ready chan struct{}
	part  []byte
	err   error
}

func (f *fetcher) parts(ctx context.Context, objects []Object) *partReader {
	ctx, cancel := context.WithCancel(ctx)
	r := &partReader{fetcher: f, cancel: cancel, ahead: make(chan *fetchedPart, inFlight)}
	r.workers.Go(func() {
		defer close(r.ahead)
		for _, o := range objects {
			p := &fetchedPart{name: f.prefix + o.Name, ready: make(chan struct{})}
			var buffer []byte
			select {
			case buffer = <-f.free:
			case <-ctx.Done():
				return
			}
			r.workers.Go(func() {
				defer close(p.ready)
				if p.part, p.err = f.fetch(ctx, o, buffer); p.err != nil {
					f.free <- buffer
				}
			})
			r.ahead <- p // never blocks for long: there are as many places as buffers
		}
	})
	return r
}

func (r *partReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 && r.err == nil {
		r.next()
	}
	if len(r.rest) == 0 {
		return 0, r.err
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *partReader) next() {
	if r.part != nil {
		r.fetcher.free <- r.part
		r.part = nil
	}
	p, more := <-r.ahead
	if !more {
		r.err = io.EOF
		return
	}
	<-p.ready
	r.part, r.rest, r.name, r.err = p.part, p.part, p.name, p.err
}

// blame gives an error from above the parts its object: the parts' own error when there is one, else the object being read.
func (r *partReader) blame(err error) error {
	if r.err != nil && r.err != io.EOF { //nolint:errorlint // a wrapped one is a failure to fetch
		return r.err
	}
	return notOpened(r.name, err)
}

// Close stops the fetching and gives the buffers back.
func (r *partReader) Close() {
	r.cancel()
	if r.part != nil {
		r.fetcher.free <- r.part
		r.part, r.rest = nil, nil
	}
	for p := range r.ahead {
		if <-p.ready; p.part != nil {
			r.fetcher.free <- p.part
		}
	}
	r.workers.Wait()
	if r.err == nil {
		r.err = context.Canceled
	}
}

// notOpened explains why an object whose bytes are those of the commit cannot be read.
func notOpened(object string, err error) error {
	if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return fault.Hint(fault.Code(fmt.Errorf("decrypt %s: it was written for another key: %w", object, err), fault.Damaged),
			"give the identity of the environment that wrote it")
	}
	return damaged(object, err)
}
