package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/objectstore"
)

// DefaultGrace is how long the objects of a backup without a commit may lie still before they count as left behind. A backup that is being
// taken writes every few seconds.
const DefaultGrace = 24 * time.Hour

// PruneOptions say what must stay and what may go.
type PruneOptions struct {
	Policy Policy
	Grace  time.Duration // 0 is DefaultGrace
	// UnfinishedRuns are the numbers of runs in the ledger that may still be resumed or rolled back: their backups stay.
	UnfinishedRuns []int64
	// InUse are backups that something else needs, such as a restore that is under way, and what for.
	InUse map[string]string
}

// PrunePlan is what a prune will do. It is a value: shown, recorded, and carried out later.
type PrunePlan struct {
	At        time.Time  `json:"at"`      // by the store's clock
	Backups   []Verdict  `json:"backups"` // oldest first
	Leftovers []Leftover `json:"leftovers,omitempty"`
}

// Leftover is a folder of objects that no commit speaks of: of a backup that was interrupted, or is being taken, or that a prune began to remove.
type Leftover struct {
	ID      string    `json:"id"`
	Objects int       `json:"objects"`
	Bytes   int64     `json:"bytes"`
	Written time.Time `json:"written"` // its newest object
	Remove  bool      `json:"remove"`
	Why     string    `json:"why"`
}

// Removed is the plan without what stays.
func (p PrunePlan) Removed() PrunePlan {
	return PrunePlan{
		At:        p.At,
		Backups:   slices.DeleteFunc(slices.Clone(p.Backups), func(v Verdict) bool { return !v.Remove }),
		Leftovers: slices.DeleteFunc(slices.Clone(p.Leftovers), func(l Leftover) bool { return !l.Remove }),
	}
}

// Summary says what a plan that was carried out has removed.
func (p PrunePlan) Summary() string {
	return fmt.Sprintf("%d removed, %s freed", p.Removals(), size(p.Freed()))
}

// Empty says that there is nothing to remove.
func (p PrunePlan) Empty() bool { return p.Removals() == 0 }

// Removals is the number of backups and leftovers to remove.
func (p PrunePlan) Removals() int { return len(p.backups()) + len(p.leftovers()) }

// Freed is how many bytes the bucket will hold less.
func (p PrunePlan) Freed() (bytes int64) {
	for _, v := range p.Backups {
		if v.Remove {
			bytes += v.Bytes
		}
	}
	for _, l := range p.Leftovers {
		if l.Remove {
			bytes += l.Bytes
		}
	}
	return bytes
}

func (p PrunePlan) backups() (ids []string) {
	for _, v := range p.Backups {
		if v.Remove {
			ids = append(ids, v.ID)
		}
	}
	return ids
}

func (p PrunePlan) leftovers() (ids []string) {
	for _, l := range p.Leftovers {
		if l.Remove {
			ids = append(ids, l.ID)
		}
	}
	return ids
}

// PlanPrune looks, and changes nothing. Time is the store's, so that a wrong clock here removes nothing too early.
func (r *Repository) PlanPrune(ctx context.Context, o PruneOptions) (PrunePlan, error) {
	p, err := r.planPrune(ctx, o)
	if err != nil {
		return PrunePlan{}, fmt.Errorf("plan the prune of %s: %w", r.Environment, err)
	}
	return p, nil
}

func (r *Repository) planPrune(ctx context.Context, o PruneOptions) (PrunePlan, error) {
	if err := o.Policy.Validate(); err != nil {
		return PrunePlan{}, err
	}
	// Folders first: a backup that is committed in between is then no leftover.
	folders, err := r.folders(ctx)
	if err != nil {
		return PrunePlan{}, err
	}
	backups, err := r.List(ctx)
	if err != nil {
		return PrunePlan{}, err
	}
	for i, b := range backups {
		if f := folders[b.ID]; b.Problem == nil && f != nil {
			backups[i].Problem = f.incomplete(b.Commit)
		}
	}
	now, err := r.storeNow(ctx, folders)
	if err != nil {
		return PrunePlan{}, err
	}
	return PrunePlan{
		At:        now,
		Backups:   o.Policy.Judge(backups, o.held(backups), now),
		Leftovers: leftovers(folders, backups, now, o.Grace),
	}, nil
}

// held names the backups that runs and others need.
func (o PruneOptions) held(backups []Backup) map[string]string {
	held := map[string]string{}
	for _, b := range backups {
		if b.Run > 0 && slices.Contains(o.UnfinishedRuns, b.Run) {
			held[b.ID] = fmt.Sprintf("run %d is not finished", b.Run)
		}
		if why, needed := o.InUse[b.ID]; needed {
			held[b.ID] = why
		}
	}
	return held
}

// folder is what is stored below base/<id>/.
type folder struct {
	sizes   map[string]int64 // by the object's name in the folder
	bytes   int64
	written time.Time
	newest  string // key
}

func (r *Repository) folders(ctx context.Context) (map[string]*folder, error) {
	folders := map[string]*folder{}
	for object, err := range r.Store.List(ctx, "base/") {
		if err != nil {
			return nil, fmt.Errorf("list backups: %w", err)
		}
		id, name, found := strings.Cut(strings.TrimPrefix(object.Key, "base/"), "/")
		if !found {
			continue
		}
		f := folders[id]
		if f == nil {
			f = &folder{sizes: map[string]int64{}}
			folders[id] = f
		}
		f.sizes[name] = object.Size
		f.bytes += object.Size
		if !object.LastModified.Before(f.written) {
			f.written, f.newest = object.LastModified, object.Key
		}
	}
	return folders, nil
}

// incomplete says which object a backup lacks. It was listed just before.
func (f *folder) incomplete(c Commit) error {
	for _, o := range c.Objects() {
		if stored, exists := f.sizes[o.Name]; !exists || stored != o.Size {
			return damaged(Prefix(c.ID)+o.Name, fmt.Errorf("it has %d bytes, the commit says %d", stored, o.Size))
		}
	}
	return nil
}

// storeNow asks the store for its time. Where nothing is stored yet there is nothing to judge, and the local clock will do.
func (r *Repository) storeNow(ctx context.Context, folders map[string]*folder) (time.Time, error) {
	for _, f := range folders {
		a, err := r.Store.Stat(ctx, f.newest)
		if errors.Is(err, objectstore.ErrNotExist) {
			continue // removed since
		}
		if err != nil {
			return time.Time{}, fmt.Errorf("ask the store for its time: %w", err)
		}
		if a.ServerTime.IsZero() {
			return time.Time{}, errors.New("the store does not say its time")
		}
		return a.ServerTime.UTC(), nil
	}
	return r.Now().UTC(), nil
}

func leftovers(folders map[string]*folder, backups []Backup, now time.Time, grace time.Duration) []Leftover {
	if grace == 0 {
		grace = DefaultGrace
	}
	var all []Leftover
	for id, f := range folders {
		_, committed := f.sizes[commitName]
		if committed || slices.ContainsFunc(backups, func(b Backup) bool { return b.ID == id }) {
			continue
		}
		l := Leftover{ID: id, Objects: len(f.sizes), Bytes: f.bytes, Written: f.written.UTC()}
		switch age := now.Sub(f.written); {
		case !idForm.MatchString(id):
			l.Why = "not of a backup's name, for you to look at"
		case age < grace:
			l.Why = fmt.Sprintf("not committed, may be under way: last written %s ago", age.Round(time.Second))
		default:
			l.Remove, l.Why = true, "never committed, or begun to be removed"
		}
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b Leftover) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// Prune carries a plan out. Of each backup the commit goes first: an interruption leaves what a later prune sweeps, never half a backup that
// is listed. The caller holds the environment's lease, so that nobody begins to use a backup that the plan removes. What has changed since
// the plan only makes it do less; a plan after which no usable backup would be left is refused. It reports one step, "prune".
func (r *Repository) Prune(ctx context.Context, p PrunePlan, progress Progress) error {
	progress.StepStarted("prune")
	if err := r.prune(ctx, p, progress); err != nil {
		err = fmt.Errorf("prune backups of %s: %w", r.Environment, err)
		progress.StepFailed("prune", err)
		return err
	}
	progress.StepDone("prune", p.Summary())
	return nil
}

func (r *Repository) prune(ctx context.Context, p PrunePlan, progress Progress) error {
	remove := p.backups()
	if len(remove) > 0 {
		if err := r.somethingLeft(ctx, remove); err != nil {
			return err
		}
	}
	done, total := int64(0), int64(p.Removals())
	for _, id := range remove {
		if err := r.Store.Delete(ctx, CommitKey(id)); err != nil {
			return fmt.Errorf("remove %s: %w", CommitKey(id), err)
		}
		if err := r.sweep(ctx, id); err != nil {
			return err
		}
		done++
		progress.StepProgress("prune", done, total, "")
	}
	for _, id := range p.leftovers() {
		// It may have been committed since, by one who was silent for longer than the grace period.
		_, err := r.Store.Stat(ctx, CommitKey(id))
		if err == nil {
			continue
		}
		if !errors.Is(err, objectstore.ErrNotExist) {
			return fmt.Errorf("look at %s: %w", CommitKey(id), err)
		}
		if err := r.sweep(ctx, id); err != nil {
			return err
		}
		done++
		progress.StepProgress("prune", done, total, "")
	}
	return nil
}

// somethingLeft makes sure that a usable, complete backup stays, whatever the plan says.
func (r *Repository) somethingLeft(ctx context.Context, remove []string) error {
	folders, err := r.folders(ctx)
	if err != nil {
		return err
	}
	backups, err := r.List(ctx)
	if err != nil {
		return err
	}
	stays := func(b Backup) bool {
		f := folders[b.ID]
		return b.Problem == nil && f != nil && f.incomplete(b.Commit) == nil && !slices.Contains(remove, b.ID)
	}
	if !slices.ContainsFunc(backups, stays) {
		return fault.Hint(fault.Code(errNothingLeft, fault.Refused), "assistctl backup prune "+r.Environment+" --plan")
	}
	return nil
}

// sweep removes what is stored below base/<id>/, but never a commit.
func (r *Repository) sweep(ctx context.Context, id string) error {
	var keys []string
	for object, err := range r.Store.List(ctx, Prefix(id)) {
		if err != nil {
			return fmt.Errorf("list %s: %w", Prefix(id), err)
		}
		if object.Key != CommitKey(id) {
			keys = append(keys, object.Key)
		}
	}
	if err := r.Store.Delete(ctx, keys...); err != nil {
		return fmt.Errorf("remove %s*: %w", Prefix(id), err)
	}
	return nil
}
