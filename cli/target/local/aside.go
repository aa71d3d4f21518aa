package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/postgres"
	"github.com/smart-assistant/platform/cli/target"
)

// This file is about the clusters that a Swap has kept. Each is a link in pg/asides.

func (e *Environment) asideLink(name string) string { return e.path("pg", "asides", name) }

func (e *Environment) setAside(cluster, aside string) error {
	links, err := e.asideLinks()
	if err != nil {
		return err
	}
	if other, taken := links[aside]; taken {
		if other == cluster {
			return nil
		}
		return fault.Hint(fmt.Errorf("there is other data aside under the name %s", aside), "drop it first, or choose another name")
	}
	if err := os.Symlink(filepath.Join("..", "clusters", filepath.Base(cluster)), e.asideLink(aside)); err != nil {
		return err
	}
	return syncPath(e.path("pg", "asides"))
}

// forgetAside removes the names that a cluster had aside: it is live again.
func (e *Environment) forgetAside(cluster string) error {
	links, err := e.asideLinks()
	if err != nil {
		return err
	}
	for name, other := range links {
		if other == cluster {
			if err := os.Remove(e.asideLink(name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// asideLinks returns the folder of each cluster that is kept aside, by its name there.
func (e *Environment) asideLinks() (map[string]string, error) {
	entries, err := os.ReadDir(e.path("pg", "asides"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	links := map[string]string{}
	for _, entry := range entries {
		to, err := os.Readlink(e.asideLink(entry.Name()))
		if err != nil {
			return nil, err
		}
		links[entry.Name()] = e.clusterPath(filepath.Base(to))
	}
	return links, nil
}

// Asides lists the clusters that were live before a Swap and were not dropped.
func (e *Environment) Asides(ctx context.Context) ([]target.Aside, error) {
	entries, err := os.ReadDir(e.path("pg", "asides"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list data kept aside: %w", err)
	}
	links, err := e.asideLinks()
	if err != nil {
		return nil, fmt.Errorf("list data kept aside: %w", err)
	}
	live, err := e.liveCluster()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list data kept aside: %w", err)
	}
	var all []target.Aside
	for _, entry := range entries {
		if links[entry.Name()] == live {
			continue // a Swap that ended after its first step
		}
		info, err := entry.Info()
		if err != nil {
			return nil, fmt.Errorf("list data kept aside: %w", err)
		}
		bytes, err := postgres.SizeOf(ctx, links[entry.Name()])
		if err != nil {
			return nil, fmt.Errorf("measure data kept aside as %s: %w", entry.Name(), err)
		}
		all = append(all, target.Aside{Name: entry.Name(), Bytes: bytes, Since: info.ModTime()})
	}
	return all, nil
}

// DropAside deletes a cluster that is kept aside. One that is gone already is no error.
func (e *Environment) DropAside(_ context.Context, name string) error {
	links, err := e.asideLinks()
	if err != nil {
		return fmt.Errorf("drop data kept aside as %s: %w", name, err)
	}
	dir, ok := links[name]
	if !ok {
		return nil
	}
	live, err := e.liveCluster()
	if err != nil { // also when there is none: it may be just this one that has to be linked again
		return fmt.Errorf("drop data kept aside as %s: which cluster is live: %w", name, err)
	}
	if live != dir {
		if err := postgres.RemoveCluster(dir); err != nil {
			return fmt.Errorf("drop data kept aside as %s: %w", name, err)
		}
	}
	if err := os.Remove(e.asideLink(name)); err != nil {
		return fmt.Errorf("drop data kept aside as %s: %w", name, err)
	}
	return nil
}
