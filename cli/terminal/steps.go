package terminal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"charm.land/bubbles/v2/progress"
	"charm.land/bubbles/v2/spinner"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
)

const (
	frame     = 100 * time.Millisecond // between two redraws
	barWidth  = 16
	nameWidth = 9  // "roll back"; a longer name widens the column from there on
	cellWidth = 20 // the first cell of a detail that has several
)

// Steps is a list of steps on Err. On a terminal the steps under way are redrawn in place, with a spinner, and where the total is
// known a bar, the rate and the time left; what is finished stands above them. Elsewhere a finished step is one plain line.
//
// Its Step methods may be called from several goroutines, and from none after Close.
type Steps struct {
	io     *IO
	active []*step
	names  int // width of the column of names
	cells  int // width of the first cell
	drawn  int // lines on the screen that will be redrawn
	last   time.Time
	frames int
	stop   chan struct{}
	ended  chan struct{}
}

type step struct {
	name        string
	began       time.Time
	done, total int64
	unit        string
	text        string // what happens now, where no figures say it
	samples     []sample
}

// sample is how far a step was at some time.
type sample struct {
	at   time.Time
	done int64
}

// Steps begins a list. The names that are to come, where they are known, set the width of their column. Close ends it.
func (t *IO) Steps(names ...string) *Steps {
	s := &Steps{io: t, names: nameWidth, cells: cellWidth, stop: make(chan struct{}), ended: make(chan struct{})}
	for _, name := range names {
		s.names = max(s.names, lipgloss.Width(name))
	}
	if !t.Live() {
		close(s.ended)
		return s
	}
	t.mu.Lock()
	t.live = s
	t.mu.Unlock()
	go s.redraw(t.tick())
	return s
}

// Close takes what is still under way off the screen and gives the cursor back. It may be called twice.
func (s *Steps) Close() {
	s.io.mu.Lock()
	select {
	case <-s.stop:
		s.io.mu.Unlock()
		return
	default:
		close(s.stop)
	}
	s.erase()
	s.active = nil
	if s.io.live == s {
		s.io.live = nil
	}
	s.io.cursor(true)
	s.io.mu.Unlock()
	<-s.ended
}

// StepStarted puts a step under way.
func (s *Steps) StepStarted(name string) {
	s.io.mu.Lock()
	defer s.io.mu.Unlock()
	s.begin(name)
	s.refresh()
}

// StepProgress says how far a step is: done of total, 0 when the total is not known. Unit "B" means bytes, "s" seconds, anything
// else is a word such as "replicas".
func (s *Steps) StepProgress(name string, done, total int64, unit string) {
	s.io.mu.Lock()
	defer s.io.mu.Unlock()
	now := s.io.Now()
	step := s.begin(name)
	step.done, step.total, step.unit = done, total, unit
	step.sample(now)
	if now.Sub(s.last) >= frame {
		s.refresh()
	}
}

// StepDetail says in words what happens in a step right now.
func (s *Steps) StepDetail(name, text string) {
	s.io.mu.Lock()
	defer s.io.mu.Unlock()
	s.begin(name).text = text
	s.refresh()
}

// StepDone finishes a step. Two spaces and more in detail separate columns.
func (s *Steps) StepDone(name, detail string) {
	s.finish(name, Good(GlyphDone), detail, false)
}

// StepFailed finishes a step that failed.
func (s *Steps) StepFailed(name string, err error) {
	if errors.Is(err, context.Canceled) {
		s.finish(name, Warning(GlyphSkipped), "stopped", true)
		return
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	s.finish(name, Bad(GlyphFailed), text, true)
}

// StepSkipped says that a step was not needed, and why.
func (s *Steps) StepSkipped(name, why string) {
	s.finish(name, Faint(GlyphSkipped), Faint(why), false)
}

// begin returns the named step and starts it when it is not under way. The caller holds the lock.
func (s *Steps) begin(name string) *step {
	for _, a := range s.active {
		if a.name == name {
			return a
		}
	}
	a := &step{name: name, began: s.io.Now()}
	s.active = append(s.active, a)
	if s.io.Verbose && !s.io.Live() && !s.io.Mute {
		s.print(s.line(Faint("…"), name, "") + "\n")
	}
	return a
}

func (s *Steps) finish(name, glyph, detail string, always bool) {
	s.io.mu.Lock()
	defer s.io.mu.Unlock()
	s.erase()
	for i, a := range s.active {
		if a.name == name {
			s.active = append(s.active[:i], s.active[i+1:]...)
			break
		}
	}
	if !s.io.Mute && (always || !s.io.Quiet) {
		s.print(s.line(glyph, name, s.columns(detail)) + "\n")
	}
	s.refresh()
}

// line is one step, two spaces in. On a terminal a long text goes on below its beginning.
func (s *Steps) line(glyph, name, text string) string {
	s.names = max(s.names, lipgloss.Width(name))
	head := indent + glyph + " " + name
	if text == "" {
		return head
	}
	head += strings.Repeat(" ", s.names-lipgloss.Width(name)+2)
	room := s.io.Width() - lipgloss.Width(head) - 1
	if !s.io.Live() || room < 20 || lipgloss.Width(text) <= room {
		return head + text
	}
	wrapped := ansi.Wrap(text, room, "")
	return head + strings.ReplaceAll(wrapped, "\n", "\n"+strings.Repeat(" ", lipgloss.Width(head)))
}

// columns lines the cells of a detail up with those of the lines above.
func (s *Steps) columns(detail string) string {
	first, rest, several := strings.Cut(detail, "  ")
	if !several {
		return detail
	}
	s.cells = max(s.cells, lipgloss.Width(first))
	return first + strings.Repeat(" ", s.cells-lipgloss.Width(first)+gap) + strings.TrimLeft(rest, " ")
}

// redraw keeps spinners and times moving until Close.
func (s *Steps) redraw(t ticker) {
	defer close(s.ended)
	defer t.stop()
	for {
		select {
		case <-s.stop:
			return
		case <-t.c:
			s.io.mu.Lock()
			s.frames++
			s.refresh()
			s.io.mu.Unlock()
		}
	}
}

// refresh draws anew. The caller holds the lock, as for all that follow.
func (s *Steps) refresh() {
	if s.io.live != s || s.io.open {
		return
	}
	s.io.errBatch.hold()
	defer s.io.errBatch.release()
	s.erase()
	s.draw()
}

// erase takes the redrawn lines off the screen and leaves the cursor where they began.
func (s *Steps) erase() {
	if s.drawn == 0 {
		return
	}
	s.control(fmt.Sprintf("\x1b[%dA\r\x1b[J", s.drawn))
	s.drawn = 0
}

func (s *Steps) draw() {
	if s.io.live != s || len(s.active) == 0 {
		s.io.cursor(true)
		return
	}
	s.io.cursor(false)
	s.last = s.io.Now()
	width := s.io.Width()
	var b strings.Builder
	for _, a := range s.active {
		frames := spinner.MiniDot.Frames
		glyph := cyan.Render(frames[s.frames%len(frames)])
		line := s.line(glyph, a.name, "") + strings.Repeat(" ", s.names-lipgloss.Width(a.name)+2) + a.view(s.last, width-s.names-6)
		b.WriteString(ansi.Truncate(strings.TrimRight(line, " "), width-1, "…") + "\n")
	}
	s.print(b.String())
	s.drawn = len(s.active)
}

func (s *Steps) print(text string)   { _, _ = io.WriteString(s.io.errColor, text) }
func (s *Steps) control(code string) { _, _ = io.WriteString(s.io.errBatch, code) }

// view is what there is to see of a step under way, in at most width columns as far as possible.
func (a *step) view(now time.Time, width int) string {
	elapsed := now.Sub(a.began)
	var cells []string
	fraction := -1.0
	if a.total > 0 {
		fraction = min(float64(a.done)/float64(a.total), 1)
		percent := fmt.Sprintf("%3.0f %%", fraction*100)
		if width >= barWidth+30 {
			percent = bar(fraction) + "  " + percent
		}
		cells = append(cells, percent)
	}
	if text := a.amount(); text != "" {
		cells = append(cells, text)
	}
	if a.text != "" {
		cells = append(cells, a.text)
	}
	rate := a.rate()
	if a.unit == "B" && rate > 0 {
		cells = append(cells, Rate(rate))
	}
	switch left := float64(a.total-a.done) / rate; {
	case fraction >= 0 && fraction < 1 && rate > 0 && elapsed >= time.Second:
		cells = append(cells, coarse(time.Duration(left*float64(time.Second))+time.Second-1)+" left")
	case elapsed >= time.Second:
		cells = append(cells, coarse(elapsed))
	}
	return strings.Join(cells, "   ")
}

// amount is "1.2 GB of 1.9 GB", "2/3 replicas", "45 s of 2 min".
func (a *step) amount() string {
	switch {
	case a.unit == "":
		return ""
	case a.unit == "B" && a.total > 0:
		return Bytes(a.done) + " of " + Bytes(a.total)
	case a.unit == "B":
		return Bytes(a.done)
	case a.unit == "s":
		return Duration(time.Duration(a.done)*time.Second) + " of " + Duration(time.Duration(a.total)*time.Second)
	case a.total > 0:
		return fmt.Sprintf("%s/%s %s", Count(a.done), Count(a.total), a.unit)
	}
	return Count(a.done) + " " + a.unit
}

// window is how far back the rate looks: long enough to be steady, short enough to show a stall.
const window = 10 * time.Second

func (a *step) sample(now time.Time) {
	if n := len(a.samples); n > 0 && now.Sub(a.samples[n-1].at) < frame {
		a.samples[n-1].done = a.done
		return
	}
	a.samples = append(a.samples, sample{now, a.done})
	for len(a.samples) > 2 && now.Sub(a.samples[0].at) > window {
		a.samples = a.samples[1:]
	}
}

// rate is units per second of late, 0 when it cannot be told.
func (a *step) rate() float64 {
	if len(a.samples) == 0 {
		return 0
	}
	first, last := a.samples[0], a.samples[len(a.samples)-1]
	if len(a.samples) == 1 {
		first = sample{at: a.began}
	}
	if took := last.at.Sub(first.at).Seconds(); took > 0 && last.done > first.done {
		return float64(last.done-first.done) / took
	}
	return 0
}

func bar(fraction float64) string {
	b := progress.New(progress.WithWidth(barWidth), progress.WithoutPercentage(),
		progress.WithColors(lipgloss.Cyan), progress.WithFillCharacters('█', '░'))
	b.EmptyColor = lipgloss.BrightBlack
	return b.ViewAs(fraction)
}
