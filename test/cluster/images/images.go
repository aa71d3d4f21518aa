// Package images makes the container images that the tests on a cluster run, and loads them into its containerd, where there is no
// registry to pull from: assistd and assistctl as `make images` packs them, any other static binary in their place, and PostgreSQL,
// Valkey and an S3 server that stand in for the images of a cluster with a registry.
//
// It is for tests only. It knows nothing of Kubernetes: an image that Load has loaded starts in a pod whose image is its Reference and
// whose imagePullPolicy is IfNotPresent.
package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	product "github.com/smart-assistant/platform/images"
)

// Registry is what stands before the names of all images.
const Registry = "localhost"

// Image is an image in an archive.
type Image struct {
	Name    string
	Digest  string // of its manifest: sha256:…
	Archive string // file
}

// Reference is what a pod's image says.
func (i Image) Reference() string { return Registry + "/" + i.Name + "@" + i.Digest }

// FromRecord are the images that `make images` has left in a folder.
func FromRecord(folder string) (map[string]Image, product.Record, error) {
	record, err := product.ReadRecord(filepath.Join(folder, "images.json"))
	if err != nil {
		return nil, record, err
	}
	all := map[string]Image{}
	for name, digest := range record.Images {
		all[name] = Image{Name: name, Digest: digest, Archive: filepath.Join(folder, record.Archives[name])}
	}
	return all, record, nil
}

// Program packs one static binary as an image of that name (assistd or assistctl): configured as the product's own, with
// other content. The archive is written into folder.
func Program(repository, folder, name, version, binary string) (Image, error) {
	content, err := os.ReadFile(binary)
	if err != nil {
		return Image{}, err
	}
	packed, err := product.Pack(filepath.Join(repository, "images", name, "Dockerfile"), name, platform(), product.Labels{Version: version}, content)
	if err != nil {
		return Image{}, fmt.Errorf("pack %s: %w", binary, err)
	}
	return write(packed, filepath.Join(folder, name+"-"+version+".tar"), name, version)
}

// keep writes a server's image into the folder, unless it is there.
func keep(packed v1.Image, folder, name string) (Image, error) {
	hash, err := packed.Digest()
	if err != nil {
		return Image{}, fmt.Errorf("digest of %s: %w", name, err)
	}
	archive := filepath.Join(folder, name+"-"+hash.Hex[:12]+".tar")
	if _, err := os.Stat(archive); err == nil {
		return Image{Name: name, Digest: hash.String(), Archive: archive}, nil
	}
	return write(packed, archive, name, "test")
}

func write(packed v1.Image, archive, name, tag string) (Image, error) {
	digest, err := product.WriteArchive(archive, packed, Registry+"/"+name, tag)
	return Image{Name: name, Digest: digest, Archive: archive}, err
}

// Containerd is where images are loaded to.
type Containerd struct {
	Socket string
	Ctr    string // its client program; "" looks in PATH
}

// Load imports images under their tag and their digest. What is there by its digest is left alone.
func (c Containerd) Load(ctx context.Context, all ...Image) error {
	for _, i := range all {
		there, err := c.has(ctx, i)
		if err != nil {
			return err
		}
		if there {
			continue
		}
		if out, err := c.ctr(ctx, "images", "import", i.Archive); err != nil {
			return fmt.Errorf("load %s: %w\n%s", i.Archive, err, out)
		}
		if there, err = c.has(ctx, i); err != nil {
			return err
		} else if !there {
			return fmt.Errorf("load %s: containerd has no %s after it", i.Archive, i.Reference())
		}
	}
	return nil
}

func (c Containerd) has(ctx context.Context, i Image) (bool, error) {
	out, err := c.ctr(ctx, "images", "list", "--quiet", "name=="+i.Reference())
	if err != nil {
		return false, fmt.Errorf("look for %s: %w\n%s", i.Reference(), err, out)
	}
	return strings.TrimSpace(out) == i.Reference(), nil
}

// Remove forgets images, by tag and digest.
func (c Containerd) Remove(ctx context.Context, all ...Image) error {
	var failures []error
	for _, i := range all {
		if out, err := c.ctr(ctx, "images", "remove", i.Reference()); err != nil {
			failures = append(failures, fmt.Errorf("remove %s: %w\n%s", i.Reference(), err, out))
		}
	}
	return errors.Join(failures...)
}

// ctr works in the namespace of Kubernetes.
func (c Containerd) ctr(ctx context.Context, args ...string) (string, error) {
	program := c.Ctr
	if program == "" {
		program = "ctr"
	}
	out, err := exec.CommandContext(ctx, program, append([]string{"--address", c.Socket, "--namespace", "k8s.io"}, args...)...).CombinedOutput()
	return string(out), err
}
