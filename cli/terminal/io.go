// Package terminal owns how assistctl talks to a person or a pipe: streams, colours, tables, the live list of steps, and
// questions.
//
// Data goes to Out and everything else to Err. On a terminal the step list is live; elsewhere each step is one plain line.
// NO_COLOR, CLICOLOR, CLICOLOR_FORCE and TERM=dumb are heeded (https://no-color.org, https://bixense.com/clicolors).
//
// It does not know what the steps, rows and questions are about.
package terminal

import (
	"bytes"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/term"
)

// plainWidth is the width of what is no terminal: so wide that nothing wraps where a program reads it.
const plainWidth = 1 << 16

// IO is where a command reads and writes.
type IO struct {
	In  io.Reader
	Out io.Writer // data; colours are dropped where they do not belong
	Err io.Writer // progress, questions and errors
	Now func() time.Time

	Verbose bool // where steps are not live, also say when one begins
	Quiet   bool // of the steps, only those that failed
	Mute    bool // of the steps, none at all: something else tells a program how it ended

	inTerminal, outTerminal, errTerminal bool
	dumb                                 bool          // a terminal that cannot move its cursor
	size                                 func() int    // columns
	tick                                 func() ticker // what redraws the live list
	outColor, errColor                   *colorprofile.Writer
	errBatch                             *batch // below errColor

	mu      sync.Mutex // guards what is on the screen
	live    *Steps     // the list that is being redrawn; nil when there is none
	open    bool       // the cursor is not at the beginning of a line
	hidden  bool       // the cursor is hidden
	pending chan answer
}

type ticker struct {
	c    <-chan time.Time
	stop func()
}

// System returns the streams of the process.
func System() *IO {
	environ := os.Environ()
	t := &IO{
		In:          os.Stdin,
		Now:         time.Now,
		inTerminal:  term.IsTerminal(os.Stdin.Fd()),
		outTerminal: term.IsTerminal(os.Stdout.Fd()),
		errTerminal: term.IsTerminal(os.Stderr.Fd()),
		tick: func() ticker {
			t := time.NewTicker(frame)
			return ticker{t.C, t.Stop}
		},
	}
	if name := os.Getenv("TERM"); name == "" || name == "dumb" {
		t.dumb = true
	}
	t.size = func() int {
		for _, f := range []*os.File{os.Stderr, os.Stdout} {
			if columns, _, err := term.GetSize(f.Fd()); err == nil && columns > 0 {
				return columns
			}
		}
		return 80
	}
	t.wrap(os.Stdout, os.Stderr, detect(os.Stdout, environ), detect(os.Stderr, environ))
	return t
}

// detect says which colours a stream takes. NO_COLOR of any value drops all marks, bold and faint as well, and CLICOLOR=0 does where
// CLICOLOR_FORCE does not object.
func detect(w io.Writer, environ []string) colorprofile.Profile {
	value := map[string]string{}
	for _, pair := range environ {
		if name, v, ok := strings.Cut(pair, "="); ok {
			value[name] = v
		}
	}
	forced := value["CLICOLOR_FORCE"] != "" && value["CLICOLOR_FORCE"] != "0"
	if value["NO_COLOR"] != "" || value["CLICOLOR"] == "0" && !forced {
		return colorprofile.NoTTY
	}
	return colorprofile.Detect(w, environ)
}

// TestOptions shape the streams of a test.
type TestOptions struct {
	Terminal bool   // In, Out and Err are a terminal
	Color    bool   // 16 colours
	Width    int    // columns; 80 without
	Input    string // what the person types
	Now      func() time.Time
}

// Test returns streams in memory with what was written to them. Nothing redraws by itself: a step list is drawn when it hears
// something, by the injected clock.
func Test(o TestOptions) (t *IO, out, errOut *bytes.Buffer) {
	out, errOut = &bytes.Buffer{}, &bytes.Buffer{}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Width == 0 {
		o.Width = 80
	}
	t = &IO{
		In: strings.NewReader(o.Input), Now: o.Now,
		inTerminal: o.Terminal, outTerminal: o.Terminal, errTerminal: o.Terminal,
		size: func() int { return o.Width },
		tick: func() ticker { return ticker{nil, func() {}} },
	}
	profile := colorprofile.NoTTY
	if o.Color {
		profile = colorprofile.ANSI
	}
	t.wrap(out, errOut, profile, profile)
	return t, out, errOut
}

func (t *IO) wrap(out, errOut io.Writer, outProfile, errProfile colorprofile.Profile) {
	t.outColor = &colorprofile.Writer{Forward: out, Profile: outProfile}
	t.errBatch = &batch{w: errOut}
	t.errColor = &colorprofile.Writer{Forward: t.errBatch, Profile: errProfile}
	t.Out = &stream{t, t.outColor}
	t.Err = &stream{t, t.errColor}
}

// NoColor drops all colours, as --no-color asks.
func (t *IO) NoColor() {
	t.outColor.Profile, t.errColor.Profile = colorprofile.NoTTY, colorprofile.NoTTY
}

// OutIsTerminal reports whether data goes to a person.
func (t *IO) OutIsTerminal() bool { return t.outTerminal }

// CanAsk reports whether there is somebody to answer a question.
func (t *IO) CanAsk() bool { return t.inTerminal && t.errTerminal }

// Live reports whether the step list is redrawn in place.
func (t *IO) Live() bool { return t.errTerminal && !t.dumb && !t.Quiet && !t.Mute }

// Busy reports whether a step is being watched.
func (t *IO) Busy() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.live != nil && len(t.live.active) > 0
}

// Width is the number of columns of the terminal, and wide for a pipe.
func (t *IO) Width() int {
	if !t.outTerminal && !t.errTerminal {
		return plainWidth
	}
	return max(t.size(), 20)
}

// Restore leaves the terminal as it was found: the live list is gone, the cursor is back. It is safe to call at any time and
// more than once.
func (t *IO) Restore() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live != nil {
		t.live.erase()
		t.live = nil
	}
	t.cursor(true)
}

// Clear empties the screen that Out shows. It is for a terminal; colours have nothing to do with it.
func (t *IO) Clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, _ = io.WriteString(t.outColor.Forward, "\x1b[H\x1b[2J")
}

// cursor shows or hides the cursor. The caller holds mu.
func (t *IO) cursor(visible bool) {
	if visible == !t.hidden {
		return
	}
	t.hidden = !visible
	code := "\x1b[?25l"
	if visible {
		code = "\x1b[?25h"
	}
	_, _ = io.WriteString(t.errBatch, code)
}

// batch gathers what belongs together into one write, so that a redraw does not flicker.
type batch struct {
	w       io.Writer
	holding bool
	held    bytes.Buffer
}

func (b *batch) Write(p []byte) (int, error) {
	if b.holding {
		return b.held.Write(p)
	}
	return b.w.Write(p)
}

func (b *batch) hold() { b.holding = true }

func (b *batch) release() {
	b.holding = false
	if b.held.Len() > 0 {
		_, _ = b.w.Write(b.held.Bytes())
		b.held.Reset()
	}
}

// stream is Out or Err. While a live list is on the screen, what is written goes above it.
type stream struct {
	io *IO
	w  *colorprofile.Writer
}

func (s *stream) Write(p []byte) (int, error) {
	s.io.mu.Lock()
	defer s.io.mu.Unlock()
	live := s.io.live
	if live != nil {
		live.erase()
	}
	n, err := s.w.Write(p)
	if len(p) > 0 {
		s.io.open = p[len(p)-1] != '\n'
	}
	if live != nil && !s.io.open {
		live.draw()
	}
	return n, err
}
