package command

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/smart-assistant/platform/cli/config"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/migrate"
	"github.com/smart-assistant/platform/cli/release"
	"github.com/smart-assistant/platform/service/schema"
)

func newCmdRelease(app *App) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "release",
		Short:   "Make releases and look at them",
		GroupID: groupRelease,
		Long: `A release is made once and never changes: a version, a commit, the binary's SHA-256, every migration with its checksum, and the settings
that travel with it. It begins in the first environment's bucket and is promoted from there as it is.`,
	}
	cmd.AddCommand(newCmdReleaseCreate(app, nil), newCmdReleaseList(app, nil), newCmdReleaseShow(app, nil))
	return cmd
}

type releaseCreateOptions struct {
	app     *App
	version string
	binary  string
	commit  string
}

func newCmdReleaseCreate(app *App, runF func(context.Context, *releaseCreateOptions) error) *cobra.Command {
	o := &releaseCreateOptions{app: app}
	cmd := &cobra.Command{
		Use:   "create <version>",
		Short: "Build the service and make a release of it",
		Long: `Build the service from this work tree (or take a binary), ask it which migrations it carries, and write the release's manifest and binary to
the first environment's bucket. The same version with the same content is no error; with other content it is refused.`,
		Example: "  assistctl release create v1.9.0\n  assistctl release create v1.9.0 --binary dist/assistd",
		Args:    exactArgs(1, "release create takes a version, as in: assistctl release create v1.9.0"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.version = args[0]
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return runReleaseCreate(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.binary, "binary", "", "take this `file` instead of building one")
	cmd.Flags().StringVar(&o.commit, "commit", "", "the `commit` that the binary was built from (default: what the binary says)")
	return cmd
}

func runReleaseCreate(ctx context.Context, o *releaseCreateOptions) error {
	if err := release.CheckVersion(o.version); err != nil {
		return err
	}
	cfg, err := o.app.Config()
	if err != nil {
		return err
	}
	env, err := o.app.environment(ctx, cfg, cfg.Order[0])
	if err != nil {
		return err
	}
	path := o.binary
	if path == "" {
		dir, err := os.MkdirTemp("", "assistctl-build-*")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		path = filepath.Join(dir, "assistd")
		if err := o.app.buildService(ctx, cfg, o.version, path); err != nil {
			return err
		}
	}
	m, err := describe(ctx, path, o, cfg)
	if err != nil {
		return err
	}
	created, err := env.release.Releases.Create(ctx, m, func(release.Artifact) (io.ReadSeekCloser, error) { return os.Open(path) })
	if err != nil {
		return err
	}
	said := fmt.Sprintf("Release %s: commit %s, binary %s, schema %d.   assistctl deploy %s %s", m.Version, brevity(m.Commit), brevity(m.Artifacts[0].SHA256), m.Schema.Head, cfg.Order[0], m.Version)
	if !created {
		said = fmt.Sprintf("Release %s exists already with this very content: nothing to do.", m.Version)
	}
	return o.app.say(m, said)
}

// buildService builds the same bytes from the same source wherever it runs: no paths, no build id of the machine, no cgo.
func (a *App) buildService(ctx context.Context, cfg *config.Config, version, out string) error {
	dir := cfg.Dir()
	if dir == "" {
		dir = "."
	}
	commit := gitCommit(ctx, dir)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", fmt.Sprintf("-s -w -buildid= -X main.version=%s -X main.commit=%s", version, commit), "-o", out, cfg.Release.Package)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var said bytes.Buffer
	cmd.Stderr, cmd.Stdout = &said, &said
	if err := cmd.Run(); err != nil {
		return fault.Hint(fmt.Errorf("build %s: %w\n%s", cfg.Release.Package, err, strings.TrimSpace(said.String())),
			"run it in the project's folder, or pass a binary: assistctl release create "+version+" --binary <file>")
	}
	return nil
}

// gitCommit names the work tree's commit; -dirty says that it was changed since.
func gitCommit(ctx context.Context, dir string) string {
	run := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir = dir
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err
	}
	commit, err := run("rev-parse", "HEAD")
	if err != nil {
		return "unknown"
	}
	if changes, err := run("status", "--porcelain", "--untracked-files=no"); err != nil || changes != "" {
		commit += "-dirty"
	}
	return commit
}

// described is what `assistd version --json` says of a build.
type described struct {
	Version string          `json:"version"`
	Commit  string          `json:"commit"`
	Schema  schema.Manifest `json:"schema"`
}

// describe asks the binary what it is. What it says is the release: nothing is typed twice.
func describe(ctx context.Context, path string, o *releaseCreateOptions, cfg *config.Config) (release.Manifest, error) {
	f, err := os.Open(path)
	if err != nil {
		return release.Manifest{}, fault.Code(fmt.Errorf("take the binary: %w", err), fault.Usage)
	}
	defer f.Close()
	hash := sha256.New()
	size, err := io.Copy(hash, f)
	if err != nil {
		return release.Manifest{}, fmt.Errorf("read %s: %w", path, err)
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return release.Manifest{}, err
	}
	out, err := exec.CommandContext(ctx, absolute, "version", "--json").Output()
	if err != nil {
		return release.Manifest{}, fault.Code(fault.Hint(fmt.Errorf("ask %s which build it is: %w", path, err), "it has to be an assistd for this machine"), fault.Usage)
	}
	var d described
	if err := json.Unmarshal(out, &d); err != nil {
		return release.Manifest{}, fmt.Errorf("%s version --json: %w", path, err)
	}
	if d.Version != o.version {
		return release.Manifest{}, fault.Code(fault.Hint(fmt.Errorf("%s says that it is %s, not %s", path, d.Version, o.version),
			"build it with that version, or let assistctl build it: assistctl release create "+o.version), fault.Refused)
	}
	if o.commit != "" {
		d.Commit = o.commit
	}
	if err := lint(ctx, absolute); err != nil {
		return release.Manifest{}, err
	}
	m, err := release.NewManifest(release.Manifest{
		Version: o.version, Commit: d.Commit, Created: o.app.Now().UTC(), CreatedBy: actor(),
		Artifacts: []release.Artifact{{Platform: runtime.GOOS + "/" + runtime.GOARCH, SHA256: hex.EncodeToString(hash.Sum(nil)), Size: size}},
		Schema:    d.Schema, Settings: cfg.Release.Settings,
	})
	return m, fault.Code(err, fault.Usage)
}

// lint refuses a build whose migrations would not survive a rollback: an expand that drops, a contract that does not say for whom.
func lint(ctx context.Context, binary string) error {
	findings, err := migrate.Lint(ctx, buildOnDisk(binary))
	if err != nil {
		return err
	}
	if len(findings) == 0 {
		return nil
	}
	text := []string{"its migrations break the rules of phases:"}
	for _, f := range findings {
		text = append(text, "  "+f.String())
	}
	return fault.Code(fault.Hint(errors.New(strings.Join(text, "\n")), "README.md, \"The old release works on the new schema\": expand first, contract in a later release"), fault.Refused)
}

// buildOnDisk runs a binary that is not a release yet.
type buildOnDisk string

func (b buildOnDisk) Exec(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	cmd := exec.CommandContext(ctx, string(b), args...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return cmd.Run()
}

func brevity(hash string) string { return hash[:min(len(hash), 12)] }

type releaseListOptions struct {
	app *App
	env string
}

func newCmdReleaseList(app *App, runF func(context.Context, *releaseListOptions) error) *cobra.Command {
	o := &releaseListOptions{app: app}
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List releases, newest first, and where they run",
		Example: "  assistctl release list\n  assistctl release list --env prod",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return runReleaseList(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.env, "env", "", "the `environment` whose bucket is looked at (default: the first)")
	return cmd
}

func runReleaseList(ctx context.Context, o *releaseListOptions) error {
	cfg, err := o.app.Config()
	if err != nil {
		return err
	}
	if o.env == "" {
		o.env = cfg.Order[0]
	}
	env, err := o.app.environment(ctx, cfg, o.env)
	if err != nil {
		return err
	}
	all, err := env.release.Releases.List(ctx)
	if err != nil {
		return err
	}
	if o.app.JSON {
		return o.app.printJSON(all)
	}
	if len(all) == 0 {
		return o.app.say(nil, "There is no release yet.   assistctl release create v1")
	}
	runs, err := o.runsWhere(ctx, cfg)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, m := range all {
		rows = append(rows, []string{m.Version, brevity(m.Commit), fmt.Sprint(m.Schema.Head), m.Created.Local().Format("2006-01-02 15:04"), m.CreatedBy, strings.Join(runs[m.Version], ", ")})
	}
	return o.app.table([]string{"release", "commit", "schema", "created", "by", "runs in"}, rows)
}

// runsWhere maps each release to the environments that run it; those that are not up are left out.
func (o *releaseListOptions) runsWhere(ctx context.Context, cfg *config.Config) (map[string][]string, error) {
	where := map[string][]string{}
	for _, name := range cfg.Order {
		env, err := o.app.environment(ctx, cfg, name)
		if fault.CodeOf(err) == fault.Unreachable {
			continue
		}
		if err != nil {
			return nil, err
		}
		state, err := release.StateOf(ctx, env.ledger)
		if fault.CodeOf(err) == fault.Unreachable {
			continue
		}
		if err != nil {
			return nil, err
		}
		where[state.Release] = append(where[state.Release], name)
	}
	return where, nil
}

type releaseShowOptions struct {
	app     *App
	version string
	env     string
}

func newCmdReleaseShow(app *App, runF func(context.Context, *releaseShowOptions) error) *cobra.Command {
	o := &releaseShowOptions{app: app}
	cmd := &cobra.Command{
		Use:     "show <version>",
		Short:   "Show a release's manifest",
		Example: "  assistctl release show v1.9.0",
		Args:    exactArgs(1, "release show takes a version, as in: assistctl release show v1.9.0"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.version = args[0]
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return runReleaseShow(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.env, "env", "", "the `environment` whose bucket is looked at (default: the first)")
	return cmd
}

func runReleaseShow(ctx context.Context, o *releaseShowOptions) error {
	cfg, err := o.app.Config()
	if err != nil {
		return err
	}
	if o.env == "" {
		o.env = cfg.Order[0]
	}
	env, err := o.app.environment(ctx, cfg, o.env)
	if err != nil {
		return err
	}
	m, err := env.release.Releases.Get(ctx, o.version)
	if err != nil {
		return err
	}
	if o.app.JSON {
		return o.app.printJSON(m)
	}
	out := o.app.IO.Out
	rows := [][]string{
		{"release", m.Version},
		{"commit", m.Commit},
		{"created", m.Created.Local().Format("2006-01-02 15:04:05") + " by " + m.CreatedBy},
		{"schema", fmt.Sprint(m.Schema.Head)},
		{"config hash", m.ConfigHash},
	}
	for _, a := range m.Artifacts {
		rows = append(rows, []string{"binary", fmt.Sprintf("%s  %s  %d bytes", a.Platform, a.SHA256, a.Size)})
	}
	writeAligned(out, "", rows)
	fmt.Fprintln(out)
	var migrations [][]string
	for _, mig := range m.Schema.Migrations {
		migrations = append(migrations, []string{fmt.Sprint(mig.Version), mig.Name, string(mig.Phase), mig.SHA256})
	}
	return o.app.table([]string{"migration", "name", "phase", "sha256"}, migrations)
}

// errNoRelease says that an environment runs nothing yet.
func errNoRelease(env string) error {
	return fault.Code(fault.Hint(fmt.Errorf("no release runs in %s yet", env), "assistctl deploy "+env+" <release>"), fault.NotFound)
}
