// Package podcall is the conversation between assistctl on an operator's machine and assistctl in a pod: one request, then lines of progress,
// then one result or error. Over `exec` the request goes to the command's standard input and the lines come from its standard output; of a
// Job only the lines are there, in its log.
//
// The caller stays on the line: it says a word every few seconds, and when its words stop, because it was killed or its machine is gone,
// what runs in the pod ends. The package owns the form of the lines and nothing that is said in them. It imports no Kubernetes client.
package podcall

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
)

// Line is what the pod says in one line; one of its fields is set.
type Line struct {
	Progress *Progress       `json:"progress,omitempty"`
	Ready    json.RawMessage `json:"ready,omitempty"` // it goes on until the caller says End
	Result   json.RawMessage `json:"result,omitempty"`
	Error    *Error          `json:"error,omitempty"`
}

// Progress says how far a step is.
type Progress struct {
	Step  string `json:"step"`
	Done  int64  `json:"done"`
	Total int64  `json:"total"`
	Unit  string `json:"unit,omitempty"`
}

// Error is an error on its way: its text, the hint and the exit code.
type Error struct {
	Text string `json:"text"`
	Hint string `json:"hint,omitempty"`
	Code int    `json:"code"`
	Gone bool   `json:"gone,omitempty"` // it ended because its caller was gone
}

func errorLine(err error) *Error {
	return &Error{Text: err.Error(), Hint: fault.HintOf(err), Code: fault.CodeOf(err), Gone: errors.Is(err, ErrCallerGone)}
}

func (e *Error) err() error {
	err := errors.New(e.Text)
	if e.Gone {
		err = fmt.Errorf("%w: %s", ErrCallerGone, e.Text)
	}
	if e.Code != fault.Failed {
		err = fault.Code(err, e.Code)
	}
	if e.Hint != "" {
		err = fault.Hint(err, e.Hint)
	}
	return err
}

const (
	word     = 5 * time.Second        // between words of the caller
	patience = 60 * time.Second       // without one
	often    = 250 * time.Millisecond // between lines of progress
)

var (
	// ErrCallerGone says that the caller went away before the end.
	ErrCallerGone = errors.New("the caller is gone")
	// ErrLost says that there was no answer: the connection broke off, or the command ended without a word. What was asked for may have been
	// done or not.
	ErrLost = errors.New("the pod gave no answer")
)

// Conversation is the pod's side.
type Conversation struct {
	mu    sync.Mutex
	out   io.Writer
	last  time.Time
	ended chan struct{}
}

// Serve reads the request, lets do carry it out, and says how that ended. do's context ends when the caller goes away. The error is do's, and
// has been said already.
func Serve(ctx context.Context, in io.Reader, out io.Writer, do func(ctx context.Context, request []byte, c *Conversation) (result any, err error)) error {
	return serve(ctx, in, out, patience, do)
}

func serve(ctx context.Context, in io.Reader, out io.Writer, patience time.Duration, do func(context.Context, []byte, *Conversation) (any, error)) error {
	c := &Conversation{out: out, ended: make(chan struct{})}
	lines := bufio.NewReader(in)
	request, err := lines.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	gone := time.AfterFunc(patience, func() { cancel(ErrCallerGone) })
	defer gone.Stop()
	go func() {
		end := sync.OnceFunc(func() { close(c.ended) })
		for {
			said, err := lines.ReadString('\n')
			if err != nil {
				cancel(ErrCallerGone)
				return
			}
			gone.Reset(patience)
			if said == endWord {
				end()
			}
		}
	}()
	result, err := do(ctx, request, c)
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, ErrCallerGone) && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	return c.Finish(result, err)
}

// Report is a Conversation without a caller: somebody reads the lines, now or later.
func Report(out io.Writer) *Conversation { return &Conversation{out: out} }

// Finish says the result or the error, which it returns.
func (c *Conversation) Finish(result any, err error) error {
	if err == nil {
		var said json.RawMessage
		if said, err = json.Marshal(result); err == nil {
			return c.say(Line{Result: said})
		}
	}
	return errors.Join(err, c.say(Line{Error: errorLine(err)}))
}

// Progress says how far a step is, several times a second at most.
func (c *Conversation) Progress(step string, done, total int64, unit string) {
	c.mu.Lock()
	now := time.Now()
	early := now.Sub(c.last) < often && done < total
	if !early {
		c.last = now
	}
	c.mu.Unlock()
	if !early {
		_ = c.say(Line{Progress: &Progress{step, done, total, unit}}) // a caller that is gone is noticed elsewhere
	}
}

// Ready says something to the caller and returns when it has answered with End, or ctx is over.
func (c *Conversation) Ready(ctx context.Context, v any) error {
	said, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := c.say(Line{Ready: said}); err != nil {
		return err
	}
	select {
	case <-c.ended:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *Conversation) say(l Line) error {
	content, err := json.Marshal(l)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err = c.out.Write(append(content, '\n'))
	return err
}
