// Package migrate drives a release's own migration runner and judges what it says.
//
// It runs no SQL and carries no migrations: `assistd migrate` of the release that is meant does (Runner says where), and
// this package reads its JSON, reports progress, compares a database's history with a release's manifest and refuses a
// contract that a release in use still needs.
package migrate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/smart-assistant/platform/service/schema"
)

// Runner runs the release's assistd inside the environment, where the database's address is known. An exit status other
// than 0 is an error.
type Runner interface {
	Exec(ctx context.Context, args []string, stdout, stderr io.Writer) error
}

// Progress hears how a run goes on; a step is one migration and is named "<version> <name>".
type Progress interface {
	StepStarted(name string)
	StepProgress(name string, done, total int64, unit string)
	StepDone(name, detail string)
	StepFailed(name string, err error)
}

// Build is what a release says of itself.
type Build struct {
	Version string          `json:"version"`
	Commit  string          `json:"commit"`
	Go      string          `json:"go"`
	Schema  schema.Manifest `json:"schema"`
}

// Describe asks the release which build it is and which migrations it carries. It needs no database.
func Describe(ctx context.Context, r Runner) (Build, error) {
	var build Build
	err := ask(ctx, r, &build, "version", "--json")
	return build, err
}

// Status compares the database with the release's migrations.
func Status(ctx context.Context, r Runner) (schema.Status, error) {
	var status schema.Status
	err := ask(ctx, r, &status, "migrate", "status", "--json")
	return status, err
}

// Plan says what Up would apply, and which drift would make it refuse.
func Plan(ctx context.Context, r Runner) (schema.Plan, error) {
	var plan schema.Plan
	err := ask(ctx, r, &plan, "migrate", "plan", "--json")
	return plan, err
}

// Lint checks the release's migrations against the rules (schema.Finding). It needs no database. Findings are no error.
func Lint(ctx context.Context, r Runner) ([]schema.Finding, error) {
	var findings []schema.Finding
	err := ask(ctx, r, &findings, "migrate", "lint", "--json")
	if err != nil && len(findings) > 0 {
		return findings, nil // assistd exits with 1 to say that there are some
	}
	return findings, err
}

// ask runs a command that prints one JSON value.
func ask(ctx context.Context, r Runner, answer any, args ...string) error {
	what := "assistd " + strings.Join(args, " ")
	var stdout bytes.Buffer
	var stderr tail
	ran := r.Exec(ctx, args, &stdout, &stderr)
	if stdout.Len() > 0 || ran == nil {
		if err := json.Unmarshal(stdout.Bytes(), answer); err != nil && ran == nil {
			return fmt.Errorf("%s: its answer is not understood: %w", what, err)
		}
	}
	if ran != nil {
		return fmt.Errorf("%s: %w", what, stderr.explain(ran))
	}
	return nil
}

// Options of a run.
type Options struct {
	// To is the version to stop at: for Up the last one to apply (0 for the release's head), for Down the one to go back to.
	To       int64
	Progress Progress           // may be nil
	Report   func(schema.Event) // told every event as it was sent, also those of kinds that this build does not know; may be nil
}

// Step is one migration that a run applied or took back.
type Step struct {
	Version int64         `json:"version"`
	Name    string        `json:"name"`
	Phase   schema.Phase  `json:"phase"`
	Took    time.Duration `json:"took"`
	Retries int           `json:"retries"`
}

// Title is the step's name in progress reports.
func (s Step) Title() string { return strconv.FormatInt(s.Version, 10) + " " + s.Name }

// Result is how far a run came.
type Result struct {
	Steps   []Step        `json:"steps"`
	Current int64         `json:"current"` // version of the database afterwards
	Took    time.Duration `json:"took"`
}

// PartialError is a run that failed. Result.Steps were applied and stay so; Failed is where it stopped (nil when it did not
// come to a migration); Remaining were not reached.
type PartialError struct {
	Direction schema.Direction
	Result    Result
	Failed    *Step
	Remaining []int64
	Err       error
}

func (e *PartialError) Error() string {
	where := "migrate " + string(e.Direction)
	if e.Failed != nil {
		where += " " + e.Failed.Title()
	}
	text := fmt.Sprintf("%s: %v", where, e.Err)
	if len(e.Result.Steps) > 0 {
		text += fmt.Sprintf(" (%d before it went through and stay, schema %d)", len(e.Result.Steps), e.Result.Current)
	}
	return text
}

func (e *PartialError) Unwrap() error { return e.Err }

// Up applies the release's pending migrations. The result is valid beside an error too; the error is a *PartialError.
func Up(ctx context.Context, r Runner, o Options) (Result, error) {
	return run(ctx, r, schema.Up, o)
}

// Down takes migrations back, newest first, until the database is at version o.To.
func Down(ctx context.Context, r Runner, o Options) (Result, error) {
	return run(ctx, r, schema.Down, o)
}

func run(ctx context.Context, r Runner, direction schema.Direction, o Options) (Result, error) {
	args := []string{"migrate", string(direction), "--json"}
	if o.To != 0 || direction == schema.Down {
		args = append(args, "--to", strconv.FormatInt(o.To, 10))
	}
	follow := follower{direction: direction, options: o}
	events := lines{take: follow.line}
	var stderr tail
	ran := r.Exec(ctx, args, &events, &stderr)
	events.end()
	return follow.outcome(ran, &stderr)
}

// follower builds the outcome of a run from its events.
type follower struct {
	direction schema.Direction
	options   Options
	result    Result
	running   *Step         // started and not done
	last      *schema.Event // finished or failed
	bad       error         // the first line that is no event
}

func (f *follower) line(text []byte) {
	event, err := ParseEvent(text)
	if err != nil {
		f.bad = errors.Join(f.bad, err)
		return
	}
	if f.last != nil {
		f.bad = errors.Join(f.bad, fmt.Errorf("the runner went on after its last word: %s", event))
		return
	}
	if f.options.Report != nil {
		f.options.Report(event)
	}
	switch event.Event {
	case schema.Start:
		f.start(event)
	case schema.Retry:
		if f.running != nil {
			f.running.Retries = event.Attempt
		}
	case schema.Done:
		f.done(event)
	case schema.Finished, schema.Failed:
		f.last = &event
	case schema.WaitingLock, schema.Repair: // for people: Report has it
	}
}

func (f *follower) start(e schema.Event) {
	if f.running != nil && f.running.Version == e.Version {
		return // another attempt at the same migration
	}
	f.running = &Step{Version: e.Version, Name: e.Name, Phase: e.Phase}
	if f.options.Progress != nil {
		f.options.Progress.StepStarted(f.running.Title())
	}
}

func (f *follower) done(e schema.Event) {
	step := Step{Version: e.Version, Name: e.Name, Phase: e.Phase}
	if f.running != nil && f.running.Version == e.Version {
		step = *f.running
	}
	step.Took = time.Duration(e.Millis) * time.Millisecond
	f.running = nil
	f.result.Steps = append(f.result.Steps, step)
	f.result.Current = e.Current
	if f.options.Progress != nil {
		detail := step.Took.String()
		if step.Retries > 0 {
			detail += fmt.Sprintf(", %d retries", step.Retries)
		}
		f.options.Progress.StepDone(step.Title(), detail)
	}
}

// outcome believes a success only when the runner both said so and exited with 0.
func (f *follower) outcome(ran error, stderr *tail) (Result, error) {
	if f.last != nil {
		f.result.Current = f.last.Current
		f.result.Took = time.Duration(f.last.Millis) * time.Millisecond
	}
	var err error
	switch {
	case f.last != nil && f.last.Event == schema.Failed:
		err = errors.New(f.last.Error)
	case ran != nil:
		err = stderr.explain(ran)
	case f.bad != nil:
		err = f.bad
	case f.last != nil && f.running != nil:
		err = errors.New("the runner finished without saying how this one went; assistd migrate status tells")
	case f.last == nil:
		err = errors.New("the runner ended without saying how it went; assistd migrate status tells")
	default:
		return f.result, nil
	}
	partial := &PartialError{Direction: f.direction, Result: f.result, Failed: f.running, Err: err}
	if f.last != nil {
		partial.Remaining = f.last.Remaining
	}
	if f.running != nil {
		if len(partial.Remaining) > 0 && partial.Remaining[0] == f.running.Version {
			partial.Remaining = partial.Remaining[1:]
		}
		if f.options.Progress != nil {
			f.options.Progress.StepFailed(f.running.Title(), err)
		}
	}
	return f.result, partial
}
