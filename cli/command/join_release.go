package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/smart-assistant/platform/cli/backup"
	"github.com/smart-assistant/platform/cli/migrate"
	"github.com/smart-assistant/platform/cli/release"
	"github.com/smart-assistant/platform/cli/target"
)

// What package release asks of an environment, answered by the target, the backups and the release's own build. The packages do not know
// one another; this file is where they meet.

var (
	_ release.Target   = releaseTarget{}
	_ release.Target   = previewedTarget{}
	_ release.Backups  = releaseBackups{}
	_ release.Migrator = releaseMigrator{}
)

type releaseTarget struct{ site }

// previewing is a site whose infrastructure a program describes.
type previewing interface {
	preview(ctx context.Context, m release.Manifest) (release.Preview, error)
}

// previewedTarget is a releaseTarget that can say what a release changes in the infrastructure.
type previewedTarget struct {
	releaseTarget
	by previewing
}

// Preview is what package release asks of a target, where it can be asked.
func (t previewedTarget) Preview(ctx context.Context, m release.Manifest) (release.Preview, error) {
	found, err := t.by.preview(ctx, m)
	return found, away(err)
}

func (t releaseTarget) Running(ctx context.Context) (release.Running, error) {
	s, err := t.Status(ctx)
	if err != nil {
		return release.Running{}, away(err)
	}
	return running(s), nil
}

// away marks an error that says nothing about the release, only that nobody looks after the environment any more.
func away(err error) error {
	if errors.Is(err, target.ErrDown) || errors.Is(err, target.ErrUnreachable) {
		return fmt.Errorf("%w: %w", release.ErrAway, err)
	}
	return err
}

func running(s target.Status) release.Running {
	r := release.Running{Up: s.Up, URL: s.URL, Want: s.Want, Ready: s.Ready, Database: s.Database.Reachable, Detail: s.Database.Detail}
	if s.Build != nil {
		r.Version, r.SHA256, r.Settings = s.Build.Version, s.Build.SHA256, s.Settings
	}
	r.Starting = s.Want
	for _, replica := range s.Replicas {
		if replica.State != "draining" && (replica.State != "starting" || replica.Restarts > 0) {
			r.Starting = max(r.Starting-1, 0)
		}
		switch {
		case replica.Ready && s.Build != nil && replica.Build.SHA256 == s.Build.SHA256:
			r.Current++
		case !replica.Ready && replica.Detail != "" && r.Detail == "":
			r.Detail = replica.Name + " " + replica.State + ": " + replica.Detail
		}
	}
	if s.Paused != "" {
		r.Detail = "paused: " + s.Paused
	}
	return r
}

func (t releaseTarget) Traffic(ctx context.Context, window time.Duration, version string) (release.Traffic, error) {
	all, err := t.site.Traffic(ctx, window)
	if err != nil {
		return release.Traffic{}, away(err)
	}
	of := all
	if version != "" {
		of = all.Releases[version]
	}
	out := release.Traffic{Requests: of.Requests, Failed: of.Failed, P95: of.P95}
	failures := of.Failures
	if len(failures) == 0 {
		failures = all.Failures
	}
	if len(failures) > 0 {
		f := failures[0]
		out.Worst = fmt.Sprintf("%s %s %d", f.Method, f.Path, f.Status)
		if f.Status == 0 {
			out.Worst = fmt.Sprintf("%s %s broke off", f.Method, f.Path)
		}
	}
	return out, nil
}

func (t releaseTarget) Install(ctx context.Context, m release.Manifest, open func(release.Artifact) (io.ReadCloser, error)) error {
	return t.install(ctx, m, open)
}

func (t releaseTarget) Deploy(ctx context.Context, m release.Manifest, fence int64, progress func(ready, want int)) error {
	d, err := t.deployment(m)
	if err != nil {
		return err
	}
	d.Fence, d.Canary = fence, true
	return away(t.site.Deploy(ctx, d, func(ready, want int, _ string) { progress(ready, want) }))
}

// Smoke asks often enough over connections of its own that each replica answers more than once.
func (t releaseTarget) Smoke(ctx context.Context, m release.Manifest) error {
	s, err := t.Status(ctx)
	if err != nil {
		return away(err)
	}
	url, err := t.smokeURL(ctx, s)
	if err != nil {
		return away(err)
	}
	var out bytes.Buffer
	err = t.exec(ctx, m, []string{"smoke", "--url", url, "--version", m.Version, "--reads", strconv.Itoa(4 * max(s.Want, 1))}, &out, io.Discard)
	return smokeError(away(err), out.String())
}

// exec runs a release's own program inside the environment.
func (t releaseTarget) exec(ctx context.Context, m release.Manifest, args []string, stdout, stderr io.Writer) error {
	d, err := t.deployment(m)
	if err != nil {
		return err
	}
	return away(t.Exec(ctx, d.Build, d.Settings, args, stdout, stderr))
}

// smokeError says which check failed, in the smoke test's own words.
func smokeError(err error, said string) error {
	if err == nil {
		return nil
	}
	for line := range strings.Lines(said) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "✗") || strings.HasPrefix(line, "fail") {
			return errors.New(strings.TrimSpace(strings.TrimPrefix(line, "✗")))
		}
	}
	return err
}

type releaseBackups struct{ *environment }

func (b releaseBackups) Newest(ctx context.Context) (release.Snapshot, bool, error) {
	if err := b.readerWithKey(); err != nil {
		return release.Snapshot{}, false, err
	}
	all, err := b.backups.List(ctx)
	if err != nil {
		return release.Snapshot{}, false, err
	}
	for _, a := range slices.Backward(all) {
		if a.Problem == nil {
			return snapshot(a), true, nil
		}
	}
	return release.Snapshot{}, false, nil
}

func snapshot(b backup.Backup) release.Snapshot {
	return release.Snapshot{ID: b.ID, Taken: b.Finished, Raw: b.RawBytes, Stored: b.StoredBytes, Took: b.Finished.Sub(b.Started)}
}

func (b releaseBackups) Take(ctx context.Context, key string, keep time.Duration, about release.Contents, progress func(done, total int64)) (release.Snapshot, error) {
	taken, err := b.take(ctx, backup.TakeOptions{
		Kind: backup.PreDeploy, Key: key, Run: int64(about.Run), Release: about.Release, SchemaHead: about.Schema,
		Label: "before " + strings.ReplaceAll(key, "-", " "), KeepUntil: b.app.Now().Add(keep).UTC(),
	}, bytesOnly{progress})
	if err != nil {
		return release.Snapshot{}, away(err)
	}
	return snapshot(taken), nil
}

// bytesOnly passes on the bytes of a backup that is one step of something larger.
type bytesOnly struct{ progress func(done, total int64) }

func (bytesOnly) StepStarted(string)                                   {}
func (p bytesOnly) StepProgress(_ string, done, total int64, _ string) { p.progress(done, total) }
func (bytesOnly) StepDone(string, string)                              {}
func (bytesOnly) StepFailed(string, error)                             {}

type releaseMigrator struct{ target releaseTarget }

func (r releaseMigrator) Plan(ctx context.Context, m release.Manifest) (release.MigrationPlan, error) {
	status, err := migrate.Status(ctx, runner{r.target, m})
	if err != nil {
		return release.MigrationPlan{}, err
	}
	plan := release.MigrationPlan{Current: status.Current, Pending: status.Pending}
	for _, a := range status.Applied {
		plan.Applied = append(plan.Applied, a.Migration)
	}
	for _, d := range status.Drift {
		plan.Drift = append(plan.Drift, d.String())
	}
	return plan, nil
}

func (r releaseMigrator) Up(ctx context.Context, m release.Manifest, progress func(done, total int)) ([]release.Applied, error) {
	counted := &migrationCounter{progress: progress, total: len(m.Schema.Migrations)}
	if plan, err := r.Plan(ctx, m); err == nil {
		counted.total = len(plan.Pending)
	}
	result, err := migrate.Up(ctx, runner{r.target, m}, migrate.Options{Progress: counted})
	var applied []release.Applied
	for _, s := range result.Steps {
		applied = append(applied, release.Applied{Version: s.Version, Name: s.Name, Took: s.Took})
	}
	return applied, err
}

// migrationCounter makes one step's progress of the migrations in it.
type migrationCounter struct {
	progress    func(done, total int)
	done, total int
}

func (c *migrationCounter) StepStarted(string)                      { c.progress(c.done, c.total) }
func (*migrationCounter) StepProgress(string, int64, int64, string) {}
func (c *migrationCounter) StepDone(string, string)                 { c.done++; c.progress(c.done, c.total) }
func (*migrationCounter) StepFailed(string, error)                  {}

// runner runs a release's own `assistd` inside the environment.
type runner struct {
	target releaseTarget
	m      release.Manifest
}

func (r runner) Exec(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	return r.target.exec(ctx, r.m, args, stdout, stderr)
}

var _ migrate.Runner = runner{}
