package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/smart-assistant/platform/cli/config"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/release"
	"github.com/smart-assistant/platform/cli/terminal"
)

// exitCode documents one exit status.
type exitCode struct {
	Code int
	Name string // in JSON errors
	Says string
}

// exitCodes are part of the interface: scripts branch on them.
var exitCodes = []exitCode{
	{fault.OK, "ok", "it worked"},
	{fault.Failed, "failed", "it failed, and nothing below fits"},
	{fault.Usage, "usage", "flags, arguments or configuration are wrong; nothing was tried"},
	{fault.Refused, "refused", "a gate or a guard said no; nothing was changed"},
	{fault.Held, "held", "somebody else is at work in the environment"},
	{fault.NotFound, "not-found", "there is no such environment, release, run or backup"},
	{fault.Damaged, "damaged", "a backup, ledger or release is not what was written, or does not open under this key"},
	{fault.Unreachable, "unreachable", "the environment, its database or its bucket does not answer"},
	{fault.RolledBack, "rolled-back", "the promotion failed, and the environment runs its previous release again"},
	{fault.Stuck, "stuck", "the run failed and could not be rolled back: somebody has to look"},
	{fault.Drift, "drift", "a check found a difference"},
	{fault.Interrupted, "interrupted", "stopped by Ctrl-C or SIGTERM; a run can be resumed"},
}

// jsonError is an error for programs.
type jsonError struct {
	Error    string           `json:"error"`
	Cause    string           `json:"cause,omitempty"` // why a run failed, where Error says what became of it
	Kind     string           `json:"kind"`
	Code     int              `json:"code"`
	Next     []string         `json:"next,omitempty"`
	Problems []config.Problem `json:"problems,omitempty"`
}

// report says how a command ended, in the one place that does, and returns the exit code.
func (a *App) report(ctx context.Context, err error) int {
	if err == nil {
		return fault.OK
	}
	code := a.code(ctx, err)
	text := err.Error()
	if code == fault.Interrupted && errors.Is(err, context.Canceled) && fault.CodeOf(err) == fault.Failed {
		text = "stopped"
	}
	next := hints(err)
	if a.JSON {
		e := jsonError{Error: text, Kind: kindOf(code), Code: code, Next: next}
		if invalid, ok := errors.AsType[*config.Invalid](err); ok {
			e.Problems = invalid.Problems
		}
		if run, ok := errors.AsType[*release.RunError](err); ok && run.Cause != nil {
			e.Cause = run.Cause.Error()
		}
		encoder := json.NewEncoder(a.IO.Err)
		encoder.SetEscapeHTML(false)
		_ = encoder.Encode(map[string]any{"error": e}) // there is nobody left to tell
		return code
	}
	fmt.Fprint(a.IO.Err, a.errorText(text, next))
	return code
}

// code is the exit status of an error. What fails before a verb is at work is a matter of flags and arguments.
func (a *App) code(ctx context.Context, err error) int {
	code := fault.CodeOf(err)
	switch {
	case code != fault.Failed:
		return code
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return fault.Interrupted
	case !a.started:
		return fault.Usage
	}
	return code
}

// errorText is what happened, the cause as the error tells it, and what to type next.
func (a *App) errorText(text string, next []string) string {
	var b strings.Builder
	first, rest, _ := strings.Cut(text, "\n")
	b.WriteString(terminal.Bad(terminal.GlyphFailed) + " " + first + "\n")
	if rest != "" {
		for line := range strings.Lines(rest) {
			line = strings.TrimRight(line, "\n")
			if !strings.HasPrefix(line, "  ") {
				line = "  " + line
			}
			b.WriteString(line + "\n")
		}
	}
	for _, line := range next {
		if len(next) == 1 && strings.HasPrefix(line, "assistctl ") {
			line = "next:  " + line
		}
		b.WriteString("  " + line + "\n")
	}
	return b.String()
}

func hints(err error) []string {
	var lines []string
	for line := range strings.Lines(fault.HintOf(err)) {
		if line = strings.TrimRight(line, " \n"); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

func kindOf(code int) string {
	for _, c := range exitCodes {
		if c.Code == code {
			return c.Name
		}
	}
	return "failed"
}

// helpTopics are pages of `assistctl help` that belong to no verb.
func helpTopics() []*cobra.Command {
	return []*cobra.Command{
		{Use: "exit-codes", Short: "What the exit status says", Long: exitCodesText()},
		{Use: "environment-variables", Short: "Variables that assistctl heeds", Long: variablesText()},
	}
}

func exitCodesText() string {
	t := terminal.NewTable()
	for _, c := range exitCodes {
		t.Row(fmt.Sprint(c.Code), c.Name, c.Says)
	}
	return "The exit status of assistctl, and what errors are called with --json:\n\n" + t.Render(120) +
		"\nWith --json an error is one JSON object on standard error: {\"error\": {\"error\", \"cause\", \"kind\", \"code\", \"next\"}}."
}

func variablesText() string {
	t := terminal.NewTable().
		Row("ASSISTCTL_CONFIG", "configuration file, as --config").
		Row("ASSISTCTL_<KEY>", "any configuration key: lease.ttl is ASSISTCTL_LEASE_TTL (assistctl config view lists them)").
		Row("ASSISTCTL_POSTGRES_BIN", "folder of PostgreSQL's server programs: short for ASSISTCTL_LOCAL_POSTGRES_BIN").
		Row("ASSISTCTL_VERSITYGW", "path of the versitygw binary: short for ASSISTCTL_LOCAL_VERSITYGW").
		Row("XDG_CONFIG_HOME", "keys are kept in assistctl below it; ~/.config without").
		Row("XDG_DATA_HOME", "local environments live in assistctl below it; ~/.local/share without, /var/lib for root").
		Row("XDG_STATE_HOME", "what a later run may want to know; ~/.local/state without").
		Row("NO_COLOR", "no colours (https://no-color.org)").
		Row("CLICOLOR_FORCE", "colours also where there is no terminal")
	return "Variables that assistctl heeds. A flag beats a variable, a variable beats the file:\n\n" + t.Render(140)
}
