package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/smart-assistant/platform/service/account"
	"github.com/smart-assistant/platform/service/mail"
	"github.com/smart-assistant/platform/service/schema"
	"github.com/smart-assistant/platform/service/server"
	"github.com/smart-assistant/platform/service/telemetry"
)

// garbagePercent lets garbage grow to some times what is in use, which is little: under load, collecting took a seventh of the processor's
// time. Where memory is short GOMEMLIMIT is the bound (package runtime); GOGC takes the place of this.
const garbagePercent = 200

func serveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "serve", Short: "Answer requests until SIGTERM, then drain", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := serveConfig()
			if err != nil {
				return err
			}
			if os.Getenv("GOGC") == "" {
				debug.SetGCPercent(garbagePercent)
			}
			if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
				return server.Run(cmd.Context(), config)
			}
			traces, err := telemetry.NewTracing(cmd.Context(), version, config.Replica)
			if err != nil {
				return err
			}
			config.Traces = traces
			err = server.Run(cmd.Context(), config)
			if lost := flush(traces); lost != nil {
				config.Log.Warn("stopped with traces unsent", "error", lost) // no reason to call a clean stop a failure
			}
			return err
		},
	}
}

// flush sends the spans that are left, to a collector that may be away.
func flush(traces *sdktrace.TracerProvider) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := traces.Shutdown(ctx); err != nil {
		return fmt.Errorf("send the last traces: %w", err)
	}
	return nil
}

func serveConfig() (server.Config, error) {
	set, err := schema.Embedded()
	if err != nil {
		return server.Config{}, err
	}
	var env environment
	replica := env.text("ASSISTD_REPLICA", "")
	config := server.Config{
		Build:          build(),
		Replica:        replica,
		DatabaseURL:    env.databaseURL(),
		Schema:         set,
		Outbound:       env.guard("ASSISTD_OUTBOUND_ALLOW"),
		MailSync:       mail.SyncConfig{Interval: env.duration("ASSISTD_MAIL_INTERVAL"), GmailMost: env.number("ASSISTD_GMAIL_MAX", 1, 1_000_000)},
		Issuer:         env.text("ASSISTD_JWT_ISSUER", ""),
		Audience:       env.text("ASSISTD_JWT_AUDIENCE", ""),
		PublicURL:      env.text("ASSISTD_PUBLIC_URL", ""),
		Mailer:         env.mailer(),
		Access:         env.access(),
		ValkeyURL:      env.text("ASSISTD_VALKEY_URL", env.file("ASSISTD_VALKEY_URL_FILE")),
		QueueWorkers:   env.number("ASSISTD_QUEUE_WORKERS", 1, 100),
		Listen:         env.text("ASSISTD_LISTEN", defaultListen),
		MetricsListen:  env.text("ASSISTD_METRICS_LISTEN", ""),
		DrainDelay:     env.duration("ASSISTD_DRAIN_DELAY"),
		DrainTimeout:   env.duration("ASSISTD_DRAIN_TIMEOUT"),
		RequestTimeout: env.duration("ASSISTD_REQUEST_TIMEOUT"),
		MaxConnections: int32(env.number("ASSISTD_DB_CONNECTIONS", 1, 1000)), //nolint:gosec // at most 1000
		BcryptCost:     env.number("ASSISTD_BCRYPT_COST", 10, 20),
		AuditRetention: env.duration("ASSISTD_AUDIT_RETENTION"),
		Log: telemetry.NewLogger(os.Stderr, env.logLevel(),
			slog.String("version", version), slog.String("replica", replica)),
		Now:  telemetry.SystemClock,
		Rand: rand.Reader,
	}
	if os.Getenv("ASSISTD_JWT_KEY_FILE") == "" {
		env.problem("set ASSISTD_JWT_KEY_FILE")
	} else if config.Keys, err = account.ParseKeys([]byte(env.file("ASSISTD_JWT_KEY_FILE"))); err != nil {
		env.problem("ASSISTD_JWT_KEY_FILE: %w", err)
	}
	config.Keyring = env.keyring()
	languageModel(&env, &config)
	env.logins(&config)
	return config, env.err()
}

const defaultListen = "127.0.0.1:8080"

// healthCommand is for container runtimes that check by running a command.
func healthCommand() *cobra.Command {
	var ready bool
	cmd := &cobra.Command{
		Use: "health", Short: "Ask the replica at ASSISTD_LISTEN whether it is healthy", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var env environment
			path := "/health"
			if ready {
				path = "/ready"
			}
			address, err := reachable(env.text("ASSISTD_LISTEN", defaultListen))
			if err != nil {
				return fmt.Errorf("ASSISTD_LISTEN: %w", err)
			}
			request, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, "http://"+address+path, nil)
			if err != nil {
				return fmt.Errorf("ask for %s: %w", path, err)
			}
			client := http.Client{Timeout: 5 * time.Second}
			response, err := client.Do(request)
			if err != nil {
				return err
			}
			defer response.Body.Close()
			if response.StatusCode != http.StatusOK {
				return fmt.Errorf("%s answers %s", path, response.Status)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&ready, "ready", false, "ask /ready instead of /health")
	return cmd
}

// reachable is where a replica that listens at the address is asked from beside it: one that listens everywhere, on loopback.
func reachable(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.Equal(net.IPv4zero) {
		host = "127.0.0.1"
	} else if ip != nil && ip.IsUnspecified() {
		host = "::1"
	}
	return net.JoinHostPort(host, port), nil
}
