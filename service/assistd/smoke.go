package main

import (
	"crypto/rand"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/smart-assistant/platform/service/smoke"
	"github.com/smart-assistant/platform/service/telemetry"
)

func smokeCommand() *cobra.Command {
	config := smoke.Config{Rand: rand.Reader, Now: telemetry.SystemClock}
	var asJSON bool
	cmd := &cobra.Command{
		Use: "smoke", Short: "Do what users do, as a throwaway user, against a running service", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config.Report = func(r smoke.Result) {
				if asJSON {
					_ = printJSON(cmd.OutOrStdout(), r)
					return
				}
				_, _ = fmt.Fprintln(cmd.OutOrStdout(), r)
			}
			return smoke.Run(cmd.Context(), config)
		},
	}
	cmd.Flags().StringVar(&config.URL, "url", "", "address of the service, or of the proxy in front of its replicas")
	cmd.Flags().IntVar(&config.Reads, "reads", 12, "reads after each write, each over a fresh connection")
	cmd.Flags().StringVar(&config.Version, "version", "", "version that every replica has to be (default: any)")
	cmd.Flags().DurationVar(&config.Timeout, "timeout", 15*time.Second, "longest time of one request")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a check")
	if err := cmd.MarkFlagRequired("url"); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}
