package command

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/ledger"
	"github.com/smart-assistant/platform/cli/release"
	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/cli/terminal"
)

type historyOptions struct {
	app    *App
	env    string
	number int
	logs   bool
	limit  int
}

func newCmdHistory(app *App, runF func(context.Context, *historyOptions) error) *cobra.Command {
	o := &historyOptions{app: app}
	cmd := &cobra.Command{
		Use:     "history <environment> [<number>]",
		Short:   "Show what was done to an environment, by whom, and how it ended",
		GroupID: groupRelease,
		Long: `Show the runs of an environment's ledger, newest first: promotions, deployments, rollbacks and restores. With a number, one run with its
steps. The ledger's hash chain is checked on the way: an entry that was edited, removed or swapped is named.`,
		Example: "  assistctl history prod\n  assistctl history prod 58\n  assistctl history prod 58 --logs",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return fault.Code(fmt.Errorf("history takes an environment and perhaps a number, as in: assistctl history prod 58"), fault.Usage)
			}
			o.env = args[0]
			if len(args) == 2 {
				n, err := strconv.Atoi(args[1])
				if err != nil || n < 1 {
					return fault.Code(fmt.Errorf("%q is not the number of a run", args[1]), fault.Usage)
				}
				o.number = n
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return runHistory(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.logs, "logs", false, "with a number: what the run's release logged while it ran")
	cmd.Flags().IntVarP(&o.limit, "limit", "n", 20, "show at most this `many` runs; 0 for all")
	return cmd
}

func runHistory(ctx context.Context, o *historyOptions) error {
	cfg, err := o.app.Config()
	if err != nil {
		return err
	}
	env, err := o.app.environment(ctx, cfg, o.env)
	if err != nil {
		return err
	}
	if o.number != 0 {
		run, err := env.ledger.Run(ctx, o.number)
		if err != nil {
			return fault.Code(fault.Hint(err, "assistctl history "+o.env), fault.NotFound)
		}
		if o.logs {
			return runLogs(ctx, o, env, run)
		}
		return showRun(o, run)
	}
	runs, err := env.ledger.Runs(ctx)
	if err != nil {
		return err
	}
	return showRuns(o, runs)
}

func showRuns(o *historyOptions, runs []ledger.RunState) error {
	newest := make([]ledger.RunState, 0, len(runs))
	for i := len(runs) - 1; i >= 0 && (o.limit == 0 || len(newest) < o.limit); i-- {
		runs[i].Entries = nil
		newest = append(newest, runs[i])
	}
	if o.app.JSON {
		return o.app.printJSON(newest)
	}
	if len(newest) == 0 {
		return o.app.say(nil, o.env+" has no history yet.")
	}
	var rows [][]string
	for _, r := range newest {
		rows = append(rows, []string{strconv.Itoa(r.Number), r.Began.Local().Format("2006-01-02 15:04:05"), r.Kind, what(r), outcome(r), took(r), r.Actor})
	}
	return o.app.table([]string{"run", "began", "kind", "what", "outcome", "took", "by"}, rows)
}

// what says in a few words what a run was about.
func what(r ledger.RunState) string {
	if r.Kind == ledger.KindRestore {
		var p restoreRecord
		if json.Unmarshal(r.Plan, &p) == nil {
			return p.Restore.Backup.ID
		}
	}
	var p release.Plan
	if json.Unmarshal(r.Plan, &p) != nil || p.Release == "" {
		return ""
	}
	if p.Before == "" || p.Before == p.Release {
		return p.Release
	}
	return p.Before + " → " + p.Release
}

func outcome(r ledger.RunState) string {
	switch r.Outcome {
	case ledger.OutcomeCommitted:
		return terminal.Good(r.Outcome)
	case "":
		return terminal.Warning("unfinished")
	default:
		return terminal.Bad(r.Outcome)
	}
}

func took(r ledger.RunState) string {
	if r.Ended.IsZero() {
		return ""
	}
	return terminal.Duration(r.Ended.Sub(r.Began))
}

func showRun(o *historyOptions, r ledger.RunState) error {
	if o.app.JSON {
		return o.app.printJSON(r)
	}
	out := o.app.IO.Out
	fmt.Fprintf(out, "%s %d of %s   %s   %s\n", r.Kind, r.Number, o.env, what(r), outcome(r))
	fmt.Fprintf(out, "began %s by %s\n", r.Began.Local().Format("2006-01-02 15:04:05"), r.Actor)
	var end release.Ending
	if len(r.Detail) > 0 && json.Unmarshal(r.Detail, &end) == nil && end.Reason != "" {
		fmt.Fprintf(out, "reason: %s\n", end.Reason)
	}
	var plan release.Plan
	if json.Unmarshal(r.Plan, &plan) == nil && len(plan.Skipped) > 0 {
		fmt.Fprintf(out, "gates skipped: %s, because: %s\n", strings.Join(plan.Skipped, ", "), plan.Reason)
	}
	fmt.Fprintln(out)
	var rows [][]string
	for _, s := range r.Steps {
		detail := s.Err
		if s.Interrupted {
			detail = "interrupted"
		}
		lasted := ""
		if !s.Ended.IsZero() {
			lasted = terminal.Duration(s.Ended.Sub(s.Started))
		}
		attempts := ""
		if s.Attempts > 1 {
			attempts = fmt.Sprintf("%d attempts", s.Attempts)
		}
		rows = append(rows, []string{s.Name, s.Phase, s.Started.Local().Format("15:04:05"), lasted, attempts, detail})
	}
	if err := o.app.table([]string{"step", "state", "began", "took", "", ""}, rows); err != nil {
		return err
	}
	if r.Outcome == "" {
		fmt.Fprintf(out, "\nIt never ended.\n%s\n", release.ResumeHint(o.env, r.Kind, r.Number))
	}
	return nil
}

// runLogs shows what the release of a run logged, from the run's beginning on.
func runLogs(ctx context.Context, o *historyOptions, env *environment, r ledger.RunState) error {
	var plan release.Plan
	if err := json.Unmarshal(r.Plan, &plan); err != nil {
		return fmt.Errorf("plan of run %d: %w", r.Number, err)
	}
	q := target.LogQuery{Component: "replicas", Release: plan.Release, Since: r.Began.Add(-time.Second)}
	return env.site.Logs(ctx, q, o.app.IO.Out)
}
