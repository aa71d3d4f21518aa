package command

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/cli/backup"
	"github.com/smart-assistant/platform/cli/config"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/objectstore"
	"github.com/smart-assistant/platform/cli/release"
	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/cli/target/local"
)

// localSite is an environment of processes on this machine.
type localSite struct {
	*local.Environment
	config config.Environment
}

var _ site = localSite{}

// openLocal returns an environment's processes.
func (a *App) openLocal(c *config.Config, name string) (*local.Environment, error) {
	env, err := c.Environment(name)
	if err != nil {
		return nil, err
	}
	if env.Target != config.TargetLocal {
		return nil, fault.Code(fault.Hint(fmt.Errorf("%s runs on %s, and this command is about local environments", name, env.Target), "assistctl status"), fault.Usage)
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

// store reaches the bucket as the configuration says, or else the target's own. One that is down does not answer, and saying only that
// would be half the truth.
func (s localSite) store(ctx context.Context) (objectstore.Store, error) {
	access, err := s.Store()
	if err != nil {
		return nil, err
	}
	s3 := objectstore.S3Config{
		Endpoint: access.Endpoint, Region: access.Region, Bucket: access.Bucket, AccessKey: access.AccessKey, SecretKey: access.SecretKey,
	}
	if b := s.config.Bucket; b.Endpoint != "" {
		s3.Endpoint = b.Endpoint
	}
	if b := s.config.Bucket; b.Set() {
		s3.Bucket, s3.Region = b.Name, b.Region
		if s3.AccessKey, err = readSecret(b.AccessKeyFile); err != nil {
			return nil, err
		}
		if s3.SecretKey, err = readSecret(b.SecretKeyFile); err != nil {
			return nil, err
		}
	} else if st, err := s.Status(ctx); err == nil && !st.Up {
		return nil, target.ErrDown
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

func (s localSite) database(context.Context) (*pgx.ConnConfig, error) {
	url, err := s.ServiceURL()
	if err != nil {
		return nil, err
	}
	return pgx.ParseConfig(url)
}

// platform is what local environments run: this machine's own.
const platform = runtime.GOOS + "/" + runtime.GOARCH

func (s localSite) deployment(m release.Manifest) (target.Deployment, error) {
	a, ok := m.Artifact(platform)
	if !ok {
		return target.Deployment{}, fault.Code(fmt.Errorf("release %s has no binary for %s", m.Version, platform), fault.Refused)
	}
	return target.Deployment{
		Build: target.Build{Version: m.Version, Commit: m.Commit, SHA256: a.SHA256}, Settings: over(m.Settings, s.config.Settings),
	}, nil
}

// over are a release's settings with an environment's own over them.
func over(released, own map[string]string) map[string]string {
	all := map[string]string{}
	maps.Copy(all, released)
	maps.Copy(all, own)
	return all
}

func (s localSite) settings(_ context.Context, m release.Manifest) (map[string]string, error) {
	return over(m.Settings, s.config.Settings), nil
}

func (s localSite) install(ctx context.Context, m release.Manifest, open func(release.Artifact) (io.ReadCloser, error)) error {
	d, err := s.deployment(m)
	if err != nil {
		return err
	}
	a, _ := m.Artifact(platform)
	r, err := open(a)
	if err != nil {
		return err
	}
	defer r.Close()
	return s.Install(ctx, d.Build, r)
}

func (localSite) smokeURL(_ context.Context, s target.Status) (string, error) { return s.URL, nil }

func (s localSite) take(ctx context.Context, e *environment, o backup.TakeOptions, progress backup.Progress) (backup.Backup, error) {
	url, err := s.BackupURL()
	if err != nil {
		return backup.Backup{}, e.unreachable(err)
	}
	return e.backups.Take(ctx, url, o, progress)
}

// writer is a file beside the environment's other secrets: it can write backups and cannot read them.
func (localSite) prune(ctx context.Context, e *environment, shown backup.PrunePlan, progress backup.Progress) (backup.PrunePlan, error) {
	return e.prune(ctx, shown, progress)
}

func (s localSite) writer() backup.WriterStore {
	return backup.WriterFile(writerPath(s.Environment))
}

func writerPath(e *local.Environment) string {
	return filepath.Join(e.Dir(), "secrets", "backup-writer.json")
}

// unpack works in this process: the files are on this machine.
func (s localSite) unpack(ctx context.Context, e *environment, q backup.UnpackRequest, progress func(bytes int64)) (string, backup.Unpacked, error) {
	return q.Into(ctx, e.store, s.Environment, e.app.Now, progress)
}

func (s localSite) retention(context.Context) (config.Retention, error) {
	return s.config.Retention, nil
}

func (s localSite) wayUp() string { return "assistctl local up " + s.config.Name }

func (s localSite) logs(component string) string {
	return "assistctl logs " + s.config.Name + " " + component
}
