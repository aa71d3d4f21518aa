package podcall

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
)

type work = func(ctx context.Context, request []byte, c *Conversation) (any, error)

// pod serves in this process what a pod would.
func pod(do work) Connect {
	return func(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
		return Serve(ctx, stdin, stdout, do)
	}
}

func TestCall(t *testing.T) {
	var steps []string
	result := map[string]int{}
	err := Call(t.Context(), pod(func(_ context.Context, request []byte, c *Conversation) (any, error) {
		var n int
		if err := json.Unmarshal(request, &n); err != nil {
			return nil, err
		}
		c.Progress("count", int64(n), int64(n), "B")
		return map[string]int{"twice": 2 * n}, nil
	}), 21, Listener{Progress: func(p Progress) { steps = append(steps, fmt.Sprint(p)) }}, &result)
	if err != nil || result["twice"] != 42 || strings.Join(steps, " ") != "{count 21 21 B}" {
		t.Errorf("%v, %v after %v", result, err, steps)
	}
}

// An error keeps its text, its hint and its exit code.
func TestErrorsArriveWhole(t *testing.T) {
	err := Call(t.Context(), pod(func(context.Context, []byte, *Conversation) (any, error) {
		return nil, fault.Hint(fault.Code(errors.New("base.tar is damaged"), fault.Damaged), "take another one")
	}), nil, Listener{}, nil)
	if err == nil || err.Error() != "base.tar is damaged" || fault.CodeOf(err) != fault.Damaged || fault.HintOf(err) != "take another one" {
		t.Errorf("%v, code %d, hint %q", err, fault.CodeOf(err), fault.HintOf(err))
	}
}

func TestReadyLastsAsLongAsTheCaller(t *testing.T) {
	objection := errors.New("not what was expected")
	for _, want := range []error{nil, objection} {
		served, looked := false, false
		err := Call(t.Context(), pod(func(ctx context.Context, _ []byte, c *Conversation) (any, error) {
			err := c.Ready(ctx, "up")
			served = looked // the server ends after the look
			return nil, err
		}), nil, Listener{Ready: func(_ context.Context, said json.RawMessage) error {
			if string(said) != `"up"` {
				t.Errorf("ready said %s", said)
			}
			time.Sleep(20 * time.Millisecond)
			looked = true
			return want
		}}, nil)
		if !errors.Is(err, want) || !served {
			t.Errorf("%v, served to the end: %v", err, served)
		}
	}
}

// What runs in the pod ends with its caller: when the connection ends, and when no word comes any more.
func TestThePodEndsWithItsCaller(t *testing.T) {
	for name, in := range map[string]func(t *testing.T) io.Reader{
		"connection ends": func(*testing.T) io.Reader { return strings.NewReader("{}\n") },
		"silence": func(t *testing.T) io.Reader {
			r, w := io.Pipe()
			t.Cleanup(func() { w.Close() })
			go func() { _, _ = io.WriteString(w, "{}\n\n\n") }()
			return r
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			err := serve(t.Context(), in(t), &out, 50*time.Millisecond, func(ctx context.Context, _ []byte, c *Conversation) (any, error) {
				return nil, c.Ready(ctx, nil)
			})
			if !errors.Is(err, ErrCallerGone) {
				t.Errorf("%v after %s", err, out.String())
			}
		})
	}
}

func TestTheCallerLeaves(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("ctrl-c")
	ended := make(chan error, 1)
	err := Call(ctx, func(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
		err := Serve(context.Background(), stdin, stdout, func(ctx context.Context, _ []byte, c *Conversation) (any, error) {
			cancel(stopped)
			<-ctx.Done()
			return nil, context.Cause(ctx)
		})
		ended <- err
		return err
	}, nil, Listener{}, nil)
	if !errors.Is(err, stopped) { // and not what the pod said of it
		t.Errorf("call: %v", err)
	}
	if err := <-ended; !errors.Is(err, ErrCallerGone) {
		t.Errorf("in the pod: %v", err)
	}
}

// The way to the pod is cut and the way back is not: the pod ends for want of a caller and says so, to a caller that has not gone.
func TestTheWayToThePodIsCut(t *testing.T) {
	err := Call(t.Context(), func(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
		request, err := bufio.NewReader(stdin).ReadString('\n')
		if err != nil {
			return err
		}
		return Serve(ctx, strings.NewReader(request), stdout, func(ctx context.Context, _ []byte, _ *Conversation) (any, error) {
			<-ctx.Done()
			return nil, fmt.Errorf("fetch base.tar: %w", ctx.Err()) // of a library that knows no causes
		})
	}, nil, Listener{}, nil)
	if !errors.Is(err, ErrLost) || fault.CodeOf(err) != fault.Unreachable {
		t.Errorf("call: %v", err)
	}
}

// What somebody found before the connection broke off may come of its breaking.
func TestAnObjectionOnALostConnection(t *testing.T) {
	objection := errors.New("look at the restored database: unexpected EOF")
	looked := make(chan struct{})
	err := Call(t.Context(), func(_ context.Context, _ io.Reader, stdout io.Writer) error {
		_, _ = io.WriteString(stdout, `{"ready":"up"}`+"\n")
		<-looked
		return io.ErrUnexpectedEOF
	}, nil, Listener{Ready: func(context.Context, json.RawMessage) error {
		defer close(looked)
		return objection
	}}, nil)
	if !errors.Is(err, ErrLost) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("call: %v", err)
	}
}

func TestBrokenConnections(t *testing.T) {
	refused := errors.New("pod restore is gone")
	for name, connect := range map[string]Connect{
		"refused":   func(context.Context, io.Reader, io.Writer) error { return refused },
		"no answer": func(context.Context, io.Reader, io.Writer) error { return nil },
		"breaks off": func(_ context.Context, stdin io.Reader, stdout io.Writer) error {
			_, _ = io.WriteString(stdout, `{"progress":{"step":"x"}}`+"\nassistctl: not found\n")
			return refused
		},
	} {
		other := ""
		err := Call(t.Context(), connect, nil, Listener{Other: func(line string) { other = line }}, nil)
		if !errors.Is(err, ErrLost) || fault.CodeOf(err) != fault.Unreachable || name != "no answer" && !errors.Is(err, refused) {
			t.Errorf("%s: %v", name, err)
		}
		if name == "breaks off" && other != "assistctl: not found" {
			t.Errorf("the pod's own words are %q", other)
		}
	}
}
