package backup

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// direct makes writes to a new file go past the page cache, where the file system can: a restore beside a live database then neither
// pushes that one's pages out of memory nor pays for copying its own. Such writes are whole blocks, from memory that starts at one, as
// Go's large allocations do. What the file system does not take, and the tail of a file, is written through the cache.
func direct(f *os.File) io.WriteCloser {
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if err != nil {
		return f
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETFL, flags|unix.O_DIRECT); err != nil {
		return f // not on this file system
	}
	return &directFile{f, flags}
}

// block is the largest block size of disks in use, in bytes.
const block = 4096

type directFile struct {
	*os.File
	buffered int // the flags without O_DIRECT
}

func (f *directFile) Write(p []byte) (int, error) {
	whole := len(p) &^ (block - 1)
	n, err := 0, error(nil)
	if whole > 0 {
		n, err = f.File.Write(p[:whole])
	}
	if err == nil && whole == len(p) {
		return n, nil
	}
	if err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: its blocks are others
		return n, err
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETFL, f.buffered); err != nil {
		return n, err
	}
	rest, err := f.File.Write(p[n:])
	return n + rest, err
}
