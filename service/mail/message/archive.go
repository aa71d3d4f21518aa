package message

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
)

// Archive is a file of many messages, read from its beginning to its end and never held as a whole.
type Archive interface {
	// Next returns the next message. io.EOF after the last one; ErrTooLarge for one that was skipped, after which Next goes on; any other
	// error is the archive's end.
	Next() ([]byte, error)
}

var (
	// ErrTooLarge is a message that is longer than the archive's limit.
	ErrTooLarge = errors.New("the message is too large")
	// ErrFormat is a file that is neither an mbox, nor a tar, nor a message.
	ErrFormat = errors.New("the file is neither an mbox, nor a tar of a Maildir, nor a message")
	// ErrBroken is an archive that ends in the middle, or goes on as none.
	ErrBroken = errors.New("the file is damaged or ends in the middle")
)

const maxUnpacked = 16 << 30 // bytes of an archive without its gzip: one that grows beyond is not mail

// Limits are what one message may cost.
type Limits struct {
	Message int64 // bytes; longer ones are skipped
	// Large is the number of bytes at which Grow is asked before more of a message is read. Its error is the archive's end.
	Large int64
	Grow  func() error // nil is no question
}

// grow asks, once for each message.
func (l Limits) grow() error {
	if l.Grow == nil {
		return nil
	}
	return l.Grow()
}

// read reads one message to the end of its reader, and one byte more than a message may have.
func (l Limits) read(r io.Reader) ([]byte, error) {
	first := min(l.Large, l.Message) + 1
	raw, err := io.ReadAll(io.LimitReader(r, first))
	if err != nil || int64(len(raw)) < first || first > l.Message {
		return raw, broken(err)
	}
	if err := l.grow(); err != nil {
		return nil, err
	}
	all := bytes.NewBuffer(raw)
	if _, err := all.ReadFrom(io.LimitReader(r, l.Message+1-first)); err != nil {
		return nil, broken(err)
	}
	return all.Bytes(), nil
}

// Open looks at how a file begins and reads it as what it is: an mbox, a tar of one or more Maildirs, or one message; each may be
// compressed with gzip.
func Open(r io.Reader, limits Limits) (Archive, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	if magic, err := b.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		unpacked, err := gzip.NewReader(b)
		if err != nil {
			return nil, broken(err)
		}
		b = bufio.NewReaderSize(&boundedReader{unpacked, maxUnpacked}, 64<<10)
	}
	begin, err := b.Peek(512)
	switch {
	case len(begin) == 0 && errors.Is(err, io.EOF):
		return nil, fmt.Errorf("the file is empty: %w", ErrFormat)
	case err != nil && !errors.Is(err, io.EOF):
		return nil, broken(err)
	case len(begin) == 512 && bytes.HasPrefix(begin[257:], []byte("ustar")):
		return &maildir{tar.NewReader(b), limits}, nil
	}
	text := bytes.TrimLeft(bytes.TrimPrefix(begin, []byte("\xef\xbb\xbf")), "\r\n")
	line, _ := cutLine(text)
	switch {
	case isSeparator(line):
		return &mbox{r: b, limits: limits}, nil
	case isField(bytes.TrimRight(line, "\r\n")):
		return &single{r: b, limits: limits}, nil
	}
	return nil, ErrFormat
}

// broken keeps the reader's own errors, such as a client that left, apart from what is wrong with the file.
func broken(err error) error {
	var corrupt flate.CorruptInputError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &corrupt):
		return fmt.Errorf("%w: %w", ErrBroken, err)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, tar.ErrHeader), errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum), errors.Is(err, errUnpacked):
		return fmt.Errorf("%w: %w", ErrBroken, err)
	}
	return err
}

// single is an archive of one message.
type single struct {
	r      io.Reader
	limits Limits
	done   bool
}

func (s *single) Next() ([]byte, error) {
	if s.done {
		return nil, io.EOF
	}
	s.done = true
	raw, err := s.limits.read(s.r)
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) > s.limits.Message {
		return nil, ErrTooLarge
	}
	return raw, nil
}

// maildir is a tar of Maildirs: messages are the files in folders called cur or new (https://cr.yp.to/proto/maildir.html), however deep.
// What is in tmp was not delivered.
type maildir struct {
	tar    *tar.Reader
	limits Limits
}

func (m *maildir) Next() ([]byte, error) {
	for {
		file, err := m.tar.Next()
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		if err != nil {
			return nil, broken(err)
		}
		folder := path.Base(path.Dir(path.Clean(file.Name)))
		if file.Typeflag != tar.TypeReg || folder != "cur" && folder != "new" {
			continue
		}
		if file.Size > m.limits.Message {
			return nil, ErrTooLarge
		}
		return m.limits.read(m.tar) // grows with what is there, whatever the header says
	}
}

var errUnpacked = errors.New("it unpacks to more than mail would")

// boundedReader ends a reader that gives more than it may.
type boundedReader struct {
	io.Reader
	left int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errUnpacked
	}
	n, err := b.Reader.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
