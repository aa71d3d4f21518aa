package main

import (
	"crypto/rand"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/smart-assistant/platform/service/encryption"
	"github.com/smart-assistant/platform/service/server"
)

func rewrapCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "rewrap", Short: "Seal everything under the first master key, so that older ones can go",
		Long: `Seal everything under the first master key of ASSISTD_MASTER_KEY_FILE, so that older ones can go.

To change the master key while the service runs:

  1. Put a new key (openssl rand -base64 32) above the present one in the file, and restart the replicas one after the other.
     New values are sealed under the new key; the old one still opens. (With several replicas, first put the new key below
     the present one and restart them all, so that each can open what the others seal.)
  2. Run assistd rewrap. It may be interrupted and begun again. The service does the same by itself, once an hour.
  3. A day later remove the old key: what is kept for a day only is not re-wrapped. Do not when assistd rewrap failed: it names the
     values that it could not open, and without their key they are lost for good.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var env environment
			url := env.databaseURL()
			keyring := env.keyring()
			if err := env.err(); err != nil {
				return err
			}
			pool, err := pgxpool.New(cmd.Context(), url)
			if err != nil {
				return fmt.Errorf("read the database URL: %w", err)
			}
			defer pool.Close()
			all, err := encryption.RewrapAll(cmd.Context(), pool, keyring, server.Sealed(), nil)
			for _, p := range all {
				if asJSON {
					if err := printJSON(cmd.OutOrStdout(), p); err != nil {
						return err
					}
					continue
				}
				_, _ = fmt.Fprintf(cmd.OutOrStdout(), "%-32s %9d values, %d of them sealed anew, %d do not open\n",
					p.Column.Table+"."+p.Column.Name, p.Read, p.Rewrapped, p.Failed)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a column")
	return cmd
}

// keyring reads the master keys.
func (e *environment) keyring() *encryption.Keyring {
	if e.text("ASSISTD_MASTER_KEY_FILE", "") == "" {
		e.problem("set ASSISTD_MASTER_KEY_FILE (make the file with: openssl rand -base64 32)")
		return nil
	}
	keyring, err := encryption.Parse([]byte(e.file("ASSISTD_MASTER_KEY_FILE")), rand.Reader)
	if err != nil {
		e.problem("ASSISTD_MASTER_KEY_FILE: %w", err)
	}
	return keyring
}
