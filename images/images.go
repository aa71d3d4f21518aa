// Package images owns what the container images of assistd and assistctl hold, and how they become OCI archives.
//
// The final stage of each program's Dockerfile says what its image is: the packer reads it, so that an image packed without
// Docker has the same files and the same configuration as one that Docker built. The same source gives the same digest.
// Where images run and who pulls them is not known here.
package images

import (
	"archive/tar"
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// User is who the programs run as. It is a number, so that Kubernetes can see that it is not root.
const User = 65532

// File is one entry of a layer. All files belong to root and nobody but root may write them.
type File struct {
	Path    string // absolute
	Mode    int64
	Dir     bool
	Content []byte
}

// Base is what an image needs beside its program: a user, the root certificates that Go's own project keeps (so that they are
// pinned by go.sum and not by the machine that packs), and a place where /tmp can be mounted.
func Base() []File {
	passwd := fmt.Sprintf("root:x:0:0:root:/:/sbin/nologin\nnonroot:x:%d:%d:nonroot:/:/sbin/nologin\n", User, User)
	group := fmt.Sprintf("root:x:0:\nnonroot:x:%d:\n", User)
	return []File{
		{Path: "/etc", Mode: 0o755, Dir: true},
		{Path: "/etc/group", Mode: 0o644, Content: []byte(group)},
		{Path: "/etc/passwd", Mode: 0o644, Content: []byte(passwd)},
		{Path: "/etc/ssl", Mode: 0o755, Dir: true},
		{Path: "/etc/ssl/certs", Mode: 0o755, Dir: true},
		{Path: "/etc/ssl/certs/ca-certificates.crt", Mode: 0o644, Content: roots()},
		{Path: "/tmp", Mode: 0o1777, Dir: true},
	}
}

// roots are the certificates as PEM. One that is trusted under a condition is left out: PEM cannot say the condition.
func roots() []byte {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // into memory
		}
	}
	return out.Bytes()
}

// WriteBase writes Base below a folder, for the build stage of a Dockerfile.
func WriteBase(dir string) error {
	for _, f := range Base() {
		to := filepath.Join(dir, f.Path)
		if f.Dir {
			if err := os.MkdirAll(to, 0o755); err != nil {
				return err
			}
		} else if err := os.WriteFile(to, f.Content, 0o644); err != nil {
			return err
		}
		mode := os.FileMode(f.Mode & 0o777) //nolint:gosec // nine bits
		if f.Mode&0o1000 != 0 {
			mode |= os.ModeSticky
		}
		if err := os.Chmod(to, mode); err != nil { // whatever the umask says
			return err
		}
	}
	return nil
}

// Image puts the layers under a configuration.
func Image(platform v1.Platform, config v1.Config, layers ...[]File) (v1.Image, error) {
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, files := range layers {
		layer, err := newLayer(files)
		if err != nil {
			return nil, err
		}
		if image, err = mutate.AppendLayers(image, layer); err != nil {
			return nil, fmt.Errorf("add a layer: %w", err)
		}
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("configure the image: %w", err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Variant = platform.OS, platform.Architecture, platform.Variant
	file.Created = v1.Time{Time: time.Unix(0, 0).UTC()}
	file.History = nil
	file.Config = config
	if image, err = mutate.ConfigFile(image, file); err != nil {
		return nil, fmt.Errorf("configure the image: %w", err)
	}
	return image, nil
}

// newLayer writes the files in the order of their paths, with nothing in it that depends on the time or the machine.
func newLayer(files []File) (v1.Layer, error) {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, f := range files {
		header := &tar.Header{
			Typeflag: tar.TypeReg, Name: strings.TrimPrefix(path.Clean(f.Path), "/"), Mode: f.Mode,
			Size: int64(len(f.Content)), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR,
		}
		if f.Dir {
			header.Typeflag, header.Name = tar.TypeDir, header.Name+"/"
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("add %s: %w", f.Path, err)
		}
		if _, err := w.Write(f.Content); err != nil {
			return nil, fmt.Errorf("add %s: %w", f.Path, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("end the layer: %w", err)
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil }
	layer, err := tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
	if err != nil {
		return nil, fmt.Errorf("compress the layer: %w", err)
	}
	return layer, nil
}
