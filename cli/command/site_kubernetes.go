package command

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/cli/backup"
	"github.com/smart-assistant/platform/cli/config"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/objectstore"
	"github.com/smart-assistant/platform/cli/release"
	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/cli/target/kubernetes"
	"github.com/smart-assistant/platform/cli/target/kubernetes/outputs"
)

// clusterSite is an environment on a Kubernetes cluster. What it is made of, its stack says.
type clusterSite struct {
	*kubernetes.Environment
	config config.Environment
}

var (
	_ site       = clusterSite{}
	_ previewing = clusterSite{}
	_ declared   = clusterSite{}
)

// openCluster returns an environment on a cluster. It asks nobody anything yet.
func (a *App) openCluster(c *config.Config, env config.Environment) (site, error) {
	dir := c.Kubernetes.Dir
	if dir == "" {
		dir = c.Dir()
	}
	if dir == "" {
		dir = a.Dir
	}
	place, err := kubernetes.Open(kubernetes.Config{
		Environment: env.Name, Stack: env.Stack, Dir: dir, Pulumi: c.Kubernetes.Pulumi, Now: a.Now,
	})
	if err != nil {
		return nil, err
	}
	return clusterSite{place, env}, nil
}

func (s clusterSite) store(ctx context.Context) (objectstore.Store, error) {
	access, err := s.Store(ctx)
	if err != nil {
		return nil, err
	}
	return objectstore.OpenS3(ctx, access)
}

func (s clusterSite) database(ctx context.Context) (*pgx.ConnConfig, error) {
	return s.Database(ctx, kubernetes.ServiceRole)
}

// serviceImage is the image that serves; its digest is the build's identity.
const serviceImage = "assistd"

func (clusterSite) deployment(m release.Manifest) (target.Deployment, error) {
	digest, ok := strings.CutPrefix(m.Images[serviceImage], "sha256:")
	if !ok {
		return target.Deployment{}, fault.Code(fault.Hint(fmt.Errorf("release %s has no image %s: it was made for local environments", m.Version, serviceImage),
			"make images && assistctl release create <version> --images dist/images/images.json"), fault.Refused)
	}
	return target.Deployment{Build: target.Build{Version: m.Version, Commit: m.Commit, SHA256: digest}, Images: m.Images, Settings: m.Settings}, nil
}

func (s clusterSite) settings(ctx context.Context, m release.Manifest) (map[string]string, error) {
	o, err := s.Outputs(ctx)
	return over(m.Settings, o.Settings), err
}

// install has nothing to do: nodes pull images.
func (s clusterSite) install(_ context.Context, m release.Manifest, _ func(release.Artifact) (io.ReadCloser, error)) error {
	_, err := s.deployment(m)
	return err
}

// smokeURL is the Service's: a pod need not find the way to the entrance, whose name may not be in the cluster's DNS.
func (s clusterSite) smokeURL(ctx context.Context, _ target.Status) (string, error) {
	o, err := s.Outputs(ctx)
	return o.InternalURL, err
}

// take runs where the database is: a pod streams to the bucket, and this process looks on.
func (s clusterSite) take(ctx context.Context, e *environment, o backup.TakeOptions, progress backup.Progress) (backup.Backup, error) {
	var taken backup.Backup
	began := e.app.Now()
	progress.StepStarted(backup.StepTake)
	err := s.RunBackup(ctx, o, o.Key, func(done, total int64) { progress.StepProgress(backup.StepTake, done, total, "B") }, &taken)
	if err != nil {
		progress.StepFailed(backup.StepTake, err)
		return taken, err
	}
	progress.StepDone(backup.StepTake, taken.Summary(e.app.Now().Sub(began)))
	return taken, nil
}

// prune runs with the one role that may remove backups, which is no operator's.
func (s clusterSite) prune(ctx context.Context, _ *environment, shown backup.PrunePlan, progress backup.Progress) (backup.PrunePlan, error) {
	var removed backup.PrunePlan
	progress.StepStarted(jobPrune)
	err := s.RunPrune(ctx, shown.Removed(), func(done, total int64) { progress.StepProgress(jobPrune, done, total, "objects") }, &removed)
	if err != nil {
		progress.StepFailed(jobPrune, err)
		return removed, err
	}
	progress.StepDone(jobPrune, removed.Summary())
	return removed, nil
}

func (s clusterSite) writer() backup.WriterStore { return s.Writer() }

// unpack is done by the pod that has the volume.
func (s clusterSite) unpack(ctx context.Context, _ *environment, q backup.UnpackRequest, progress func(bytes int64)) (string, backup.Unpacked, error) {
	var found backup.Unpacked
	dir, err := s.Unpack(ctx, q, progress, &found)
	return dir, found, err
}

func (s clusterSite) retention(ctx context.Context) (config.Retention, error) {
	o, err := s.Outputs(ctx)
	r := o.Retention
	return config.Retention{KeepLast: r.KeepLast, Daily: r.Daily, Weekly: r.Weekly, PreDeployDays: r.PreDeployDays}, err
}

func (s clusterSite) wayUp() string { return "pulumi up --stack " + s.config.Stack }

func (s clusterSite) logs(component string) string {
	return "assistctl logs " + s.config.Name + " " + component
}

// preview asks the stack twice: what would change anyway, and what changes with the release.
func (s clusterSite) preview(ctx context.Context, m release.Manifest) (release.Preview, error) {
	pending, err := s.Preview(ctx, nil)
	if err != nil {
		return release.Preview{}, err
	}
	with, err := s.Preview(ctx, &outputs.Release{Version: m.Version, Commit: m.Commit, Images: m.Images, Settings: m.Settings})
	if err != nil {
		return release.Preview{}, err
	}
	for _, c := range with {
		if !c.Release && !slices.ContainsFunc(pending, func(p kubernetes.Change) bool { return p.URN == c.URN }) {
			pending = append(pending, c) // only with this release, and still not the release's own
		}
	}
	return release.Preview{Pending: changes(pending), Changes: changes(with)}, nil
}

// drift compares the cluster with what the last update left there.
func (s clusterSite) drift(ctx context.Context) ([]release.Change, error) {
	found, err := s.Drift(ctx)
	return changes(found), err
}

// pending compares that with the program.
func (s clusterSite) pending(ctx context.Context) ([]release.Change, error) {
	found, err := s.Preview(ctx, nil)
	return changes(found), err
}

func changes(of []kubernetes.Change) []release.Change {
	var all []release.Change
	for _, c := range of {
		all = append(all, release.Change{Operation: c.Op, Kind: c.Type, Name: c.Name, Properties: c.Properties})
	}
	return all
}
