package message

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"regexp"
)

// mbox reads the format of RFC 4155's appendix and its relatives: messages follow one another, each after a line "From sender date". Lines
// of a message that would look like one are quoted with ">", which is undone once, as mboxrd means it; mboxo's readers cannot know better.
// Content-Length is not believed.
type mbox struct {
	r      *bufio.Reader
	limits Limits
	begun  bool // the separator of the next message was read
	middle bool // of a line longer than the reader's buffer
	done   bool
}

// Next returns the next message with its line breaks as they are.
func (m *mbox) Next() ([]byte, error) {
	var raw []byte
	large, blank := false, !m.begun
	for !m.done {
		line, err := m.line()
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, broken(err)
		}
		m.done = err != nil
		middle := m.middle
		m.middle = err == nil && !bytes.HasSuffix(line, []byte("\n"))
		if !middle && blank && isSeparator(line) {
			if m.begun {
				return finish(raw, large)
			}
			m.begun = true
			continue
		}
		blank = len(bytes.TrimRight(line, "\r\n")) == 0
		if !m.begun { // blank lines and a byte order mark before the first message
			blank = true
			continue
		}
		if !middle {
			line = unquote(line)
		}
		if large {
			continue
		}
		if before := int64(len(raw)); before <= m.limits.Large && before+int64(len(line)) > m.limits.Large {
			if err := m.limits.grow(); err != nil {
				return nil, err
			}
		}
		if raw = append(raw, line...); int64(len(raw)) > m.limits.Message {
			raw, large = nil, true
		}
	}
	if !m.begun {
		return nil, io.EOF
	}
	m.begun = false
	return finish(raw, large)
}

// line reads one line; one longer than the reader's buffer in pieces.
func (m *mbox) line() ([]byte, error) {
	line, err := m.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		err = nil
	}
	return line, err
}

// finish takes off the blank line that ends a message in an mbox.
func finish(raw []byte, large bool) ([]byte, error) {
	if large {
		return nil, ErrTooLarge
	}
	return trimNewline(raw), nil
}

// separator is "From", who, and when: a time of day and a year, in whatever order a program writes them. Some write nothing or "-".
var separator = regexp.MustCompile(`^\x{FEFF}?From (\S+ .*\d\d?:\d\d.*\d{4}.*|\S+ .*\d{4}.*\d\d?:\d\d.*|\s*-?\s*)$`)

func isSeparator(line []byte) bool {
	return (bytes.HasPrefix(line, []byte("From ")) || bytes.HasPrefix(line, []byte("\xef\xbb\xbfFrom "))) && len(line) < 1000 &&
		separator.Match(bytes.TrimRight(line, "\r\n"))
}

// unquote takes one > off a quoted separator.
func unquote(line []byte) []byte {
	if unquoted := bytes.TrimLeft(line, ">"); len(unquoted) < len(line) && bytes.HasPrefix(unquoted, []byte("From ")) {
		return line[1:]
	}
	return line
}
