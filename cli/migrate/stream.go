package migrate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/smart-assistant/platform/service/schema"
)

// maxLine bounds a line of the runner's output; an event is far shorter.
const maxLine = 1 << 20

// ParseEvent reads one line of `assistd migrate up --json`. Fields that this build does not know are left aside, so that a
// newer release can be driven; a line that is no event, or one that names none, is an error.
func ParseEvent(line []byte) (schema.Event, error) {
	var event schema.Event
	if err := json.Unmarshal(line, &event); err != nil {
		return schema.Event{}, fmt.Errorf("the runner said something that is no event: %.120q", line)
	}
	if event.Event == "" {
		return schema.Event{}, fmt.Errorf("the runner sent an event without a kind: %.120q", line)
	}
	if event.Version < 0 || event.Millis < 0 || event.Attempt < 0 || event.Current < 0 {
		return schema.Event{}, fmt.Errorf("the runner sent an event with a number below 0: %.120q", line)
	}
	return event, nil
}

// lines cuts what is written to it into lines, however it arrives, and hands on those that are not empty.
type lines struct {
	take    func([]byte)
	pending []byte
}

func (l *lines) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		line, after, complete := bytes.Cut(rest, []byte{'\n'})
		if len(l.pending)+len(line) > maxLine {
			return 0, fmt.Errorf("a line of the runner's output is longer than %d bytes", maxLine)
		}
		l.pending = append(l.pending, line...)
		if complete {
			l.end()
		}
		rest = after
	}
	return len(p), nil
}

// end hands on what has come without a line's end.
func (l *lines) end() {
	line := bytes.TrimSpace(l.pending)
	if len(line) > 0 {
		l.take(line)
	}
	l.pending = nil
}

// tail keeps the end of what is written to it: the place where a program says why it stops.
type tail struct{ text []byte }

const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	if extra := len(t.text) - tailSize; extra > 0 {
		t.text = append(t.text[:0], t.text[extra:]...)
	}
	return len(p), nil
}

// explain adds the program's last words to the error of its exit.
func (t *tail) explain(exit error) error {
	said := strings.TrimSpace(strings.ToValidUTF8(string(t.text), "�"))
	if said == "" {
		return exit
	}
	return fmt.Errorf("%s (%w)", strings.TrimPrefix(said, "assistd: "), exit)
}
