package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/spf13/cobra"

	"github.com/smart-assistant/platform/cli/config"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/ledger"
	"github.com/smart-assistant/platform/cli/release"
	"github.com/smart-assistant/platform/cli/terminal"
)

func testApp(o terminal.TestOptions) (app *App, out, errOut *bytes.Buffer) {
	io, out, errOut := terminal.Test(o)
	return &App{IO: io, started: true}, out, errOut
}

func TestErrorsBecomeTextAndExitCode(t *testing.T) {
	rolledBack := &release.RunError{
		Kind: ledger.KindPromotion, To: "prod", Run: 58, Outcome: ledger.OutcomeRolledBack, Step: "verify", Release: "v1.9.0", Schema: 44,
		Cause: errors.New("error rate 7.3 % (limit 0.5 %)"),
	}
	for name, tt := range map[string]struct {
		err        error
		code       int
		text, json string
	}{
		"nothing": {nil, fault.OK, "", ""},
		"an error": {
			errors.New("disk full"), fault.Failed,
			"✗ disk full\n",
			`{"error":{"error":"disk full","kind":"failed","code":1}}` + "\n",
		},
		"with the command to type next": {
			fault.Code(fault.Hint(errors.New("prod is not up"), "assistctl local up prod"), fault.Unreachable), fault.Unreachable,
			"✗ prod is not up\n  next:  assistctl local up prod\n",
			`{"error":{"error":"prod is not up","kind":"unreachable","code":7,"next":["assistctl local up prod"]}}` + "\n",
		},
		"with several ways to go on": {
			fault.Hint(fmt.Errorf("promotion 59: %w", errors.New("stopped\ndetails")), "go on:    assistctl promote --resume 59\ngo back:  assistctl rollback prod\n"), fault.Failed,
			"✗ promotion 59: stopped\n  details\n  go on:    assistctl promote --resume 59\n  go back:  assistctl rollback prod\n",
			`{"error":{"error":"promotion 59: stopped\ndetails","kind":"failed","code":1,"next":["go on:    assistctl promote --resume 59","go back:  assistctl rollback prod"]}}` + "\n",
		},
		"a run, whose cause its step told": {
			fault.Code(rolledBack, fault.RolledBack), fault.RolledBack,
			"✗ promotion 58 failed at verify and was rolled back: prod runs v1.9.0 on schema 44, which v1.9.0 supports\n",
			`{"error":{"error":"promotion 58 failed at verify and was rolled back: prod runs v1.9.0 on schema 44, which v1.9.0 supports",` +
				`"cause":"error rate 7.3 % (limit 0.5 %)","kind":"rolled-back","code":10}}` + "\n",
		},
		"a configuration": {
			fault.Code(&config.Invalid{Problems: []config.Problem{{Key: "lease.ttl", Text: "is 1s", Source: config.Source{Kind: config.FromFile, Name: "a.yaml", Line: 2}}}}, fault.Usage), fault.Usage,
			"✗ the configuration does not hold together: a.yaml:2  lease.ttl is 1s\n",
			`{"error":{"error":"the configuration does not hold together: a.yaml:2  lease.ttl is 1s","kind":"usage","code":2,` +
				`"problems":[{"key":"lease.ttl","source":{"kind":"file","name":"a.yaml","line":2},"problem":"is 1s"}]}}` + "\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, form := range []struct {
				json bool
				want string
			}{{false, tt.text}, {true, tt.json}} {
				app, out, errOut := testApp(terminal.TestOptions{})
				app.JSON = form.json
				if code := app.report(t.Context(), tt.err); code != tt.code {
					t.Errorf("exit %d, want %d", code, tt.code)
				}
				if errOut.String() != form.want || out.Len() != 0 {
					t.Errorf("got\n%s\nwant\n%s\nand on stdout %q", errOut, form.want, out)
				}
			}
		})
	}
}

func TestCtrlC(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	app, _, errOut := testApp(terminal.TestOptions{})
	if code := app.report(ctx, fmt.Errorf("list: %w", ctx.Err())); code != fault.Interrupted || errOut.String() != "✗ stopped\n" {
		t.Errorf("exit %d: %s", code, errOut)
	}
	app, _, _ = testApp(terminal.TestOptions{})
	if code := app.report(t.Context(), context.Canceled); code != fault.Failed {
		t.Errorf("a cancellation that nobody asked for exits %d", code)
	}
}

func TestEveryExitCodeIsDocumentedOnce(t *testing.T) {
	seen := map[int]bool{}
	for _, c := range exitCodes {
		if seen[c.Code] || c.Name == "" || c.Says == "" {
			t.Errorf("%+v", c)
		}
		seen[c.Code] = true
	}
	for _, code := range []int{
		fault.OK, fault.Failed, fault.Usage, fault.Refused, fault.Held, fault.NotFound, fault.Damaged, fault.Unreachable,
		fault.RolledBack, fault.Stuck, fault.Drift, fault.Interrupted,
	} {
		if !seen[code] {
			t.Errorf("exit code %d is not documented", code)
		}
	}
}

func TestAsking(t *testing.T) {
	prod, dev := config.Environment{Name: "prod", Confirm: true}, config.Environment{Name: "dev"}
	person := terminal.TestOptions{Terminal: true, Input: "prod\n"}
	for name, tt := range map[string]struct {
		options terminal.TestOptions
		env     config.Environment
		yes     bool
		confirm string
		code    int
	}{
		"a person types the name":          {person, prod, false, "", fault.OK},
		"a person types another":           {terminal.TestOptions{Terminal: true, Input: "y\n"}, prod, false, "", fault.Refused},
		"a program says the name":          {terminal.TestOptions{}, prod, true, "prod", fault.OK},
		"a program says yes only":          {terminal.TestOptions{}, prod, true, "", fault.Usage},
		"a program says another name":      {terminal.TestOptions{}, prod, true, "staging", fault.Usage},
		"a program says nothing":           {terminal.TestOptions{}, prod, false, "", fault.Usage},
		"a program leaves yes out":         {terminal.TestOptions{}, prod, false, "prod", fault.Usage},
		"an environment that does not ask": {terminal.TestOptions{}, dev, false, "", fault.OK},
		"nor with another's name":          {terminal.TestOptions{}, dev, true, "prod", fault.Usage},
	} {
		t.Run(name, func(t *testing.T) {
			app, _, _ := testApp(tt.options)
			if err := app.ask(t.Context(), tt.env, tt.yes, tt.confirm, "go on"); fault.CodeOf(err) != tt.code {
				t.Errorf("%v", err)
			}
		})
	}
}

// Every verb says what it does, and those that do something show an example.
func TestEveryVerbHelps(t *testing.T) {
	app, _, _ := testApp(terminal.TestOptions{})
	var look func(*cobra.Command)
	look = func(cmd *cobra.Command) {
		if name := cmd.Name(); cmd.Hidden || name == "help" || name == "completion" || cmd.IsAdditionalHelpTopicCommand() {
			return
		}
		if cmd.Short == "" || !cmd.HasSubCommands() && cmd.Example == "" {
			t.Errorf("%s: short description %q, example %q", cmd.CommandPath(), cmd.Short, cmd.Example)
		}
		for _, sub := range cmd.Commands() {
			look(sub)
		}
	}
	look(NewRoot(app))
}

func TestErrorsOfSeveralEnvironments(t *testing.T) {
	names := []string{"dev", "staging", "prod"}
	taken := fault.Code(fault.Hint(errors.New("bring dev up: port 8080 is taken"), "assistctl config view"), fault.Unreachable)
	if err := several(names, make([]error, 3)); err != nil {
		t.Errorf("nothing failed, but: %v", err)
	}
	if err := several(names, []error{taken, nil, nil}); !errors.Is(err, taken) || err.Error() != taken.Error() {
		t.Errorf("one failed: %v", err)
	}
	err := several(names, []error{taken, nil, errors.New("bring prod up: disk full")})
	if want := "dev, prod failed; the first: bring dev up: port 8080 is taken"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	if fault.CodeOf(err) != fault.Unreachable || fault.HintOf(err) != "assistctl config view" {
		t.Errorf("code %d, hint %q", fault.CodeOf(err), fault.HintOf(err))
	}
}
