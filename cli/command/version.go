package command

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Build says which assistctl this is.
type Build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// withDefaults asks the Go tool's own stamp where the linker said nothing.
func (b Build) withDefaults() Build {
	b.Go, b.Platform = runtime.Version(), runtime.GOOS+"/"+runtime.GOARCH
	if info, ok := debug.ReadBuildInfo(); ok && b.Commit == "" {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				b.Commit = s.Value
			}
		}
	}
	if b.Version == "" {
		b.Version = "dev"
	}
	if b.Commit == "" {
		b.Commit = "unknown"
	}
	return b
}

func (b Build) String() string {
	return fmt.Sprintf("assistctl %s, commit %s, %s, %s", b.Version, b.Commit, b.Go, b.Platform)
}

type versionOptions struct{ app *App }

func newCmdVersion(app *App, runF func(context.Context, *versionOptions) error) *cobra.Command {
	o := &versionOptions{app: app}
	return &cobra.Command{
		Use:     "version",
		Short:   "Show which assistctl this is",
		GroupID: groupOther,
		Example: "  assistctl version\n  assistctl version --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			b := app.Build.withDefaults()
			return app.say(b, b.String())
		},
	}
}
