package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/objectstore"
)

// Repository is an environment's backups in its bucket.
type Repository struct {
	Store       objectstore.Store
	Environment string
	Sealer      *Sealer          // needed to take backups
	Opener      Opener           // needed to verify and to restore; with it, Show and List check signatures
	Now         func() time.Time // the clock
}

// Backup is one committed backup as List finds it.
type Backup struct {
	ID string
	Commit
	// Problem says why the commit cannot be used; the other fields may then be empty. A damaged commit is listed, not hidden, and
	// does not hide the others.
	Problem error
}

// List returns the committed backups, oldest first. Signatures are checked when there is an Opener that opens the epoch.
func (r *Repository) List(ctx context.Context) ([]Backup, error) {
	var all []Backup
	for object, err := range r.Store.List(ctx, "base/") {
		if err != nil {
			return nil, fmt.Errorf("list backups: %w", err)
		}
		id, found := strings.CutSuffix(strings.TrimPrefix(object.Key, "base/"), "/"+commitName)
		if !found || strings.Contains(id, "/") {
			continue
		}
		b, err := r.Show(ctx, id)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if errors.Is(err, objectstore.ErrNotExist) {
			continue // pruned since
		}
		if b.Problem = err; b.Started.IsZero() {
			b.Started, b.Finished = object.LastModified, object.LastModified
		}
		all = append(all, b)
	}
	slices.SortStableFunc(all, func(a, b Backup) int {
		return cmp.Or(a.Started.Compare(b.Started), strings.Compare(a.ID, b.ID))
	})
	return all, nil
}

// Show returns one committed backup. It fails with fault.NotFound when there is none and with fault.Damaged when its commit is not
// what a trusted writer of this environment wrote; the fields are then what can be read of it.
func (r *Repository) Show(ctx context.Context, id string) (Backup, error) {
	b, err := r.show(ctx, id)
	return b, r.advise(err)
}

func (r *Repository) show(ctx context.Context, id string) (Backup, error) {
	b := Backup{ID: id}
	notFound := func() error {
		return fault.Hint(fault.Code(fmt.Errorf("%s has no backup %q", r.Environment, id), fault.NotFound), "assistctl backup list "+r.Environment)
	}
	if !idForm.MatchString(id) {
		return b, notFound()
	}
	object, err := readObject(ctx, r.Store, CommitKey(id))
	if errors.Is(err, objectstore.ErrNotExist) {
		return b, notFound()
	}
	if err != nil {
		return b, err
	}
	u, err := unseal(id, object)
	b.Commit = u.Commit
	if err != nil {
		return b, damaged(CommitKey(id), err)
	}
	if u.Environment != r.Environment {
		return b, damaged(CommitKey(id), fmt.Errorf("it belongs to environment %q", u.Environment))
	}
	if r.Opener == nil {
		return b, nil
	}
	_, writers, err := r.Opener.Open(ctx, u.Epoch)
	if err != nil {
		return b, fmt.Errorf("open %s: %w", CommitKey(id), err)
	}
	if err := u.verify(writers); err != nil {
		return b, damaged(CommitKey(id), err)
	}
	return b, nil
}

// maxSmall bounds objects that are read whole into memory: commits and manifests (about 150 bytes a file of the cluster).
const maxSmall = 512 << 20

func readObject(ctx context.Context, store objectstore.Store, key string) ([]byte, error) {
	body, attributes, err := store.Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", key, err)
	}
	defer body.Close()
	if attributes.Size > maxSmall {
		return nil, damaged(key, fmt.Errorf("%d bytes are too many", attributes.Size))
	}
	object, err := io.ReadAll(io.LimitReader(body, maxSmall))
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", key, err)
	}
	return object, nil
}

// takeAnother is what helps against damage.
const takeAnother = "assistctl backup list, and take another one"

// damaged says that an object is not what was written.
func damaged(object string, err error) error {
	return fault.Hint(fault.Code(fmt.Errorf("%s is damaged: %w", object, err), fault.Damaged), takeAnother)
}

// advise names the environment in that hint, so that it can be typed.
func (r *Repository) advise(err error) error {
	if fault.HintOf(err) == takeAnother {
		return fault.Hint(err, strings.Replace(takeAnother, "list", "list "+r.Environment, 1))
	}
	return err
}
