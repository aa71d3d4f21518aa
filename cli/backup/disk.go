package backup

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// disk is the tree of a restore: a data directory, and a folder for each tablespace. It cannot write outside of them.
type disk struct {
	data   *os.Root
	spaces map[uint32]*os.Root
}

// TablespaceFolder is the folder that holds the tablespaces of the data directory dir, a folder for each, named by its OID.
// It belongs to dir and has to be removed with it.
func TablespaceFolder(dir string) string { return dir + ".tablespaces" }

// newDisk opens an empty data directory to write a backup into.
func newDisk(dir string, archives []Archive) (*disk, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	if len(entries) > 0 {
		return nil, fmt.Errorf("%s is not empty", dir)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	d := &disk{spaces: map[uint32]*os.Root{}}
	if d.data, err = os.OpenRoot(dir); err != nil {
		return nil, err
	}
	spaces := TablespaceFolder(dir)
	if err := os.RemoveAll(spaces); err != nil {
		return nil, errors.Join(err, d.close())
	}
	for _, a := range archives {
		if a.Tablespace == 0 {
			continue
		}
		space := filepath.Join(spaces, a.name())
		if err := os.MkdirAll(space, 0o700); err != nil {
			return nil, errors.Join(err, d.close())
		}
		if d.spaces[a.Tablespace], err = os.OpenRoot(space); err != nil {
			return nil, errors.Join(err, d.close())
		}
	}
	return d, nil
}

func (d *disk) close() error {
	err := d.data.Close()
	for _, root := range d.spaces {
		if root != nil {
			err = errors.Join(err, root.Close())
		}
	}
	return err
}

// sync makes everything written durable.
func (d *disk) sync() error {
	err := syncTree(d.data.Name())
	for _, root := range d.spaces {
		err = errors.Join(err, syncTree(root.Name()))
	}
	return err
}

// place finds the folder that a path is in: what is below pg_tblspc/<oid> is in the tablespace's.
func (d *disk) place(path string) (*os.Root, string, error) {
	below, found := strings.CutPrefix(path, "pg_tblspc/")
	if !found {
		return d.data, filepath.FromSlash(path), nil
	}
	space, name, _ := strings.Cut(below, "/")
	oid, err := strconv.ParseUint(space, 10, 32)
	root := d.spaces[uint32(oid)]
	if err != nil || root == nil || name == "" {
		return nil, "", fmt.Errorf("%s is in no tablespace of this backup", path)
	}
	return root, filepath.FromSlash(name), nil
}

func (d *disk) mkdir(path string, mode fs.FileMode) error {
	root, name, err := d.place(path)
	if err != nil {
		return err
	}
	return root.Mkdir(name, mode)
}

// create makes a new file, which is written in whole chunks but for the last.
func (d *disk) create(path string, mode fs.FileMode, size int64) (io.WriteCloser, error) {
	root, name, err := d.place(path)
	if err != nil {
		return nil, err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return nil, err
	}
	if size >= chunk {
		return direct(f), nil
	}
	return f, nil
}

func (d *disk) link(tablespace uint32, path string) error {
	root := d.spaces[tablespace]
	if root == nil {
		return fmt.Errorf("%s is no tablespace of this backup", path)
	}
	return d.data.Symlink(root.Name(), filepath.FromSlash(path))
}
