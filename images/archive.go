package images

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// WriteArchive writes an image as an OCI archive, under a name and a tag, and returns its digest: that of the manifest, by which a
// cluster pulls it. A containerd that imports the archive knows the image as name:tag and as name@digest.
func WriteArchive(file string, image v1.Image, name, tag string) (digest string, err error) {
	hash, err := image.Digest()
	if err != nil {
		return "", fmt.Errorf("digest of %s: %w", name, err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*.part") // and renamed, so that nobody takes half an archive
	if err != nil {
		return "", err
	}
	w := tar.NewWriter(f)
	if err := errors.Join(writeLayout(w, image, name, tag), w.Close(), f.Chmod(0o644), f.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("write %s: %w", file, err), os.Remove(f.Name()))
	}
	return hash.String(), os.Rename(f.Name(), file)
}

func writeLayout(w *tar.Writer, image v1.Image, name, tag string) error {
	if err := putBytes(w, "oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	index, err := indexOf(image, name, tag)
	if err != nil {
		return err
	}
	if err := putBytes(w, "index.json", index); err != nil {
		return err
	}
	manifest, err := image.RawManifest()
	if err != nil {
		return err
	}
	hash, err := image.Digest()
	if err != nil {
		return err
	}
	if err := putBytes(w, blob(hash), manifest); err != nil {
		return err
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return err
	}
	if hash, err = image.ConfigName(); err != nil {
		return err
	}
	if err := putBytes(w, blob(hash), config); err != nil {
		return err
	}
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	for _, layer := range layers {
		if err := putLayer(w, layer); err != nil {
			return err
		}
	}
	return nil
}

// indexOf names the manifest twice: with its tag, and with its digest as a pod's image says it.
func indexOf(image v1.Image, name, tag string) ([]byte, error) {
	hash, err := image.Digest()
	if err != nil {
		return nil, err
	}
	size, err := image.Size()
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	for ref, full := range []string{name + ":" + tag, name + "@" + hash.String()} {
		annotations := map[string]string{"io.containerd.image.name": full}
		if ref == 0 {
			annotations["org.opencontainers.image.ref.name"] = tag
		}
		index.Manifests = append(index.Manifests, v1.Descriptor{
			MediaType: types.OCIManifestSchema1, Digest: hash, Size: size, Platform: config.Platform(), Annotations: annotations,
		})
	}
	return json.Marshal(index)
}

func blob(hash v1.Hash) string { return "blobs/" + hash.Algorithm + "/" + hash.Hex }

func putBytes(w *tar.Writer, name string, content []byte) error {
	if err := w.WriteHeader(header(name, int64(len(content)))); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}

func putLayer(w *tar.Writer, layer v1.Layer) error {
	hash, err := layer.Digest()
	if err != nil {
		return err
	}
	size, err := layer.Size()
	if err != nil {
		return err
	}
	content, err := layer.Compressed()
	if err != nil {
		return err
	}
	defer content.Close()
	if err := w.WriteHeader(header(blob(hash), size)); err != nil {
		return err
	}
	_, err = io.Copy(w, content)
	return err
}

func header(name string, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
}

// fromDocker reads what `docker save` wrote and gives it OCI's media types, so that its digest is that of what is pushed.
func fromDocker(file string) (v1.Image, error) {
	saved, err := tarball.ImageFromPath(file, nil)
	if err != nil {
		return nil, fmt.Errorf("read what docker saved: %w", err)
	}
	config, err := saved.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read the image's configuration: %w", err)
	}
	layers, err := saved.Layers()
	if err != nil {
		return nil, fmt.Errorf("read the image's layers: %w", err)
	}
	image, err := Image(v1.Platform{OS: config.OS, Architecture: config.Architecture, Variant: config.Variant}, config.Config)
	if err != nil {
		return nil, err
	}
	for _, layer := range layers {
		again, err := tarball.LayerFromOpener(layer.Uncompressed, tarball.WithMediaType(types.OCILayer))
		if err != nil {
			return nil, fmt.Errorf("compress a layer: %w", err)
		}
		if image, err = mutate.AppendLayers(image, again); err != nil {
			return nil, fmt.Errorf("add a layer: %w", err)
		}
	}
	return image, nil
}

// contentOf reads a program at the root of an image.
func contentOf(image v1.Image, program string) ([]byte, error) {
	files := mutate.Extract(image)
	defer files.Close()
	for r := tar.NewReader(files); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("it holds no /%s", program)
		}
		if err != nil {
			return nil, fmt.Errorf("read its files: %w", err)
		}
		if h.Name == program || h.Name == "/"+program || h.Name == "./"+program {
			return io.ReadAll(r)
		}
	}
}
