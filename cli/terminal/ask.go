package terminal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/smart-assistant/platform/cli/fault"
)

// answer is one line that the person typed.
type answer struct {
	line string
	err  error
}

// Ask shows prompt and returns the line that is typed, fallback for an empty one. Without a terminal nobody is asked: the error
// is a fault.Usage one, whose hint names the flags to pass instead.
func (t *IO) Ask(ctx context.Context, prompt, fallback, flags string) (string, error) {
	if !t.CanAsk() {
		err := errors.New("this asks a question, and there is no terminal to ask on")
		return "", fault.Code(fault.Hint(err, "pass "+flags), fault.Usage)
	}
	fmt.Fprint(t.Err, prompt)
	line, err := t.readLine(ctx)
	if err == nil { // the terminal has shown the end of the line that was typed: what comes next begins a line of its own
		t.mu.Lock()
		t.open = false
		t.mu.Unlock()
	}
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(t.Err)
		return "", fault.Code(errors.New("stopped at the question: nothing was changed"), fault.Interrupted)
	case errors.Is(err, io.EOF) && line == "":
		fmt.Fprintln(t.Err)
		return "", fault.Code(errors.New("the question was not answered: nothing was changed"), fault.Refused)
	case err != nil && !errors.Is(err, io.EOF):
		return "", fmt.Errorf("read the answer: %w", err)
	}
	if line = strings.TrimSpace(line); line == "" {
		return fallback, nil
	}
	return line, nil
}

// Confirm asks for expected to be typed, and fails with fault.Refused for anything else.
func (t *IO) Confirm(ctx context.Context, prompt, expected, flags string) error {
	typed, err := t.Ask(ctx, prompt, "", flags)
	if err != nil {
		return err
	}
	if typed != expected {
		return fault.Code(fmt.Errorf("%q is not %q: nothing was changed", typed, expected), fault.Refused)
	}
	return nil
}

// readLine reads a line, but does not outlast ctx. The read itself cannot be stopped: an answer that comes too late is kept for
// the next question.
func (t *IO) readLine(ctx context.Context) (string, error) {
	if t.pending == nil {
		t.pending = make(chan answer, 1)
		go func(in io.Reader, to chan<- answer) {
			line, err := oneLine(in)
			to <- answer{line, err}
		}(t.In, t.pending)
	}
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case a := <-t.pending:
		t.pending = nil
		return a.line, a.err
	}
}

// oneLine reads byte by byte, so that nothing beyond the line is taken from the stream.
func oneLine(in io.Reader) (string, error) {
	if b, ok := in.(*bufio.Reader); ok {
		return b.ReadString('\n')
	}
	var line strings.Builder
	for one := make([]byte, 1); ; {
		n, err := in.Read(one)
		if n == 1 {
			line.WriteByte(one[0])
			if one[0] == '\n' {
				return line.String(), nil
			}
		}
		if err != nil {
			return line.String(), err
		}
	}
}
