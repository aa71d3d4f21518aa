package command

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/smart-assistant/platform/cli/backup"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/target/kubernetes/outputs"
	"github.com/smart-assistant/platform/cli/target/kubernetes/podcall"
)

// What the cluster's schedule does: backups and their pruning. The pods hold no key that opens a backup. Their log is the report: lines of
// package podcall.

func newCmdInsideBackup(o *insideOptions) *cobra.Command {
	options := ""
	cmd := &cobra.Command{
		Use: "backup", Short: "Take a backup with the writer's key", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			report := podcall.Report(o.app.IO.Out)
			return report.Finish(o.backup(cmd.Context(), options, report))
		},
	}
	cmd.Flags().StringVar(&options, "options", "", "what the backup is for, as `JSON`; the default is a scheduled one")
	return cmd
}

func (o *insideOptions) backup(ctx context.Context, options string, report *podcall.Conversation) (any, error) {
	e, out, err := o.inPod(ctx)
	if err != nil {
		return nil, err
	}
	take := backup.TakeOptions{Kind: backup.Scheduled}
	if options != "" {
		if err := json.Unmarshal([]byte(options), &take); err != nil {
			return nil, fault.Code(fmt.Errorf("--options: %w", err), fault.Usage)
		}
	}
	if e.backups.Sealer, err = backup.LoadWriter(ctx, mountedWriter(o.files.Writer()), out.Name); err != nil {
		return nil, err
	}
	database, err := o.database(out, "postgres")
	if err != nil {
		return nil, err
	}
	if take.Release == "" && out.Release != nil {
		take.Release = out.Release.Version
	}
	if take.SchemaHead == 0 {
		take.SchemaHead = o.schemaHead(ctx, out)
	}
	b, err := e.backups.Take(ctx, database, take, reported{report})
	if err != nil {
		return nil, err
	}
	b.Archives = nil // the commit in the bucket names every object; a log line need not
	return b, nil
}

// database is the connection string of the role that may replicate.
func (o *insideOptions) database(out outputs.Outputs, name string) (string, error) {
	password, err := os.ReadFile(o.files.Database("backup-password"))
	if err != nil {
		return "", fmt.Errorf("password of role %s: %w", out.Database.BackupRole, err)
	}
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(out.Database.BackupRole, strings.TrimSpace(string(password))),
		Host: net.JoinHostPort(out.Database.Host, strconv.Itoa(out.Database.Port)), Path: "/" + name,
		RawQuery: url.Values{"sslmode": {"verify-full"}, "sslrootcert": {o.files.Database("ca.crt")}}.Encode(),
	}
	return u.String(), nil
}

// schemaHead is what a reader of the list likes to know. A backup is taken also where nobody can tell: 0.
func (o *insideOptions) schemaHead(ctx context.Context, out outputs.Outputs) (head int64) {
	at, err := o.database(out, out.Database.Name)
	if err != nil {
		return 0
	}
	conn, err := pgx.Connect(ctx, at)
	if err != nil {
		return 0
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // only read from
	if err := conn.QueryRow(ctx, "select coalesce(max(version_id), 0) from goose_db_version where is_applied").Scan(&head); err != nil {
		return 0
	}
	return head
}

// reported is a backup's progress, said to the pod's caller or its log.
type reported struct{ to *podcall.Conversation }

func (r reported) StepStarted(name string) { r.to.Progress(name, 0, 0, "") }
func (r reported) StepProgress(name string, done, total int64, unit string) {
	r.to.Progress(name, done, total, unit)
}
func (reported) StepDone(string, string)  {}
func (reported) StepFailed(string, error) {}

func newCmdInsidePrune(o *insideOptions) *cobra.Command {
	options := ""
	cmd := &cobra.Command{
		Use: "prune", Short: "Remove the backups that no rule keeps", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			report := podcall.Report(o.app.IO.Out)
			return report.Finish(o.prune(cmd.Context(), options, report))
		},
	}
	cmd.Flags().StringVar(&options, "options", "", "what somebody agreed to remove, as `JSON`; the default is the schedule's turn")
	return cmd
}

func (o *insideOptions) prune(ctx context.Context, options string, report *podcall.Conversation) (any, error) {
	e, _, err := o.inPod(ctx)
	if err != nil {
		return nil, err
	}
	if options == "" {
		return struct{}{}, e.scheduledPrune(ctx, o.app.Log)
	}
	var shown backup.PrunePlan
	if err := json.Unmarshal([]byte(options), &shown); err != nil {
		return nil, fault.Code(fmt.Errorf("--options: %w", err), fault.Usage)
	}
	removed, err := e.prune(ctx, shown, reported{report})
	return removed.Removed(), err
}
