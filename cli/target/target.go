// Package target owns the Target contract: what assistctl asks of the place where an environment runs, whatever that place is.
//
// The implementations live below it (target/local: processes on this machine). Each passes targettest's conformance suite. The
// package knows nothing of promotions, migrations or backups; they are done on top of Deploy, Exec and Traffic.
package target

import (
	"context"
	"io"
	"time"
)

// Target is one environment's place to run. Its methods may be called from several processes at once.
type Target interface {
	// Status says what runs. An environment that is not up is a Status with Up false and not an error; an error means that it could
	// not be found out.
	Status(ctx context.Context) (Status, error)

	// Deploy makes the environment run d.Build with d.Settings on all its replicas (their number is the environment's configuration), one at a time and without failing a request:
	// a new replica gets traffic once it is ready, and only then an old one is drained and ended. It is declarative and idempotent:
	// when all of that is so already it does nothing, and a deployment that another caller left half done is finished.
	//
	// On failure it returns a *RolloutError and the replicas that served before go on serving. A fencing number lower than one
	// seen before is refused with ErrFenced, an environment that is not up with ErrDown, a build that is not there with ErrNoBuild.
	// When ctx ends first, Deploy returns, and the rollout goes on without its caller or, where it is the caller who drives it, stays where it
	// is: the next Deploy joins or finishes it when it wants the same, else replaces it.
	//
	// progress may be nil. It is called from one goroutine at a time, and not after Deploy returned.
	Deploy(ctx context.Context, d Deployment, progress Progress) error

	// Exec runs the build's own binary once inside the environment, with its database address and secrets and with settings, and
	// returns when it has ended: nil for exit status 0, an *ExitError otherwise. Nothing else of the environment changes. stdout is live;
	// stderr may come at the end, and then holds what the service itself says of why it ended.
	Exec(ctx context.Context, b Build, settings map[string]string, args []string, stdout, stderr io.Writer) error

	// Traffic sums up what the environment's entrance has seen in the last window. Requests of the entrance itself
	// (its own answers while paused) count as failed. Where the replicas themselves count, what replaced ones answered is forgotten.
	Traffic(ctx context.Context, window time.Duration) (Traffic, error)

	// Logs writes what the environment's components logged, oldest first, until all is written or, with Follow, until ctx ends
	// (which is then no error). What replicas logged that are gone may be gone with them, but for the ones of the last failed rollout.
	Logs(ctx context.Context, q LogQuery, w io.Writer) error
}

// Build names one immutable build of the service.
type Build struct {
	Version  string `json:"version"`            // the release, as "v1.9.0"
	Commit   string `json:"commit,omitempty"`   // of the source
	Artifact string `json:"artifact,omitempty"` // where it is fetched from: on the local target a file's path, or "" when it was installed before
	SHA256   string `json:"sha256"`             // of the artifact's bytes, lower-case hex: the build's identity
}

// Deployment is the desired state of an environment.
type Deployment struct {
	Build    Build             `json:"build"`
	Images   map[string]string `json:"images,omitempty"`   // on a target that runs images: the release's digests by name, of which Build.SHA256 is the service's
	Settings map[string]string `json:"settings,omitempty"` // the service's environment variables; the target's own (database address …) win
	Fence    int64             `json:"fence"`              // of the caller's lease
	Canary   bool              `json:"canary,omitempty"`   // the build's own smoke test must pass against the first new replica before it gets traffic
}

// Progress hears of a rollout: how many replicas of the new build are ready, of how many, and what happens now.
type Progress func(ready, want int, detail string)

// Status is what runs in an environment.
type Status struct {
	Environment string            `json:"environment"`
	Up          bool              `json:"up"`             // somebody looks after the environment's processes
	URL         string            `json:"url,omitempty"`  // of the entrance
	Want        int               `json:"want"`           // replicas
	Ready       int               `json:"ready"`          // replicas of any build that get traffic
	Build       *Build            `json:"build"`          // last one whose rollout ended well; nil before the first
	Rollout     *Rollout          `json:"rollout"`        // the one under way, or the last when it failed; nil otherwise
	Settings    map[string]string `json:"settings"`       // that Build runs with
	Replicas    []Replica         `json:"replicas"`       // including starting and draining ones
	Database    Health            `json:"database"`       //
	Paused      string            `json:"paused"`         // why the entrance answers 503, or ""
	Fence       int64             `json:"fence"`          // highest seen
	Components  []Component       `json:"components"`     // the environment's other processes
	Jobs        []JobResult       `json:"jobs,omitempty"` // scheduled ones, by name
}

// Settled reports whether all wanted replicas run the build b and are ready, and no rollout is under way.
func (s Status) Settled(b Build) bool {
	ready := 0
	for _, r := range s.Replicas {
		if r.Build.SHA256 == b.SHA256 && r.Ready {
			ready++
		} else {
			return false
		}
	}
	return s.Up && s.Build != nil && s.Build.SHA256 == b.SHA256 && ready == s.Want && (s.Rollout == nil || s.Rollout.Ended)
}

// Replica is one process (or pod) of the service.
type Replica struct {
	Name     string    `json:"name"`
	Build    Build     `json:"build"`
	State    string    `json:"state"` // starting, ready, unready, draining, backoff
	Ready    bool      `json:"ready"` // gets traffic
	Since    time.Time `json:"since"` // of State
	Address  string    `json:"address,omitempty"`
	PID      int       `json:"pid,omitempty"`
	Restarts int       `json:"restarts"`         // since it was deployed
	Detail   string    `json:"detail,omitempty"` // why it is not ready
}

// Component is a process that the environment needs beside the replicas.
type Component struct {
	Name     string    `json:"name"`
	State    string    `json:"state"` // running, starting, stopped, backoff
	PID      int       `json:"pid,omitempty"`
	Port     int       `json:"port,omitempty"`
	Since    time.Time `json:"since"`
	Restarts int       `json:"restarts"`
	Detail   string    `json:"detail,omitempty"`
}

// Health says whether something answers, and if not, why.
type Health struct {
	Reachable bool   `json:"reachable"`
	Detail    string `json:"detail,omitempty"`
}

// Rollout is a Deploy under way or ended.
type Rollout struct {
	Build   Build     `json:"build"`
	Began   time.Time `json:"began"`
	Ended   bool      `json:"ended"`
	Error   string    `json:"error,omitempty"`
	Detail  string    `json:"detail,omitempty"` // what happens now
	Updated int       `json:"updated"`          // replicas of Build that are ready
}

// JobResult is the last run of a scheduled job.
type JobResult struct {
	Name    string        `json:"name"`
	Running bool          `json:"running"`
	Began   time.Time     `json:"began,omitzero"`
	Took    time.Duration `json:"took"`            // nanoseconds
	Error   string        `json:"error,omitempty"` // "" when it ended well
	LastOK  time.Time     `json:"lastOK,omitzero"` // when it last ended well
	Next    time.Time     `json:"next,omitzero"`
}

// Aside is a database cluster that was live before a restore took its place.
type Aside struct {
	Name  string    `json:"name"`
	Bytes int64     `json:"bytes"`
	Since time.Time `json:"since"` // when it was put aside
}

// Traffic is what the entrance saw in a window of time.
type Traffic struct {
	Since    time.Time          `json:"since"` // the window's start, later when the entrance itself is younger
	Requests int64              `json:"requests"`
	Failed   int64              `json:"failed"` // answers 500 and above, and those that broke off
	P50      time.Duration      `json:"p50"`    // nanoseconds, ± 4 %; zero without requests
	P95      time.Duration      `json:"p95"`
	Failures []Failure          `json:"failures,omitempty"` // the most frequent, at most 10
	Releases map[string]Traffic `json:"releases,omitempty"` // the same by the answering replica's version; "" for the entrance's own answers
}

// Failure counts failed requests that look alike.
type Failure struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	Status int    `json:"status"` // 0 for an answer that broke off
	Count  int64  `json:"count"`
}

// FailedShare is the share of failed requests, 0 without requests.
func (t Traffic) FailedShare() float64 {
	if t.Requests == 0 {
		return 0
	}
	return float64(t.Failed) / float64(t.Requests)
}

// LogQuery selects log lines.
type LogQuery struct {
	Component string    // "" for all: a component's or replica's name; "replicas" for all replicas
	Release   string    // "" for all: replicas of this version only
	Since     time.Time // zero: from the start; compared with the time in the line where it has one, else with its file's
	Tail      int       // at most this many lines of each component; 0 for all
	Follow    bool
}
