package command

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/smart-assistant/platform/cli/config"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/release"
)

func newCmdRelease(app *App) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "release",
		Short:   "Make releases and look at them",
		GroupID: groupRelease,
		Long: `A release is made once and never changes: a version, a commit, the binary's SHA-256 or the images' digests, every migration with its checksum, and the settings
that travel with it. It begins in the first environment's bucket and is promoted from there as it is.`,
	}
	cmd.AddCommand(newCmdReleaseCreate(app, nil), newCmdReleaseList(app, nil), newCmdReleaseShow(app, nil))
	return cmd
}

func brevity(hash string) string { return hash[:min(len(hash), 12)] }

type releaseListOptions struct {
	app *App
	env string
}

func newCmdReleaseList(app *App, runF func(context.Context, *releaseListOptions) error) *cobra.Command {
	o := &releaseListOptions{app: app}
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List releases, newest first, and where they run",
		Example: "  assistctl release list\n  assistctl release list --env prod",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return runReleaseList(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.env, "env", "", "the `environment` whose bucket is looked at (default: the first)")
	return cmd
}

func runReleaseList(ctx context.Context, o *releaseListOptions) error {
	cfg, err := o.app.Config()
	if err != nil {
		return err
	}
	if o.env == "" {
		o.env = cfg.Order[0]
	}
	env, err := o.app.environment(ctx, cfg, o.env)
	if err != nil {
		return err
	}
	all, err := env.release.Releases.List(ctx)
	if err != nil {
		return err
	}
	if o.app.JSON {
		return o.app.printJSON(all)
	}
	if len(all) == 0 {
		return o.app.say(nil, "There is no release yet.   assistctl release create v1")
	}
	runs, err := o.runsWhere(ctx, cfg)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, m := range all {
		rows = append(rows, []string{m.Version, brevity(m.Commit), fmt.Sprint(m.Schema.Head), m.Created.Local().Format("2006-01-02 15:04"), m.CreatedBy, strings.Join(runs[m.Version], ", ")})
	}
	return o.app.table([]string{"release", "commit", "schema", "created", "by", "runs in"}, rows)
}

// runsWhere maps each release to the environments that run it; those that are not up are left out.
func (o *releaseListOptions) runsWhere(ctx context.Context, cfg *config.Config) (map[string][]string, error) {
	where := map[string][]string{}
	for _, name := range cfg.Order {
		env, err := o.app.environment(ctx, cfg, name)
		if fault.CodeOf(err) == fault.Unreachable {
			continue
		}
		if err != nil {
			return nil, err
		}
		state, err := release.StateOf(ctx, env.ledger)
		if fault.CodeOf(err) == fault.Unreachable {
			continue
		}
		if err != nil {
			return nil, err
		}
		where[state.Release] = append(where[state.Release], name)
	}
	return where, nil
}

type releaseShowOptions struct {
	app     *App
	version string
	env     string
}

func newCmdReleaseShow(app *App, runF func(context.Context, *releaseShowOptions) error) *cobra.Command {
	o := &releaseShowOptions{app: app}
	cmd := &cobra.Command{
		Use:     "show <version>",
		Short:   "Show a release's manifest",
		Example: "  assistctl release show v1.9.0",
		Args:    exactArgs(1, "release show takes a version, as in: assistctl release show v1.9.0"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.version = args[0]
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return runReleaseShow(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.env, "env", "", "the `environment` whose bucket is looked at (default: the first)")
	return cmd
}

func runReleaseShow(ctx context.Context, o *releaseShowOptions) error {
	cfg, err := o.app.Config()
	if err != nil {
		return err
	}
	if o.env == "" {
		o.env = cfg.Order[0]
	}
	env, err := o.app.environment(ctx, cfg, o.env)
	if err != nil {
		return err
	}
	m, err := env.release.Releases.Get(ctx, o.version)
	if err != nil {
		return err
	}
	if o.app.JSON {
		return o.app.printJSON(m)
	}
	out := o.app.IO.Out
	rows := [][]string{
		{"release", m.Version},
		{"commit", m.Commit},
		{"created", m.Created.Local().Format("2006-01-02 15:04:05") + " by " + m.CreatedBy},
		{"schema", fmt.Sprint(m.Schema.Head)},
		{"config hash", m.ConfigHash},
	}
	for _, a := range m.Artifacts {
		rows = append(rows, []string{"binary", fmt.Sprintf("%s  %s  %d bytes", a.Platform, a.SHA256, a.Size)})
	}
	for _, name := range slices.Sorted(maps.Keys(m.Images)) {
		rows = append(rows, []string{"image", name + "  " + m.Images[name]})
	}
	writeAligned(out, "", rows)
	fmt.Fprintln(out)
	var migrations [][]string
	for _, mig := range m.Schema.Migrations {
		migrations = append(migrations, []string{fmt.Sprint(mig.Version), mig.Name, string(mig.Phase), mig.SHA256})
	}
	return o.app.table([]string{"migration", "name", "phase", "sha256"}, migrations)
}

// errNoRelease says that an environment runs nothing yet.
func errNoRelease(env string) error {
	return fault.Code(fault.Hint(fmt.Errorf("no release runs in %s yet", env), "assistctl deploy "+env+" <release>"), fault.NotFound)
}
