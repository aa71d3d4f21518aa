// Package ledger owns an environment's record of what was done to it, and the lease that lets one writer at a time do it.
//
// The record is a hash chain of small JSON objects in the environment's bucket, ledger/000000000001.json onwards. Each is
// written once (If-None-Match: *) and holds the SHA-256 of the exact bytes of the one before, so an edited, missing or swapped
// entry breaks the chain at a place that can be named. The lease is one object, replaced with If-Match; each acquisition gets a
// higher fencing number, every entry carries the fence in force, and a fence along the chain never falls: a writer whose lease
// was taken over cannot append any more, however late it wakes up.
//
// It needs a store with conditional writes and nothing else: no server, no lock file, no common clock. It does not know what a
// promotion or a restore is; a run is a numbered list of steps with opaque data.
package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"time"

	"github.com/smart-assistant/platform/cli/objectstore"
)

// Kinds of entries and runs.
const (
	KindPromotion = "promotion"
	KindDeploy    = "deploy"
	KindRollback  = "rollback"
	KindRestore   = "restore"
	KindMigrate   = "migrate"
	KindApproval  = "approval"
	KindOverride  = "override"
	KindNote      = "note"
)

// Phases of entries that belong to a run. Begin, Resume and End are about the run, the others about one of its steps.
const (
	PhaseBegin  = "begin"
	PhaseResume = "resume"
	PhaseStart  = "start"
	PhaseDone   = "done"
	PhaseFailed = "failed"
	PhaseEnd    = "end"
)

// Outcomes of a run.
const (
	OutcomeCommitted  = "committed"
	OutcomeRolledBack = "rolled-back"
	OutcomeFailed     = "failed"
	OutcomeAbandoned  = "abandoned"
)

var (
	// ErrFenced says that somebody acquired the lease after this writer did and has written since: stop, nothing was appended.
	ErrFenced = errors.New("fenced off: the lease was taken over")
	// ErrLeaseLost is the cause of a lease's contexts when the lease could not be renewed before it expired, or was taken over.
	ErrLeaseLost = errors.New("lease lost")
	// ErrDamaged says that the chain is broken; the message names the object.
	ErrDamaged = errors.New("ledger damaged")
	// ErrNoRun says that the ledger has no run of that number.
	ErrNoRun = errors.New("no such run")
	// ErrEnded says that the run has ended and takes no further steps.
	ErrEnded = errors.New("run has ended")
)

// Entry is one object of the chain.
type Entry struct {
	Seq         int64           `json:"seq"`  // 1, 2, 3 …
	Prev        string          `json:"prev"` // hex SHA-256 of the exact bytes of the entry before; of nothing for the first
	Time        time.Time       `json:"time"` // writer's clock, UTC
	Environment string          `json:"environment"`
	Actor       string          `json:"actor"`
	Fence       int64           `json:"fence"` // fencing number in force; never falls along the chain
	Run         int             `json:"run,omitempty"`
	Kind        string          `json:"kind"`
	Step        string          `json:"step,omitempty"`
	Phase       string          `json:"phase,omitempty"`
	Nonce       string          `json:"nonce"` // tells an own write whose answer was lost from somebody else's
	Data        json.RawMessage `json:"data,omitempty"`
}

// Options of Open. Environment and Actor are required.
type Options struct {
	Environment string           // refused when the chain is another environment's
	Actor       string           // who writes, e.g. anna@laptop
	TTL         time.Duration    // life of a lease without renewal; default 30 s, at least 2 s; renewed each third of it
	Now         func() time.Time // default time.Now
	Rand        io.Reader        // default crypto/rand.Reader
}

// Ledger is one environment's chain and lease. It may be used from several goroutines.
type Ledger struct {
	store objectstore.Store
	opts  Options
}

// Open returns the ledger in the store's bucket. It makes no request.
func Open(store objectstore.Store, o Options) *Ledger { return &Ledger{store: store, opts: o} }

var errPending = errors.New("ledger: not implemented yet")

// Entries reads the chain and yields the entries with Seq ≥ from, verified. A break ends it with an ErrDamaged that names the object.
func (l *Ledger) Entries(ctx context.Context, from int64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) { yield(Entry{}, errPending) }
}

// Append adds an entry at the end of the chain and returns it as written. Kind, Run, Step, Phase and Data are the caller's;
// Fence is the lease's, or 0 for an entry that needs no lease (an approval, a note); the rest is filled in.
func (l *Ledger) Append(ctx context.Context, e Entry) (Entry, error) { return Entry{}, errPending }

// Lease is the right to change the environment, held until Release or until it is lost.
type Lease struct{}

// Holder says who holds the lease.
type Holder struct {
	Actor   string
	Host    string
	PID     int
	Purpose string
	Fence   int64
	Since   time.Time // by the holder's clock
	Expires time.Time // by the store's clock, unless it is renewed
}

// HeldError is returned by Acquire when somebody else holds the lease. It carries fault.Held and a hint.
type HeldError struct{ Holder }

func (e *HeldError) Error() string { return "lease is held by " + e.Actor }

// Acquire takes the lease, or returns a *HeldError.
func (l *Ledger) Acquire(ctx context.Context, purpose string) (*Lease, error) { return nil, errPending }

// Holder returns who holds the lease now, nil when it is free.
func (l *Ledger) Holder(ctx context.Context) (*Holder, error) { return nil, errPending }

// Fence returns the lease's fencing number, higher than that of any lease before.
func (l *Lease) Fence() int64 { return 0 }

// Context returns a child of parent that is cancelled with the cause ErrLeaseLost when the lease is lost, and when it is released.
func (l *Lease) Context(parent context.Context) context.Context { return parent }

// Release gives the lease back.
func (l *Lease) Release(ctx context.Context) error { return errPending }

// RunState is what the ledger says about one run.
type RunState struct {
	Number  int             `json:"number"`
	Kind    string          `json:"kind"`
	Actor   string          `json:"actor"` // who began it
	Plan    json.RawMessage `json:"plan,omitempty"`
	Began   time.Time       `json:"began"`
	Ended   time.Time       `json:"ended,omitzero"`    // zero while unfinished
	Outcome string          `json:"outcome,omitempty"` // "" while unfinished
	Detail  json.RawMessage `json:"detail,omitempty"`  // what End was given
	Steps   []StepState     `json:"steps"`
	Entries []Entry         `json:"entries,omitempty"`
}

// StepState is one step of a run, in the order of their first starts.
type StepState struct {
	Name        string          `json:"name"`
	Phase       string          `json:"phase"` // PhaseStart: it runs, or was killed; PhaseDone; PhaseFailed
	Started     time.Time       `json:"started"`
	Ended       time.Time       `json:"ended,omitzero"`
	Attempts    int             `json:"attempts"`
	Result      json.RawMessage `json:"result,omitempty"`
	Err         string          `json:"error,omitempty"`
	Interrupted bool            `json:"interrupted,omitempty"` // the failure was a cancelled context
}

// Runs returns every run, oldest first.
func (l *Ledger) Runs(ctx context.Context) ([]RunState, error) { return nil, errPending }

// Unfinished returns the runs without an end, oldest first.
func (l *Ledger) Unfinished(ctx context.Context) ([]RunState, error) { return nil, errPending }

// Run returns one run, or ErrNoRun.
func (l *Ledger) Run(ctx context.Context, number int) (RunState, error) {
	return RunState{}, errPending
}

// Run is a run that this process drives under its lease.
type Run struct{}

// Begin starts a new run of a kind, with its plan, under the lease.
func (l *Ledger) Begin(ctx context.Context, lease *Lease, kind string, plan any) (*Run, error) {
	return nil, errPending
}

// Resume goes on with an unfinished run under a new lease.
func (l *Ledger) Resume(ctx context.Context, lease *Lease, number int) (*Run, error) {
	return nil, errPending
}

// State returns the run as it is now.
func (r *Run) State() RunState { return RunState{} }

// Number returns the run's number.
func (r *Run) Number() int { return 0 }

// Step journals and runs one step. A step that is done returns its recorded result without running.
func (r *Run) Step(ctx context.Context, name string, do func(ctx context.Context) (any, error)) (json.RawMessage, error) {
	return nil, errPending
}

// Attempts returns how often the step was started.
func (r *Run) Attempts(name string) int { return 0 }

// Note appends an entry of the run.
func (r *Run) Note(ctx context.Context, step, phase string, data any) error { return errPending }

// End closes the run.
func (r *Run) End(ctx context.Context, outcome string, detail any) error { return errPending }
