package upstream

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// events reads server-sent events (HTML standard, section 9.2.6) as OpenAI sends them: the data of each, until [DONE].
type events struct {
	lines     *bufio.Scanner
	afterCR   bool // a line ended with CR: an LF that follows is no empty line
	first     bool
	remainder bool // what the scanner returned last is a line without its end
}

func newEvents(r io.Reader) *events {
	e := &events{lines: bufio.NewScanner(r), first: true}
	e.lines.Buffer(make([]byte, 0, 4096), maxEvent)
	e.lines.Split(e.split)
	return e
}

// split finds lines that end with LF, CR LF or CR.
func (e *events) split(data []byte, atEOF bool) (advance int, line []byte, err error) {
	start := 0
	if e.afterCR && len(data) > 0 {
		e.afterCR = false
		if data[0] == '\n' {
			start = 1
		}
	}
	if length := bytes.IndexAny(data[start:], "\r\n"); length >= 0 {
		end := start + length
		e.afterCR = data[end] == '\r'
		return end + 1, data[start:end], nil
	}
	if atEOF && len(data) > start {
		e.remainder = true
		return len(data), data[start:], nil
	}
	return start, nil, nil
}

// next returns the data of the next event, io.EOF after [DONE], and io.ErrUnexpectedEOF when the stream ends without it. The slice is
// the caller's.
func (e *events) next() ([]byte, error) {
	var data []byte
	var some bool
	for e.lines.Scan() {
		line := e.lines.Bytes()
		if e.first {
			line, e.first = bytes.TrimPrefix(line, []byte("\ufeff")), false
		}
		if e.remainder && !isDone(line) {
			break // half a line of a stream that broke off
		}
		if len(line) == 0 && some {
			return data, nil
		}
		name, value, _ := bytes.Cut(line, []byte(":")) // a comment has an empty name
		if string(name) != "data" {
			continue
		}
		value = bytes.TrimPrefix(value, []byte(" "))
		if !some && string(bytes.TrimSpace(value)) == "[DONE]" {
			return nil, io.EOF
		}
		if some {
			data = append(data, '\n')
		}
		data, some = append(data, value...), true
		if len(data) > maxEvent {
			return nil, errTooLong
		}
	}
	if err := e.lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return nil, errTooLong
	} else if err != nil {
		return nil, err
	}
	return nil, io.ErrUnexpectedEOF
}

func isDone(line []byte) bool {
	value, found := bytes.CutPrefix(line, []byte("data:"))
	return found && string(bytes.TrimSpace(value)) == "[DONE]"
}
