package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
)

// Site is what a plan looks at.
type Site interface {
	// SystemIdentifier is that of the live data; false when there is none, and 0 when it is too damaged to say.
	SystemIdentifier(ctx context.Context) (uint64, bool, error)
	// Free is the room for new files, in bytes.
	Free(ctx context.Context) (int64, error)
}

// Place is where a restore goes: live data, room beside it, and the servers that use it. It may be far from this process.
type Place interface {
	Site
	// Unpack puts the backup into a new folder beside the live data, checked, durable, and owned by the server's user. A folder of that name
	// that an interrupted Unpack has left is begun anew. UnpackRequest.Into does it for who has a Room.
	Unpack(ctx context.Context, q UnpackRequest, progress func(bytes int64)) (dir string, found Unpacked, err error)
	// Try starts a scratch server on a folder, waits for the end of recovery, checks, and stops it cleanly.
	Try(ctx context.Context, dir string, check func(ctx context.Context, url string) error) error
	// Stop makes the API answer that it is away, and stops the database.
	Stop(ctx context.Context) error
	// Swap puts a folder in the place of the live data, atomically, and keeps the live data as `aside`.
	Swap(ctx context.Context, dir, aside string) error
	// Start brings database and API up and waits until they are ready.
	Start(ctx context.Context) error
}

// Journal records steps: one that is done is not done again, and its result is what it was. Every step may be repeated whole.
type Journal interface {
	Step(ctx context.Context, name string, do func(ctx context.Context) (any, error)) (json.RawMessage, error)
}

// RestoreOptions say how a restore is planned.
type RestoreOptions struct {
	// BytesPerSecond is the rate of an earlier restore here; 0 takes a conservative one.
	BytesPerSecond float64
	// OtherSystem allows live data of another system identifier to be replaced.
	OtherSystem bool
}

// RestorePlan is what a restore will do. It is a value: shown, recorded, and carried out later or by another process.
type RestorePlan struct {
	Backup     Commit    `json:"backup"`     // without its objects, which are many: Restore reads the signed commit again
	Folder     string    `json:"folder"`     // the new data directory's name, beside the live one
	Aside      string    `json:"aside"`      // what the live data, if there is any, is then called
	Needed     int64     `json:"needed"`     // bytes
	Free       int64     `json:"free"`       // bytes
	LostAfter  time.Time `json:"lostAfter"`  // what was committed later is not in the backup
	Seconds    float64   `json:"seconds"`    // expected, until the database is back
	OtherLives bool      `json:"otherLives"` // the live data has another system identifier, and that was allowed
}

const (
	usualRate     = 50e6             // bytes of files a second, conservative
	usualRecovery = 10 * time.Second // for the log that a backup brings along, and a start
	spare         = 64 << 20         // bytes for what the server writes when it starts
)

// PlanRestore looks, and changes nothing. It refuses a backup that is not whole or does not open with this key, live data of another
// system, and a disk without room, each with the error's code and a hint.
func (r *Repository) PlanRestore(ctx context.Context, id string, place Site, o RestoreOptions) (RestorePlan, error) {
	p, err := r.planRestore(ctx, id, place, o)
	if err != nil {
		return RestorePlan{}, fmt.Errorf("plan the restore of %s: %w", r.Environment, r.advise(err))
	}
	return p, nil
}

func (r *Repository) planRestore(ctx context.Context, id string, place Site, o RestoreOptions) (RestorePlan, error) {
	b, identity, err := r.open(ctx, id)
	if err != nil {
		return RestorePlan{}, err
	}
	if err := r.present(ctx, b.Commit); err != nil {
		return RestorePlan{}, err
	}
	// Reading the manifest proves the key, before anything depends on it.
	if _, err := newFetcher(r.Store, b.Commit, identity).manifest(ctx, b.Manifest); err != nil {
		return RestorePlan{}, err
	}
	now := r.Now()
	p := RestorePlan{
		Backup: b.Commit, Folder: fmt.Sprintf("%s-at-%s", b.ID, now.UTC().Format("20060102-150405")),
		Needed: b.RawBytes + b.RawBytes/20 + spare, LostAfter: b.Consistent,
	}
	p.Backup.Archives = slices.Clone(b.Archives)
	for i := range p.Backup.Archives {
		p.Backup.Archives[i].Objects = nil
	}
	live, exists, err := place.SystemIdentifier(ctx)
	if err != nil {
		return RestorePlan{}, fmt.Errorf("look at the live data: %w", err)
	}
	// Also data without an identifier, damaged as it may be, is kept: somebody may want to look at it.
	p.Aside = fmt.Sprintf("%s-before-%s", r.Environment, now.Format("20060102-150405"))
	if p.OtherLives = exists && live != b.SystemIdentifier; p.OtherLives && !o.OtherSystem {
		is := fmt.Sprintf("is of system %d", live)
		if live == 0 {
			is = "is too damaged to say of which"
		}
		return RestorePlan{}, fault.Hint(fault.Code(fmt.Errorf("backup %s is of system %d, the live data %s", id, b.SystemIdentifier, is),
			fault.Refused), "a backup goes back to the cluster that it was taken from; if this is the one, or was made anew, add --onto-other-system")
	}
	if p.Free, err = place.Free(ctx); err != nil {
		return RestorePlan{}, fmt.Errorf("look for free space: %w", err)
	}
	if p.Free < p.Needed {
		return RestorePlan{}, fault.Hint(fault.Code(fmt.Errorf("the restore needs %s beside the live data, %s are free", size(p.Needed), size(p.Free)),
			fault.Refused), "drop what earlier restores kept aside, or make room")
	}
	rate := o.BytesPerSecond
	if rate <= 0 {
		rate = usualRate
	}
	p.Seconds = float64(b.RawBytes)/rate + usualRecovery.Seconds()
	return p, nil
}

// Restored is the outcome of a restore.
type Restored struct {
	Unpacked
	Dir   string `json:"dir"`
	Check string `json:"check"`
}

// BytesPerSecond is the rate that a later plan can use.
func (r Restored) BytesPerSecond() float64 { return float64(r.Bytes) / max(r.Seconds, 0.001) }

// Restore carries out a plan. The backup is unpacked beside the live data, checked, and recovered by a scratch server, and only then
// is the live data touched: stopped, put aside, replaced. The journal makes it resumable: called again with the same plan and journal
// after it was interrupted anywhere, it reaches the same end. Check looks at the recovered database and says what it found.
func (r *Repository) Restore(ctx context.Context, plan RestorePlan, place Place, journal Journal,
	check func(ctx context.Context, url string) (string, error), progress Progress,
) (Restored, error) {
	steps := stepper{journal, progress}
	var done Restored

	if err := steps.run(ctx, "fetch", &done, func(ctx context.Context) (any, string, error) {
		request, err := r.unpackRequest(ctx, plan)
		if err != nil {
			return nil, "", err
		}
		dir, found, err := place.Unpack(ctx, request, func(bytes int64) {
			progress.StepProgress("fetch", bytes, max(bytes, plan.Backup.RawBytes), "B")
		})
		if err != nil {
			return nil, "", r.advise(err)
		}
		detail := fmt.Sprintf("%s → %s  %s/s, %d files match their manifest", size(plan.Backup.StoredBytes), size(found.Bytes),
			size(int64(float64(found.Bytes)/max(found.Seconds, 0.001))), found.Files)
		return Restored{Unpacked: found, Dir: dir}, detail, nil
	}); err != nil {
		return Restored{}, err
	}
	if err := steps.run(ctx, "recover", &done, func(ctx context.Context) (any, string, error) {
		found := ""
		err := place.Try(ctx, done.Dir, func(ctx context.Context, url string) (err error) {
			found, err = check(ctx, url)
			return err
		})
		return Restored{Unpacked: done.Unpacked, Dir: done.Dir, Check: found}, found, err
	}); err != nil {
		return Restored{}, fault.Hint(err, "the live data is untouched")
	}

	if err := steps.run(ctx, "stop", nil, func(ctx context.Context) (any, string, error) {
		return nil, "API drained, database stopped", place.Stop(ctx)
	}); err != nil {
		return Restored{}, startAgain(ctx, place, progress, err)
	}
	if err := steps.run(ctx, "swap", nil, func(ctx context.Context) (any, string, error) {
		// Once more: an attempt that failed after the step above has started the old data again.
		if err := place.Stop(ctx); err != nil {
			return nil, "", err
		}
		return nil, "", place.Swap(ctx, done.Dir, plan.Aside)
	}); err != nil {
		return Restored{}, startAgain(ctx, place, progress, err)
	}
	return done, steps.run(ctx, "start", nil, func(ctx context.Context) (any, string, error) {
		return nil, "", place.Start(ctx)
	})
}

// ReplaceError is a restore that failed once the live data was to be stopped. What is live was then started again: the data from before, or
// the restored one when only the answer of the swap was lost.
type ReplaceError struct {
	Cause error
	Down  error // why it did not come up; nil when it serves
}

func (e *ReplaceError) Error() string { return e.Unwrap().Error() }
func (e *ReplaceError) Unwrap() error { return errors.Join(e.Cause, e.Down) }

// startAgain serves what is live when it could not be replaced. An interrupted restore is left as it is, to be resumed.
func startAgain(ctx context.Context, place Place, progress Progress, cause error) error {
	if ctx.Err() != nil {
		return cause
	}
	progress.StepStarted("start")
	down := place.Start(ctx)
	if down != nil {
		progress.StepFailed("start", down)
	} else {
		progress.StepDone("start", "what is live serves again")
	}
	return &ReplaceError{Cause: cause, Down: down}
}

// stepper runs journalled steps and shows them.
type stepper struct {
	journal  Journal
	progress Progress
}

// run does a step, or takes its result from the journal. The result is put into `into`, if there is one.
func (s stepper) run(ctx context.Context, name string, into *Restored, do func(ctx context.Context) (result any, detail string, err error)) error {
	s.progress.StepStarted(name)
	said := "done before"
	result, err := s.journal.Step(ctx, name, func(ctx context.Context) (any, error) {
		result, detail, err := do(ctx)
		said = detail
		return result, err
	})
	if err == nil && into != nil {
		err = json.Unmarshal(result, into)
	}
	if err != nil {
		err = fmt.Errorf("restore, %s: %w", name, err)
		s.progress.StepFailed(name, err)
		return err
	}
	s.progress.StepDone(name, said)
	return nil
}
