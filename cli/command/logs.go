package command

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/smart-assistant/platform/cli/config"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/target"
)

type logsOptions struct {
	app   *App
	env   string
	query target.LogQuery
	since string
}

func newCmdLogs(app *App, runF func(context.Context, *logsOptions) error) *cobra.Command {
	o := &logsOptions{app: app}
	cmd := &cobra.Command{
		Use:     "logs <environment> [<component>]",
		Short:   "Show what an environment's processes logged",
		GroupID: groupEnvironment,
		Long: `Show what an environment's processes logged, in the order of time. A component is postgres, a replica's name, or replicas
for all of them; on this machine also versitygw and supervisor, on a cluster also s3, backup and prune.`,
		Example: "  assistctl logs prod\n  assistctl logs prod replicas --follow\n  assistctl logs prod --since 10m --release v1.9.1",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return errors.New("logs takes an environment and perhaps a component, as in: assistctl logs prod replicas")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.env = args[0]
			if len(args) == 2 {
				o.query.Component = args[1]
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return runLogsOf(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&o.query.Follow, "follow", "f", false, "go on with what is logged from now on, until Ctrl-C")
	f.IntVarP(&o.query.Tail, "tail", "n", 0, "only the last `lines` of each component; 0 for all")
	f.StringVar(&o.since, "since", "", "only what is younger than this `duration`, such as 10m or 2d")
	f.StringVar(&o.query.Release, "release", "", "only replicas of this `release`")
	return cmd
}

func runLogsOf(ctx context.Context, o *logsOptions) error {
	cfg, err := o.app.Config()
	if err != nil {
		return err
	}
	env, err := o.app.openSite(cfg, o.env)
	if err != nil {
		return err
	}
	if o.since != "" {
		d, err := config.ParseDuration(o.since)
		if err != nil {
			return fault.Code(fmt.Errorf("--since %w", err), fault.Usage)
		}
		o.query.Since = o.app.Now().Add(-d)
	}
	err = env.Logs(ctx, o.query, o.app.IO.Out)
	if o.query.Follow && ctx.Err() != nil {
		err = nil // that is how following ends
	}
	return err
}
