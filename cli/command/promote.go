package command

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/smart-assistant/platform/cli/config"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/ledger"
	"github.com/smart-assistant/platform/cli/release"
)

// changeOptions are what promote, deploy and rollback have in common.
type changeOptions struct {
	app *App

	planOnly bool
	yes      bool
	confirm  string
	skip     []string
	reason   string
}

func (o *changeOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&o.planOnly, "plan", false, "show the plan and the gates, and stop")
	f.BoolVarP(&o.yes, "yes", "y", false, "go on without asking")
	f.StringVar(&o.confirm, "confirm", "", "the environment's `name`, where it asks for it and there is no terminal")
	f.StringSliceVar(&o.skip, "skip-gate", nil, "go on although this `gate` says no; needs --reason, and the ledger keeps both")
	f.StringVar(&o.reason, "reason", "", "why; the ledger keeps it")
}

type promoteOptions struct {
	changeOptions
	from, to string
	resume   bool
	number   int
	env      string
}

func newCmdPromote(app *App, runF func(context.Context, *promoteOptions) error) *cobra.Command {
	o := &promoteOptions{changeOptions: changeOptions{app: app}}
	cmd := &cobra.Command{
		Use:     "promote <from> <to> | promote --resume [<number>]",
		Short:   "Bring the release of one environment to the next",
		GroupID: groupRelease,
		Long: `Bring the release that <from> runs to <to>, unchanged: the same binary, the same migrations.

The plan is shown before anything changes. Then: a snapshot of <to>, the release's own migrations, a rolling replacement that
fails no request, and a verification; when that fails, the release that ran before comes back by itself. The first release of an
environment on a cluster is followed by its first backup, which leaves the schedule what it needs to take the others.

Every step is journalled in <to>'s bucket. Whatever stops a promotion half-way, --resume goes on with it, from any terminal.`,
		Example: `  assistctl promote staging prod --plan
  assistctl promote staging prod
  assistctl promote staging prod --yes --confirm=prod      # without a terminal
  assistctl promote --resume 59`,
		Args: func(_ *cobra.Command, args []string) error { return o.parse(args) },
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			if o.resume {
				return runResume(cmd.Context(), o)
			}
			return runPromote(cmd.Context(), o)
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&o.resume, "resume", false, "go on with a promotion, deployment or rollback that was interrupted")
	cmd.Flags().StringVar(&o.env, "env", "", "with --resume: the `environment`, where several have one of that number")
	return cmd
}

func (o *promoteOptions) parse(args []string) error {
	usage := func(format string, a ...any) error {
		return fault.Code(fault.Hint(fmt.Errorf(format, a...), "assistctl promote --help"), fault.Usage)
	}
	if !o.resume {
		if len(args) != 2 {
			return usage("promote takes two environments, as in: assistctl promote staging prod")
		}
		o.from, o.to = args[0], args[1]
		return nil
	}
	if len(args) > 1 {
		return usage("promote --resume takes one number")
	}
	if len(args) == 1 {
		n, err := strconv.Atoi(args[0])
		if err != nil || n < 1 {
			return usage("%q is not the number of a run (assistctl history <environment>)", args[0])
		}
		o.number = n
	}
	return nil
}

// runPromote reads like the promotion: plan, show, ask, apply.
func runPromote(ctx context.Context, o *promoteOptions) error {
	cfg, err := o.app.Config()
	if err != nil {
		return err
	}
	if next, ok := cfg.After(o.from); !ok || next != o.to {
		return notNext(cfg, o.from, o.to)
	}
	from, err := o.app.environment(ctx, cfg, o.from)
	if err != nil {
		return err
	}
	to, err := o.app.environment(ctx, cfg, o.to)
	if err != nil {
		return err
	}
	plan, err := release.PlanPromotion(ctx, from.release, to.release, o.app.Now())
	if err != nil {
		return err
	}
	return o.carryOut(ctx, plan, from, to)
}

// notNext says what the order is.
func notNext(cfg *config.Config, from, to string) error {
	for _, name := range []string{from, to} {
		if _, err := cfg.Environment(name); err != nil {
			return err
		}
	}
	err := fmt.Errorf("releases go %s: not from %s to %s", strings.Join(cfg.Order, " → "), from, to)
	hint := ""
	if next, ok := cfg.After(from); ok {
		hint = fmt.Sprintf("assistctl promote %s %s", from, next)
	}
	return fault.Code(fault.Hint(err, hint), fault.Usage)
}

// carryOut shows a plan, asks, and applies it. from is nil but for a promotion.
func (o *changeOptions) carryOut(ctx context.Context, plan *release.Plan, from, to *environment) error {
	if err := plan.Override(o.skip, o.reason); err != nil {
		return err
	}
	if nothingToDo(plan) && to.settled(ctx, plan) {
		return o.app.say(plan, fmt.Sprintf("%s runs %s already, on all %d replicas: nothing to do.", plan.To, plan.Release, plan.Now.Running.Want))
	}
	if o.planOnly {
		if o.app.JSON {
			return o.app.printJSON(plan)
		}
		fmt.Fprint(o.app.IO.Out, planText(o.app, plan))
		return plan.Check()
	}
	if !o.app.JSON {
		fmt.Fprint(o.app.IO.Err, planText(o.app, plan))
	}
	if err := plan.Check(); err != nil {
		return err
	}
	if err := o.app.ask(ctx, to.config, o.yes, o.confirm, "go on"); err != nil {
		return err
	}
	var source *release.Environment
	if from != nil {
		source = from.release
	}
	steps := o.app.steps()
	defer steps.Close()
	result, err := (&release.Operator{Progress: steps, Now: o.app.Now}).Apply(ctx, plan, source, to.release)
	if err == nil {
		err = to.firstBackup(ctx, steps)
	}
	return o.app.ended(steps, result, err)
}

// nothingToDo reports whether the environment is where the plan would bring it, with nothing to migrate and every replica ready.
func nothingToDo(p *release.Plan) bool {
	r := p.Now.Running
	return p.Release == p.Before && r.Version == p.Release && r.Want > 0 && r.Current == r.Want && r.Ready == r.Want &&
		len(p.Pending) == 0 && p.Abandon == 0
}

// settled reports whether the replicas run with the settings that the configuration has now.
func (e *environment) settled(ctx context.Context, p *release.Plan) bool {
	m, err := e.release.Releases.Get(ctx, p.Release)
	if err != nil {
		return false
	}
	want, err := e.site.settings(ctx, m)
	return err == nil && maps.Equal(p.Now.Running.Settings, want)
}

// ended prints how a run ended: the result on stdout, an error on the way to the one place that prints errors.
func (a *App) ended(steps interface{ Close() }, r *release.Result, err error) error {
	steps.Close()
	if r != nil && a.JSON {
		if jsonErr := a.printJSON(r); jsonErr != nil {
			return errors.Join(err, jsonErr)
		}
	}
	if err != nil || a.JSON {
		return err
	}
	fmt.Fprintf(a.IO.Out, "\n%s runs %s. Recorded as %s %d.   assistctl history %s\n", r.To, r.Release, r.Kind, r.Run, r.To)
	return nil
}

func runResume(ctx context.Context, o *promoteOptions) error {
	cfg, err := o.app.Config()
	if err != nil {
		return err
	}
	to, number, err := o.unfinished(ctx, cfg)
	if err != nil {
		return err
	}
	steps := o.app.steps()
	defer steps.Close()
	operator := &release.Operator{Progress: steps, Now: o.app.Now}
	result, err := operator.Resume(ctx, to.release, number, func(name string) (*release.Environment, error) {
		from, err := o.app.environment(ctx, cfg, name)
		if err != nil {
			return nil, err
		}
		return from.release, nil
	})
	if err == nil {
		err = to.firstBackup(ctx, steps)
	}
	return o.app.ended(steps, result, err)
}

// unfinished finds the run to resume: by its number, or the only one there is.
func (o *promoteOptions) unfinished(ctx context.Context, cfg *config.Config) (*environment, int, error) {
	names := cfg.Order
	if o.env != "" {
		if _, err := cfg.Environment(o.env); err != nil {
			return nil, 0, err
		}
		names = []string{o.env}
	}
	type found struct {
		env    *environment
		number int
	}
	var all []found
	var away []string           // environments that nobody can look into
	var say, elsewhere []string // how to resume what is found here, and what other verbs resume
	for _, name := range names {
		env, err := o.app.environment(ctx, cfg, name)
		if err != nil {
			if o.env == "" && fault.CodeOf(err) == fault.Unreachable {
				away = append(away, name)
				continue // another environment may be the one
			}
			return nil, 0, err
		}
		runs, err := env.ledger.Unfinished(ctx)
		if err != nil {
			return nil, 0, fmt.Errorf("ledger of %s: %w", name, err)
		}
		if len(runs) > 1 {
			runs = runs[len(runs)-1:] // the newest takes the place of those before it
		}
		for _, run := range runs {
			if run.Kind == ledger.KindRestore || run.Kind == ledger.KindMigrate {
				elsewhere = append(elsewhere, release.ResumeHint(name, run.Kind, run.Number))
				continue
			}
			if o.number == 0 || run.Number == o.number {
				all = append(all, found{env, run.Number})
				say = append(say, fmt.Sprintf("assistctl promote --resume %d --env %s", run.Number, name))
			}
		}
	}
	switch {
	case len(all) == 1:
		return all[0].env, all[0].number, nil
	case len(all) > 1:
		return nil, 0, fault.Code(fault.Hint(errors.New("more than one run is unfinished"), strings.Join(say, "\n")), fault.Usage)
	case len(elsewhere) > 0:
		return nil, 0, fault.Code(fault.Hint(errors.New("no promotion, deployment or rollback is unfinished, but something else is"), strings.Join(elsewhere, "\n")), fault.NotFound)
	case o.number != 0:
		return nil, 0, fault.Code(fault.Hint(fmt.Errorf("no unfinished run has the number %d", o.number), "assistctl history <environment>"), fault.NotFound)
	}
	if len(away) > 0 {
		return nil, 0, fault.Code(fault.Hint(fmt.Errorf("no run is unfinished where one can look; %s not up", strings.Join(away, ", ")), "assistctl local up"), fault.Unreachable)
	}
	return nil, 0, fault.Code(fault.Hint(errors.New("no run is unfinished"), "assistctl status"), fault.NotFound)
}
