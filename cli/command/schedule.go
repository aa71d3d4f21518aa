package command

import (
	"context"
	"errors"
	"log/slog"

	"github.com/smart-assistant/platform/cli/backup"
	"github.com/smart-assistant/platform/cli/config"
	"github.com/smart-assistant/platform/cli/ledger"
	"github.com/smart-assistant/platform/cli/target/local"
)

// Names of the jobs that a local environment's supervisor runs by itself.
const (
	jobBackup = "backup"
	jobPrune  = "prune"
)

// scheduledJobs are what a local environment does on its own: backups and their pruning. They hold no key that opens a backup.
func (a *App) scheduledJobs(c *config.Config, name string, log *slog.Logger) []local.Job {
	env := c.Environments[name]
	with := func(do func(ctx context.Context, e *environment) error) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			e, err := a.environment(ctx, c, name)
			if err != nil {
				return err
			}
			return do(ctx, e)
		}
	}
	return []local.Job{
		{Name: jobBackup, Next: env.Backup.Schedule.Next, Run: with(func(ctx context.Context, e *environment) error {
			return e.scheduledBackup(ctx, log)
		})},
		{Name: jobPrune, Next: env.Backup.Prune.Next, Run: with(func(ctx context.Context, e *environment) error {
			return e.scheduledPrune(ctx, log)
		})},
	}
}

func (e *environment) scheduledBackup(ctx context.Context, log *slog.Logger) error {
	sealer, err := backup.LoadWriter(ctx, e.site.writer(), e.config.Name)
	if err != nil {
		return err
	}
	e.backups.Sealer = sealer
	runs, head := e.contents(ctx)
	_, err = e.take(ctx, backup.TakeOptions{Kind: backup.Scheduled, Release: runs, SchemaHead: head}, logged{log})
	return err
}

// scheduledPrune looks first without the lease: mostly there is nothing to remove. Under the lease it looks again. Where somebody else is at
// work it leaves out its turn: what is kept a little longer harms nobody.
func (e *environment) scheduledPrune(ctx context.Context, log *slog.Logger) error {
	plan, err := e.planPrune(ctx)
	if err != nil || plan.Empty() {
		return err
	}
	_, err = e.prune(ctx, plan, logged{log})
	if held, ok := errors.AsType[*ledger.HeldError](err); ok {
		log.Info("prune leaves out its turn", "because", held.Error())
		return nil
	}
	return err
}

// logged is the progress of something that nobody watches.
type logged struct{ log *slog.Logger }

func (logged) StepStarted(string)                        {}
func (logged) StepProgress(string, int64, int64, string) {}
func (l logged) StepDone(name, detail string)            { l.log.Info(name, "detail", detail) }
func (l logged) StepFailed(name string, err error)       { l.log.Error(name, "error", err) }
