package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/smart-assistant/platform/service/schema"
	"github.com/smart-assistant/platform/service/schema/migrator"
	"github.com/smart-assistant/platform/service/telemetry"
)

func migrateCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "migrate", Short: "Bring the database to this build's schema", Args: cobra.NoArgs}
	cmd.PersistentFlags().BoolVar(&asJSON, "json", false, "print JSON; for up and down one event a line")
	cmd.AddCommand(statusCommand(&asJSON), planCommand(&asJSON), upCommand(&asJSON), downCommand(&asJSON), lintCommand(&asJSON))
	return cmd
}

// withMigrator opens the database of the environment for one command.
func withMigrator(report func(schema.Event), do func(*migrator.Migrator) error) error {
	set, err := schema.Embedded()
	if err != nil {
		return err
	}
	var env environment
	url := env.databaseURL()
	options := migrator.Options{
		Release:     version,
		LockTimeout: env.duration("ASSISTD_LOCK_TIMEOUT"),
		RunnerWait:  env.duration("ASSISTD_RUNNER_WAIT"),
		Report:      report,
		Now:         telemetry.SystemClock,
	}
	if err := env.err(); err != nil {
		return err
	}
	m, err := migrator.Open(url, set, options)
	if err != nil {
		return err
	}
	return errors.Join(do(m), m.Close())
}

func statusCommand(asJSON *bool) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Compare the database with this build", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withStatus(cmd.Context(), func(s schema.Status) error {
				if *asJSON {
					return printJSON(cmd.OutOrStdout(), s)
				}
				return printStatus(cmd.OutOrStdout(), s)
			})
		},
	}
}

func withStatus(ctx context.Context, do func(schema.Status) error) error {
	return withMigrator(nil, func(m *migrator.Migrator) error {
		status, err := m.Status(ctx)
		if err != nil {
			return err
		}
		return do(status)
	})
}

func printStatus(w io.Writer, s schema.Status) error {
	fmt.Fprintf(w, "schema %d, this build has %d\n", s.Current, s.Head)
	for _, a := range s.Applied {
		fmt.Fprintf(w, "applied  %5d %s  %s  by %s at %s\n", a.Version, a.Name, a.Phase, a.Release, a.AppliedAt.Format("2006-01-02 15:04:05 MST"))
	}
	for _, m := range s.Pending {
		fmt.Fprintf(w, "pending  %5d %s  %s\n", m.Version, m.Name, m.Phase)
	}
	for _, d := range s.Drift {
		fmt.Fprintf(w, "drift    %5d %s  %s: %s\n", d.Version, d.Name, d.Kind, d.Detail)
	}
	for _, index := range s.InvalidIndexes {
		fmt.Fprintf(w, "invalid  index %s: being made, or left by an interrupted run\n", index)
	}
	return nil
}

func planCommand(asJSON *bool) *cobra.Command {
	return &cobra.Command{
		Use: "plan", Short: "Say what up would do", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withStatus(cmd.Context(), func(s schema.Status) error {
				if *asJSON {
					return printJSON(cmd.OutOrStdout(), s.Plan())
				}
				for _, d := range s.Drift {
					fmt.Fprintf(cmd.OutOrStdout(), "refused  %s\n", d)
				}
				for _, m := range s.Pending {
					how := "in a transaction"
					if m.Concurrent {
						how = "concurrently"
					}
					fmt.Fprintf(cmd.OutOrStdout(), "apply    %5d %s  %s, %s\n", m.Version, m.Name, m.Phase, how)
				}
				return nil
			})
		},
	}
}

func upCommand(asJSON *bool) *cobra.Command {
	var to int64
	cmd := &cobra.Command{
		Use: "up", Short: "Apply every pending migration", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runMigrations(cmd, *asJSON, func(m *migrator.Migrator) error { return m.Up(cmd.Context(), to) })
		},
	}
	cmd.Flags().Int64Var(&to, "to", 0, "stop after this version (default: the newest of this build)")
	return cmd
}

func downCommand(asJSON *bool) *cobra.Command {
	var to int64
	cmd := &cobra.Command{
		Use: "down", Short: "Take back every migration above a version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runMigrations(cmd, *asJSON, func(m *migrator.Migrator) error { return m.Down(cmd.Context(), to) })
		},
	}
	cmd.Flags().Int64Var(&to, "to", 0, "version to go back to; 0 is the empty database")
	if err := cmd.MarkFlagRequired("to"); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}

// runMigrations prints events as they happen. With JSON the last one says how it ended, so nothing is printed after it.
func runMigrations(cmd *cobra.Command, asJSON bool, do func(*migrator.Migrator) error) error {
	var ended bool
	report := func(e schema.Event) {
		ended = e.Event == schema.Failed
		if asJSON {
			_ = printJSON(cmd.OutOrStdout(), e) // whoever read this has gone; the migration is worth finishing
			return
		}
		_, _ = fmt.Fprintln(cmd.OutOrStdout(), e)
	}
	err := withMigrator(report, do)
	if err != nil && ended && asJSON {
		return errReported
	}
	return err
}

func lintCommand(asJSON *bool) *cobra.Command {
	return &cobra.Command{
		Use: "lint", Short: "Check this build's migrations against the rules (needs no database)", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			set, err := schema.Embedded()
			if err != nil {
				return err
			}
			findings := set.Lint()
			if *asJSON {
				if err := printJSON(cmd.OutOrStdout(), findings); err != nil {
					return err
				}
			} else {
				for _, f := range findings {
					fmt.Fprintln(cmd.OutOrStdout(), f)
				}
			}
			if len(findings) > 0 {
				return errReported
			}
			return nil
		},
	}
}
