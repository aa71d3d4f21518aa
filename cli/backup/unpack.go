package backup

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/smart-assistant/platform/cli/fault"
)

// tree receives what a backup unpacks to. Paths are those of PostgreSQL's manifest: relative to the data directory, with slashes,
// those of a tablespace below pg_tblspc/<oid>.
type tree interface {
	mkdir(path string, mode fs.FileMode) error
	create(path string, mode fs.FileMode, size int64) (io.WriteCloser, error)
	link(tablespace uint32, path string) error
}

// nowhere is the tree of a verification: all is read and checked, nothing is written.
type nowhere struct{}

func (nowhere) mkdir(string, fs.FileMode) error { return nil }
func (nowhere) link(uint32, string) error       { return nil }
func (nowhere) create(string, fs.FileMode, int64) (io.WriteCloser, error) {
	return discard{}, nil
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Close() error                { return nil }

// Unpacked says what a backup was found to be.
type Unpacked struct {
	Files   int     `json:"files"` // checked against the manifest
	Bytes   int64   `json:"bytes"` // of all files
	Seconds float64 `json:"seconds"`
}

// unpacker takes the archives of one backup apart: one goroutine reads them, another checks and writes.
type unpacker struct {
	commit   Commit
	into     tree
	manifest manifest
	files    map[string]expected // not seen yet
	wal      map[string]int64    // sizes of the log segments found
	free     chan []byte
	done     Unpacked
	progress func(bytes int64)
}

const (
	chunk  = 1 << 20 // bytes handed from the reader to the writer at a time
	chunks = 8
)

// unpack reads a whole backup into a tree and checks everything on the way: that each object is the one that the commit names, each
// file the one that PostgreSQL's manifest names, that none is missing and none added, and that the log is complete.
func unpack(ctx context.Context, f *fetcher, c Commit, into tree, progress func(bytes int64)) (Unpacked, error) {
	content, err := f.manifest(ctx, c.Manifest)
	if err != nil {
		return Unpacked{}, err
	}
	u := &unpacker{commit: c, into: into, wal: map[string]int64{}, free: make(chan []byte, chunks), progress: progress}
	for range chunks {
		u.free <- nil
	}
	if u.manifest, u.files, err = parseManifest(content); err == nil {
		err = u.agrees()
	}
	if err != nil {
		return Unpacked{}, damaged(f.prefix+c.Manifest.Name, err)
	}
	for _, a := range c.Archives {
		if err := u.archive(ctx, f, a); err != nil {
			return Unpacked{}, err
		}
	}
	if err := u.complete(); err != nil {
		return Unpacked{}, damaged(f.prefix+"base", err)
	}
	return u.done, u.write("backup_manifest", content)
}

// agrees checks that the manifest and the commit speak of the same backup.
func (u *unpacker) agrees() error {
	if u.manifest.System != 0 && u.manifest.System != u.commit.SystemIdentifier {
		return fmt.Errorf("its system identifier is %d, the commit's %d", u.manifest.System, u.commit.SystemIdentifier)
	}
	starts := func(r manifestRange) bool { return r.Start == u.commit.StartLSN }
	stops := func(r manifestRange) bool { return r.End == u.commit.StopLSN }
	if !slices.ContainsFunc(u.manifest.WAL, starts) || !slices.ContainsFunc(u.manifest.WAL, stops) {
		return fmt.Errorf("it needs other log than the commit says, %s to %s", u.commit.StartLSN, u.commit.StopLSN)
	}
	return nil
}

// archive unpacks one archive.
func (u *unpacker) archive(ctx context.Context, f *fetcher, a Archive) error {
	in, err := f.archive(ctx, a)
	if err != nil {
		return err
	}
	defer in.Close()
	err = u.unpackTar(ctx, in, a)
	if err == nil {
		// What comes after the tar's end is zeros, and the age file has an end that must be reached to be checked.
		_, err = copyBuffer(io.Discard, in)
	}
	if err != nil && fault.CodeOf(err) == fault.Failed && ctx.Err() == nil {
		return fmt.Errorf("unpack %s%s: %w", f.prefix, a.name(), err)
	}
	return err
}

// unpackTar reads in this goroutine and writes in another, to the end of the tar or the first error of either.
func (u *unpacker) unpackTar(ctx context.Context, in io.Reader, a Archive) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan piece, chunks)
	written := make(chan struct{})
	go func() {
		defer close(written)
		if err := u.writeAll(work); err != nil {
			cancel(err)
		}
		for p := range work { // let the reader see that it is over
			u.recycle(p)
		}
	}()
	err := u.read(ctx, tar.NewReader(in), a, work)
	close(work)
	<-written
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// piece is an order to the writer: create a file, write to it, and, at its end, close and check it.
type piece struct {
	header *tar.Header // of a file that begins
	path   string
	data   []byte
	end    bool
}

// read walks through the tar and passes on what it holds.
func (u *unpacker) read(ctx context.Context, in *tar.Reader, a Archive, work chan<- piece) error {
	for {
		h, err := in.Next()
		if err == io.EOF { //nolint:errorlint // a wrapped one is a failure to read
			return nil
		}
		if err != nil {
			return err
		}
		name, err := u.safe(h, a)
		if err != nil {
			return damaged(Prefix(u.commit.ID)+a.name(), err)
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = u.into.mkdir(name, h.FileInfo().Mode().Perm())
		case tar.TypeSymlink:
			oid, _ := strconv.ParseUint(path.Base(name), 10, 32)
			err = u.into.link(uint32(oid), name)
		default:
			err = u.readFile(ctx, in, piece{header: h, path: name}, work)
		}
		if err != nil {
			return err
		}
	}
}

func (u *unpacker) readFile(ctx context.Context, in io.Reader, p piece, work chan<- piece) error {
	for left := p.header.Size; ; {
		if left > 0 {
			select {
			case p.data = <-u.free:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			if p.data == nil {
				p.data = make([]byte, chunk)
			}
			p.data = p.data[:min(left, chunk)]
			if _, err := io.ReadFull(in, p.data); err != nil {
				u.recycle(p)
				return err
			}
			left -= int64(len(p.data))
		}
		p.end = left == 0
		work <- p
		if p.end {
			return nil
		}
		p = piece{path: p.path}
	}
}

func (u *unpacker) recycle(p piece) {
	if p.data != nil {
		u.free <- p.data
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// writeAll carries out the reader's orders.
func (u *unpacker) writeAll(work <-chan piece) (err error) {
	var file io.WriteCloser
	var sum uint32
	var length int64
	defer func() {
		if file != nil {
			file.Close()
		}
	}()
	for p := range work {
		if p.header != nil {
			if file, err = u.into.create(p.path, p.header.FileInfo().Mode().Perm(), p.header.Size); err != nil {
				u.recycle(p)
				return err
			}
			sum, length = 0, 0
		}
		sum = crc32.Update(sum, castagnoli, p.data)
		_, err := file.Write(p.data)
		length += int64(len(p.data))
		u.done.Bytes += int64(len(p.data))
		u.recycle(p)
		if err != nil {
			return err
		}
		if p.end {
			err = file.Close()
			file = nil
			if err == nil {
				err = u.check(p.path, length, sum)
			}
			if err != nil {
				return err
			}
			u.progress(u.done.Bytes)
		}
	}
	return nil
}

// check compares a file with the manifest. Log segments are not listed there: their records carry checksums of their own.
func (u *unpacker) check(name string, length int64, sum uint32) error {
	archive := Prefix(u.commit.ID) + "base"
	want, listed := u.files[name]
	if segment, inLog := strings.CutPrefix(name, "pg_wal/"); !listed && inLog && !strings.Contains(segment, "/") {
		u.wal[segment] = length
		return nil
	}
	if !listed {
		return damaged(archive, fmt.Errorf("file %s is not in the manifest, or comes twice", name))
	}
	delete(u.files, name)
	if want.size != length || want.crc32c != sum {
		return damaged(archive, fmt.Errorf("file %s does not match its checksum in the manifest", name))
	}
	u.done.Files++
	return nil
}

var walName = regexp.MustCompile(`^[0-9A-F]{24}$`)

// complete checks that nothing is missing.
func (u *unpacker) complete() error {
	if len(u.files) > 0 {
		missing := slices.Sorted(maps.Keys(u.files))
		return fmt.Errorf("file %s is missing, one of %d", missing[0], len(missing))
	}
	var segment int64
	for name, length := range u.wal {
		if walName.MatchString(name) {
			if segment = length; segment < 1<<20 || segment > 1<<30 || segment&(segment-1) != 0 {
				return fmt.Errorf("log segment %s has %d bytes", name, length)
			}
		}
	}
	if segment == 0 {
		return errors.New("it holds no log")
	}
	for _, r := range u.manifest.WAL {
		for _, name := range r.walFiles(segment) {
			if u.wal[name] != segment {
				return fmt.Errorf("log segment %s is missing", name)
			}
		}
	}
	return nil
}

func (u *unpacker) write(name string, content []byte) error {
	file, err := u.into.create(name, 0o600, int64(len(content)))
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	return errors.Join(err, file.Close())
}

var tablespaceLink = regexp.MustCompile(`^pg_tblspc/[1-9][0-9]{0,9}$`)

// safe returns the manifest's path of a tar entry. It refuses what no base backup holds and what could write elsewhere: absolute
// and parent paths, hard links, devices, and links other than those of the tablespaces that the commit names.
func (u *unpacker) safe(h *tar.Header, a Archive) (string, error) {
	name := strings.TrimSuffix(strings.TrimPrefix(h.Name, "./"), "/")
	if !filepath.IsLocal(name) || name == "." || path.Clean(name) != name || strings.ContainsAny(name, "\\\x00") {
		return "", fmt.Errorf("unsafe name %q", h.Name)
	}
	if a.Tablespace != 0 {
		name = fmt.Sprintf("pg_tblspc/%d/%s", a.Tablespace, name)
	} else if strings.HasPrefix(name, "pg_tblspc/") && (h.Typeflag != tar.TypeSymlink || !tablespaceLink.MatchString(name)) {
		return "", fmt.Errorf("unexpected entry %q", h.Name)
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeDir:
		return name, nil
	case tar.TypeSymlink:
		known := func(t Archive) bool { return t.Tablespace != 0 && name == "pg_tblspc/"+t.name() }
		if a.Tablespace == 0 && slices.ContainsFunc(u.commit.Archives, known) {
			return name, nil
		}
	}
	return "", fmt.Errorf("unexpected entry %q of type %q", h.Name, h.Typeflag)
}
