package podcall

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
)

const (
	endWord   = "end\n"
	stillHere = "\n"
	farewell  = 5 * time.Second // for a command that has said its last word
	longest   = 1 << 20         // bytes of a line
)

// Listener is what a caller does with the lines.
type Listener struct {
	Progress func(Progress)
	// Ready is called for a Ready line, in a goroutine of its own; when it returns, the pod is told to come to an end. Its error is the call's.
	Ready func(ctx context.Context, said json.RawMessage) error
	// Other gets lines that are none of ours.
	Other func(line string)
}

// Connect runs the command in the pod: its standard input, and its standard output. It returns when the command has ended, or ctx.
type Connect func(ctx context.Context, stdin io.Reader, stdout io.Writer) error

// Call makes a request and listens to the end. The result is put into `result`, which may be nil. When Call returns, nothing of it runs on.
func Call(ctx context.Context, connect Connect, request any, listener Listener, result any) error {
	said, err := json.Marshal(request)
	if err != nil {
		return err
	}
	in, words := io.Pipe()
	lines, out := io.Pipe()
	open, hangUp := context.WithCancel(ctx)
	defer hangUp()
	var parts sync.WaitGroup
	var connected, objection error
	parts.Go(func() {
		connected = connect(open, in, out)
		_ = out.Close()
		_ = in.Close()
	})
	parts.Go(func() { speak(open, words, append(said, '\n')) })

	ready := listener.Ready
	listener.Ready = func(_ context.Context, said json.RawMessage) error {
		parts.Go(func() {
			if ready != nil {
				if err := ready(open, said); open.Err() == nil {
					objection = err
				}
			}
			if open.Err() == nil { // else the pod sees that its caller is gone
				_, _ = io.WriteString(words, endWord) // a pod that has ended needs no word
			}
		})
		return nil
	}
	defer context.AfterFunc(open, func() { _ = words.Close() })() // which the pod sees as its caller's end
	answered, listened := Listen(lines, listener, result)
	if answered { // the command ends by itself
		_ = words.Close()
		time.AfterFunc(farewell, hangUp)
		_, _ = io.Copy(io.Discard, lines)
	}
	hangUp()
	_ = lines.Close()
	parts.Wait()
	// To the pod, a connection that breaks off in one direction looks as if its caller had gone.
	lost := !answered && listened == nil || errors.Is(listened, ErrCallerGone)
	switch {
	case ctx.Err() != nil && !(answered && listened == nil): // a pod that still said so says that its caller is gone
		return context.Cause(ctx)
	case !lost:
		return errors.Join(objection, listened)
	case answered, errors.Is(connected, context.Canceled): // then its end says nothing
		connected = nil
	}
	if why := errors.Join(objection, connected, listened); why != nil {
		return fault.Code(fmt.Errorf("%w: %w", ErrLost, why), fault.Unreachable)
	}
	return fault.Code(ErrLost, fault.Unreachable)
}

// speak says the request, and then that the caller is still there.
func speak(ctx context.Context, words io.Writer, request []byte) {
	if _, err := words.Write(request); err != nil {
		return
	}
	tick := time.NewTicker(word)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if _, err := io.WriteString(words, stillHere); err != nil {
				return
			}
		}
	}
}

// Listen reads lines until a result or an error is said, and reports whether one was. Err is then the pod's, or what is wrong with its result.
func Listen(lines io.Reader, l Listener, result any) (answered bool, err error) {
	scanner := bufio.NewScanner(lines)
	scanner.Buffer(nil, longest)
	for scanner.Scan() {
		var said Line
		if text := bytes.TrimSpace(scanner.Bytes()); !bytes.HasPrefix(text, []byte("{")) || json.Unmarshal(text, &said) != nil {
			if l.Other != nil && len(text) > 0 {
				l.Other(string(text))
			}
			continue
		}
		switch {
		case said.Error != nil:
			return true, said.Error.err()
		case said.Result != nil:
			if result == nil {
				return true, nil
			}
			if err := json.Unmarshal(said.Result, result); err != nil {
				return true, fmt.Errorf("read the pod's result: %w", err)
			}
			return true, nil
		case said.Ready != nil && l.Ready != nil:
			if err := l.Ready(context.Background(), said.Ready); err != nil {
				return false, err
			}
		case said.Progress != nil && l.Progress != nil:
			l.Progress(*said.Progress)
		}
	}
	return false, scanner.Err()
}
