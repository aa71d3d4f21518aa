package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"filippo.io/age"

	"github.com/smart-assistant/platform/cli/objectstore"
)

// Verify reads a whole backup and checks everything that a restore checks, without writing a file: the commit's signature, each
// object's SHA-256, each file's CRC-32C against PostgreSQL's manifest, the log. It reports one step, "verify".
func (r *Repository) Verify(ctx context.Context, id string, progress Progress) (Unpacked, error) {
	progress.StepStarted("verify")
	found, err := r.verify(ctx, id, progress)
	if err = r.advise(err); err != nil {
		progress.StepFailed("verify", err)
		return Unpacked{}, err
	}
	progress.StepDone("verify", fmt.Sprintf("%d files, %s, match their manifest", found.Files, size(found.Bytes)))
	return found, nil
}

func (r *Repository) verify(ctx context.Context, id string, progress Progress) (Unpacked, error) {
	b, identity, err := r.open(ctx, id)
	if err != nil {
		return Unpacked{}, err
	}
	if err := r.present(ctx, b.Commit); err != nil {
		return Unpacked{}, err
	}
	return r.unpackTo(ctx, b.Commit, identity, nowhere{}, func(done int64) {
		progress.StepProgress("verify", done, max(done, b.RawBytes), "B")
	})
}

// Unpack writes a backup into an empty folder, checks it as Verify does, and makes it durable. PostgreSQL can be started on it.
// Tablespaces go to TablespaceFolder(dir). It does not stop at an existing folder's owner or mode: they stay as they are.
func (r *Repository) Unpack(ctx context.Context, id, dir string, progress func(bytes int64)) (Unpacked, error) {
	b, identity, err := r.open(ctx, id)
	if err != nil {
		return Unpacked{}, err
	}
	into, err := newDisk(dir, b.Archives)
	if err != nil {
		return Unpacked{}, fmt.Errorf("unpack backup %s: %w", id, err)
	}
	found, err := r.unpackTo(ctx, b.Commit, identity, into, progress)
	if err == nil {
		err = into.sync()
	}
	return found, r.advise(errors.Join(err, into.close()))
}

func (r *Repository) unpackTo(ctx context.Context, c Commit, id age.Identity, into tree, progress func(int64)) (Unpacked, error) {
	started := r.Now()
	found, err := unpack(ctx, newFetcher(r.Store, c, id), c, into, progress)
	found.Seconds = r.Now().Sub(started).Seconds()
	return found, err
}

// open returns a backup whose signature has been checked, and the identity that decrypts it.
func (r *Repository) open(ctx context.Context, id string) (Backup, age.Identity, error) {
	if r.Opener == nil {
		return Backup{}, nil, errors.New("open backup: no key to read with")
	}
	b, err := r.Show(ctx, id)
	if err != nil {
		return Backup{}, nil, err
	}
	identity, _, err := r.Opener.Open(ctx, b.Epoch)
	if err != nil {
		return Backup{}, nil, fmt.Errorf("open backup %s: %w", id, err)
	}
	return b, identity, nil
}

// present checks, by a listing, that the backup has exactly the objects that its commit names, in their sizes.
func (r *Repository) present(ctx context.Context, c Commit) error {
	prefix, want := Prefix(c.ID), map[string]int64{}
	for _, o := range c.Objects() {
		want[o.Name] = o.Size
	}
	var wrong []string
	for found, err := range r.Store.List(ctx, prefix) {
		if err != nil {
			return fmt.Errorf("list %s: %w", prefix, err)
		}
		name := strings.TrimPrefix(found.Key, prefix)
		if name == commitName {
			continue
		}
		switch size, named := want[name]; {
		case !named:
			wrong = append(wrong, fmt.Sprintf("%s is foreign: the commit does not name it", found.Key))
		case size != found.Size:
			wrong = append(wrong, fmt.Sprintf("%s has %d bytes, the commit says %d", found.Key, found.Size, size))
		}
		delete(want, name)
	}
	for name := range want {
		wrong = append(wrong, fmt.Sprintf("%s%s is missing: %v", prefix, name, objectstore.ErrNotExist))
	}
	if len(wrong) == 0 {
		return nil
	}
	slices.Sort(wrong)
	return damaged("backup "+c.ID, errors.New(strings.Join(wrong, "; ")))
}
