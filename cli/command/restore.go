package command

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/smart-assistant/platform/cli/backup"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/ledger"
	"github.com/smart-assistant/platform/cli/release"
	"github.com/smart-assistant/platform/cli/target/kubernetes"
	"github.com/smart-assistant/platform/cli/terminal"
)

type restoreOptions struct {
	app         *App
	env         string
	to          string
	planOnly    bool
	yes         bool
	confirm     string
	resume      bool
	abandon     bool
	otherSystem bool
}

func newCmdBackupRestore(app *App, runF func(context.Context, *restoreOptions) error) *cobra.Command {
	o := &restoreOptions{app: app}
	cmd := &cobra.Command{
		Use:   "restore <environment>",
		Short: "Bring an environment's data back from a backup",
		Long: `Show what can be restored, and bring it back. The backup is unpacked beside the live data, checked against PostgreSQL's manifest, recovered
by a server of its own and looked at; only then are API and database stopped, the data swapped, and both started again. What was live
is kept aside until you drop it. Under the wrong key, or with a damaged object, nothing is touched.

The release stays as it is. Data of an earlier schema is brought forward with the migrations of the release that runs, before the swap.

Whatever interrupts a restore, --resume goes on with it and --abandon puts an end to it.`,
		Example: `  assistctl backup restore prod                                  # asks
  assistctl backup restore prod --plan
  assistctl backup restore prod --to p-20261124-091203
  assistctl backup restore prod --to latest --yes --confirm=prod  # without a terminal
  assistctl backup restore prod --resume`,
		Args: exactArgs(1, "backup restore takes one environment, as in: assistctl backup restore prod"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.env = args[0]
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return runRestore(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.to, "to", "", "the `backup` to restore, or latest")
	f.BoolVar(&o.planOnly, "plan", false, "show the plan, and stop")
	f.BoolVarP(&o.yes, "yes", "y", false, "go on without asking")
	f.StringVar(&o.confirm, "confirm", "", "the environment's `name`, where it asks for it and there is no terminal")
	f.BoolVar(&o.resume, "resume", false, "go on with a restore that was interrupted")
	f.BoolVar(&o.abandon, "abandon", false, "put an end to a restore that was interrupted; the data that is live stays live")
	f.BoolVar(&o.otherSystem, "onto-other-system", false, "allow a backup of another database cluster, such as one that was lost and made anew")
	cmd.MarkFlagsMutuallyExclusive("resume", "abandon", "to")
	return cmd
}

// restoreRecord is the plan of a restore as the ledger keeps it.
type restoreRecord struct {
	Restore backup.RestorePlan `json:"restore"`
	Release string             `json:"release,omitempty"` // that runs: the data is brought forward for it
	Abandon int                `json:"abandon,omitempty"` // a run that never ended, and that this puts an end to
}

// runRestore reads like the restore: look, choose, plan, ask, carry out.
func runRestore(ctx context.Context, o *restoreOptions) error {
	env, err := o.app.named(ctx, o.env)
	if err != nil {
		return err
	}
	if err := env.reader(); err != nil {
		return err
	}
	planned, state, err := env.standing(ctx)
	if err != nil {
		return err
	}
	if o.resume || o.abandon {
		return o.goOn(ctx, env, state)
	}
	if err := env.free(ctx, state); err != nil {
		return err
	}
	if u := state.Unfinished; u != nil && u.Kind == ledger.KindRestore {
		return fault.Code(fault.Hint(fmt.Errorf("restore %d of %s was begun at %s by %s and never ended", u.Number, o.env, u.Began.Local().Format("15:04:05"), u.Actor),
			release.ResumeHint(o.env, ledger.KindRestore, 0)), fault.Refused)
	}
	id, err := o.choose(ctx, env)
	if err != nil {
		return err
	}
	record := restoreRecord{Release: state.Release, Abandon: planned.Unfinished}
	if record.Restore, err = env.backups.PlanRestore(ctx, id, env.site, backup.RestoreOptions{OtherSystem: o.otherSystem}); err != nil {
		return err
	}
	if o.planOnly && o.app.JSON {
		return o.app.printJSON(record)
	}
	text := restoreText(o.app, record)
	if o.app.JSON {
		text = ""
	}
	if o.planOnly {
		fmt.Fprint(o.app.IO.Out, text)
		return nil
	}
	fmt.Fprint(o.app.IO.Err, text)
	if err := o.app.ask(ctx, env.config, o.yes, o.confirm, "restore it"); err != nil {
		return err
	}
	return o.carryOut(ctx, env, record, planned)
}

// choose says how the environment does and what can be restored, and lets the operator pick.
func (o *restoreOptions) choose(ctx context.Context, env *environment) (string, error) {
	newest, err := env.newest(ctx)
	if err != nil {
		return "", err
	}
	if o.to == "latest" || o.to == "" && (o.yes || o.planOnly) {
		return newest.ID, nil
	}
	if o.to != "" {
		return o.to, nil
	}
	all, err := env.backups.List(ctx)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(o.app.IO.Err, "\n%s\n\nRestorable:\n", o.condition(ctx, env))
	recent := make([]backup.Backup, 0, 10)
	for i := len(all) - 1; i >= 0 && len(recent) < cap(recent); i-- {
		recent = append(recent, all[i])
	}
	o.app.IO.Notes(backupTable(o.app, recent))
	if rest := len(all) - len(recent); rest > 0 {
		fmt.Fprintf(o.app.IO.Err, "  … and %d more: assistctl backup list %s\n", rest, o.env)
	}
	return o.app.IO.Ask(ctx, fmt.Sprintf("\nRestore [%s]: ", newest.ID), newest.ID, "--to <backup> (assistctl backup list "+o.env+")")
}

// condition is what the environment says of itself.
func (o *restoreOptions) condition(ctx context.Context, env *environment) string {
	r, err := env.release.Target.Running(ctx)
	switch {
	case err != nil:
		return fmt.Sprintf("%s does not say how it does: %v", o.env, err)
	case !r.Database:
		return fmt.Sprintf("The database of %s does not answer: %s.", o.env, r.Detail)
	case r.Ready < r.Want:
		return fmt.Sprintf("%s answers, but this is what it says of itself: %d/%d ready, %s.", o.env, r.Ready, r.Want, r.Detail)
	default:
		return fmt.Sprintf("%s answers: %d/%d ready on %s.", o.env, r.Ready, r.Want, r.Version)
	}
}

func restoreText(a *App, r restoreRecord) string {
	p := r.Restore
	var b strings.Builder
	lost := fmt.Sprintf("everything committed after %s (%s)", p.LostAfter.Local().Format("2006-01-02 15:04:05"), terminal.Ago(a.Now(), p.LostAfter))
	kept := "there is no live data"
	if p.Aside != "" {
		kept = fmt.Sprintf("today's data stays aside as %s until you drop it", p.Aside)
	}
	t := terminal.NewTable().
		Row("Plan", fmt.Sprintf("%s (%s) → %s, about %s", p.Backup.ID, terminal.Bytes(p.Backup.StoredBytes), terminal.Bytes(p.Backup.RawBytes), terminal.Duration(time.Duration(p.Seconds*float64(time.Second)).Round(time.Second)))).
		Row("", "unpack and check beside the live data → stop → swap → start").
		Row("Lost", terminal.Bad(lost)).
		Row("Kept", kept).
		Row("Meanwhile", "the API goes on until the swap, then answers 503 with Retry-After until it is done")
	if r.Release != "" && p.Backup.Release != "" && r.Release != p.Backup.Release {
		t.Row("Release", fmt.Sprintf("stays %s; the backup is of %s, its data is brought forward by %s's own migrations", r.Release, p.Backup.Release, r.Release))
	}
	if p.OtherLives {
		t.Row("", terminal.Warning("the live data is of another database cluster than the backup"))
	}
	if r.Abandon != 0 {
		t.Row("", fmt.Sprintf("run %d, which never ended, ends with this", r.Abandon))
	}
	fmt.Fprintf(&b, "\n%s\n", t.Render(a.IO.Width()))
	return b.String()
}

// carryOut acquires the lease, makes sure that nothing happened since the plan was made, and runs the restore as a journalled run.
func (o *restoreOptions) carryOut(ctx context.Context, env *environment, record restoreRecord, planned standing) error {
	lease, err := env.ledger.Acquire(ctx, "restore "+record.Restore.Backup.ID+" in "+o.env)
	if err != nil {
		return err
	}
	defer giveBack(ctx, lease)
	ctx = lease.Context(ctx)
	if err := env.unmoved(ctx, planned, "assistctl backup restore "+o.env); err != nil {
		return err
	}
	run, err := env.ledger.Begin(ctx, lease, ledger.KindRestore, record)
	if err != nil {
		return err
	}
	return o.execute(ctx, env, lease, run, record)
}

func (o *restoreOptions) execute(ctx context.Context, env *environment, lease *ledger.Lease, run *ledger.Run, record restoreRecord) error {
	if err := env.endReplaced(ctx, lease, record); err != nil {
		return o.failed(ctx, env, run, record, err)
	}
	place, err := env.restorePlace(ctx, record.Release, lease.Fence())
	if err != nil {
		return o.failed(ctx, env, run, record, err)
	}
	steps := o.app.waiting()
	defer steps.Close()
	began := run.State().Began
	check := func(ctx context.Context, url string) (string, error) {
		return env.checkRestored(ctx, url, record.Release)
	}
	restored, err := env.backups.Restore(kubernetes.OnWait(ctx, steps.waits), record.Restore, place, run, check, steps)
	steps.Close()
	if err != nil {
		return o.failed(ctx, env, run, record, err)
	}
	if err := run.End(ctx, ledger.OutcomeCommitted, release.Ending{Release: record.Release}); err != nil {
		return fault.Hint(err, "assistctl backup restore "+o.env+" --resume")
	}
	took := o.app.Now().Sub(began)
	said := fmt.Sprintf("\n%s is back as of %s, %s after you said so.", o.env, record.Restore.LostAfter.Local().Format("2006-01-02 15:04:05"), terminal.Duration(took))
	if env.site.RunJob(ctx, jobBackup) == nil {
		said += " A new backup has started."
	}
	if record.Restore.Aside != "" {
		said += fmt.Sprintf("\n  what was there before:  assistctl backup aside %s", o.env)
	}
	return o.app.say(struct {
		Run      int             `json:"run"`
		Took     float64         `json:"seconds"`
		Restored backup.Restored `json:"restored"`
		Aside    string          `json:"aside,omitempty"`
	}{run.Number(), took.Seconds(), restored, record.Restore.Aside}, said)
}
