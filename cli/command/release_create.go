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
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/smart-assistant/platform/cli/config"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/migrate"
	"github.com/smart-assistant/platform/cli/release"
	"github.com/smart-assistant/platform/cli/terminal"
	"github.com/smart-assistant/platform/service/schema"
)

type releaseCreateOptions struct {
	app     *App
	version string
	binary  string
	commit  string
	images  string
}

func newCmdReleaseCreate(app *App, runF func(context.Context, *releaseCreateOptions) error) *cobra.Command {
	o := &releaseCreateOptions{app: app}
	cmd := &cobra.Command{
		Use:   "create <version>",
		Short: "Build the service and make a release of it",
		Long: `Build the service from this work tree (or take a binary), ask it which migrations it carries, and write the release's manifest to the first
environment's bucket. Where an environment runs on this machine, the binary goes with it; where one runs on Kubernetes, the digests of the images
that "make images" made of the same version and commit do. The same version with the same content is no error; with other content it is refused.`,
		Example: "  assistctl release create v1.9.0\n  assistctl release create v1.9.0 --binary dist/assistd\n  assistctl release create v1.9.0 --images dist/images/images.json",
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
	cmd.Flags().StringVar(&o.images, "images", "", "take the images' digests from this `file` (default: "+imagesFile+" when an environment is on Kubernetes)")
	return cmd
}

// imagesFile is where `make images` leaves the digests, in the project's folder.
const imagesFile = "dist/images/images.json"

func runReleaseCreate(ctx context.Context, o *releaseCreateOptions) error {
	if err := release.CheckVersion(o.version); err != nil {
		return err
	}
	cfg, err := o.app.Config()
	if err != nil {
		return err
	}
	images, err := o.readImages(cfg)
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
	m, err := describe(ctx, path, o, cfg, images)
	if err != nil {
		return err
	}
	created, err := env.release.Releases.Create(ctx, m, func(release.Artifact) (io.ReadSeekCloser, error) { return os.Open(path) })
	if err != nil {
		return err
	}
	said := fmt.Sprintf("Release %s: commit %s, %s, schema %d.   assistctl deploy %s %s", m.Version, brevity(m.Commit), content(m), m.Schema.Head, cfg.Order[0], m.Version)
	if !created {
		said = fmt.Sprintf("Release %s exists already with this very content: nothing to do.", m.Version)
	}
	return o.app.say(m, said)
}

// readImages reads the images' digests, where they are asked for or an environment needs them; nil otherwise.
func (o *releaseCreateOptions) readImages(cfg *config.Config) (*release.ImageFile, error) {
	file := o.images
	if file == "" {
		if !runsOn(cfg, config.TargetKubernetes) {
			return nil, nil
		}
		file = filepath.Join(cfg.Dir(), imagesFile)
	}
	images, err := release.ReadImages(file, o.version)
	return &images, err
}

// runsOn reports whether an environment has this kind of target.
func runsOn(cfg *config.Config, kind string) bool {
	return slices.ContainsFunc(cfg.Order, func(name string) bool { return cfg.Environments[name].Target == kind })
}

// content names what a release brings, for a person.
func content(m release.Manifest) string {
	var what []string
	for _, a := range m.Artifacts {
		what = append(what, "binary "+brevity(a.SHA256))
	}
	for _, name := range slices.Sorted(maps.Keys(m.Images)) {
		what = append(what, name+" "+brevity(strings.TrimPrefix(m.Images[name], "sha256:")))
	}
	return strings.Join(what, ", ")
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
	began := a.Now()
	steps := a.steps() // a first build takes minutes
	defer steps.Close()
	steps.StepStarted("build")
	if err := cmd.Run(); err != nil {
		steps.StepFailed("build", err)
		return fault.Hint(fmt.Errorf("build %s: %w\n%s", cfg.Release.Package, err, strings.TrimSpace(said.String())),
			"run it in the project's folder, or pass a binary: assistctl release create "+version+" --binary <file>")
	}
	steps.StepDone("build", fmt.Sprintf("%s at %s   %s", filepath.Base(out), brevity(commit), terminal.Duration(a.Now().Sub(began))))
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
func describe(ctx context.Context, path string, o *releaseCreateOptions, cfg *config.Config, images *release.ImageFile) (release.Manifest, error) {
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
	binary := release.Artifact{Platform: runtime.GOOS + "/" + runtime.GOARCH, SHA256: hex.EncodeToString(hash.Sum(nil)), Size: size}
	m := release.Manifest{
		Version: o.version, Commit: d.Commit, Created: o.app.Now().UTC(), CreatedBy: actor(), Schema: d.Schema, Settings: cfg.Release.Settings,
	}
	if images == nil || runsOn(cfg, config.TargetLocal) {
		m.Artifacts = []release.Artifact{binary}
	}
	if images != nil {
		if err := matchImages(*images, m.Commit, binary); err != nil {
			return release.Manifest{}, err
		}
		m.Images = images.Images
	}
	m, err = release.NewManifest(m)
	return m, fault.Code(err, fault.Usage)
}

// matchImages refuses images of another build than the one that was asked what the release is.
func matchImages(images release.ImageFile, commit string, binary release.Artifact) error {
	if images.Platform != binary.Platform {
		return images.Match(commit, "") // other bytes from the same source
	}
	return images.Match(commit, binary.SHA256)
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
