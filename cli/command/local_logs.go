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

type localLogsOptions struct {
	app   *App
	env   string
	query target.LogQuery
	since string
}

func newCmdLocalLogs(app *App, runF func(context.Context, *localLogsOptions) error) *cobra.Command {
	o := &localLogsOptions{app: app}
	cmd := &cobra.Command{
		Use:   "logs <environment> [<component>]",
		Short: "Show what an environment's processes logged",
		Long: `Show what an environment's processes logged, in the order of time. A component is postgres, versitygw, supervisor, a replica's name, or replicas
for all of them. The environment need not be up.`,
		Example: "  assistctl local logs prod\n  assistctl local logs prod replicas --follow\n  assistctl local logs prod --since 10m --release v1.9.1",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return errors.New("local logs takes an environment and perhaps a component, as in: assistctl local logs prod replicas")
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
			return runLocalLogs(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&o.query.Follow, "follow", "f", false, "go on with what is logged from now on, until Ctrl-C")
	f.IntVarP(&o.query.Tail, "tail", "n", 0, "only the last `lines` of each component; 0 for all")
	f.StringVar(&o.since, "since", "", "only what is younger than this `duration`, such as 10m or 2d")
	f.StringVar(&o.query.Release, "release", "", "only replicas of this `release`")
	return cmd
}

func runLocalLogs(ctx context.Context, o *localLogsOptions) error {
	cfg, err := o.app.Config()
	if err != nil {
		return err
	}
	env, err := o.app.openLocal(cfg, o.env)
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
