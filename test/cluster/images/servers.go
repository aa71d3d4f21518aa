package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	product "github.com/smart-assistant/platform/images"
)

func platform() v1.Platform { return v1.Platform{OS: "linux", Architecture: runtime.GOARCH} }

const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Servers makes the images of PostgreSQL, Valkey and the S3 server, by name: postgres, valkey and versitygw. What takes long, the
// Debian packages of the first two, is kept in the folder, for as long as the scripts that made it are the same.
func Servers(ctx context.Context, repository, folder string) (map[string]Image, error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	root, err := debian(ctx, repository, folder)
	if err != nil {
		return nil, err
	}
	layer, err := newFileLayer(root)
	if err != nil {
		return nil, err
	}
	all := map[string]Image{}
	for name, config := range map[string]v1.Config{
		"postgres": {
			User: "999:999", Entrypoint: []string{"postgres.sh"}, Cmd: []string{"postgres"}, StopSignal: "SIGINT",
			Env:          []string{searchPath, "LANG=C.UTF-8", "PGDATA=/var/lib/postgresql/data"},
			ExposedPorts: map[string]struct{}{"5432/tcp": {}},
		},
		"valkey": {
			User: "999:999", Entrypoint: []string{"valkey.sh"}, Cmd: []string{"valkey-server"}, WorkingDir: "/data",
			Env: []string{searchPath}, ExposedPorts: map[string]struct{}{"6379/tcp": {}},
		},
	} {
		packed, err := onDebian(layer, config)
		if err != nil {
			return nil, fmt.Errorf("image of %s: %w", name, err)
		}
		if all[name], err = keep(packed, folder, name); err != nil {
			return nil, err
		}
	}
	all["versitygw"], err = versitygw(ctx, repository, folder)
	return all, err
}

// debian returns the root file system that debian.sh makes.
func debian(ctx context.Context, repository, folder string) (string, error) {
	script := filepath.Join(repository, "test", "cluster", "images", "debian.sh")
	files, err := filepath.Glob(filepath.Join(filepath.Dir(script), "files", "*.sh"))
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	for _, file := range append(files, script) {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		sum.Write(text)
	}
	root := filepath.Join(folder, "debian-"+hex.EncodeToString(sum.Sum(nil))[:12]+".tar")
	if _, err := os.Stat(root); !errors.Is(err, os.ErrNotExist) {
		return root, err
	}
	cmd := exec.CommandContext(ctx, script, root)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w", script, err)
	}
	return root, nil
}

func versitygw(ctx context.Context, repository, folder string) (Image, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(repository, "tools", "build.sh"), "versitygw")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return Image{}, fmt.Errorf("build versitygw: %w", err)
	}
	content, err := os.ReadFile(filepath.Join(repository, "bin", "versitygw"))
	if err != nil {
		return Image{}, err
	}
	config := v1.Config{
		User: fmt.Sprintf("%d:%[1]d", product.User), Entrypoint: []string{"versitygw"}, Env: []string{searchPath},
		ExposedPorts: map[string]struct{}{"7070/tcp": {}},
	}
	packed, err := product.Image(platform(), config, product.Base(), []product.File{
		{Path: "/data", Mode: 0o755, Dir: true},
		{Path: "/usr/local/bin/versitygw", Mode: 0o755, Content: content},
	})
	if err != nil {
		return Image{}, err
	}
	return keep(packed, folder, "versitygw")
}

// onDebian puts a configuration on the root file system, which is one layer that all such images share.
func onDebian(layer v1.Layer, config v1.Config) (v1.Image, error) {
	base, err := product.Image(platform(), config)
	if err != nil {
		return nil, err
	}
	return mutate.Append(base, mutate.Addendum{Layer: layer, MediaType: types.OCIUncompressedLayer})
}

// fileLayer is a layer that stays on disk as it is: nobody transports it, so that compressing it would be time lost.
type fileLayer struct {
	path string
	hash v1.Hash
	size int64
}

func newFileLayer(path string) (fileLayer, error) {
	f, err := os.Open(path)
	if err != nil {
		return fileLayer{}, err
	}
	defer f.Close()
	hash, size, err := v1.SHA256(f)
	return fileLayer{path, hash, size}, err
}

func (l fileLayer) Digest() (v1.Hash, error)             { return l.hash, nil }
func (l fileLayer) DiffID() (v1.Hash, error)             { return l.hash, nil }
func (l fileLayer) Size() (int64, error)                 { return l.size, nil }
func (l fileLayer) MediaType() (types.MediaType, error)  { return types.OCIUncompressedLayer, nil }
func (l fileLayer) Compressed() (io.ReadCloser, error)   { return os.Open(l.path) }
func (l fileLayer) Uncompressed() (io.ReadCloser, error) { return os.Open(l.path) }
