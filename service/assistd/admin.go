package main

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/smart-assistant/platform/service/account"
	"github.com/smart-assistant/platform/service/telemetry"
)

// adminCommand says who is an administrator. It works on the database, since nobody can be one before the first.
func adminCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "admin", Short: "Say who is an administrator", Args: cobra.NoArgs}
	for _, verb := range []struct{ name, role, short, done string }{
		{"grant", account.RoleAdmin, "Make the user of an address an administrator", "%s is an administrator\n"},
		{"revoke", account.RoleUser, "Take that away again", "%s is no administrator\n"},
	} {
		cmd.AddCommand(&cobra.Command{
			Use: verb.name + " EMAIL", Short: verb.short, Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				if err := setRole(cmd.Context(), args[0], verb.role); err != nil {
					return err
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), verb.done, args[0])
				return err
			},
		})
	}
	return cmd
}

func setRole(ctx context.Context, email, role string) error {
	var env environment
	url := env.databaseURL()
	if err := env.err(); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connect to the database: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return account.SetRole(ctx, conn, email, role, telemetry.SystemClock())
}
