package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Programs are those that have an image, with their package.
var Programs = map[string]string{"assistd": "./service/assistd", "assistctl": "./cli/assistctl"}

// Options say what to build.
type Options struct {
	Source   string // the repository's folder
	Out      string // where the archives and images.json go
	Version  string
	Commit   string
	Platform v1.Platform
	Docker   bool   // let Docker build from the Dockerfiles instead of packing
	Registry string // push to it, as in registry.example.com/assistant; empty for not
	Say      func(format string, a ...any)
}

// Record is what images.json holds: the digests by which a cluster pulls the images of one version.
type Record struct {
	Version  string            `json:"version"`
	Commit   string            `json:"commit"`
	Platform string            `json:"platform"`
	Images   map[string]string `json:"images"`             // name → digest of the manifest
	Archives map[string]string `json:"archives"`           // name → file beside images.json
	Binaries map[string]string `json:"binaries"`           // name → SHA-256 of the program in the image
	Registry string            `json:"registry,omitempty"` // that has them
}

// Build makes the images of all programs, writes them as archives and records their digests. images.json is removed first and written
// last: when it is there, what it names is there as well.
func Build(ctx context.Context, o Options) (Record, error) {
	if o.Say == nil {
		o.Say = func(string, ...any) {}
	}
	list := filepath.Join(o.Out, "images.json")
	if err := os.Remove(list); err != nil && !errors.Is(err, os.ErrNotExist) {
		return Record{}, err
	}
	work, err := os.MkdirTemp("", "images-*")
	if err != nil {
		return Record{}, err
	}
	defer os.RemoveAll(work) //nolint:errcheck // of the system's temporary folder
	r := Record{
		Version: o.Version, Commit: o.Commit, Platform: o.Platform.String(), Registry: o.Registry,
		Images: map[string]string{}, Archives: map[string]string{}, Binaries: map[string]string{},
	}
	for _, program := range slices.Sorted(maps.Keys(Programs)) {
		image, err := o.image(ctx, program, work)
		if err != nil {
			return Record{}, fmt.Errorf("image of %s: %w", program, err)
		}
		r.Archives[program] = program + ".tar"
		if r.Images[program], err = WriteArchive(filepath.Join(o.Out, r.Archives[program]), image, "localhost/"+program, tag(o.Version)); err != nil {
			return Record{}, err
		}
		content, err := contentOf(image, program)
		if err != nil {
			return Record{}, fmt.Errorf("image of %s: %w", program, err)
		}
		sum := sha256.Sum256(content)
		r.Binaries[program] = hex.EncodeToString(sum[:])
		if o.Registry != "" {
			if err := push(ctx, image, o.Registry+"/"+program+":"+tag(o.Version)); err != nil {
				return Record{}, err
			}
		}
		o.Say("%s  %s  %s", program, r.Images[program], r.Archives[program])
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return Record{}, err
	}
	if err := os.WriteFile(list+".part", append(text, '\n'), 0o644); err != nil {
		return Record{}, err
	}
	return r, os.Rename(list+".part", list)
}

// ReadRecord reads images.json.
func ReadRecord(file string) (Record, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return Record{}, err
	}
	var r Record
	if err := json.Unmarshal(text, &r); err != nil {
		return Record{}, fmt.Errorf("read %s: %w", file, err)
	}
	return r, nil
}

// tag is the version with what a tag may not hold replaced.
func tag(version string) string { return strings.ReplaceAll(version, "+", "_") }

func (o Options) image(ctx context.Context, program, work string) (v1.Image, error) {
	if o.Docker {
		return o.build(ctx, program, work)
	}
	return o.pack(ctx, program, work)
}

func (o Options) dockerfile(program string) string {
	return filepath.Join(o.Source, "images", program, "Dockerfile")
}

// pack does what the program's Dockerfile says, without Docker.
func (o Options) pack(ctx context.Context, program, work string) (v1.Image, error) {
	binary, err := o.compile(ctx, program, work)
	if err != nil {
		return nil, err
	}
	return Pack(o.dockerfile(program), program, o.Platform, Labels{o.Version, o.Commit}, binary)
}

// Labels are what an image says of its content.
type Labels struct{ Version, Commit string }

// Pack makes the image that a Dockerfile describes, with the given binary as what its build stage makes.
func Pack(dockerfile, program string, platform v1.Platform, labels Labels, binary []byte) (v1.Image, error) {
	s, err := readStage(dockerfile, map[string]string{"VERSION": labels.Version, "COMMIT": labels.Commit})
	if err != nil {
		return nil, err
	}
	var layers [][]File
	for _, c := range s.copies {
		switch {
		case c.from == "/rootfs/" && c.to == "/":
			layers = append(layers, Base())
		case c.from == "/out/"+program:
			layers = append(layers, []File{{Path: c.to, Mode: 0o755, Content: binary}})
		default:
			return nil, fmt.Errorf("%s: the packer does not know where %s comes from", dockerfile, c.from)
		}
	}
	return Image(platform, s.config, layers...)
}

var buildFlags = []string{"-trimpath", "-buildvcs=false"}

func linkerFlags(version, commit string) string {
	return fmt.Sprintf("-s -w -buildid= -X main.version=%s -X main.commit=%s", version, commit)
}

// compile builds the same bytes from the same source wherever it runs, as `assistctl release create` does.
func (o Options) compile(ctx context.Context, program, work string) ([]byte, error) {
	out := filepath.Join(work, program)
	args := append(append([]string{"build"}, buildFlags...), "-ldflags", linkerFlags(o.Version, o.Commit), "-o", out, Programs[program])
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = o.Source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+o.Platform.OS, "GOARCH="+o.Platform.Architecture)
	if said, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build %s: %w\n%s", Programs[program], err, said)
	}
	return os.ReadFile(out)
}

// build lets Docker build the image and reads it from what `docker save` writes; the layers are read when the image is written.
func (o Options) build(ctx context.Context, program, work string) (v1.Image, error) {
	ref := "localhost/" + program + ":" + tag(o.Version)
	cmd := exec.CommandContext(ctx, "docker", "build", "--platform", o.Platform.String(), "--file", o.dockerfile(program), "--tag", ref,
		"--build-arg", "VERSION="+o.Version, "--build-arg", "COMMIT="+o.Commit, ".")
	cmd.Dir = o.Source
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("docker build: %w", err)
	}
	saved := filepath.Join(work, program+".tar")
	if said, err := exec.CommandContext(ctx, "docker", "save", "--output", saved, ref).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("docker save: %w\n%s", err, said)
	}
	return fromDocker(saved)
}

// DockerAnswers says whether there is a Docker engine to build with.
func DockerAnswers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return exec.CommandContext(ctx, "docker", "version", "--format", "{{.Server.Version}}").Run() == nil
}

// push writes the very image that was recorded, with the credentials that `docker login` keeps.
func push(ctx context.Context, image v1.Image, to string) error {
	ref, err := name.ParseReference(to)
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	if err := remote.Write(ref, image, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return fmt.Errorf("push %s: %w", ref, err)
	}
	return nil
}
