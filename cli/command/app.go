// Package command is what a person types: the verbs, a file each, and what they have in common.
//
// It joins the packages that do not know one another (release, backup, migrate, target) and owns the way to the user: arguments and
// flags, what is printed where, how an error becomes text and an exit code. It decides nothing about releases or data.
//
// Reading order: app.go (what every verb gets), root.go (the verbs), errors.go (how it ends), environment.go (an environment, opened),
// promote.go (the main verb).
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/smart-assistant/platform/cli/config"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/terminal"
)

// App is what every verb gets: the way to the user, the clock, the configuration.
type App struct {
	IO    *terminal.IO
	Now   func() time.Time
	Build Build
	Log   *slog.Logger // what --verbose shows

	JSON    bool
	Verbose bool

	patient atomic.Bool // a second Ctrl-C does not cut short what ends in good order

	Dir     string   // working directory, absolute
	Environ []string // as os.Environ returns it
	Home    string
	Root    bool               // whether the user is root
	Chdir   func(string) error // for -C
	configs config.Options     // as the flags say
	loaded  *config.Config     // once it was needed
	noColor bool               // --no-color
	change  string             // -C
	started bool               // a verb is at work: what fails now is no longer a matter of flags and arguments
}

// Main runs assistctl with the arguments of the process and returns its exit code.
func Main(build Build) int {
	io := terminal.System()
	app, err := newSystemApp(io, build)
	if err != nil {
		fmt.Fprintln(io.Err, err)
		return fault.Failed
	}
	ctx, stop := app.interruptible()
	defer stop()
	return app.Run(ctx, os.Args[1:])
}

func newSystemApp(io *terminal.IO, build Build) (*App, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("find the working directory: %w", err)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "/" // a service account; the XDG variables may say better
	}
	return &App{
		IO: io, Now: time.Now, Build: build, Dir: dir, Environ: os.Environ(), Home: home, Root: os.Geteuid() == 0, Chdir: os.Chdir,
	}, nil
}

// interruptible is cancelled by the first Ctrl-C or SIGTERM, so that what is under way ends in order. The second leaves at once.
func (a *App) interruptible() (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		if _, ok := <-signals; !ok {
			return
		}
		cancel()
		if a.IO.Busy() {
			fmt.Fprintln(a.IO.Err, terminal.Faint("\n  stopping in good order; Ctrl-C again leaves at once"))
		}
		for range signals {
			if !a.patient.Load() {
				a.IO.Restore()
				os.Exit(fault.Interrupted)
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(signals)
		cancel()
	}
}

// Run carries out one command line and returns the exit code. It is the only place that prints an error.
func (a *App) Run(ctx context.Context, args []string) int {
	root := NewRoot(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	a.IO.Restore()
	if err != nil { // a mistake on the command line may hide the flags that say how errors look
		a.JSON = a.JSON || slices.Contains(args, "--json")
		if a.noColor || slices.Contains(args, "--no-color") {
			a.IO.NoColor()
		}
	}
	return a.report(ctx, err)
}

// begin applies the global flags, before any verb runs.
func (a *App) begin() error {
	if a.change != "" {
		dir := a.change
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(a.Dir, dir)
		}
		if err := a.Chdir(dir); err != nil {
			return fault.Code(fmt.Errorf("change to the folder of -C: %w", err), fault.Usage)
		}
		a.Dir = dir
	}
	if a.noColor {
		a.IO.NoColor()
	}
	if a.Verbose && a.IO.Quiet {
		return fault.Code(errors.New("--quiet and --verbose exclude each other"), fault.Usage)
	}
	if a.JSON && !a.IO.Live() {
		a.IO.Mute = true // what a program reads from Err is the error and nothing else
	}
	a.IO.Verbose = a.Verbose
	level := slog.LevelWarn
	if a.Verbose {
		level = slog.LevelDebug
	}
	a.Log = slog.New(slog.NewTextHandler(a.IO.Err, &slog.HandlerOptions{Level: level}))
	return nil
}

// Config returns the configuration, read when it is first asked for.
func (a *App) Config() (*config.Config, error) {
	if a.loaded != nil {
		return a.loaded, nil
	}
	o := a.configs
	o.Dir, o.Environ, o.Home, o.Root = a.Dir, a.Environ, a.Home, a.Root
	if o.File == "" {
		o.File = a.variable("ASSISTCTL_CONFIG")
	}
	loaded, err := config.Load(o)
	if err != nil {
		return nil, err
	}
	a.loaded = loaded
	return loaded, nil
}

// configArgs make another process of assistctl see the configuration that this one sees.
func (a *App) configArgs(c *config.Config) []string {
	args := []string{"-C", a.Dir}
	if c.File != "" {
		args = append(args, "--config", c.File)
	}
	for _, pair := range a.configs.Set {
		args = append(args, "--set", pair)
	}
	return args
}

func (a *App) variable(name string) string {
	for _, pair := range a.Environ {
		if value, ok := strings.CutPrefix(pair, name+"="); ok {
			return value
		}
	}
	return ""
}

// steps begins a list of steps on Err. Close it.
func (a *App) steps(names ...string) *terminal.Steps { return a.IO.Steps(names...) }

// printJSON prints v to Out.
func (a *App) printJSON(v any) error { return a.IO.JSON(v) }

// say prints the outcome of a command: text for a person, v with --json.
func (a *App) say(v any, text string) error {
	if a.JSON {
		return a.printJSON(v)
	}
	_, err := fmt.Fprintln(a.IO.Out, text)
	return err
}

// table prints rows to Out under headers.
func (a *App) table(headers []string, rows [][]string) error {
	t := terminal.NewTable(headers...)
	for _, row := range rows {
		t.Row(row...)
	}
	a.IO.Table(t)
	return nil
}

// writeAligned writes rows without headers, their columns aligned.
func writeAligned(w io.Writer, indent string, rows [][]string) {
	terminal.Align(w, indent, rows)
}

// ask lets an environment that wants it be confirmed: its name is typed, or passed with --yes --confirm=<name>. The others are not
// asked for.
func (a *App) ask(ctx context.Context, env config.Environment, yes bool, confirm, verb string) error {
	flags := "--yes --confirm=" + env.Name
	switch {
	case confirm != "" && confirm != env.Name:
		return fault.Code(fault.Hint(fmt.Errorf("--confirm=%s, but the environment is %s: nothing was changed", confirm, env.Name), "pass "+flags), fault.Usage)
	case !env.Confirm || yes && confirm == env.Name:
		return nil
	case yes:
		return fault.Code(fault.Hint(fmt.Errorf("%s wants its name said: --yes alone is not enough", env.Name), "pass "+flags), fault.Usage)
	}
	prompt := fmt.Sprintf("Type the environment's name to %s (Ctrl-C to leave everything as it is): ", verb)
	return a.IO.Confirm(ctx, prompt, env.Name, flags)
}

// showTable prints a table to Out.
func (a *App) showTable(t *terminal.Table) error {
	a.IO.Table(t)
	return nil
}

// note says something to the person that is no result.
func (a *App) note(text string) {
	if !a.IO.Quiet && !a.IO.Mute {
		fmt.Fprintln(a.IO.Err, text)
	}
}
