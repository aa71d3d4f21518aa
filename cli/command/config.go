package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/smart-assistant/platform/cli/config"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/terminal"
)

func newCmdConfig(app *App) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "config",
		Short:   "See what is configured and where it comes from",
		GroupID: groupEnvironment,
		Long: `assistctl reads assistctl.yaml from the working directory or the nearest folder above it. Every key has a default, so that no file is
needed. A flag (--set key=value) beats an environment variable (ASSISTCTL_KEY), a variable beats the file, the file beats the default.`,
	}
	cmd.AddCommand(newCmdConfigView(app, nil), newCmdConfigInit(app, nil))
	return cmd
}

type configViewOptions struct {
	app     *App
	keys    []string
	changed bool
}

func newCmdConfigView(app *App, runF func(context.Context, *configViewOptions) error) *cobra.Command {
	o := &configViewOptions{app: app}
	cmd := &cobra.Command{
		Use:   "view [<key>...]",
		Short: "Show every key, its value and its source",
		Example: `  assistctl config view
  assistctl config view environments.prod       # one section
  assistctl config view --changed               # only what is not a default
  assistctl config view --json | jq '.[] | select(.source.kind == "environment")'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.keys = args
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return runConfigView(o)
		},
	}
	cmd.Flags().BoolVar(&o.changed, "changed", false, "leave the defaults out")
	return cmd
}

func runConfigView(o *configViewOptions) error {
	cfg, err := o.app.Config()
	if err != nil {
		return err
	}
	values := []config.Value{}
	for _, v := range cfg.Values() {
		if (len(o.keys) == 0 || within(v.Key, o.keys)) && (!o.changed || v.Source.Kind != config.FromDefault) {
			values = append(values, v)
		}
	}
	if len(values) == 0 && len(o.keys) > 0 && !o.changed {
		return fault.Code(fault.Hint(fmt.Errorf("there is no key %s", strings.Join(o.keys, " ")), "assistctl config view"), fault.NotFound)
	}
	if o.app.JSON {
		return o.app.printJSON(values)
	}
	t := terminal.NewTable("key", "value", "source")
	for _, v := range values {
		source := v.Source.String()
		if v.Source.Kind == config.FromDefault {
			source = terminal.Faint(source)
		}
		t.Row(v.Key, orDash(v.Value), source)
	}
	o.app.IO.Table(t)
	return nil
}

func within(key string, sections []string) bool {
	for _, s := range sections {
		if key == s || strings.HasPrefix(key, s+".") {
			return true
		}
	}
	return false
}

// orDash stands for a value that there is none of.
func orDash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

type configInitOptions struct {
	app  *App
	path string
}

func newCmdConfigInit(app *App, runF func(context.Context, *configInitOptions) error) *cobra.Command {
	o := &configInitOptions{app: app}
	return &cobra.Command{
		Use:     "init [<file>]",
		Short:   "Write a commented assistctl.yaml that changes nothing yet",
		Example: "  assistctl config init",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.path = config.FileName
			if len(args) == 1 {
				o.path = args[0]
			}
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return runConfigInit(o)
		},
	}
}

func runConfigInit(o *configInitOptions) error {
	path := o.path
	if !filepath.IsAbs(path) {
		path = filepath.Join(o.app.Dir, path)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fault.Code(fault.Hint(fmt.Errorf("%s is there already, and stays as it is", o.path), "assistctl config view"), fault.Refused)
	}
	if err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	_, err = f.WriteString(config.Template)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	return o.app.say(map[string]string{"file": path}, "Wrote "+o.path+" with every key and its default, as comments.   assistctl config view")
}
