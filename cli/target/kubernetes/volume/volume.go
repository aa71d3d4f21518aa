// Package volume owns an environment's database volume as the restore pod sees it: the live data directory, clusters that restores have
// prepared beside it, and what was live before.
//
//	live                        the server's data directory: a folder as the server's image made it, or, after a restore, a link to a cluster
//	clusters/<name>             a restored cluster, and clusters/<name>.tablespaces beside it
//	aside-<name>                what was live before a restore: a folder, or a link to an earlier restore's cluster
//	aside-<name>.json           since when, and what took its place; written before anything changes
//
// A swap is one exchange of the names `live` and `aside-<name>` (renameat2 with RENAME_EXCHANGE), so after a crash either the old data is
// live or the new, and at no moment is there no live data, from which the server's image would make an empty cluster.
//
// It runs in a pod, so it imports neither Pulumi nor a Kubernetes client, and knows nothing of backups. Whether the live data's server runs
// is for the caller to say: it runs in another pod, whose processes cannot be seen from here.
package volume

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/postgres"
)

// Volume is a database volume, mounted.
type Volume struct {
	Root     string // where it is mounted
	Live     string // the server's data directory, directly below Root
	Binaries postgres.Binaries
	Owner    *postgres.Owner  // nil stands for postgres.ServerOwner
	Now      func() time.Time // the clock
	// Exchange exchanges two names at once; nil stands for renameat2.
	Exchange func(a, b string) error
}

var usableName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

const (
	clustersFolder = "clusters"
	asidePrefix    = "aside-"
	recordSuffix   = ".json"
)

func (v *Volume) clusterPath(name string) string { return filepath.Join(v.Root, clustersFolder, name) }
func (v *Volume) asidePath(name string) string   { return filepath.Join(v.Root, asidePrefix+name) }

// SystemIdentifier is that of the live cluster; false when there is none, and 0 when its control data cannot be read.
func (v *Volume) SystemIdentifier(ctx context.Context) (uint64, bool, error) {
	return postgres.SystemIdentifier(ctx, v.Binaries, v.Live, v.Owner)
}

// Free is how many bytes a restore may write.
func (v *Volume) Free(context.Context) (int64, error) { return postgres.FreeSpace(v.Root) }

// Prepare makes a new empty folder for a cluster. One of that name is emptied, unless it is the live one or kept aside.
func (v *Volume) Prepare(ctx context.Context, name string) (string, error) {
	dir, err := v.prepare(ctx, name)
	if err != nil {
		return "", fmt.Errorf("prepare a place for cluster %s: %w", name, err)
	}
	return dir, nil
}

func (v *Volume) prepare(ctx context.Context, name string) (string, error) {
	use, err := v.useOf(name)
	if err != nil {
		return "", err
	}
	if use != "" {
		return "", fault.Hint(fmt.Errorf("it is %s", use), "choose another name")
	}
	if err := v.tryExchange(); err != nil {
		return "", err
	}
	dir := v.clusterPath(name)
	if err := v.endScratch(ctx, dir); err != nil {
		return "", err
	}
	if err := postgres.RemoveCluster(dir); err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	return dir, errors.Join(postgres.SyncPath(filepath.Dir(dir)), postgres.SyncPath(v.Root))
}

// Own gives the folder and all in it to the server's user, closes it to others, and makes it survive a power failure.
func (v *Volume) Own(ctx context.Context, dir string) error { return postgres.Own(ctx, dir, v.Owner) }

// LiveCluster is the name of the cluster that Swap has made the live one; "" for one that the server's image has made, and for none.
func (v *Volume) LiveCluster() (string, error) {
	name, err := v.linked(v.Live)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return name, err
}

// IsLive reports whether the cluster of that name is the live one.
func (v *Volume) IsLive(name string) (bool, error) {
	cluster, err := v.LiveCluster()
	return err == nil && name != "" && cluster == name, err
}

// linked is the name of the cluster that a path of the volume's links to, "" when it is a folder of its own.
func (v *Volume) linked(path string) (string, error) {
	to, err := os.Readlink(path)
	if errors.Is(err, syscall.EINVAL) { // no link
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if filepath.Dir(to) != clustersFolder {
		return "", fmt.Errorf("%s links to %s, which no restore has made", path, to)
	}
	return filepath.Base(to), nil
}

// useOf says what a cluster's name is in use for, "" for nothing.
func (v *Volume) useOf(name string) (string, error) {
	if !usableName.MatchString(name) || strings.HasSuffix(name, postgres.TablespaceSuffix) {
		return "", fmt.Errorf("%q is not a usable name", name)
	}
	live, err := v.IsLive(name)
	if err != nil || live {
		return "the live one", err
	}
	asides, err := v.asides()
	if err != nil {
		return "", err
	}
	for _, a := range asides {
		if a.cluster == name {
			return "kept aside as " + a.name, nil
		}
	}
	return "", nil
}

// Discard undoes Prepare and what came after it, short of Swap: it ends a server that Try has left and deletes the folder. A cluster that is
// live or kept aside, and one that is gone, stay as they are.
func (v *Volume) Discard(ctx context.Context, name string) error {
	use, err := v.useOf(name)
	if err == nil && use == "" {
		err = v.endScratch(ctx, v.clusterPath(name))
		if err == nil {
			err = errors.Join(v.forgetAsides(name), postgres.RemoveCluster(v.clusterPath(name)))
		}
	}
	if err != nil {
		return fmt.Errorf("discard cluster %s: %w", name, err)
	}
	return nil
}

// record is what is known of an aside before it is one.
type record struct {
	Since      time.Time `json:"since"`
	ReplacedBy string    `json:"replacedBy"` // the cluster that is then live
}

// Swap makes the cluster in dir the live one and keeps the one before as aside. No server may run on either; stopped says that the caller has
// seen the live server's pod gone, without which a postmaster.pid that a crash has left cannot be told from a running server's. After a
// crash either the old cluster is live or the new one, and repeating Swap completes it.
func (v *Volume) Swap(ctx context.Context, dir, aside string, stopped bool) error {
	if err := v.swap(ctx, filepath.Clean(dir), aside, stopped); err != nil {
		return fmt.Errorf("make %s the live cluster: %w", filepath.Base(dir), err)
	}
	return nil
}

func (v *Volume) swap(ctx context.Context, dir, aside string, stopped bool) error {
	name := filepath.Base(dir)
	if dir != v.clusterPath(name) || !usableName.MatchString(name) {
		return fmt.Errorf("it is not in %s", v.clusterPath(""))
	}
	if !usableName.MatchString(aside) || strings.HasSuffix(aside, recordSuffix) {
		return fmt.Errorf("%q is not a usable name for the data set aside", aside)
	}
	if _, err := os.Stat(filepath.Join(dir, "PG_VERSION")); err != nil {
		return err
	}
	live, err := v.IsLive(name)
	if err != nil {
		return err
	}
	if !live {
		if err := v.refuseRunning(dir, stopped); err != nil {
			return err
		}
		if err := v.exchange(ctx, name, aside); err != nil {
			return err
		}
	}
	return errors.Join(v.forgetAsides(name), postgres.SyncPath(v.Root))
}

// exchange puts the link to a cluster in the place of the live data, and the live data in the place of the link.
func (v *Volume) exchange(_ context.Context, name, aside string) error {
	link := filepath.Join(clustersFolder, name)
	_, err := os.Lstat(v.Live)
	if errors.Is(err, fs.ErrNotExist) { // there is nothing to keep
		next := v.Live + ".next"
		if err := errors.Join(removeIfThere(next), os.Symlink(link, next)); err != nil {
			return err
		}
		return os.Rename(next, v.Live)
	}
	if err != nil {
		return err
	}
	switch to, err := os.Readlink(v.asidePath(aside)); {
	case errors.Is(err, fs.ErrNotExist):
		if err := v.writeRecord(aside, record{v.Now().UTC(), name}); err != nil {
			return err
		}
		if err := os.Symlink(link, v.asidePath(aside)); err != nil {
			return err
		}
		if err := postgres.SyncPath(v.Root); err != nil {
			return err
		}
	case err != nil || to != link:
		return fault.Hint(fmt.Errorf("there is other data aside under the name %s", aside), "drop it first, or choose another name")
	}
	return v.swapNames(v.Live, v.asidePath(aside))
}

// tryExchange finds out before anything is fetched, and before the live data's server is stopped, whether a Swap can be made on this volume:
// with a folder and a link, as the first one is.
func (v *Volume) tryExchange() error {
	if _, err := os.Lstat(v.Live); errors.Is(err, fs.ErrNotExist) {
		return nil // and so nothing to exchange
	}
	dir := filepath.Join(v.Root, ".exchange")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(filepath.Join(dir, "folder"), 0o700), os.Symlink("nowhere", filepath.Join(dir, "link"))); err != nil {
		return err
	}
	return errors.Join(v.swapNames(filepath.Join(dir, "folder"), filepath.Join(dir, "link")), os.RemoveAll(dir))
}

// swapNames exchanges two names at once.
func (v *Volume) swapNames(a, b string) error {
	exchange := v.Exchange
	if exchange == nil {
		exchange = func(a, b string) error {
			return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
		}
	}
	err := exchange(a, b)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP) {
		err = fmt.Errorf("the volume's file system cannot exchange two names at once (renameat2: %w)", err)
		return fault.Code(fault.Hint(err, "a restore in place needs a volume with ext4, xfs or btrfs, and not NFS or EFS"), fault.Refused)
	}
	return err
}

// refuseRunning looks for servers on the live cluster and on the one that comes.
func (v *Volume) refuseRunning(dir string, stopped bool) error {
	for _, d := range []string{v.Live, dir} {
		server := &postgres.Server{DataDir: d}
		if pid, runs := server.PID(); runs {
			return fmt.Errorf("a server still runs on %s, process %d", d, pid)
		}
	}
	if _, err := os.Stat(filepath.Join(v.Live, "postmaster.pid")); err == nil && !stopped {
		return errors.New("the live cluster's server still runs, or was not ended in good order, and nobody has seen its pod gone")
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func removeIfThere(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (v *Volume) writeRecord(aside string, r record) error {
	content, err := json.Marshal(r)
	if err != nil {
		return err
	}
	path := v.asidePath(aside) + recordSuffix
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(content, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func (v *Volume) readRecord(aside string) (record, error) {
	content, err := os.ReadFile(v.asidePath(aside) + recordSuffix)
	if err != nil {
		return record{}, err
	}
	var r record
	return r, json.Unmarshal(content, &r)
}
