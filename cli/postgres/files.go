package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

// This file is about data directories as folders: for who keeps several of them on one file system.

// SystemIdentifier is that of the cluster in dataDir; false when there is none, and 0 when its control data is too damaged to say. A nil
// owner stands for ServerOwner.
func SystemIdentifier(ctx context.Context, b Binaries, dataDir string, owner *Owner) (id uint64, exists bool, err error) {
	_, err = os.Stat(filepath.Join(dataDir, "global", "pg_control"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("system identifier of %s: %w", dataDir, err)
	}
	control, err := ReadControl(ctx, b, dataDir, owner)
	if unreadable(err) && ctx.Err() == nil {
		return 0, true, nil // a restore is what helps, so this must not stand in its way
	}
	if err != nil {
		return 0, false, err
	}
	return control.SystemIdentifier, true, nil
}

// unreadable reports whether it is the control data that is wrong: pg_controldata refused it, or printed no number.
func unreadable(err error) bool {
	_, refused := errors.AsType[*exec.ExitError](err)
	_, garbled := errors.AsType[*strconv.NumError](err)
	return refused || garbled
}

// FreeSpace is how many bytes may be written to the file system of dir.
func FreeSpace(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return int64(s.Bavail) * s.Bsize, nil //nolint:gosec // no file system has 2^63 blocks
}

// Own gives the folder and all in it to the server's user, closes it to others, and makes it survive a power failure. A nil owner stands
// for ServerOwner.
func Own(ctx context.Context, dir string, owner *Owner) error {
	owner, err := orServerOwner(owner)
	if err != nil {
		return err
	}
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil {
			err = context.Cause(ctx)
		}
		if err == nil {
			err = owner.Chown(path)
		}
		if err == nil && (entry.IsDir() || entry.Type().IsRegular()) {
			err = SyncPath(path)
		}
		return err
	})
	if err == nil {
		err = os.Chmod(dir, 0o700)
	}
	if err != nil {
		return fmt.Errorf("give %s to the database's user: %w", dir, err)
	}
	return nil
}

// TablespaceSuffix ends the name of the folder, beside a data directory that was restored, that holds its tablespaces.
const TablespaceSuffix = ".tablespaces"

// RemoveCluster deletes a data directory and the folder of its tablespaces. One that is gone is no error.
func RemoveCluster(dir string) error {
	return errors.Join(os.RemoveAll(dir), os.RemoveAll(dir+TablespaceSuffix))
}

// SizeOf is the sum of the files' sizes below dir, without following links. A file that goes meanwhile does not count.
func SizeOf(ctx context.Context, dir string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	return sum, err
}

// SyncPath makes a file or a folder durable.
func SyncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
