package objectstoretest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync/atomic"
	"time"

	"github.com/smart-assistant/platform/cli/objectstore"
)

// ErrInjected is the error of every injected fault.
var ErrInjected = errors.New("injected fault")

// Op is a method of the Store.
type Op string

// The operations that a fault can hit. Of a Delete the first key counts, of a List the prefix.
const (
	Put    Op = "put"
	Get    Op = "get"
	Stat   Op = "stat"
	List   Op = "list"
	Delete Op = "delete"
)

// When says which calls a fault hits. It is asked once a call, from several goroutines.
type When func(op Op, key string) bool

// On holds for one operation on keys with a prefix.
func On(op Op, prefix string) When {
	return func(o Op, key string) bool { return o == op && strings.HasPrefix(key, prefix) }
}

// Nth holds for the nth call (from 1) for which when holds.
func Nth(n int64, when When) When {
	var seen atomic.Int64
	return func(op Op, key string) bool { return when(op, key) && seen.Add(1) == n }
}

// From holds for the nth call (from 1) for which when holds, and for those after it.
func From(n int64, when When) When {
	var seen atomic.Int64
	return func(op Op, key string) bool { return when(op, key) && seen.Add(1) >= n }
}

// While holds where when does, as long as the switch is on.
func While(on *atomic.Bool, when When) When {
	return func(op Op, key string) bool { return on.Load() && when(op, key) }
}

// ErrorBefore fails before the store sees the call.
func ErrorBefore(store objectstore.Store, when When) objectstore.Store {
	return &Intercepted{store, func(_ context.Context, op Op, key string, call func() error) error {
		if when(op, key) {
			return fmt.Errorf("%s %s: %w", op, key, ErrInjected)
		}
		return call()
	}}
}

// LostAnswer carries the call out and then fails, as when the connection breaks after the request.
func LostAnswer(store objectstore.Store, when When) objectstore.Store {
	return &Intercepted{store, func(_ context.Context, op Op, key string, call func() error) error {
		hit := when(op, key)
		if err := call(); err != nil || !hit {
			return err
		}
		return fmt.Errorf("%s %s: answer lost: %w", op, key, ErrInjected)
	}}
}

// Slow waits before the call, or until the context is done.
func Slow(store objectstore.Store, when When, delay time.Duration) objectstore.Store {
	return &Intercepted{store, func(ctx context.Context, op Op, key string, call func() error) error {
		if when(op, key) {
			select {
			case <-time.After(delay):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return call()
	}}
}

// Blocked never answers: the call ends with its context.
func Blocked(store objectstore.Store, when When) objectstore.Store {
	return &Intercepted{store, func(ctx context.Context, op Op, key string, call func() error) error {
		if when(op, key) {
			<-ctx.Done()
			return ctx.Err()
		}
		return call()
	}}
}

// Hooked calls before ahead of each call that when holds for: the place to let another writer in between.
func Hooked(store objectstore.Store, when When, before func()) objectstore.Store {
	return &Intercepted{store, func(_ context.Context, op Op, key string, call func() error) error {
		if when(op, key) {
			before()
		}
		return call()
	}}
}

// TornRead breaks the body of a Get after n bytes.
func TornRead(store objectstore.Store, when When, n int64) objectstore.Store {
	return &tornRead{store, when, n}
}

type tornRead struct {
	objectstore.Store
	when When
	n    int64
}

func (s *tornRead) Get(ctx context.Context, key string) (io.ReadCloser, objectstore.Attributes, error) {
	body, a, err := s.Store.Get(ctx, key)
	if err == nil && s.when(Get, key) {
		body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(io.LimitReader(body, s.n), broken{}), body}
	}
	return body, a, err
}

type broken struct{}

func (broken) Read([]byte) (int, error) {
	return 0, fmt.Errorf("%w: %w", ErrInjected, io.ErrUnexpectedEOF)
}

// Intercepted passes every call of the store through Around.
type Intercepted struct {
	objectstore.Store
	Around func(ctx context.Context, op Op, key string, call func() error) error
}

// Put implements objectstore.Store.
func (s *Intercepted) Put(ctx context.Context, key string, body io.ReadSeeker, cond objectstore.Condition) (a objectstore.Attributes, err error) {
	err = s.Around(ctx, Put, key, func() (err error) { a, err = s.Store.Put(ctx, key, body, cond); return err })
	return a, err
}

// Get implements objectstore.Store.
func (s *Intercepted) Get(ctx context.Context, key string) (body io.ReadCloser, a objectstore.Attributes, err error) {
	err = s.Around(ctx, Get, key, func() (err error) { body, a, err = s.Store.Get(ctx, key); return err })
	if err != nil && body != nil {
		_ = body.Close() // the answer is lost, and its connection with it
		body = nil
	}
	return body, a, err
}

// Stat implements objectstore.Store.
func (s *Intercepted) Stat(ctx context.Context, key string) (a objectstore.Attributes, err error) {
	err = s.Around(ctx, Stat, key, func() (err error) { a, err = s.Store.Stat(ctx, key); return err })
	return a, err
}

// List implements objectstore.Store.
func (s *Intercepted) List(ctx context.Context, prefix string) iter.Seq2[objectstore.Attributes, error] {
	return func(yield func(objectstore.Attributes, error) bool) {
		stopped := false
		err := s.Around(ctx, List, prefix, func() error {
			for a, err := range s.Store.List(ctx, prefix) {
				if err != nil {
					return err
				}
				if !yield(a, nil) {
					stopped = true
					return nil
				}
			}
			return nil
		})
		if err != nil && !stopped {
			yield(objectstore.Attributes{}, err)
		}
	}
}

// Delete implements objectstore.Store.
func (s *Intercepted) Delete(ctx context.Context, keys ...string) error {
	first := ""
	if len(keys) > 0 {
		first = keys[0]
	}
	return s.Around(ctx, Delete, first, func() error { return s.Store.Delete(ctx, keys...) })
}

// Later is the store as it will answer once d has passed: what nobody renews meanwhile looks that much older.
func Later(store objectstore.Store, d time.Duration) objectstore.Store { return &later{store, d} }

type later struct {
	objectstore.Store
	d time.Duration
}

func (s *later) shift(a objectstore.Attributes) objectstore.Attributes {
	if !a.ServerTime.IsZero() {
		a.ServerTime = a.ServerTime.Add(s.d)
	}
	return a
}

func (s *later) Put(ctx context.Context, key string, body io.ReadSeeker, cond objectstore.Condition) (objectstore.Attributes, error) {
	a, err := s.Store.Put(ctx, key, body, cond)
	return s.shift(a), err
}

func (s *later) Get(ctx context.Context, key string) (io.ReadCloser, objectstore.Attributes, error) {
	body, a, err := s.Store.Get(ctx, key)
	return body, s.shift(a), err
}

func (s *later) Stat(ctx context.Context, key string) (objectstore.Attributes, error) {
	a, err := s.Store.Stat(ctx, key)
	return s.shift(a), err
}
