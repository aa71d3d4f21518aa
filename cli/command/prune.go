package command

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/smart-assistant/platform/cli/backup"
	"github.com/smart-assistant/platform/cli/config"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/ledger"
	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/cli/terminal"
)

type pruneOptions struct {
	app      *App
	env      string
	planOnly bool
	yes      bool
	confirm  string
}

func newCmdBackupPrune(app *App, runF func(context.Context, *pruneOptions) error) *cobra.Command {
	o := &pruneOptions{app: app}
	cmd := &cobra.Command{
		Use:   "prune <environment>",
		Short: "Remove backups that the retention policy does not keep",
		Long: `Remove backups that no rule of the environment's retention keeps: the last ones, daily and weekly ones, snapshots taken before a promotion for
longer. What was never committed is swept after a day. The newest good backup always stays. --plan shows what would go, and why the rest stays.`,
		Example: "  assistctl backup prune prod --plan\n  assistctl backup prune prod",
		Args:    exactArgs(1, "backup prune takes one environment, as in: assistctl backup prune prod --plan"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.env = args[0]
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return runPrune(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.planOnly, "plan", false, "show what would go and why the rest stays, and stop")
	f.BoolVarP(&o.yes, "yes", "y", false, "go on without asking")
	f.StringVar(&o.confirm, "confirm", "", "the environment's `name`, where it asks for it and there is no terminal")
	return cmd
}

func runPrune(ctx context.Context, o *pruneOptions) error {
	env, err := o.app.named(ctx, o.env)
	if err != nil {
		return err
	}
	if err := env.reader(); err != nil {
		return err
	}
	plan, err := env.planPrune(ctx)
	if err != nil {
		return err
	}
	if o.planOnly && o.app.JSON {
		return o.app.printJSON(plan)
	}
	t := pruneTable(o.app, plan)
	if o.planOnly {
		return o.app.showTable(t)
	}
	if plan.Empty() {
		return o.app.say(plan, "Every backup is kept by a rule: nothing to remove.   assistctl backup prune "+o.env+" --plan")
	}
	o.app.IO.Notes(t)
	if err := o.app.ask(ctx, env.config, o.yes, o.confirm, fmt.Sprintf("remove %s", terminal.Plural(int64(plan.Removals()), "backup"))); err != nil {
		return err
	}
	steps := o.app.steps()
	defer steps.Close()
	plan, err = env.site.prune(ctx, env, plan, steps)
	steps.Close()
	if err != nil {
		return fault.Hint(err, "assistctl backup prune "+o.env+" (it goes on where it stopped)")
	}
	return o.app.say(plan, fmt.Sprintf("Removed %d, freed %s.", plan.Removals(), terminal.Bytes(plan.Freed())))
}

// prune removes, under the lease, what was shown to be removed and what still may go: a restore may have begun to need a backup since.
func (e *environment) prune(ctx context.Context, shown backup.PrunePlan, progress backup.Progress) (plan backup.PrunePlan, err error) {
	err = e.alone(ctx, "prune backups of "+e.config.Name, func(ctx context.Context) error {
		if plan, err = e.planPrune(ctx); err != nil {
			return err
		}
		if plan = removedByBoth(shown, plan); plan.Empty() {
			return nil
		}
		return e.backups.Prune(ctx, plan, progress)
	})
	return plan, err
}

// removedByBoth is the later plan without what the one that was shown keeps or does not know.
func removedByBoth(shown, now backup.PrunePlan) backup.PrunePlan {
	agreed := map[string]bool{}
	for _, v := range shown.Backups {
		agreed[v.ID] = v.Remove
	}
	for _, l := range shown.Leftovers {
		agreed[l.ID] = l.Remove
	}
	for i := range now.Backups {
		if v := &now.Backups[i]; v.Remove && !agreed[v.ID] {
			v.Remove, v.Why = false, append(v.Why, "not in the plan that was shown")
		}
	}
	for i := range now.Leftovers {
		if l := &now.Leftovers[i]; l.Remove && !agreed[l.ID] {
			l.Remove, l.Why = false, "not in the plan that was shown"
		}
	}
	return now
}

func (e *environment) planPrune(ctx context.Context) (backup.PrunePlan, error) {
	keep, err := e.site.retention(ctx)
	if err != nil {
		return backup.PrunePlan{}, err
	}
	o := backup.PruneOptions{Policy: policy(keep)}
	unfinished, err := e.ledger.Unfinished(ctx)
	if err != nil {
		return backup.PrunePlan{}, fmt.Errorf("ledger of %s: %w", e.config.Name, err)
	}
	for _, run := range unfinished {
		o.UnfinishedRuns = append(o.UnfinishedRuns, int64(run.Number))
		if id, ok := restoring(run); ok {
			if o.InUse == nil {
				o.InUse = map[string]string{}
			}
			o.InUse[id] = fmt.Sprintf("restore %d needs it", run.Number)
		}
	}
	return e.backups.PlanPrune(ctx, o)
}

// restoring is the backup that an unfinished restore needs.
func restoring(run ledger.RunState) (id string, ok bool) {
	var record restoreRecord
	if run.Kind != ledger.KindRestore || json.Unmarshal(run.Plan, &record) != nil {
		return "", false
	}
	return record.Restore.Backup.ID, true
}

func policy(r config.Retention) backup.Policy {
	return backup.Policy{KeepLast: r.KeepLast, Daily: r.Daily, Weekly: r.Weekly, PreDeployDays: r.PreDeployDays}
}

func pruneTable(a *App, p backup.PrunePlan) *terminal.Table {
	t := terminal.NewTable("", "backup", "taken", "kind", "stored", "why").Right(4)
	for _, v := range slices.Backward(p.Backups) {
		t.Row(verdictText(v.Remove), v.ID, terminal.Ago(a.Now(), v.Started), string(v.Kind), terminal.Bytes(v.Bytes), strings.Join(v.Why, ", "))
	}
	for _, l := range p.Leftovers {
		t.Row(verdictText(l.Remove), l.ID, terminal.Ago(a.Now(), l.Written), "leftover", terminal.Bytes(l.Bytes), l.Why)
	}
	return t
}

func verdictText(remove bool) string {
	if remove {
		return terminal.Bad("remove")
	}
	return terminal.Good("keep")
}

type asideOptions struct {
	app     *App
	env     string
	drop    string
	yes     bool
	confirm string
}

func newCmdBackupAside(app *App, runF func(context.Context, *asideOptions) error) *cobra.Command {
	o := &asideOptions{app: app}
	cmd := &cobra.Command{
		Use:     "aside <environment>",
		Short:   "Show or drop the data that restores have put aside",
		Example: "  assistctl backup aside prod\n  assistctl backup aside prod --drop prod-before-20261124-030712",
		Args:    exactArgs(1, "backup aside takes one environment, as in: assistctl backup aside prod"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.env = args[0]
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return runAside(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.drop, "drop", "", "delete the data of this `name` for good")
	f.BoolVarP(&o.yes, "yes", "y", false, "go on without asking")
	f.StringVar(&o.confirm, "confirm", "", "the environment's `name`, where it asks for it and there is no terminal")
	return cmd
}

func runAside(ctx context.Context, o *asideOptions) error {
	env, err := o.app.named(ctx, o.env)
	if err != nil {
		return err
	}
	all, err := env.site.Asides(ctx)
	if err != nil {
		return err
	}
	if o.drop == "" {
		if o.app.JSON {
			return o.app.printJSON(append([]target.Aside{}, all...)) // a list, also when it is empty
		}
		if len(all) == 0 {
			return o.app.say(nil, o.env+" keeps nothing aside.")
		}
		t := terminal.NewTable("name", "since", "data").Right(2)
		for _, a := range all {
			t.Row(a.Name, terminal.Ago(o.app.Now(), a.Since), terminal.Bytes(a.Bytes))
		}
		return o.app.showTable(t)
	}
	found := false
	for _, a := range all {
		found = found || a.Name == o.drop
	}
	if !found {
		return fault.Code(fault.Hint(fmt.Errorf("%s keeps nothing aside as %q", o.env, o.drop), "assistctl backup aside "+o.env), fault.NotFound)
	}
	if err := o.app.ask(ctx, env.config, o.yes, o.confirm, "delete "+o.drop+" for good"); err != nil {
		return err
	}
	drop := func(ctx context.Context) error { return env.site.DropAside(ctx, o.drop) }
	if err := env.alone(ctx, "drop "+o.drop, drop); err != nil {
		return err
	}
	return o.app.say(nil, fmt.Sprintf("%s is gone.", o.drop))
}
