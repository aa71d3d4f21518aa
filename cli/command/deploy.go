package command

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/release"
)

type deployOptions struct {
	changeOptions
	env, version string
}

func newCmdDeploy(app *App, runF func(context.Context, *deployOptions) error) *cobra.Command {
	o := &deployOptions{changeOptions: changeOptions{app: app}}
	cmd := &cobra.Command{
		Use:     "deploy <environment> <release>",
		Short:   "Bring a release into the first environment",
		GroupID: groupRelease,
		Long: `Bring a release into the first environment of the order, where releases begin. From there it is promoted.

The same as a promotion otherwise: plan, the release's own migrations, a rolling replacement, verification, and the way back.`,
		Example: "  assistctl deploy dev v1.9.0",
		Args:    exactArgs(2, "deploy takes an environment and a release, as in: assistctl deploy dev v1.9.0"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.env, o.version = args[0], args[1]
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return runDeploy(cmd.Context(), o)
		},
	}
	o.flags(cmd)
	return cmd
}

func runDeploy(ctx context.Context, o *deployOptions) error {
	cfg, err := o.app.Config()
	if err != nil {
		return err
	}
	if _, err := cfg.Environment(o.env); err != nil {
		return err
	}
	if before, ok := cfg.Before(o.env); ok {
		return fault.Code(fault.Hint(fmt.Errorf("a release comes to %s from %s, not directly", o.env, before),
			fmt.Sprintf("assistctl promote %s %s", before, o.env)), fault.Refused)
	}
	env, err := o.app.environment(ctx, cfg, o.env)
	if err != nil {
		return err
	}
	plan, err := release.PlanDeploy(ctx, env.release, o.version)
	if err != nil {
		return err
	}
	return o.carryOut(ctx, plan, nil, env)
}

type rollbackOptions struct {
	changeOptions
	env      string
	version  string
	toBefore int
}

func newCmdRollback(app *App, runF func(context.Context, *rollbackOptions) error) *cobra.Command {
	o := &rollbackOptions{changeOptions: changeOptions{app: app}}
	cmd := &cobra.Command{
		Use:     "rollback <environment>",
		Short:   "Go back to the release that ran before",
		GroupID: groupRelease,
		Long: `Go back to the release that ran before, or to the one named. The code goes back, the schema and the data stay: migrations expand
before they contract, so that the earlier release works on the later schema. Where it would not, the rollback is refused.

To bring data back, see: assistctl backup restore --help`,
		Example: `  assistctl rollback prod
  assistctl rollback prod --to v1.8.2
  assistctl rollback prod --to-before 59       # also ends promotion 59, if it never ended`,
		Args: exactArgs(1, "rollback takes one environment, as in: assistctl rollback prod"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.env = args[0]
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return runRollback(cmd.Context(), o)
		},
	}
	o.flags(cmd)
	cmd.Flags().StringVar(&o.version, "to", "", "the `release` to go back to")
	cmd.Flags().IntVar(&o.toBefore, "to-before", 0, "go back to what ran before the run of this `number`")
	cmd.MarkFlagsMutuallyExclusive("to", "to-before")
	return cmd
}

func runRollback(ctx context.Context, o *rollbackOptions) error {
	cfg, err := o.app.Config()
	if err != nil {
		return err
	}
	env, err := o.app.environment(ctx, cfg, o.env)
	if err != nil {
		return err
	}
	plan, err := release.PlanRollback(ctx, env.release, o.version, o.toBefore)
	if err != nil {
		return err
	}
	return o.carryOut(ctx, plan, nil, env)
}
