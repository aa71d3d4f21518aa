package command

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/ledger"
	"github.com/smart-assistant/platform/cli/migrate"
	"github.com/smart-assistant/platform/cli/release"
	"github.com/smart-assistant/platform/cli/terminal"
	"github.com/smart-assistant/platform/service/schema"
)

func newCmdMigrate(app *App) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "migrate",
		Short:   "Look at an environment's schema and change it",
		GroupID: groupData,
		Long: `Migrations belong to a release: they are embedded in its build, and that build runs them. A promotion migrates by itself; these verbs are
for looking, and for the rare hand on the tiller. Without --release they speak of the release that runs.`,
	}
	cmd.AddCommand(newCmdMigrateStatus(app, nil), newCmdMigratePlan(app, nil), newCmdMigrateUp(app, nil), newCmdMigrateDown(app, nil))
	return cmd
}

type migrateOptions struct {
	app     *App
	env     string
	version string // of the release
	to      int64
	yes     bool
	confirm string
	force   bool
}

func (o *migrateOptions) releaseFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.version, "release", "", "the `release` whose migrations are meant (default: the one that runs)")
}

func (o *migrateOptions) confirmFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "go on without asking")
	cmd.Flags().StringVar(&o.confirm, "confirm", "", "the environment's `name`, where it asks for it and there is no terminal")
}

// open finds the environment and the release, whose binary it brings there.
func (o *migrateOptions) open(ctx context.Context) (*environment, release.Manifest, error) {
	env, err := o.app.named(ctx, o.env)
	if err != nil {
		return nil, release.Manifest{}, err
	}
	version := o.version
	if version == "" {
		state, err := release.StateOf(ctx, env.ledger)
		if err != nil {
			return nil, release.Manifest{}, err
		}
		if version = state.Release; version == "" {
			return nil, release.Manifest{}, errNoRelease(o.env)
		}
	}
	m, err := env.release.Releases.Get(ctx, version)
	if err != nil {
		return nil, release.Manifest{}, err
	}
	return env, m, env.install(ctx, m)
}

func (e *environment) runner(m release.Manifest) runner {
	return runner{releaseTarget{e.site}, m}
}

func newCmdMigrateStatus(app *App, runF func(context.Context, *migrateOptions) error) *cobra.Command {
	o := &migrateOptions{app: app}
	cmd := &cobra.Command{
		Use:     "status <environment>",
		Short:   "Show what is applied, what is pending, and what is not as it was released",
		Long:    "Show what is applied, what is pending, and what drifted: a file that was edited, is missing or came out of order is named. Exit status 12 when there is drift.",
		Example: "  assistctl migrate status prod\n  assistctl migrate status prod --release v1.9.0",
		Args:    exactArgs(1, "migrate status takes one environment, as in: assistctl migrate status prod"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.env = args[0]
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return runMigrateStatus(cmd.Context(), o)
		},
	}
	o.releaseFlag(cmd)
	return cmd
}

func runMigrateStatus(ctx context.Context, o *migrateOptions) error {
	env, m, err := o.open(ctx)
	if err != nil {
		return err
	}
	status, err := migrate.Status(ctx, env.runner(m))
	if err != nil {
		return err
	}
	status.Drift = append(status.Drift, otherDrift(status.Drift, migrate.Drift(m.Schema, status.Applied))...)
	if o.app.JSON {
		if err := o.app.printJSON(status); err != nil {
			return err
		}
		return driftError(o.env, m.Version, status.Drift)
	}
	fmt.Fprintf(o.app.IO.Out, "%s is on schema %d; %s carries schema %d.\n\n", o.env, status.Current, m.Version, status.Head)
	t := terminal.NewTable("", "migration", "phase", "applied", "took", "by").Right(4)
	for _, a := range status.Applied {
		t.Row(terminal.Mark(true), title(a.Migration), string(a.Phase), a.AppliedAt.Local().Format("2006-01-02 15:04:05"), fmt.Sprintf("%d ms", a.Millis), a.Release)
	}
	for _, p := range status.Pending {
		t.Row(terminal.Faint("·"), title(p), string(p.Phase), "pending")
	}
	o.app.IO.Table(t)
	for _, index := range status.InvalidIndexes {
		fmt.Fprintf(o.app.IO.Out, "\n%s index %s is invalid: an interrupted migration left it, the next run makes it anew\n", terminal.Warning(terminal.GlyphWarning), index)
	}
	return driftError(o.env, m.Version, status.Drift)
}

func title(m schema.Migration) string { return fmt.Sprintf("%d %s", m.Version, m.Name) }

// otherDrift leaves out what is known already.
func otherDrift(known, found []schema.Drift) []schema.Drift {
	var others []schema.Drift
	for _, d := range found {
		seen := false
		for _, k := range known {
			seen = seen || k.Version == d.Version && k.Kind == d.Kind
		}
		if !seen {
			others = append(others, d)
		}
	}
	return others
}

func driftError(env, version string, drift []schema.Drift) error {
	if len(drift) == 0 {
		return nil
	}
	text := []string{fmt.Sprintf("the schema of %s is not what %s released:", env, version)}
	for _, d := range drift {
		text = append(text, "  "+d.String())
	}
	return fault.Code(fault.Hint(errors.New(strings.Join(text, "\n")), "put the named file back as it was released, and bring the change as a migration of its own"), fault.Drift)
}

func newCmdMigratePlan(app *App, runF func(context.Context, *migrateOptions) error) *cobra.Command {
	o := &migrateOptions{app: app}
	cmd := &cobra.Command{
		Use:     "plan <environment>",
		Short:   "Show what up would apply",
		Example: "  assistctl migrate plan prod --release v1.9.0",
		Args:    exactArgs(1, "migrate plan takes one environment, as in: assistctl migrate plan prod"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.env = args[0]
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return runMigratePlan(cmd.Context(), o)
		},
	}
	o.releaseFlag(cmd)
	return cmd
}

func runMigratePlan(ctx context.Context, o *migrateOptions) error {
	env, m, err := o.open(ctx)
	if err != nil {
		return err
	}
	plan, err := migrate.Plan(ctx, env.runner(m))
	if err != nil {
		return err
	}
	if o.app.JSON {
		if err := o.app.printJSON(plan); err != nil {
			return err
		}
		return driftError(o.env, m.Version, plan.Drift)
	}
	if len(plan.Migrations) == 0 {
		fmt.Fprintf(o.app.IO.Out, "%s is on schema %d, as %s expects: nothing to apply.\n", o.env, plan.Current, m.Version)
		return driftError(o.env, m.Version, plan.Drift)
	}
	fmt.Fprintf(o.app.IO.Out, "%s is on schema %d; %s brings it to %d:\n\n", o.env, plan.Current, m.Version, plan.Head)
	t := terminal.NewTable("migration", "phase", "")
	for _, p := range plan.Migrations {
		how := ""
		if p.Concurrent {
			how = "concurrently, outside a transaction"
		}
		t.Row(title(p), string(p.Phase), how)
	}
	o.app.IO.Table(t)
	return driftError(o.env, m.Version, plan.Drift)
}

func newCmdMigrateUp(app *App, runF func(context.Context, *migrateOptions) error) *cobra.Command {
	o := &migrateOptions{app: app}
	cmd := &cobra.Command{
		Use:     "up <environment>",
		Short:   "Apply pending migrations",
		Example: "  assistctl migrate up dev\n  assistctl migrate up dev --release v1.9.0 --to 42",
		Args:    exactArgs(1, "migrate up takes one environment, as in: assistctl migrate up dev"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.env = args[0]
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return runMigrateUp(cmd.Context(), o)
		},
	}
	o.releaseFlag(cmd)
	o.confirmFlags(cmd)
	cmd.Flags().Int64Var(&o.to, "to", 0, "stop after this `migration` (default: the release's head)")
	return cmd
}

func runMigrateUp(ctx context.Context, o *migrateOptions) error {
	env, m, err := o.open(ctx)
	if err != nil {
		return err
	}
	if err := o.endKilled(ctx, env); err != nil {
		return err
	}
	planned, _, err := env.standing(ctx)
	if err != nil {
		return err
	}
	plan, err := migrate.Plan(ctx, env.runner(m))
	if err != nil {
		return err
	}
	if err := driftError(o.env, m.Version, plan.Drift); err != nil {
		return err
	}
	if len(plan.Migrations) == 0 {
		return o.app.say(plan, fmt.Sprintf("%s is on schema %d, as %s expects: nothing to apply.", o.env, plan.Current, m.Version))
	}
	if err := env.contractsFit(ctx, plan.Migrations); err != nil {
		return err
	}
	return o.run(ctx, env, planned, migration{
		record: migrationRecord{m.Version, "up", o.to}, m: m, do: migrate.Up,
		what: fmt.Sprintf("apply %s", terminal.Plural(int64(len(plan.Migrations)), "migration")),
	})
}

// contractsFit refuses a contract that the release that runs, or the one that a rollback would go to, still needs.
func (e *environment) contractsFit(ctx context.Context, pending []schema.Migration) error {
	state, err := release.StateOf(ctx, e.ledger)
	if err != nil {
		return err
	}
	var inUse []migrate.Release
	use := func(version, role string) error {
		m, err := e.release.Releases.Get(ctx, version)
		if err != nil {
			return err
		}
		inUse = append(inUse, migrate.Release{Version: version, Head: m.Schema.Head, Role: role})
		return nil
	}
	if state.Release != "" {
		if err := use(state.Release, "running"); err != nil {
			return err
		}
	}
	if len(state.Previous) > 0 {
		if err := use(state.Previous[0], "kept for rollback"); err != nil {
			return err
		}
	}
	return fault.Code(migrate.CheckContracts(pending, inUse), fault.Refused)
}

func newCmdMigrateDown(app *App, runF func(context.Context, *migrateOptions) error) *cobra.Command {
	o := &migrateOptions{app: app}
	cmd := &cobra.Command{
		Use:   "down <environment>",
		Short: "Take migrations back, and the data that only they hold",
		Long: `Take migrations back, newest first, down to --to. What a migration added is dropped with the data in it; to go back to older code you do
not need this: assistctl rollback leaves the schema, and the older release works on it. Refused while the release that runs needs them.`,
		Example: "  assistctl migrate down dev --to 41",
		Args:    exactArgs(1, "migrate down takes one environment, as in: assistctl migrate down dev --to 41"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.env = args[0]
			if !cmd.Flags().Changed("to") {
				return fault.Code(fault.Hint(errors.New("migrate down needs the migration to go back to"), "assistctl migrate down "+o.env+" --to <migration>"), fault.Usage)
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return runMigrateDown(cmd.Context(), o)
		},
	}
	o.releaseFlag(cmd)
	o.confirmFlags(cmd)
	cmd.Flags().Int64Var(&o.to, "to", 0, "the `migration` that stays as the newest; 0 for none")
	cmd.Flags().BoolVar(&o.force, "force", false, "also what the release that runs needs: it will not be ready afterwards")
	return cmd
}

func runMigrateDown(ctx context.Context, o *migrateOptions) error {
	env, m, err := o.open(ctx)
	if err != nil {
		return err
	}
	if err := o.endKilled(ctx, env); err != nil {
		return err
	}
	planned, state, err := env.standing(ctx)
	if err != nil {
		return err
	}
	if state.Release != "" && !o.force {
		running, err := env.release.Releases.Get(ctx, state.Release)
		if err != nil {
			return err
		}
		if o.to < running.Schema.Head {
			return fault.Code(fault.Hint(fmt.Errorf("%s runs %s, which needs schema %d", o.env, running.Version, running.Schema.Head),
				fmt.Sprintf("go back to older code first (assistctl rollback %s), or pass --force", o.env)), fault.Refused)
		}
	}
	return o.run(ctx, env, planned, migration{
		record: migrationRecord{m.Version, "down", o.to}, m: m, do: migrate.Down,
		what: fmt.Sprintf("go down to schema %d and lose what only the migrations above hold", o.to),
	})
}

// migrationRecord is the plan of a migration as the ledger keeps it.
type migrationRecord struct {
	Release   string `json:"release"`   // whose migrations are meant
	Direction string `json:"direction"` // up or down
	To        int64  `json:"to,omitempty"`
}

// migration is what up and down do differently.
type migration struct {
	record migrationRecord
	m      release.Manifest
	what   string // it does, to go on with "in prod"
	do     func(context.Context, migrate.Runner, migrate.Options) (migrate.Result, error)
}

// run asks, takes the lease, makes sure that nothing happened since the plan was made, and runs the release's own migrations as a journalled
// run of one step.
func (o *migrateOptions) run(ctx context.Context, env *environment, planned standing, g migration) error {
	if err := o.app.ask(ctx, env.config, o.yes, o.confirm, g.what); err != nil {
		return err
	}
	lease, err := env.ledger.Acquire(ctx, g.what+" in "+o.env)
	if err != nil {
		return err
	}
	defer giveBack(ctx, lease)
	ctx = lease.Context(ctx)
	if err := env.unmoved(ctx, planned, "assistctl migrate status "+o.env); err != nil {
		return err
	}
	if planned.Unfinished != 0 { // no migration: those were ended before
		return fault.Code(fault.Hint(fmt.Errorf("run %d of %s never ended", planned.Unfinished, o.env), "assistctl status"), fault.Refused)
	}
	run, err := env.ledger.Begin(ctx, lease, ledger.KindMigrate, g.record)
	if err != nil {
		return err
	}
	steps := o.app.steps()
	defer steps.Close()
	var result migrate.Result
	_, failed := run.Step(ctx, "migrate", func(ctx context.Context) (any, error) {
		var err error
		result, err = g.do(ctx, env.runner(g.m), migrate.Options{To: o.to, Progress: steps})
		return result, err
	})
	steps.Close()
	outcome := ledger.OutcomeCommitted
	if failed != nil {
		outcome = ledger.OutcomeFailed
	}
	if err := run.End(context.WithoutCancel(ctx), outcome, release.Ending{Schema: result.Current}); err != nil {
		return errors.Join(failed, err)
	}
	if failed != nil {
		return fault.Hint(failed, "assistctl migrate status "+o.env)
	}
	return o.app.say(result, fmt.Sprintf("%s is on schema %d.", o.env, result.Current))
}

// endKilled puts an end to migrations that were killed, before anything is planned: what they did is in the database's own history, and what
// is left to do is planned from there. Otherwise nothing would end one that had nothing left to do, and it would stand in everybody's way.
func (o *migrateOptions) endKilled(ctx context.Context, env *environment) error {
	unfinished, err := env.ledger.Unfinished(ctx)
	if err != nil {
		return fmt.Errorf("ledger of %s: %w", o.env, err)
	}
	for _, u := range unfinished {
		if u.Kind != ledger.KindMigrate {
			continue
		}
		if err := env.endMigration(ctx, u.Number); err != nil {
			return err
		}
		o.app.note(fmt.Sprintf("Run %d, a migration that was killed, has ended. What it did is in the database's own history:   assistctl migrate status %s", u.Number, o.env))
	}
	return nil
}

func (e *environment) endMigration(ctx context.Context, number int) error {
	lease, err := e.ledger.Acquire(ctx, fmt.Sprintf("end run %d in %s", number, e.config.Name)) // refused while it is at work
	if err != nil {
		return err
	}
	defer giveBack(ctx, lease)
	return e.endUnfinished(lease.Context(ctx), lease, number, release.Ending{Reason: "killed; the database's own history says what it did"})
}
