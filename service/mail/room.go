package mail

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/semaphore"
)

// A message in work costs a replica about three times its size: decoded, sealed, and on its way to the database.
const (
	largeMessage = 4 << 20  // bytes; longer messages are worked on one at a time
	smallRoom    = 16 << 20 // bytes of all others that are worked on at once
)

// room is what a replica spends on messages in work, whether they are imported or synced.
type room struct {
	large, small *semaphore.Weighted
}

func newRoom() *room { return &room{semaphore.NewWeighted(1), semaphore.NewWeighted(smallRoom)} }

// take waits until there is room for a batch, given its bytes and those of its longest message. Whoever waits holds no connection of the
// pool, which others need to be done.
func (r *room) take(ctx context.Context, bytes, longest int64) (leave func(), err error) {
	one, weight := r.small, min(max(bytes, 1), smallRoom)
	if longest > largeMessage {
		one, weight = r.large, 1
	}
	if err := one.Acquire(ctx, weight); err != nil {
		return nil, err
	}
	return sync.OnceFunc(func() { one.Release(weight) }), nil
}

var (
	// ErrBusy is what has to wait until others are done.
	ErrBusy = errors.New("the service does this for as many others as it can at once")
	// ErrTwice is what a user may do once at a time.
	ErrTwice = errors.New("the same is being done for you already")
)

// turns lets a user in once at a time, and so many users at once.
type turns struct {
	most int

	mu      sync.Mutex
	users   map[string]bool
	changed chan struct{} // closed when somebody is done
}

func newTurns(most int) *turns {
	return &turns{most: most, users: map[string]bool{}, changed: make(chan struct{})}
}

// begin waits for the user's turn until the context ends: with ErrTwice or ErrBusy.
func (t *turns) begin(ctx context.Context, user string) (end func(), err error) {
	for {
		changed, err := t.try(user)
		if err == nil {
			return sync.OnceFunc(func() { t.end(user) }), nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, err
		}
	}
}

func (t *turns) try(user string) (changed <-chan struct{}, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.users[user]:
		return t.changed, ErrTwice
	case len(t.users) >= t.most:
		return t.changed, ErrBusy
	}
	t.users[user] = true
	return nil, nil
}

func (t *turns) end(user string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.users, user)
	close(t.changed)
	t.changed = make(chan struct{})
}
