package command

import (
	"fmt"

	"github.com/smart-assistant/platform/cli/terminal"
)

// waiting are the steps of a restore, which also say what the one under way waits for: it may be something that only a person can end.
type waiting struct {
	*terminal.Steps
	io   *terminal.IO
	step string
	last string
}

func (a *App) waiting() *waiting { return &waiting{Steps: a.steps(), io: a.IO} }

// StepStarted implements backup.Progress.
func (w *waiting) StepStarted(name string) {
	w.step, w.last = name, ""
	w.Steps.StepStarted(name)
}

// waits is told again and again. Where steps are not redrawn, each thing is one line.
func (w *waiting) waits(what string) {
	w.StepDetail(w.step, what)
	if what != w.last && !w.io.Live() && !w.io.Quiet && !w.io.Mute {
		fmt.Fprintf(w.io.Err, "  %s %s: %s\n", terminal.Faint("…"), w.step, what)
	}
	w.last = what
}

// ended finishes the step under way.
func (w *waiting) ended(err error, detail string) {
	if err != nil {
		w.StepFailed(w.step, err)
	} else {
		w.StepDone(w.step, detail)
	}
	w.Close()
}
