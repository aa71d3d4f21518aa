// Package objectstore owns the Store contract, the one way in which assistctl reads and writes an environment's bucket,
// and its implementation over the S3 API.
//
// It knows nothing of what the objects mean: the ledger and the backups name their own keys.
package objectstore

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// Store keeps whole objects under keys. Every implementation passes objectstoretest's conformance suite.
//
// An object is visible whole or not at all, and a write that returned nil is seen by every later call, as S3 promises since
// December 2020 (strong read-after-write consistency). Conditions are those of RFC 9110 section 13: If-None-Match: * and If-Match.
type Store interface {
	// Put writes an object whole. It reads body from its current position to the end and may rewind it to try again.
	// With a condition that does not hold it returns ErrPrecondition and leaves the object as it was.
	// Any other error leaves open whether the object was written (the answer may be lost): the caller looks.
	Put(ctx context.Context, key string, body io.ReadSeeker, cond Condition) (Attributes, error)

	// Get opens an object for reading. The reader fails rather than ends early when the connection breaks.
	// It returns ErrNotExist when there is no such object.
	Get(ctx context.Context, key string) (io.ReadCloser, Attributes, error)

	// Stat returns an object's attributes, or ErrNotExist.
	Stat(ctx context.Context, key string) (Attributes, error)

	// List yields the objects whose keys start with prefix, in lexical order of the keys' bytes.
	List(ctx context.Context, prefix string) iter.Seq2[Attributes, error]

	// Delete removes objects. A key that does not exist is not an error.
	Delete(ctx context.Context, keys ...string) error
}

// Attributes describe one version of an object.
type Attributes struct {
	Key          string
	Size         int64 // bytes
	ETag         string
	LastModified time.Time // by the store's clock, whole seconds (zero after Put)
	ServerTime   time.Time // the store's clock when it answered (zero in List)
}

// Condition guards a Put. The zero value always holds.
type Condition struct {
	absent bool
	etag   string
}

// Always writes whatever is there.
func Always() Condition { return Condition{} }

// IfAbsent writes only when the key does not exist (If-None-Match: *).
func IfAbsent() Condition { return Condition{absent: true} }

// IfMatch writes only when the object still has this ETag.
func IfMatch(etag string) Condition { return Condition{etag: etag} }

var (
	// ErrNotExist says that there is no object under the key.
	ErrNotExist = errors.New("object does not exist")
	// ErrPrecondition says that a Put's condition did not hold (HTTP 412, or 409 for a concurrent conditional write).
	ErrPrecondition = errors.New("precondition failed")
)
