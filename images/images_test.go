package images

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/x509"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/smart-assistant/platform/cli/release"
)

func options(source, out string) Options {
	return Options{Source: source, Out: out, Version: "v1.2.3+x", Commit: "abc", Platform: v1.Platform{OS: "linux", Architecture: runtime.GOARCH}}
}

// TestBuild packs both programs twice, the second time from a copy that has what .dockerignore lets into Docker's build and nothing
// else, and pushes them to a registry: the digests are the same, and a cluster finds them under it.
func TestBuild(t *testing.T) {
	first := options("..", t.TempDir())
	record, err := Build(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	second := options(dockerContext(t), t.TempDir())
	second.Registry = strings.TrimPrefix(server.URL, "http://") + "/assistant"
	again, err := Build(t.Context(), second)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(record.Images, again.Images) || len(record.Images) != 2 {
		t.Errorf("images %v, and again %v", record.Images, again.Images)
	}
	if read, err := ReadRecord(filepath.Join(first.Out, "images.json")); err != nil || !maps.Equal(read.Images, record.Images) || read.Version != "v1.2.3+x" || read.Commit != "abc" {
		t.Errorf("images.json: %+v %v", read, err)
	}
	// What assistctl makes a release of.
	if read, err := release.ReadImages(filepath.Join(first.Out, "images.json"), "v1.2.3+x"); err != nil || !maps.Equal(read.Images, record.Images) ||
		read.Platform != "linux/"+runtime.GOARCH || !maps.Equal(read.Binaries, record.Binaries) || read.Match("abc", "") != nil {
		t.Errorf("images.json as a release reads it: %+v %v", read, err)
	}
	for program, digest := range record.Images {
		a, err := os.ReadFile(filepath.Join(first.Out, record.Archives[program]))
		if err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(filepath.Join(second.Out, again.Archives[program])); err != nil || !bytes.Equal(a, b) {
			t.Errorf("the archives of %s differ (%v)", program, err)
		}
		checkArchive(t, a, program, digest)
		ref, err := name.NewDigest(second.Registry + "/" + program + "@" + digest)
		if err != nil {
			t.Fatal(err)
		}
		pulled, err := remote.Image(ref, remote.WithContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		t.Run(program, func(t *testing.T) { checkImage(t, pulled, program) })
	}
}

// dockerContext copies what .dockerignore lets through.
func dockerContext(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for line := range strings.FieldsSeq(string(text)) {
		name, ok := strings.CutPrefix(line, "!")
		if !ok {
			continue
		}
		if info, err := os.Stat(filepath.Join("..", name)); err != nil {
			t.Fatal(err)
		} else if info.IsDir() {
			err = os.CopyFS(filepath.Join(dir, name), os.DirFS(filepath.Join("..", name)))
			if err != nil {
				t.Fatal(err)
			}
			continue
		}
		content, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// checkArchive looks at the index by which containerd learns the image's names.
func checkArchive(t *testing.T, archive []byte, program, digest string) {
	t.Helper()
	var index v1.IndexManifest
	blobs := map[string]bool{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		blobs[h.Name] = true
		if h.Name == "index.json" {
			if err := json.NewDecoder(r).Decode(&index); err != nil {
				t.Fatal(err)
			}
		}
	}
	var names []string
	for _, m := range index.Manifests {
		names = append(names, m.Annotations["io.containerd.image.name"])
		if m.Digest.String() != digest || !blobs["blobs/sha256/"+m.Digest.Hex] {
			t.Errorf("the index of %s names %s, want %s in it", program, m.Digest, digest)
		}
	}
	if want := []string{"localhost/" + program + ":v1.2.3_x", "localhost/" + program + "@" + digest}; !slices.Equal(names, want) {
		t.Errorf("names %v, want %v", names, want)
	}
}

func checkImage(t *testing.T, image v1.Image, program string) {
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config := file.Config
	if config.User != "65532:65532" || !slices.Equal(config.Entrypoint, []string{"/" + program}) || config.Labels["org.opencontainers.image.version"] != "v1.2.3+x" ||
		config.Labels["org.opencontainers.image.revision"] != "abc" || file.OS != "linux" {
		t.Errorf("configuration: %+v", config)
	}
	if program == "assistd" {
		if config.Healthcheck == nil || !slices.Equal(config.Healthcheck.Test, []string{"CMD", "/assistd", "health"}) || config.Healthcheck.Interval == 0 {
			t.Errorf("health check: %+v", config.Healthcheck)
		}
		if _, ok := config.ExposedPorts["8080/tcp"]; !ok || !slices.Equal(config.Cmd, []string{"serve"}) || !slices.Contains(config.Env, "ASSISTD_LISTEN=0.0.0.0:8080") {
			t.Errorf("configuration: %+v", config)
		}
	}
	files := filesOf(t, image)
	want := []string{"etc", "etc/group", "etc/passwd", "etc/ssl", "etc/ssl/certs", "etc/ssl/certs/ca-certificates.crt", "tmp", program}
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(files)); !slices.Equal(got, want) {
		t.Errorf("files: %v, want %v and no shell", got, want)
	}
	checkStatic(t, files[program])
	if pool := x509.NewCertPool(); !pool.AppendCertsFromPEM(files["etc/ssl/certs/ca-certificates.crt"]) || bytes.Count(files["etc/ssl/certs/ca-certificates.crt"], []byte("BEGIN")) < 100 {
		t.Error("hardly any root certificate")
	}
	if !strings.Contains(string(files["etc/passwd"]), ":65532:65532:") {
		t.Error("its user has no name")
	}
}

func filesOf(t *testing.T, image v1.Image) map[string][]byte {
	t.Helper()
	extracted := mutate.Extract(image)
	defer extracted.Close()
	files := map[string][]byte{}
	for r := tar.NewReader(extracted); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Mode&0o022 != 0 && h.Name != "tmp" || h.ModTime.Unix() != 0 {
			t.Errorf("%s: %d:%d, mode %o, %s", h.Name, h.Uid, h.Gid, h.Mode, h.ModTime)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

// checkStatic wants a program that needs no loader and no library.
func checkStatic(t *testing.T, program []byte) {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("the program is linked dynamically: %s", p.Type)
		}
	}
}

// TestWriteBase: what the build stage of a Dockerfile writes is what the packer packs.
func TestWriteBase(t *testing.T) {
	dir := t.TempDir()
	if err := WriteBase(dir); err != nil {
		t.Fatal(err)
	}
	for _, f := range Base() {
		info, err := os.Stat(filepath.Join(dir, f.Path))
		if err != nil {
			t.Fatal(err)
		}
		if info.IsDir() != f.Dir || int64(info.Mode().Perm()) != f.Mode&0o777 || f.Mode&0o1000 != 0 != (info.Mode()&os.ModeSticky != 0) {
			t.Errorf("%s: %s, want %o", f.Path, info.Mode(), f.Mode)
		}
		if !f.Dir {
			if content, err := os.ReadFile(filepath.Join(dir, f.Path)); err != nil || !bytes.Equal(content, f.Content) {
				t.Errorf("%s: other content (%v)", f.Path, err)
			}
		}
	}
}

// TestDockerfiles: the build stages compile as the packer does, so that both make the same program.
func TestDockerfiles(t *testing.T) {
	for program, pkg := range Programs {
		text, err := os.ReadFile(filepath.Join(program, "Dockerfile"))
		if err != nil {
			t.Fatal(err)
		}
		line := strings.Join(strings.Fields(strings.ReplaceAll(string(text), "\\\n", " ")), " ")
		want := `CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build ` + strings.Join(buildFlags, " ") + ` -ldflags "` + linkerFlags("$VERSION", "$COMMIT") + `" -o /out/` + program + ` ` + pkg
		if !strings.Contains(line, want) {
			t.Errorf("%s: the build stage does not say\n%s", program, want)
		}
	}
}

func TestReadStageRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"FROM debian":                                  "not FROM scratch",
		"FROM scratch\nRUN true":                       "does not know",
		"FROM scratch\nCOPY . /":                       "COPY --from=build",
		"FROM scratch\nENTRYPOINT /assistd":            "invalid character",
		"FROM scratch\nHEALTHCHECK --start=1s CMD []":  "--start is not known",
		"FROM scratch\nHEALTHCHECK true":               "want HEALTHCHECK",
		"FROM scratch\nLABEL a=b":                      `name="value"`,
		"FROM scratch\nUSER 1\nFROM debian AS another": "not FROM scratch",
	} {
		file := filepath.Join(t.TempDir(), "Dockerfile")
		if err := os.WriteFile(file, []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := readStage(file, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// TestDocker: what Docker builds is recorded, and pushed, under the digest of the archive. A script takes Docker's place.
func TestDocker(t *testing.T) {
	bin, saved := t.TempDir(), filepath.Join(t.TempDir(), "saved.tar")
	for program := range Programs {
		image, err := Image(v1.Platform{OS: "linux", Architecture: "arm64"}, v1.Config{User: "65532:65532", Entrypoint: []string{"/" + program}},
			[]File{{Path: "/" + program, Mode: 0o755, Content: []byte(program)}})
		if err != nil {
			t.Fatal(err)
		}
		tag, err := name.NewTag("localhost/" + program + ":v1.2.3_x")
		if err != nil {
			t.Fatal(err)
		}
		if err := tarball.WriteToFile(saved+"."+program, tag, image); err != nil {
			t.Fatal(err)
		}
	}
	script := fmt.Sprintf(`#!/bin/sh
echo "$@" >>%[1]s/calls
if [ "$1" = save ]; then
	case $4 in
	*assistd:*) cp %[2]s.assistd "$3" ;;
	*assistctl:*) cp %[2]s.assistctl "$3" ;;
	esac
fi
`, bin, saved)
	if err := os.WriteFile(filepath.Join(bin, "docker"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	if !DockerAnswers(context.Background()) {
		t.Fatal("it does not answer")
	}
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	o := options("..", t.TempDir())
	o.Docker, o.Registry = true, strings.TrimPrefix(server.URL, "http://")
	record, err := Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for program, digest := range record.Images {
		ref, err := name.NewDigest(o.Registry + "/" + program + "@" + digest)
		if err != nil {
			t.Fatal(err)
		}
		image, err := remote.Image(ref, remote.WithContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if config.Architecture != "arm64" || config.Config.User != "65532:65532" || config.Config.Entrypoint[0] != "/"+program {
			t.Errorf("%s: %+v", program, config)
		}
	}
	calls, err := os.ReadFile(filepath.Join(bin, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"build --platform linux/" + runtime.GOARCH, "images/assistd/Dockerfile", "VERSION=v1.2.3+x", "COMMIT=abc", "localhost/assistctl:v1.2.3_x"} {
		if !strings.Contains(string(calls), want) {
			t.Errorf("docker was not told %s:\n%s", want, calls)
		}
	}
}
