package command

import (
	"context"
	"io"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/cli/backup"
	"github.com/smart-assistant/platform/cli/config"
	"github.com/smart-assistant/platform/cli/objectstore"
	"github.com/smart-assistant/platform/cli/release"
	"github.com/smart-assistant/platform/cli/target"
)

// site is the place where an environment runs, as the verbs need it. The two kinds are in site_local.go and site_kubernetes.go; everything
// else in this package speaks to a site and does not ask which kind it is.
type site interface {
	target.Target
	restorable

	// store opens the environment's bucket. An environment that was never up is target.ErrDown.
	store(ctx context.Context) (objectstore.Store, error)
	// database says how to connect to the live database in the service's role.
	database(ctx context.Context) (*pgx.ConnConfig, error)

	// deployment is a release as this place deploys it; its Build is what Exec runs.
	deployment(m release.Manifest) (target.Deployment, error)
	// settings are what its replicas run with: the release's own, and the environment's over them.
	settings(ctx context.Context, m release.Manifest) (map[string]string, error)
	// install brings a release to where it will run.
	install(ctx context.Context, m release.Manifest, open func(release.Artifact) (io.ReadCloser, error)) error
	// smokeURL is where a process inside the environment reaches it.
	smokeURL(ctx context.Context, s target.Status) (string, error)

	// take makes a backup with what writer says; progress hears of bytes.
	take(ctx context.Context, e *environment, o backup.TakeOptions, progress backup.Progress) (backup.Backup, error)
	// prune removes what shown says and still may go, alone, and returns what it removed.
	prune(ctx context.Context, e *environment, shown backup.PrunePlan, progress backup.Progress) (backup.PrunePlan, error)
	// writer is where the file is that lets the environment's own schedule write backups.
	writer() backup.WriterStore
	// unpack puts a backup's files beside the live data.
	unpack(ctx context.Context, e *environment, q backup.UnpackRequest, progress func(bytes int64)) (string, backup.Unpacked, error)
	// retention says which backups the environment keeps.
	retention(ctx context.Context) (config.Retention, error)

	// wayUp and logs are commands for a person: what brings the environment up, and what shows a component's log.
	wayUp() string
	logs(component string) string
}

// openSite returns the place where an environment runs. It starts nothing, and works whether the environment is up or not.
func (a *App) openSite(c *config.Config, name string) (site, error) {
	env, err := c.Environment(name)
	if err != nil {
		return nil, err
	}
	if env.Target == config.TargetKubernetes {
		return a.openCluster(c, env)
	}
	place, err := a.openLocal(c, name)
	if err != nil {
		return nil, err
	}
	return localSite{place, env}, nil
}

// limits are what a promotion into the environment must hold.
func limits(ctx context.Context, s site, g config.Gates) (release.Limits, error) {
	keep, err := s.retention(ctx)
	if err != nil {
		return release.Limits{}, err
	}
	return release.Limits{
		Soak: g.Soak, BackupMaxAge: g.BackupMaxAge, ErrorRate: g.ErrorRate, VerifyWindow: g.VerifyWindow,
		KeepSnapshot: time.Duration(keep.PreDeployDays) * 24 * time.Hour,
	}, nil
}
