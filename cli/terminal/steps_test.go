package terminal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// clock is moved by hand.
type clock struct{ at time.Time }

func newClock() *clock                { return &clock{time.Date(2026, 11, 24, 9, 12, 0, 0, time.UTC)} }
func (c *clock) now() time.Time       { return c.at }
func (c *clock) pass(d time.Duration) { c.at = c.at.Add(d) }

// promote plays a promotion up to its third step; see gets what can be seen at each moment.
func promote(c *clock, s *Steps, see func(string)) {
	s.StepStarted("snapshot")
	see("started")
	for range 4 {
		c.pass(2 * time.Second)
		s.StepProgress("snapshot", int64(c.at.Second())*131e6, 1_900_000_000, "B")
	}
	see("half-way")
	s.StepDone("snapshot", "p-20261124-0912  1.9 GB → 352 MB   14 s   131 MB/s")
	s.StepStarted("migrate")
	c.pass(4 * time.Second)
	s.StepDone("migrate", "2 migrations   4.3 s")
	s.StepStarted("deploy")
	c.pass(time.Second)
	s.StepProgress("deploy", 1, 3, "replicas")
	see("first replica")
}

func seen(t *testing.T, written *bytes.Buffer) string {
	t.Helper()
	lines, _ := screen(t, written.String(), 80)
	return strings.Join(lines, "\n")
}

func TestStepsOnATerminal(t *testing.T) {
	c := newClock()
	io, _, errOut := Test(TestOptions{Terminal: true, Color: true, Now: c.now})
	s := io.Steps("snapshot", "migrate", "deploy", "verify")
	got := map[string]string{}
	promote(c, s, func(moment string) { got[moment] = seen(t, errOut) })
	s.StepFailed("deploy", errors.New("replica 2: relation \"emails\" does not exist, and this is a long story that does not fit on one line\nmore"))
	fmt.Fprintln(io.Err, "between two steps")
	s.StepSkipped("verify", "nothing to verify")
	s.Close()
	got["end"] = seen(t, errOut)

	for moment, want := range map[string]string{
		"started":  `  ⠋ snapshot`,
		"half-way": `  ⠋ snapshot   █████████░░░░░░░   55 %   1.0 GB of 1.9 GB   131 MB/s   7 s left`,
		"first replica": `  ✓ snapshot   p-20261124-0912        1.9 GB → 352 MB   14 s   131 MB/s
  ✓ migrate    2 migrations           4.3 s
  ⠋ deploy     █████░░░░░░░░░░░   33 %   1/3 replicas   2 s left`,
		"end": `  ✓ snapshot   p-20261124-0912        1.9 GB → 352 MB   14 s   131 MB/s
  ✓ migrate    2 migrations           4.3 s
  ✗ deploy     replica 2: relation "emails" does not exist, and this is a long
               story that does not fit on one line
between two steps
  – verify     nothing to verify`,
	} {
		if got[moment] != want {
			t.Errorf("%s:\n%s\nwant:\n%s", moment, got[moment], want)
		}
	}
	if _, cursor := screen(t, errOut.String(), 80); !cursor {
		t.Error("the cursor is gone")
	}
	if !strings.Contains(errOut.String(), "\x1b[32m✓") || !strings.Contains(errOut.String(), "\x1b[?25l") {
		t.Error("neither colours nor a hidden cursor: this was no terminal")
	}
}

func TestStepsInAPipe(t *testing.T) {
	c := newClock()
	io, _, errOut := Test(TestOptions{Now: c.now})
	s := io.Steps()
	promote(c, s, func(string) {})
	s.StepFailed("deploy", context.Canceled)
	s.Close()
	s.Close()
	want := `  ✓ snapshot   p-20261124-0912        1.9 GB → 352 MB   14 s   131 MB/s
  ✓ migrate    2 migrations           4.3 s
  – deploy     stopped
`
	if errOut.String() != want {
		t.Errorf("%s\nwant:\n%s", errOut, want)
	}
}

func TestStepsOfAQuietOrMuteCommand(t *testing.T) {
	for name, tt := range map[string]struct {
		set  func(*IO)
		want string
	}{
		"quiet": {func(t *IO) { t.Quiet = true }, "  ✗ deploy     no room\n"},
		"mute":  {func(t *IO) { t.Mute = true }, ""},
		"verbose in a pipe": {
			func(t *IO) { t.Verbose, t.errTerminal = true, false },
			"  … deploy\n  ✓ snapshot   p-1\n  ✗ deploy     no room\n",
		},
	} {
		io, _, errOut := Test(TestOptions{Terminal: true})
		tt.set(io)
		s := io.Steps()
		s.StepStarted("deploy")
		s.StepDone("snapshot", "p-1")
		s.StepFailed("deploy", errors.New("no room"))
		s.Close()
		if errOut.String() != tt.want {
			t.Errorf("%s: %q, want %q", name, errOut, tt.want)
		}
	}
}

func TestANarrowTerminalKeepsEachStepOnItsLine(t *testing.T) {
	c := newClock()
	io, _, errOut := Test(TestOptions{Terminal: true, Width: 30, Now: c.now})
	s := io.Steps()
	for _, name := range []string{"dev", "staging", "prod"} {
		s.StepStarted(name)
	}
	s.StepDetail("dev", "database is starting")
	c.pass(2 * time.Second)
	s.StepProgress("staging", 352_000_000, 1_900_000_000, "B")
	lines, cursor := screen(t, errOut.String(), 30)
	want := "  ⠋ dev        database is s…\n  ⠋ staging     19 %   352 M…\n  ⠋ prod       2 s"
	if got := strings.Join(lines, "\n"); got != want || cursor {
		t.Errorf("cursor %v\n%s\nwant\n%s", cursor, got, want)
	}
	io.Restore()
	if lines, cursor := screen(t, errOut.String(), 30); len(lines) != 0 || !cursor {
		t.Errorf("after Restore the cursor is %v and the screen %q", cursor, lines)
	}
	s.Close()
}

func TestAStepOfUnknownSize(t *testing.T) {
	c := newClock()
	io, _, errOut := Test(TestOptions{Terminal: true, Now: c.now})
	s := io.Steps()
	s.StepStarted("fetch")
	c.pass(3 * time.Second)
	s.StepProgress("fetch", 600_000_000, 0, "B")
	if got, want := seen(t, errOut), "  ⠋ fetch      600 MB   200 MB/s   3 s"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	c.pass(time.Minute)
	s.StepProgress("fetch", 600_000_000, 0, "B")
	c.pass(time.Second)
	s.StepProgress("fetch", 600_000_000, 0, "B")
	if got, want := seen(t, errOut), "  ⠋ fetch      600 MB   64 s"; got != want {
		t.Errorf("a stalled transfer: %q, want %q", got, want)
	}
	s.Close()
}

func TestStepsFromSeveralGoroutines(t *testing.T) {
	io, out, errOut := Test(TestOptions{Terminal: true})
	s := io.Steps()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			name := fmt.Sprintf("part %d", i)
			for n := range int64(50) {
				s.StepProgress(name, n, 50, "B")
				fmt.Fprintln(io.Out, "data")
			}
			s.StepDone(name, "ok")
		})
	}
	all.Wait()
	s.Close()
	if n := strings.Count(out.String(), "data\n"); n != 400 {
		t.Errorf("%d lines of data", n)
	}
	lines, cursor := screen(t, errOut.String(), 80)
	if len(lines) != 8 || !cursor {
		t.Errorf("cursor %v, %d lines:\n%s", cursor, len(lines), strings.Join(lines, "\n"))
	}
}

// The system's ticker redraws by itself.
func TestTheSpinnerTurns(t *testing.T) {
	io, _, errOut := Test(TestOptions{Terminal: true})
	ticks := make(chan time.Time)
	io.tick = func() ticker { return ticker{ticks, func() {}} }
	s := io.Steps()
	s.StepStarted("wait")
	ticks <- time.Time{}
	ticks <- time.Time{} // taken once the first was drawn
	s.Close()
	for _, spinner := range []string{"⠋", "⠙"} {
		if !strings.Contains(errOut.String(), spinner) {
			t.Errorf("no %s in %q", spinner, errOut)
		}
	}
}
