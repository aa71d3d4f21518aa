package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/smart-assistant/platform/cli/postgres"
	"github.com/smart-assistant/platform/cli/target"
)

// This file is about the clusters that a Swap has kept.

// aside is one of them.
type aside struct {
	record
	name    string
	cluster string // that it links to; "" when it is a folder of its own
}

// asides lists them, without those that a Swap has announced and not yet made.
func (v *Volume) asides() ([]aside, error) {
	entries, err := os.ReadDir(v.Root)
	if err != nil {
		return nil, err
	}
	var all []aside
	for _, entry := range entries {
		name, ours := strings.CutPrefix(entry.Name(), asidePrefix)
		if !ours || !entry.IsDir() && entry.Type() != fs.ModeSymlink {
			continue
		}
		a := aside{name: name}
		if a.cluster, err = v.linked(v.asidePath(name)); err != nil {
			return nil, err
		}
		a.record, err = v.readRecord(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if a.cluster != "" && a.cluster == a.ReplacedBy {
			continue
		}
		all = append(all, a)
	}
	return all, nil
}

// Asides lists the clusters that were live before a Swap and were not dropped.
func (v *Volume) Asides(ctx context.Context) ([]target.Aside, error) {
	asides, err := v.asides()
	if err != nil {
		return nil, fmt.Errorf("list data kept aside: %w", err)
	}
	var all []target.Aside
	for _, a := range asides {
		var bytes int64
		for _, dir := range v.foldersOf(a) {
			n, err := postgres.SizeOf(ctx, dir)
			if err != nil {
				return nil, fmt.Errorf("measure data kept aside as %s: %w", a.name, err)
			}
			bytes += n
		}
		all = append(all, target.Aside{Name: a.name, Bytes: bytes, Since: a.Since})
	}
	return all, nil
}

// foldersOf are the folders that an aside consists of, of which the last may not be there.
func (v *Volume) foldersOf(a aside) []string {
	if a.cluster == "" {
		return []string{v.asidePath(a.name)}
	}
	dir := v.clusterPath(a.cluster)
	return []string{dir, dir + postgres.TablespaceSuffix}
}

// DropAside deletes a cluster that is kept aside. One that is gone already is no error.
func (v *Volume) DropAside(_ context.Context, name string) error {
	if err := v.dropAside(name); err != nil {
		return fmt.Errorf("drop data kept aside as %s: %w", name, err)
	}
	return nil
}

func (v *Volume) dropAside(name string) error {
	asides, err := v.asides()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(asides, func(a aside) bool { return a.name == name })
	if i < 0 {
		return nil
	}
	a := asides[i]
	live, err := v.linked(v.Live)
	if err != nil { // also when there is none: it may be just this one that has to be live again
		return fmt.Errorf("which cluster is live: %w", err)
	}
	if a.cluster == "" || a.cluster != live {
		for _, dir := range v.foldersOf(a) {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
	}
	return v.forget(name)
}

// forgetAsides removes the names that a cluster had, or was to have, aside: it is live again, or gone.
func (v *Volume) forgetAsides(cluster string) error {
	entries, err := os.ReadDir(v.Root)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name, ours := strings.CutPrefix(entry.Name(), asidePrefix)
		if !ours {
			continue
		}
		if to, err := os.Readlink(v.asidePath(name)); err == nil && filepath.Base(to) == cluster {
			if err := v.forget(name); err != nil {
				return err
			}
		}
		announced, isRecord := strings.CutSuffix(name, recordSuffix)
		if _, err := os.Lstat(v.asidePath(announced)); !isRecord || err == nil {
			continue
		}
		if r, err := v.readRecord(announced); err == nil && r.ReplacedBy == cluster {
			if err := v.forget(announced); err != nil {
				return err
			}
		}
	}
	return nil
}

// forget removes an aside's name: first what is seen, then what explains it.
func (v *Volume) forget(name string) error {
	return errors.Join(removeIfThere(v.asidePath(name)), removeIfThere(v.asidePath(name)+recordSuffix), postgres.SyncPath(v.Root))
}
