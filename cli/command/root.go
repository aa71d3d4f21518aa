package command

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/smart-assistant/platform/cli/fault"
)

// Groups of the help text.
const (
	groupRelease     = "release"
	groupData        = "data"
	groupEnvironment = "environment"
	groupOther       = "other"
)

// NewRoot returns the whole command tree. Nothing runs before ExecuteContext.
func NewRoot(app *App) *cobra.Command {
	root := &cobra.Command{
		Use:   "assistctl",
		Short: "Bring releases from dev to prod, and data back",
		Long: `assistctl promotes releases from one environment to the next, runs their migrations, backs the databases up and restores them.
Without a configuration file there are three environments on this machine: dev, staging and prod.`,
		Example: `  assistctl local up                          # three environments on this machine
  assistctl release create v1.0.0
  assistctl deploy dev v1.0.0
  assistctl promote dev staging
  assistctl status`,
		Version:           app.Build.withDefaults().String(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: func(*cobra.Command, []string) error { return app.begin() },
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetOut(app.IO.Out)
	root.SetErr(app.IO.Err)
	root.AddGroup(
		&cobra.Group{ID: groupRelease, Title: "Releases:"},
		&cobra.Group{ID: groupData, Title: "Data:"},
		&cobra.Group{ID: groupEnvironment, Title: "Environments:"},
		&cobra.Group{ID: groupOther, Title: "Other:"},
	)
	root.SetHelpCommandGroupID(groupOther)
	root.SetCompletionCommandGroupID(groupOther)
	globalFlags(root, app)
	root.AddCommand(verbs(app)...)
	root.AddCommand(helpTopics()...)
	root.SetHelpCommand(newCmdHelp())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	finish(root, app)
	return root
}

// verbs are the commands, in the order of a release's life.
func verbs(app *App) []*cobra.Command {
	return []*cobra.Command{
		newCmdRelease(app),
		newCmdDeploy(app, nil),
		newCmdPromote(app, nil),
		newCmdRollback(app, nil),
		newCmdStatus(app, nil),
		newCmdLogs(app, nil),
		newCmdDrift(app, nil),
		newCmdHistory(app, nil),
		newCmdMigrate(app),
		newCmdBackup(app),
		newCmdLocal(app),
		newCmdDoctor(app, nil),
		newCmdConfig(app),
		newCmdVersion(app, nil),
		newCmdDocs(app),
		newCmdInside(app),
	}
}

func globalFlags(root *cobra.Command, app *App) {
	f := root.PersistentFlags()
	f.SortFlags = false
	f.StringVar(&app.configs.File, "config", "", "configuration `file` (default: assistctl.yaml here or above)")
	f.StringArrayVar(&app.configs.Set, "set", nil, "set a configuration key, as in environments.dev.replicas=2 (`key=value`)")
	f.StringVarP(&app.change, "directory", "C", "", "work in this `folder`")
	f.BoolVar(&app.JSON, "json", false, "print data as JSON, errors too")
	f.BoolVar(&app.noColor, "no-color", false, "print without colours, as NO_COLOR does")
	f.BoolVarP(&app.IO.Quiet, "quiet", "q", false, "no progress: only data and errors")
	f.BoolVarP(&app.Verbose, "verbose", "v", false, "say more about what happens")
	_ = root.MarkPersistentFlagFilename("config", "yaml", "yml") // both flags are there: they were made above
	_ = root.MarkPersistentFlagDirname("directory")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fault.Code(fault.Hint(err, cmd.CommandPath()+" --help"), fault.Usage)
	})
}

// newCmdHelp is cobra's help command, which would greet an unknown topic with success.
func newCmdHelp() *cobra.Command {
	return &cobra.Command{
		Use:     "help [<command or topic>]",
		Short:   "Show the help of a command or a topic",
		GroupID: groupOther,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			var names []cobra.Completion
			if at, _, err := cmd.Root().Find(args); err == nil {
				for _, sub := range at.Commands() {
					if !sub.Hidden {
						names = append(names, cobra.CompletionWithDesc(sub.Name(), sub.Short))
					}
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			at, rest, err := cmd.Root().Find(args)
			if err != nil || at == cmd.Root() && len(rest) > 0 {
				return refuseUnknownVerb(cmd.Root(), args)
			}
			at.InitDefaultHelpFlag()
			return at.Help()
		},
	}
}

// finish gives every command what they all have: refusal of unknown verbs, completion of environments, the exit code of misuse.
func finish(cmd *cobra.Command, app *App) {
	for _, sub := range cmd.Commands() {
		finish(sub, app)
	}
	switch {
	case cmd.HasSubCommands() && !cmd.Runnable():
		cmd.Args = cobra.ArbitraryArgs
		cmd.SuggestionsMinimumDistance = 2
		cmd.RunE = func(cmd *cobra.Command, args []string) error { return refuseUnknownVerb(cmd, args) }
		return
	case cmd.RunE != nil:
		run := cmd.RunE
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			app.started = true
			return run(cmd, args)
		}
	}
	cmd.Args = misuse(cmd.Args)
	if places := environmentArguments(cmd.Use); cmd.ValidArgsFunction == nil && len(places) > 0 {
		cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			return app.completeEnvironment(args, places), cobra.ShellCompDirectiveNoFileComp
		}
	}
}

// refuseUnknownVerb stands for a command that only has others below it.
func refuseUnknownVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	err := fmt.Errorf("%s has no command %q", cmd.CommandPath(), args[0])
	hint := cmd.CommandPath() + " --help"
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = cmd.CommandPath() + " " + near[0]
	}
	return fault.Code(fault.Hint(err, hint), fault.Usage)
}

// environmentArguments returns which of a command's arguments name an environment, by its usage line.
func environmentArguments(use string) []int {
	var places []int
	use, _, _ = strings.Cut(use, "|")
	for i, word := range strings.Fields(use) {
		name := strings.Trim(word, "[].")
		if !slices.Contains([]string{"<environment>", "<from>", "<to>"}, name) {
			continue
		}
		places = append(places, i-1)
		if strings.HasSuffix(word, "...]") {
			places = append(places, i, i+1, i+2) // more of them is rarely typed
		}
	}
	return places
}

func (a *App) completeEnvironment(args []string, places []int) []string {
	if !slices.Contains(places, len(args)) {
		return nil
	}
	cfg, err := a.Config()
	if err != nil {
		return nil
	}
	if len(args) == 1 && len(places) == 2 { // from and to
		if next, ok := cfg.After(args[0]); ok {
			return []string{next}
		}
	}
	return slices.DeleteFunc(slices.Clone(cfg.Order), func(name string) bool { return slices.Contains(args, name) })
}

// misuse gives an error about arguments its exit code and the way to the help.
func misuse(check cobra.PositionalArgs) cobra.PositionalArgs {
	if check == nil {
		return nil
	}
	return func(cmd *cobra.Command, args []string) error {
		err := check(cmd, args)
		if err == nil || fault.CodeOf(err) != fault.Failed {
			return err
		}
		if strings.HasPrefix(err.Error(), "unknown command") { // what cobra.NoArgs says
			err = fmt.Errorf("%s takes no arguments, not %q", cmd.CommandPath(), args[0])
		}
		return fault.Code(fault.Hint(err, cmd.CommandPath()+" --help"), fault.Usage)
	}
}

// exactArgs demands n arguments, and says with an example what they are.
func exactArgs(n int, expected string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		return fault.Code(fault.Hint(errors.New(expected), cmd.CommandPath()+" --help"), fault.Usage)
	}
}
