package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/smart-assistant/platform/cli/config"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/cli/target/local"
	"github.com/smart-assistant/platform/cli/terminal"
)

func newCmdLocal(app *App) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "local",
		Short:   "Run environments on this machine",
		GroupID: groupEnvironment,
		Long: `An environment on this machine is a PostgreSQL server, an S3 server and the service's replicas behind a proxy, looked after by one process
that outlives the terminal. All of it listens on 127.0.0.1 only, and needs no container.`,
	}
	cmd.AddCommand(newCmdLocalUp(app, nil), newCmdLocalDown(app, nil), newCmdLocalStatus(app, nil), underLocal(newCmdLogs(app, nil)),
		newCmdLocalReset(app, nil), newCmdLocalSupervise(app, nil))
	return cmd
}

// localOptions are what the verbs about several environments have in common.
type localOptions struct {
	app   *App
	names []string // none means all
}

// eachLocal opens the named environments, or all local ones in their order. It touches none of them.
func (o *localOptions) eachLocal() ([]*local.Environment, error) {
	cfg, err := o.app.Config()
	if err != nil {
		return nil, err
	}
	names := o.names
	if len(names) == 0 {
		for _, name := range cfg.Order {
			if cfg.Environments[name].Target == config.TargetLocal {
				names = append(names, name)
			}
		}
	}
	var all []*local.Environment
	for _, name := range names {
		env, err := o.app.openLocal(cfg, name)
		if err != nil {
			return nil, err
		}
		all = append(all, env)
	}
	if len(all) == 0 {
		return nil, fault.Code(fault.Hint(errors.New("no environment has target local"), "assistctl config view"), fault.NotFound)
	}
	return all, nil
}

// atOnce does something in all environments side by side, each as a step of its own, and returns what went wrong.
func (o *localOptions) atOnce(all []*local.Environment, do func(*local.Environment, func(detail string)) (said string, err error)) error {
	var names []string
	for _, env := range all {
		names = append(names, env.Name())
	}
	steps := o.app.steps(names...)
	defer steps.Close()
	failed := make([]error, len(all))
	var done sync.WaitGroup
	for i, env := range all {
		steps.StepStarted(env.Name())
		done.Go(func() {
			said, err := do(env, func(detail string) { steps.StepDetail(env.Name(), detail) })
			if failed[i] = err; err != nil {
				steps.StepFailed(env.Name(), err)
				return
			}
			steps.StepDone(env.Name(), said)
		})
	}
	done.Wait()
	return several(names, failed)
}

// manyErrors are those of several environments. Each was told where it happened; the end counts them.
type manyErrors struct {
	all  []error
	text string
}

func (m *manyErrors) Error() string   { return m.text }
func (m *manyErrors) Unwrap() []error { return m.all }

// several makes one error of those of several environments: nil, the only one, or all with their names.
func several(names []string, failed []error) error {
	m := &manyErrors{}
	var who []string
	for i, err := range failed {
		if err != nil {
			m.all, who = append(m.all, err), append(who, names[i])
		}
	}
	switch len(m.all) {
	case 0:
		return nil
	case 1:
		return m.all[0]
	}
	m.text = fmt.Sprintf("%s failed; the first: %s", strings.Join(who, ", "), m.all[0])
	return m
}

func newCmdLocalUp(app *App, runF func(context.Context, *localOptions) error) *cobra.Command {
	o := &localOptions{app: app}
	return &cobra.Command{
		Use:   "up [<environment>...]",
		Short: "Start environments; what is up already stays as it is",
		Long: `Start the named environments, or all, and wait until database, bucket and the replicas of the last deployment are ready.

Ports are picked on the first start and kept. What runs goes on when the terminal closes. A number of replicas that was configured anew is
taken over; other changes of the configuration ask for down and up.`,
		Example: "  assistctl local up\n  assistctl local up dev --set environments.dev.replicas=2",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.names = args
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return runLocalUp(cmd.Context(), o)
		},
	}
}

func runLocalUp(ctx context.Context, o *localOptions) error {
	all, err := o.eachLocal()
	if err != nil {
		return err
	}
	err = o.atOnce(all, func(env *local.Environment, progress func(string)) (string, error) {
		began := o.app.Now()
		changed, err := env.Up(ctx, progress)
		if !changed {
			return "was up already", err
		}
		return "up   " + terminal.Duration(o.app.Now().Sub(began)), err
	})
	if err != nil && ctx.Err() != nil {
		err = errors.New("stopped before everything was ready; what was started goes on")
		return fault.Code(fault.Hint(err, "wait again:  assistctl local up\nend it:      assistctl local down"), fault.Interrupted)
	}
	if err != nil {
		return err
	}
	if err := o.letBackUp(ctx, all); err != nil {
		return err
	}
	return o.addresses(ctx, all)
}

// letBackUp leaves each environment what its schedule needs to take backups. One after the other: the first makes the operator's key.
func (o *localOptions) letBackUp(ctx context.Context, all []*local.Environment) error {
	cfg, err := o.app.Config()
	if err != nil {
		return err
	}
	for _, place := range all {
		env, err := o.app.environment(ctx, cfg, place.Name())
		if err != nil {
			return err
		}
		if err := env.writer(ctx); err != nil {
			return fmt.Errorf("let %s take backups: %w", place.Name(), err)
		}
	}
	return nil
}

// addresses shows where to reach what is up.
func (o *localOptions) addresses(ctx context.Context, all []*local.Environment) error {
	var rows [][]string
	states, err := o.look(ctx, all)
	if err != nil {
		return err
	}
	if o.app.JSON {
		return o.app.printJSON(states)
	}
	fresh := true
	for _, st := range states {
		runs := "–"
		if st.Build != nil {
			runs, fresh = fmt.Sprintf("%s, %d/%d ready", st.Build.Version, st.Ready, st.Want), false
		}
		rows = append(rows, []string{st.Environment, runs, st.URL, port(st, "postgres"), port(st, "versitygw")})
	}
	fmt.Fprintln(o.app.IO.Err)
	if err := o.app.table([]string{"", "runs", "api", "postgres", "s3"}, rows); err != nil {
		return err
	}
	if fresh {
		o.app.note(fmt.Sprintf("\nMake a release:  assistctl release create v1\nBring it in:     assistctl deploy %s v1", states[0].Environment))
	}
	return nil
}

// port is where a component listens on 127.0.0.1, by its name.
func port(st target.Status, component string) string {
	for _, c := range st.Components {
		if c.Name == component && c.Port != 0 {
			return fmt.Sprintf(":%d", c.Port)
		}
	}
	return "–"
}

func (o *localOptions) look(ctx context.Context, all []*local.Environment) ([]target.Status, error) {
	states := make([]target.Status, 0, len(all))
	for _, env := range all {
		st, err := env.Status(ctx)
		if err != nil {
			return nil, err
		}
		states = append(states, st)
	}
	return states, nil
}

func newCmdLocalDown(app *App, runF func(context.Context, *localOptions) error) *cobra.Command {
	o := &localOptions{app: app}
	return &cobra.Command{
		Use:     "down [<environment>...]",
		Short:   "Stop environments; their data stays",
		Long:    "Stop the named environments, or all: requests under way are answered, then replicas, database and bucket end. No process is left.",
		Example: "  assistctl local down\n  assistctl local down staging",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.names = args
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return runLocalDown(cmd.Context(), o)
		},
	}
}

func runLocalDown(ctx context.Context, o *localOptions) error {
	all, err := o.eachLocal()
	if err != nil {
		return err
	}
	err = o.atOnce(all, func(env *local.Environment, _ func(string)) (string, error) {
		began := o.app.Now()
		st, err := env.Status(ctx)
		if err == nil && !st.Up {
			// Down all the same: it ends what a killed supervisor left.
			return "was down already", env.Down(ctx)
		}
		if err := env.Down(ctx); err != nil {
			return "", err
		}
		return "down   " + terminal.Duration(o.app.Now().Sub(began)), nil
	})
	if err != nil || !o.app.JSON {
		return err
	}
	states, err := o.look(ctx, all)
	if err != nil {
		return err
	}
	return o.app.printJSON(states)
}

type localResetOptions struct {
	app     *App
	env     string
	yes     bool
	confirm string
}

func newCmdLocalReset(app *App, runF func(context.Context, *localResetOptions) error) *cobra.Command {
	o := &localResetOptions{app: app}
	cmd := &cobra.Command{
		Use:   "reset <environment>",
		Short: "Stop an environment and delete all of it, its backups too",
		Long: `Stop an environment on this machine and delete everything of it: database, bucket with its backups and its history, secrets, releases.
Nothing brings it back. The environment's name is asked for, whatever its configuration says.`,
		Example: "  assistctl local reset dev\n  assistctl local reset dev --yes --confirm=dev    # without a terminal",
		Args:    exactArgs(1, "local reset takes one environment, as in: assistctl local reset dev"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.env = args[0]
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return runLocalReset(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "go on without asking")
	cmd.Flags().StringVar(&o.confirm, "confirm", "", "the environment's `name`, where there is no terminal to ask on")
	return cmd
}

func runLocalReset(ctx context.Context, o *localResetOptions) error {
	cfg, err := o.app.Config()
	if err != nil {
		return err
	}
	env, err := o.app.openLocal(cfg, o.env)
	if err != nil {
		return err
	}
	asks := cfg.Environments[o.env]
	asks.Confirm = true
	if !o.yes && o.app.IO.CanAsk() {
		o.app.note(fmt.Sprintf("This deletes %s for good: its database, its bucket with all backups, its history, secrets and releases.\n%s", o.env, env.Dir()))
	}
	if err := o.app.ask(ctx, asks, o.yes, o.confirm, "delete it"); err != nil {
		return err
	}
	if _, err := os.Stat(env.Dir()); errors.Is(err, fs.ErrNotExist) {
		return o.app.say(map[string]string{"environment": o.env}, fmt.Sprintf("There is nothing of %s in %s.", o.env, env.Dir()))
	}
	if err := env.Reset(ctx); err != nil {
		return err
	}
	return o.app.say(map[string]string{"environment": o.env, "deleted": env.Dir()},
		fmt.Sprintf("%s is gone, with all that was in %s.   assistctl local up %s", o.env, env.Dir(), o.env))
}

// newCmdLocalSupervise is what `local up` starts: the process that looks after one environment.
func newCmdLocalSupervise(app *App, runF func(context.Context, string) error) *cobra.Command {
	return &cobra.Command{
		Use:    "supervise <environment>",
		Short:  "Look after one environment until it is taken down",
		Hidden: true,
		Args:   exactArgs(1, "local supervise takes one environment"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if runF != nil {
				return runF(cmd.Context(), args[0])
			}
			return runLocalSupervise(cmd.Context(), app, args[0])
		},
	}
}

func runLocalSupervise(ctx context.Context, app *App, name string) error {
	app.patient.Store(true)
	cfg, err := app.Config()
	if err != nil {
		return err
	}
	env, err := app.openLocal(cfg, name)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewJSONHandler(app.IO.Err, nil))
	jobs := app.scheduledJobs(cfg, name, log)
	writer := writerPath(env)
	for i, j := range jobs {
		jobs[i].Next = onceThere(writer, j.Next)
	}
	return local.Supervise(ctx, local.Supervision{Dir: env.Dir(), Jobs: jobs, Log: app.IO.Err, Now: time.Now})
}

// onceThere keeps a job from being due before the file exists that it works with: the environment is up before anybody can leave it one.
func onceThere(path string, next func(time.Time) (time.Time, bool)) func(time.Time) (time.Time, bool) {
	return func(last time.Time) (time.Time, bool) {
		if _, err := os.Stat(path); err != nil {
			return time.Time{}, false
		}
		return next(last)
	}
}

// underLocal makes a verb one of `assistctl local`, whose help has no groups.
func underLocal(cmd *cobra.Command) *cobra.Command {
	cmd.GroupID = ""
	return cmd
}
