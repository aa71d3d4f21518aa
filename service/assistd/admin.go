package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/smart-assistant/platform/service/account"
	"github.com/smart-assistant/platform/service/telemetry"
)

// adminCommand is what an operator does by hand: nobody can be an administrator before the first, and without mail no address is proved.
func adminCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "admin", Short: "Say who is an administrator, and whose address is proved", Args: cobra.NoArgs}
	for _, verb := range []struct {
		name, short, done string
		do                func(ctx context.Context, conn *pgx.Conn, email string, now time.Time) error
	}{
		{"grant", "Make the user of an address an administrator", "%s is an administrator\n", setRole(account.RoleAdmin)},
		{"revoke", "Take that away again", "%s is no administrator\n", setRole(account.RoleUser)},
		{"verify", "Say that an account belongs to whom its address belongs to", "%s is verified\n", account.VerifyEmail},
	} {
		cmd.AddCommand(&cobra.Command{
			Use: verb.name + " EMAIL", Short: verb.short, Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				err := onDatabase(cmd.Context(), func(conn *pgx.Conn) error {
					return verb.do(cmd.Context(), conn, args[0], telemetry.SystemClock())
				})
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), verb.done, args[0])
				return err
			},
		})
	}
	return cmd
}

func setRole(role string) func(context.Context, *pgx.Conn, string, time.Time) error {
	return func(ctx context.Context, conn *pgx.Conn, email string, now time.Time) error {
		return account.SetRole(ctx, conn, email, role, now)
	}
}

func onDatabase(ctx context.Context, do func(*pgx.Conn) error) error {
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
	return do(conn)
}
