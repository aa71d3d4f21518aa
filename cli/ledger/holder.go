package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/objectstore"
)

const (
	leaseKey = "lease"
	minTTL   = time.Second
	maxTTL   = time.Hour
	// clockStep is how far apart the store's clock and an object's age may be told: both are in whole seconds.
	clockStep = time.Second
)

// record is the lease's object.
type record struct {
	Environment string    `json:"environment"`
	Fence       int64     `json:"fence"`
	Nonce       string    `json:"nonce"`    // of this acquisition
	Renewals    int64     `json:"renewals"` // makes each version's bytes, and so its ETag, different
	Released    bool      `json:"released,omitempty"`
	TTL         int64     `json:"ttl_ms"`
	Actor       string    `json:"actor"`
	Host        string    `json:"host,omitempty"`
	Process     process   `json:"process"`
	Purpose     string    `json:"purpose"`
	Since       time.Time `json:"since"` // by the holder's clock
	Head        seal      `json:"head"`
}

// process is one process of one machine.
type process struct {
	Machine string `json:"machine,omitempty"` // boot and process-id namespace
	PID     int    `json:"pid"`
	Started string `json:"started,omitempty"` // tells it from a later process of the same number
}

func (r record) ttl() time.Duration { return time.Duration(r.TTL) * time.Millisecond }

// free reports that the lease may be taken: it was released, or it has run out, or its holder was a process of this machine that is gone.
// How old the object is says the store's own clock.
func (r record) free(a objectstore.Attributes, self process) bool {
	switch {
	case r.Released:
		return true
	case r.Process.Machine != "" && r.Process.Machine == self.Machine && r.Process.gone():
		return true
	}
	return a.ServerTime.Sub(a.LastModified) >= r.ttl()+clockStep
}

// parseLease reads the lease's object.
func parseLease(raw []byte) (record, error) {
	var r record
	if err := json.Unmarshal(raw, &r); err != nil {
		return record{}, fmt.Errorf("%s is not a lease: %w: %w", leaseKey, err, ErrDamaged)
	}
	if r.Fence < 1 || r.Nonce == "" || r.Environment == "" || r.Head.Seq < 0 || r.TTL < minTTL.Milliseconds() || r.TTL > maxTTL.Milliseconds() || r.Process.PID < 1 {
		return record{}, fmt.Errorf("%s is not a lease: %w", leaseKey, ErrDamaged)
	}
	return r, nil
}

// readLease returns the lease's object, nil when there is none yet.
func (l *Ledger) readLease(ctx context.Context) (*record, objectstore.Attributes, error) {
	raw, a, err := read(ctx, l.store, leaseKey)
	if errors.Is(err, objectstore.ErrNotExist) {
		return nil, a, nil
	}
	if err != nil {
		return nil, a, fmt.Errorf("read the lease of %s: %w", l.opts.Environment, err)
	}
	r, err := parseLease(raw)
	if err != nil {
		return nil, a, damaged(err)
	}
	if r.Environment != l.opts.Environment {
		return nil, a, damaged(fmt.Errorf("%s belongs to environment %s, not %s: %w", leaseKey, r.Environment, l.opts.Environment, ErrDamaged))
	}
	return &r, a, nil
}

// Holder says who holds the lease.
type Holder struct {
	Actor   string    `json:"actor"`
	Host    string    `json:"host,omitempty"`
	PID     int       `json:"pid"`
	Purpose string    `json:"purpose"`
	Fence   int64     `json:"fence"`
	Since   time.Time `json:"since"`   // by the holder's clock
	Expires time.Time `json:"expires"` // by the store's clock, unless it is renewed
}

func (r record) holder(a objectstore.Attributes) Holder {
	return Holder{
		Actor: r.Actor, Host: r.Host, PID: r.Process.PID, Purpose: r.Purpose, Fence: r.Fence,
		Since: r.Since, Expires: a.LastModified.Add(r.ttl() + clockStep),
	}
}

// Holder returns who holds the lease now, nil when it is free.
func (l *Ledger) Holder(ctx context.Context) (*Holder, error) {
	r, a, err := l.readLease(ctx)
	if err != nil || r == nil || r.free(a, l.self) {
		return nil, err
	}
	h := r.holder(a)
	return &h, nil
}

// HeldError is returned by Acquire when somebody else holds the lease. It comes with fault.Held and a hint.
type HeldError struct {
	Holder

	Environment string
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("%s is being changed by %s (%s, process %d on %s) since %s", e.Environment, e.Actor, e.Purpose, e.PID, e.Host, e.Since.Local().Format(time.TimeOnly))
}

func (l *Ledger) held(h Holder) error {
	return fault.Code(fault.Hint(&HeldError{h, l.opts.Environment},
		fmt.Sprintf("assistctl status --watch shows when it is done; a lease that is not renewed ends at %s", h.Expires.Local().Format(time.TimeOnly))), fault.Held)
}
