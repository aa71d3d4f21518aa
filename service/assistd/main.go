// Command assistd is the service: it serves the API, carries the migrations of its database and tests a running instance of
// itself. Its settings come from the environment (settings.go), so that no secret stands in a process list.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/smart-assistant/platform/service/schema"
	"github.com/smart-assistant/platform/service/server"
)

// Set by the linker: -X main.version=v1.2.3 -X main.commit=….
var (
	version = "dev"
	commit  = "unknown"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := command(os.Stdout, os.Stderr).ExecuteContext(ctx); err != nil {
		if !errors.Is(err, errReported) {
			complain(err)
		}
		os.Exit(1)
	}
}

// complain says why the process ends. In a pod standard error goes the way of standard output, which programs read: there ASSISTD_ERROR_FILE
// is where Kubernetes looks for a container's last words.
func complain(err error) {
	if path := os.Getenv("ASSISTD_ERROR_FILE"); path != "" {
		if os.WriteFile(path, fmt.Appendln(nil, "assistd:", err), 0o600) == nil {
			return
		}
	}
	fmt.Fprintln(os.Stderr, "assistd:", err)
}

// errReported ends the process with status 1 when the output has said already what failed.
var errReported = errors.New("failed")

func command(stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use: "assistd", Short: "The Smart Assistant service", Long: settingsHelp,
		SilenceUsage: true, SilenceErrors: true, Args: cobra.NoArgs,
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(serveCommand(), migrateCommand(), smokeCommand(), rewrapCommand(), adminCommand(), versionCommand(), healthCommand())
	return root
}

func build() server.Build {
	return server.Build{Version: version, Commit: commit, Go: runtime.Version()}
}

func versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "version", Short: "Say which build this is and which schema it carries", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			set, err := schema.Embedded()
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), struct {
					server.Build
					Schema schema.Manifest `json:"schema"`
				}{build(), set.Manifest()})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "assistd %s (%s, %s), schema %d\n", version, commit, runtime.Version(), set.Head())
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, with every migration's checksum")
	return cmd
}

func printJSON(w io.Writer, v any) error {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}
