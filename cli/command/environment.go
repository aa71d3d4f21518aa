package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"

	"github.com/smart-assistant/platform/cli/backup"
	"github.com/smart-assistant/platform/cli/config"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/ledger"
	"github.com/smart-assistant/platform/cli/objectstore"
	"github.com/smart-assistant/platform/cli/release"
	"github.com/smart-assistant/platform/cli/target"
)

// environment is one environment with everything that the verbs need of it: the target that runs it, its bucket, and what is in the bucket.
type environment struct {
	app     *App
	config  config.Environment
	all     *config.Config
	site    site
	store   objectstore.Store
	ledger  *ledger.Ledger
	backups *backup.Repository
	release *release.Environment
}

// environment opens an environment whose bucket answers.
func (a *App) environment(ctx context.Context, c *config.Config, name string) (*environment, error) {
	place, err := a.openSite(c, name)
	if err != nil {
		return nil, err
	}
	e := &environment{app: a, config: c.Environments[name], all: c, site: place}
	if e.store, err = place.store(ctx); err != nil {
		return nil, e.unreachable(err)
	}
	e.ledger = ledger.Open(e.store, ledger.Options{
		Environment: name, Actor: actor(), TTL: c.Lease.TTL, Now: a.Now,
		Cache: filepath.Join(c.StateDir(), "ledger", name+".jsonl"), // checked against the bucket, so it may be anything
	})
	e.backups = &backup.Repository{Store: e.store, Environment: name, Now: a.Now}
	e.release, err = e.releaseSide(ctx)
	return e, e.unreachable(err)
}

// named opens the environment that an argument names.
func (a *App) named(ctx context.Context, name string) (*environment, error) {
	cfg, err := a.Config()
	if err != nil {
		return nil, err
	}
	return a.environment(ctx, cfg, name)
}

// unreachable says what to type when an environment was never up, or is down.
func (e *environment) unreachable(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, target.ErrDown) {
		err = fault.Hint(fmt.Errorf("%s is not up", e.config.Name), e.site.wayUp())
	}
	return fault.Code(err, fault.Unreachable)
}

func (e *environment) releaseSide(ctx context.Context) (*release.Environment, error) {
	hold, err := limits(ctx, e.site, e.config.Gates)
	if err != nil {
		return nil, err
	}
	t := releaseTarget{e.site}
	side := &release.Environment{
		Name: e.config.Name, Ledger: e.ledger, Releases: &release.Catalog{Store: e.store, Environment: e.config.Name},
		Target: t, Backups: releaseBackups{e}, Schema: releaseMigrator{t}, Limits: hold, WayUp: e.site.wayUp(),
	}
	if p, ok := e.site.(previewing); ok {
		side.Target = previewedTarget{t, p}
	}
	return side, nil
}

// actor is who the ledger says did something.
func actor() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if sudo := os.Getenv("SUDO_USER"); sudo != "" {
		name = sudo
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return name + "@" + host
}

// identityPath is the file of the operator's own key: in the user's configuration folder, never beside the data.
func identityPath(c *config.Config) string { return filepath.Join(c.KeyDir(), "operator.agekey") }

// free refuses to plan over a run that somebody drives right now. Only a run that nobody drives is unfinished.
func (e *environment) free(ctx context.Context, state release.State) error {
	if state.Unfinished == nil {
		return nil
	}
	holder, err := e.ledger.Holder(ctx)
	if err != nil || holder == nil {
		return err
	}
	return fault.Code(fault.Hint(&ledger.HeldError{Holder: *holder, Environment: e.config.Name}, "assistctl status --watch shows when it is done"), fault.Held)
}

// alone does something while nobody else changes the environment.
func (e *environment) alone(ctx context.Context, purpose string, do func(ctx context.Context) error) error {
	lease, err := e.ledger.Acquire(ctx, purpose)
	if err != nil {
		return err
	}
	defer giveBack(ctx, lease)
	return do(lease.Context(ctx))
}

// install brings a release's binary to where the environment runs.
func (e *environment) install(ctx context.Context, m release.Manifest) error {
	open := func(a release.Artifact) (io.ReadCloser, error) { return e.release.Releases.Open(ctx, m, a) }
	if err := e.release.Target.Install(ctx, m, open); err != nil {
		return fmt.Errorf("bring %s to %s: %w", m.Version, e.config.Name, err)
	}
	return nil
}
