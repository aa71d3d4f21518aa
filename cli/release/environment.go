package release

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/smart-assistant/platform/cli/ledger"
	"github.com/smart-assistant/platform/service/schema"
)

// Environment is what a run needs of one environment. The interfaces are declared here, where they are used; the command package
// fills them in from the target, the backups and the migrations.
type Environment struct {
	Name     string
	Ledger   *ledger.Ledger
	Releases *Catalog
	Target   Target
	Backups  Backups
	Schema   Migrator
	Limits   Limits
	WayUp    string // the command that brings the environment up, for the one who finds it down
}

// Limits are what the configuration demands of an environment.
type Limits struct {
	Soak         time.Duration `json:"soak"`         // a release has been verified this long in the environment before, to come into this one
	BackupMaxAge time.Duration `json:"backupMaxAge"` // the newest backup is at most this old before a promotion into the environment
	ErrorRate    float64       `json:"errorRate"`    // share of failed requests that verification and health tolerate (0.005 is 0.5 %)
	VerifyWindow time.Duration `json:"verifyWindow"` // how long verification watches
	KeepSnapshot time.Duration `json:"keepSnapshot"` // how long the snapshot before a promotion is kept
}

// ErrAway says that the target itself went away in the middle of something: that is no judgement of the release, and the run can be resumed.
// What a Target returns wraps it where it applies.
var ErrAway = errors.New("the target went away")

// Target is the place where an environment runs.
type Target interface {
	Running(ctx context.Context) (Running, error)
	// Traffic sums up the last window of requests at the entrance, all of them or those that one version answered.
	Traffic(ctx context.Context, window time.Duration, version string) (Traffic, error)
	// Install brings a release's binary to where it will run. A target that pulls images has nothing to do. Idempotent.
	Install(ctx context.Context, m Manifest, open func(Artifact) (io.ReadCloser, error)) error
	// Deploy rolls the release out, one replica at a time, without failing a request. Declarative and idempotent: another call finishes
	// what a lost one began. On failure the replicas that served before go on serving.
	Deploy(ctx context.Context, m Manifest, fence int64, progress func(ready, want int)) error
	// Smoke runs the release's own smoke test against the environment's entrance.
	Smoke(ctx context.Context, m Manifest) error
}

// Running is what a target says of itself.
type Running struct {
	Up       bool              `json:"up"`
	URL      string            `json:"url,omitempty"`
	Version  string            `json:"version"` // "" before the first deployment
	SHA256   string            `json:"sha256,omitempty"`
	Want     int               `json:"want"`
	Ready    int               `json:"ready"`   // replicas of any version that get traffic
	Current  int               `json:"current"` // replicas of Version among them
	Starting int               `json:"-"`       // that are not ready yet and have not failed, or are still to be made
	Database bool              `json:"database"`
	Detail   string            `json:"detail,omitempty"` // why something is not as it should be
	Settings map[string]string `json:"-"`                // that the replicas run with
}

// Traffic is a window of requests.
type Traffic struct {
	Requests int64         `json:"requests"`
	Failed   int64         `json:"failed"`
	P95      time.Duration `json:"p95"`
	Worst    string        `json:"worst,omitempty"` // the most frequent failure: "POST /api/v1/briefings 500"
}

// Rate is the share of failed requests; 0 without requests.
func (t Traffic) Rate() float64 {
	if t.Requests == 0 {
		return 0
	}
	return float64(t.Failed) / float64(t.Requests)
}

// Backups are an environment's backups, as far as a promotion needs them.
type Backups interface {
	Newest(ctx context.Context) (Snapshot, bool, error)
	// Take makes a backup that is kept for keep. key names the run that wants it: when a committed backup with this key exists already
	// (the answer got lost, the process died), it is returned and no other is made.
	Take(ctx context.Context, key string, keep time.Duration, about Contents, progress func(done, total int64)) (Snapshot, error)
}

// Contents says what a backup holds, for the reader of the list.
type Contents struct {
	Release string `json:"release"`
	Schema  int64  `json:"schema"`
	Run     int    `json:"run"`
}

// Snapshot is one committed backup.
type Snapshot struct {
	ID     string        `json:"id"`
	Taken  time.Time     `json:"taken"`
	Raw    int64         `json:"raw"`    // bytes of the data directory
	Stored int64         `json:"stored"` // bytes in the bucket
	Took   time.Duration `json:"took"`
}

// Migrator runs the migrations of a release's own build.
type Migrator interface {
	Plan(ctx context.Context, m Manifest) (MigrationPlan, error)
	// Up applies what is pending and returns what it applied, also beside an error.
	Up(ctx context.Context, m Manifest, progress func(done, total int)) ([]Applied, error)
}

// MigrationPlan compares a release's migrations with a database.
type MigrationPlan struct {
	Current int64              `json:"current"`
	Applied []schema.Migration `json:"applied"` // what the database says was applied, oldest first
	Pending []schema.Migration `json:"pending"`
	Drift   []string           `json:"drift,omitempty"` // edited, missing and out-of-order files, each in words
}

// Applied is one migration and how long it took.
type Applied struct {
	Version int64         `json:"version"`
	Name    string        `json:"name"`
	Took    time.Duration `json:"took"`
}

// Progress hears how a run goes on. It must not block. unit is "B" for bytes, else a word.
type Progress interface {
	StepStarted(name string)
	StepProgress(name string, done, total int64, unit string)
	StepDone(name, detail string)
	StepFailed(name string, err error)
}
