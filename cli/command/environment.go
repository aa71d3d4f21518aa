package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"github.com/smart-assistant/platform/cli/backup"
	"github.com/smart-assistant/platform/cli/config"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/ledger"
	"github.com/smart-assistant/platform/cli/objectstore"
	"github.com/smart-assistant/platform/cli/release"
	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/cli/target/local"
)

// environment is one environment with everything that the verbs need of it: the target that runs it, its bucket, and what is in the bucket.
type environment struct {
	app     *App
	config  config.Environment
	all     *config.Config
	local   *local.Environment
	store   objectstore.Store
	ledger  *ledger.Ledger
	backups *backup.Repository
	release *release.Environment
}

// openLocal returns an environment's processes. It starts nothing, and works whether they run or not.
func (a *App) openLocal(c *config.Config, name string) (*local.Environment, error) {
	env, err := c.Environment(name)
	if err != nil {
		return nil, err
	}
	if env.Target != "local" {
		return nil, fault.Code(fmt.Errorf("%s is on target %q, and this command is about local environments", name, env.Target), fault.Usage)
	}
	executable, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	lc := local.Config{
		Environment: name, Root: c.Local.DataDir, Replicas: env.Replicas,
		PostgresPort: env.Ports.Postgres, S3Port: env.Ports.S3,
		PostgresBin: c.Local.PostgresBin, PostgresSettings: c.Local.PostgresSettings, Versitygw: c.Local.VersityGW,
		Executable: executable, Supervise: append(a.configArgs(c), "local", "supervise", name),
	}
	if env.Ports.Proxy != 0 {
		lc.ProxyAddr = fmt.Sprintf("127.0.0.1:%d", env.Ports.Proxy)
	}
	return local.Open(lc)
}

// environment opens an environment whose bucket answers.
func (a *App) environment(ctx context.Context, c *config.Config, name string) (*environment, error) {
	place, err := a.openLocal(c, name)
	if err != nil {
		return nil, err
	}
	e := &environment{app: a, config: c.Environments[name], all: c, local: place}
	if e.store, err = e.openStore(ctx); err != nil {
		return nil, e.unreachable(err)
	}
	if err := e.looked(ctx); err != nil {
		return nil, err
	}
	e.ledger = ledger.Open(e.store, ledger.Options{
		Environment: name, Actor: actor(), TTL: c.Lease.TTL, Now: a.Now,
		Cache: filepath.Join(c.StateDir(), "ledger", name+".jsonl"), // checked against the bucket, so it may be anything
	})
	e.backups = &backup.Repository{Store: e.store, Environment: name, Now: a.Now}
	e.release = e.releaseSide()
	return e, nil
}

// named opens the environment that an argument names.
func (a *App) named(ctx context.Context, name string) (*environment, error) {
	cfg, err := a.Config()
	if err != nil {
		return nil, err
	}
	return a.environment(ctx, cfg, name)
}

// looked makes sure that somebody looks after an environment whose bucket is the target's own: else that bucket does not answer, and
// saying so would be half the truth.
func (e *environment) looked(ctx context.Context) error {
	if e.config.Bucket.Set() {
		return nil
	}
	if s, err := e.local.Status(ctx); err == nil && !s.Up {
		return e.unreachable(target.ErrDown)
	}
	return nil
}

// unreachable says what to type when an environment was never up, or is down.
func (e *environment) unreachable(err error) error {
	if errors.Is(err, target.ErrDown) {
		err = fault.Hint(fmt.Errorf("%s is not up", e.config.Name), "assistctl local up "+e.config.Name)
	}
	return fault.Code(err, fault.Unreachable)
}

// openStore reaches the bucket as the configuration says, or else as the target does.
func (e *environment) openStore(ctx context.Context) (objectstore.Store, error) {
	access, err := e.local.Store()
	if err != nil {
		return nil, err
	}
	s3 := objectstore.S3Config{
		Endpoint: access.Endpoint, Region: access.Region, Bucket: access.Bucket, AccessKey: access.AccessKey, SecretKey: access.SecretKey,
	}
	if b := e.config.Bucket; b.Endpoint != "" {
		s3.Endpoint = b.Endpoint
	}
	if b := e.config.Bucket; b.Set() {
		s3.Bucket, s3.Region = b.Name, b.Region
		if s3.AccessKey, err = readSecret(b.AccessKeyFile); err != nil {
			return nil, err
		}
		if s3.SecretKey, err = readSecret(b.SecretKeyFile); err != nil {
			return nil, err
		}
	}
	return objectstore.OpenS3(ctx, s3)
}

func readSecret(path string) (string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", fault.Code(fmt.Errorf("read the bucket's key: %w", err), fault.Usage)
	}
	return strings.TrimSpace(string(raw)), nil
}

func (e *environment) releaseSide() *release.Environment {
	t := releaseTarget{installer: e.local, settings: e.config.Settings}
	g := e.config.Gates
	return &release.Environment{
		Name: e.config.Name, Ledger: e.ledger, Releases: &release.Catalog{Store: e.store, Environment: e.config.Name},
		Target: t, Backups: releaseBackups{e}, Schema: releaseMigrator{t},
		Limits: release.Limits{
			Soak: g.Soak, BackupMaxAge: g.BackupMaxAge, ErrorRate: g.ErrorRate, VerifyWindow: g.VerifyWindow,
			KeepSnapshot: time.Duration(e.config.Retention.PreDeployDays) * 24 * time.Hour,
		},
	}
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
