package command

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/smart-assistant/platform/cli/backup"
	"github.com/smart-assistant/platform/cli/config"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/release"
	"github.com/smart-assistant/platform/cli/terminal"
)

func newCmdBackup(app *App) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "backup",
		Short:   "Take backups, check them, and bring data back",
		GroupID: groupData,
		Long: `Physical base backups of an environment's database, with the log that makes them consistent: compressed, encrypted, and streamed to the
environment's bucket without a temporary file. They open without assistctl too: README, "Open a backup by hand".`,
	}
	cmd.AddCommand(newCmdBackupCreate(app, nil), newCmdBackupList(app, nil), newCmdBackupShow(app, nil), newCmdBackupVerify(app, nil),
		newCmdBackupRestore(app, nil), newCmdBackupPrune(app, nil), newCmdBackupAside(app, nil))
	return cmd
}

// operator reads the operator's key, or makes it and says so: it is the one file that somebody has to keep.
func (a *App) operator(c *config.Config) (*backup.Operator, error) {
	path := identityPath(c)
	operator, created, err := backup.LoadOperator(path, a.Now())
	if err != nil {
		return nil, err
	}
	if created {
		a.note(fmt.Sprintf("Your key to the backups was made: %s\nKeep a copy of it somewhere else. Without it no backup opens, not even for you.", path))
	}
	return operator, nil
}

// reader makes the environment's backups readable by this operator.
func (e *environment) reader() error {
	operator, err := e.app.operator(e.all)
	if err != nil {
		return err
	}
	e.backups.Opener = e.keys(operator)
	return nil
}

// readerWithKey is reader for those who have a key already: only then are signatures checked.
func (e *environment) readerWithKey() error {
	if e.backups.Opener != nil {
		return nil
	}
	if _, err := os.Stat(identityPath(e.all)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return e.reader()
}

func (e *environment) keys(operator *backup.Operator) *backup.Keys {
	return &backup.Keys{Store: e.store, Environment: e.config.Name, Operator: operator, Now: e.app.Now}
}

// writer makes the environment able to write backups: with the file that an earlier call left, or as the operator.
func (e *environment) writer(ctx context.Context) error {
	operator, err := e.app.operator(e.all)
	if err != nil {
		return err
	}
	e.backups.Sealer, err = backup.EnsureWriter(ctx, e.site.writer(), e.keys(operator), rand.Reader)
	return err
}

// take makes a backup. Without an operator's key (the schedule has none) it uses the writer's file.
func (e *environment) take(ctx context.Context, o backup.TakeOptions, progress backup.Progress) (backup.Backup, error) {
	if e.backups.Sealer == nil {
		if err := e.writer(ctx); err != nil {
			return backup.Backup{}, err
		}
	}
	return e.site.take(ctx, e, o, progress)
}

// firstBackup takes a backup where the schedule cannot take any yet, which is so until somebody with the operator's key has: a cluster's pods
// have none. The next promotion's gate asks for it.
func (e *environment) firstBackup(ctx context.Context, progress backup.Progress) error {
	if _, err := e.site.writer().Read(ctx); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	runs, head := e.contents(ctx)
	_, err := e.take(ctx, backup.TakeOptions{Kind: backup.Scheduled, Label: "the first", Release: runs, SchemaHead: head}, progress)
	if err != nil {
		return fault.Hint(fmt.Errorf("%s runs %s, but its first backup failed: %w", e.config.Name, runs, err), "assistctl backup create "+e.config.Name)
	}
	return nil
}

// contents says what runs now, for the list's reader. A backup is taken also where nobody can tell.
func (e *environment) contents(ctx context.Context) (runs string, head int64) {
	state, err := release.StateOf(ctx, e.ledger)
	if err != nil || state.Release == "" {
		return "", 0
	}
	m, err := e.release.Releases.Get(ctx, state.Release)
	if err != nil {
		return state.Release, 0
	}
	plan, err := e.release.Schema.Plan(ctx, m)
	if err != nil {
		return state.Release, 0
	}
	return state.Release, plan.Current
}

type backupCreateOptions struct {
	app   *App
	env   string
	label string
}

func newCmdBackupCreate(app *App, runF func(context.Context, *backupCreateOptions) error) *cobra.Command {
	o := &backupCreateOptions{app: app}
	cmd := &cobra.Command{
		Use:     "create <environment>",
		Short:   "Take a backup now",
		Example: "  assistctl backup create prod\n  assistctl backup create prod --label \"before the import\"",
		Args:    exactArgs(1, "backup create takes one environment, as in: assistctl backup create prod"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.env = args[0]
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return runBackupCreate(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.label, "label", "", "why, for the reader of the list")
	return cmd
}

func runBackupCreate(ctx context.Context, o *backupCreateOptions) error {
	env, err := o.app.named(ctx, o.env)
	if err != nil {
		return err
	}
	steps := o.app.steps()
	defer steps.Close()
	runs, head := env.contents(ctx)
	b, err := env.take(ctx, backup.TakeOptions{Kind: backup.Manual, Label: o.label, Release: runs, SchemaHead: head}, steps)
	steps.Close()
	if err != nil {
		return fault.Hint(err, "assistctl doctor")
	}
	return o.app.say(b.Commit, fmt.Sprintf("Backup %s of %s.   assistctl backup verify %s %s", b.ID, o.env, o.env, b.ID))
}

type backupListOptions struct {
	app *App
	env string
}

func newCmdBackupList(app *App, runF func(context.Context, *backupListOptions) error) *cobra.Command {
	o := &backupListOptions{app: app}
	return &cobra.Command{
		Use:     "list <environment>",
		Short:   "List the backups that can be restored, newest first",
		Example: "  assistctl backup list prod",
		Args:    exactArgs(1, "backup list takes one environment, as in: assistctl backup list prod"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.env = args[0]
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return runBackupList(cmd.Context(), o)
		},
	}
}

func runBackupList(ctx context.Context, o *backupListOptions) error {
	env, err := o.app.named(ctx, o.env)
	if err != nil {
		return err
	}
	if err := env.reader(); err != nil {
		return err
	}
	all, err := env.backups.List(ctx)
	if err != nil {
		return err
	}
	newest := make([]backup.Backup, 0, len(all))
	for _, a := range slices.Backward(all) {
		newest = append(newest, a)
	}
	if o.app.JSON {
		return o.app.printJSON(listed(newest))
	}
	if len(newest) == 0 {
		return o.app.say(nil, fmt.Sprintf("%s has no backup yet.   assistctl backup create %s", o.env, o.env))
	}
	return o.app.showTable(backupTable(o.app, newest))
}

// listedBackup is a backup in --json; a damaged one says why.
type listedBackup struct {
	backup.Backup
	Problem string `json:"problem,omitempty"`
}

func listed(all []backup.Backup) []listedBackup {
	out := make([]listedBackup, 0, len(all))
	for _, b := range all {
		l := listedBackup{Backup: b}
		if b.Problem != nil {
			l.Problem, l.Backup.Problem = b.Problem.Error(), nil
		}
		out = append(out, l)
	}
	return out
}

func backupTable(a *App, all []backup.Backup) *terminal.Table {
	t := terminal.NewTable("backup", "taken", "kind", "release", "schema", "data", "stored", "").Right(4, 5, 6)
	for _, b := range all {
		if b.Problem != nil {
			t.Row(b.ID, terminal.Ago(a.Now(), b.Finished), string(b.Kind), "", "", "", "", terminal.Bad("unusable: "+b.Problem.Error()))
			continue
		}
		t.Row(b.ID, terminal.Ago(a.Now(), b.Finished), string(b.Kind), b.Release, schemaText(b.SchemaHead), terminal.Bytes(b.RawBytes), terminal.Bytes(b.StoredBytes), b.Label)
	}
	return t
}

func schemaText(head int64) string {
	if head == 0 {
		return ""
	}
	return fmt.Sprint(head)
}

type backupShowOptions struct {
	app     *App
	env, id string
}

func newCmdBackupShow(app *App, runF func(context.Context, *backupShowOptions) error) *cobra.Command {
	o := &backupShowOptions{app: app}
	return &cobra.Command{
		Use:     "show <environment> <backup>",
		Short:   "Show one backup, with every object that it consists of",
		Example: "  assistctl backup show prod p-20261124-091203",
		Args:    exactArgs(2, "backup show takes an environment and a backup, as in: assistctl backup show prod p-20261124-091203"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.env, o.id = args[0], args[1]
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return runBackupShow(cmd.Context(), o)
		},
	}
}

func runBackupShow(ctx context.Context, o *backupShowOptions) error {
	env, err := o.app.named(ctx, o.env)
	if err != nil {
		return err
	}
	if err := env.reader(); err != nil {
		return err
	}
	b, err := env.backups.Show(ctx, o.id)
	if err != nil {
		return err
	}
	if o.app.JSON {
		return o.app.printJSON(b.Commit)
	}
	t := terminal.NewTable()
	t.Row("backup", b.ID).Row("environment", b.Environment).Row("kind", string(b.Kind))
	if b.Label != "" {
		t.Row("label", b.Label)
	}
	t.Row("taken", fmt.Sprintf("%s, in %s", b.Started.Local().Format("2006-01-02 15:04:05"), terminal.Duration(b.Finished.Sub(b.Started))))
	if !b.KeepUntil.IsZero() {
		t.Row("kept until", b.KeepUntil.Local().Format("2006-01-02 15:04"))
	}
	t.Row("release", b.Release).Row("schema", schemaText(b.SchemaHead)).Row("postgresql", b.PostgreSQL).
		Row("system", fmt.Sprint(b.SystemIdentifier)).Row("timeline", fmt.Sprint(b.Timeline)).
		Row("log", fmt.Sprintf("%s … %s", b.StartLSN, b.StopLSN)).Row("key epoch", fmt.Sprint(b.Epoch)).
		Row("data", terminal.Bytes(b.RawBytes)).Row("stored", terminal.Bytes(b.StoredBytes))
	o.app.IO.Table(t)
	fmt.Fprintln(o.app.IO.Out)
	objects := terminal.NewTable("object", "bytes", "sha256").Right(1)
	for _, object := range b.Objects() {
		objects.Row(backup.Prefix(b.ID)+object.Name, fmt.Sprint(object.Size), object.SHA256)
	}
	return o.app.showTable(objects)
}

type backupVerifyOptions struct {
	app     *App
	env, id string
}

func newCmdBackupVerify(app *App, runF func(context.Context, *backupVerifyOptions) error) *cobra.Command {
	o := &backupVerifyOptions{app: app}
	return &cobra.Command{
		Use:   "verify <environment> [<backup>]",
		Short: "Read a whole backup and check every byte of it, writing nothing",
		Long: `Read a whole backup (the newest, when none is named) and check everything that a restore checks: who signed it, each object's SHA-256,
each file's checksum against PostgreSQL's own manifest, and the log. What is wrong is named.`,
		Example: "  assistctl backup verify prod\n  assistctl backup verify prod p-20261124-091203",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return fault.Code(errors.New("backup verify takes an environment and perhaps a backup"), fault.Usage)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.env = args[0]
			if len(args) == 2 {
				o.id = args[1]
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return runBackupVerify(cmd.Context(), o)
		},
	}
}

func runBackupVerify(ctx context.Context, o *backupVerifyOptions) error {
	env, err := o.app.named(ctx, o.env)
	if err != nil {
		return err
	}
	if err := env.reader(); err != nil {
		return err
	}
	if o.id == "" {
		newest, err := env.newest(ctx)
		if err != nil {
			return err
		}
		o.id = newest.ID
	}
	steps := o.app.steps()
	defer steps.Close()
	found, err := env.backups.Verify(ctx, o.id, steps)
	steps.Close()
	if err != nil {
		return err
	}
	return o.app.say(found, fmt.Sprintf("Backup %s of %s is whole and opens with your key.", o.id, o.env))
}

// newest is the newest backup that can be used.
func (e *environment) newest(ctx context.Context) (backup.Backup, error) {
	all, err := e.backups.List(ctx)
	if err != nil {
		return backup.Backup{}, err
	}
	var unusable []string
	for _, a := range slices.Backward(all) {
		if a.Problem == nil {
			return a, nil
		}
		unusable = append(unusable, a.Problem.Error())
	}
	if len(unusable) > 0 {
		return backup.Backup{}, fault.Code(fmt.Errorf("%s has no usable backup: %s", e.config.Name, strings.Join(unusable, "; ")), fault.Damaged)
	}
	return backup.Backup{}, fault.Code(fault.Hint(fmt.Errorf("%s has no backup", e.config.Name), "assistctl backup create "+e.config.Name), fault.NotFound)
}
