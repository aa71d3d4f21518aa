package backup

import (
	"archive/tar"
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// ServerLacksCompression makes Take ask for compressions that no server has.
func ServerLacksCompression(t *testing.T) {
	had := onServer
	onServer = []string{"brotli:level=1", "zstd:threads=WORKERS"}
	t.Cleanup(func() { onServer = had })
}

// FuzzCommit feeds commits as a stranger could put them into the bucket. What unseal accepts has names that stay below the backup's
// prefix, and is unchanged by being written and read again.
func FuzzCommit(f *testing.F) {
	signer := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	good := Commit{
		Format: format, ID: "m-20261124-091214", Environment: "prod", Kind: Manual, StoredBytes: 30,
		Archives: []Archive{{Tablespace: 16384, Location: "/x", Objects: []Object{{"16384.tar.zst.age.000001", 10, "00"}}}, {Objects: []Object{{"base.tar.zst.age.000001", 10, "00"}}}},
		Manifest: Object{manifestObject, 10, "00"},
	}
	object, err := good.sealed(signer)
	if err != nil {
		f.Fatal(err)
	}
	if u, err := unseal(good.ID, object); err != nil || u.verify([]ed25519.PublicKey{signer.Public().(ed25519.PublicKey)}) != nil {
		f.Fatalf("a good commit is refused: %v", err)
	}
	f.Add(object)
	f.Add([]byte(`{"commit":{"format":1,"id":"m-20261124-091214"},"signature":""}`))
	f.Add(bytes.Replace(object, []byte("000001"), []byte("../../x"), 1))
	f.Fuzz(func(t *testing.T, object []byte) {
		u, err := unseal(good.ID, object)
		if err != nil {
			return
		}
		for _, o := range u.Objects() {
			if strings.Contains(o.Name, "/") || strings.Contains(o.Name, "..") || o.Size <= 0 {
				t.Errorf("accepted object %+v", o)
			}
		}
		again, err := u.sealed(signer)
		if err != nil {
			t.Fatal(err)
		}
		v, err := unseal(good.ID, again)
		if err != nil || fmt.Sprint(v.Commit) != fmt.Sprint(u.Commit) {
			t.Errorf("read %+v, then %+v, %v", u.Commit, v.Commit, err)
		}
	})
}

// withSum completes a manifest with its checksum line.
func withSum(text string) []byte {
	text += "\n"
	return fmt.Appendf(nil, "%s\"Manifest-Checksum\": \"%x\"}\n", text, sha256.Sum256([]byte(text)))
}

// FuzzManifest feeds manifests whose own checksum holds.
func FuzzManifest(f *testing.F) {
	const good = `{ "PostgreSQL-Backup-Manifest-Version": 1,
"Files": [
{ "Path": "PG_VERSION", "Size": 3, "Last-Modified": "2026-11-24 09:12:14 GMT", "Checksum-Algorithm": "CRC32C", "Checksum": "64440205" },
{ "Encoded-Path": "ff2f", "Size": 0, "Checksum-Algorithm": "CRC32C", "Checksum": "00000000" }
],
"WAL-Ranges": [
{ "Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "0/2000100" }
],`
	m, files, err := parseManifest(withSum(good))
	if err != nil || len(files) != 2 || files["PG_VERSION"] != (expected{3, 0x05024464}) || m.WAL[0].Start != 0x2000028 {
		f.Fatalf("a good manifest gives %+v %+v, %v", m, files, err)
	}
	f.Add(good)
	f.Add(strings.ReplaceAll(good, "PG_VERSION", "../../x"))
	f.Add(strings.Replace(good, "1,", "3,", 1))
	f.Add(`{}`)
	f.Fuzz(func(t *testing.T, text string) {
		content := withSum(text)
		m, files, err := parseManifest(content)
		if err != nil {
			return
		}
		if len(files) == 0 || len(m.WAL) == 0 || len(files) != len(m.Files) {
			t.Errorf("accepted %+v", m)
		}
		for _, w := range m.WAL {
			if w.End-w.Start < 1<<30 {
				for _, name := range w.walFiles(1 << 24) {
					if !walName.MatchString(name) {
						t.Errorf("log segment is called %q", name)
					}
				}
			}
		}
		content[len(content)/2] ^= 1
		if _, _, err := parseManifest(content); err == nil {
			t.Error("a flipped bit is not noticed")
		}
	})
}

// FuzzTar unpacks any tar to a disk. Nothing is ever written outside of the folder, and what is accepted is what the manifest lists.
func FuzzTar(f *testing.F) {
	f.Add([]byte("PG_VERSION"), "", byte(tar.TypeReg), []byte("15\n"))
	f.Add([]byte("../escape"), "", byte(tar.TypeReg), []byte("15\n"))
	f.Add([]byte("/tmp/escape"), "", byte(tar.TypeReg), []byte{})
	f.Add([]byte("pg_tblspc/16384"), "/etc", byte(tar.TypeSymlink), []byte{})
	f.Add([]byte("pg_tblspc/99"), "/etc", byte(tar.TypeSymlink), []byte{})
	f.Add([]byte("link"), "/etc", byte(tar.TypeSymlink), []byte{})
	f.Add([]byte("hard"), "PG_VERSION", byte(tar.TypeLink), []byte{})
	f.Add([]byte("device"), "", byte(tar.TypeBlock), []byte{})
	f.Add([]byte("base/"), "", byte(tar.TypeDir), []byte{})
	f.Add([]byte("pg_tblspc/16384/x"), "", byte(tar.TypeReg), []byte("x"))
	f.Add([]byte("a/../../b"), "", byte(tar.TypeReg), []byte("x"))
	f.Add([]byte("a\x00b"), "", byte(tar.TypeReg), []byte("x"))
	f.Fuzz(func(t *testing.T, name []byte, target string, kind byte, content []byte) {
		for _, tablespace := range []uint32{0, 16384} {
			unpackHostile(t, tablespace, string(name), target, kind, content)
		}
	})
}

func unpackHostile(t *testing.T, tablespace uint32, name, target string, kind byte, content []byte) {
	t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	h := &tar.Header{Name: name, Linkname: target, Typeflag: kind, Mode: 0o600, Size: int64(len(content)), Format: tar.FormatGNU}
	if kind != tar.TypeReg {
		h.Size, content = 0, nil
	}
	if w.WriteHeader(h) != nil {
		return
	}
	if _, err := w.Write(content); err != nil || w.Close() != nil {
		return
	}
	outer := t.TempDir()
	dir := filepath.Join(outer, "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	all := []Archive{{Tablespace: 16384}, {}}
	into, err := newDisk(dir, all)
	if err != nil {
		t.Fatal(err)
	}
	defer into.close()
	u := &unpacker{commit: Commit{ID: "x", Archives: all}, into: into, files: map[string]expected{}, wal: map[string]int64{}, free: make(chan []byte, chunks), progress: func(int64) {}}
	listed := strings.TrimPrefix(name, "./")
	if tablespace != 0 {
		listed = "pg_tblspc/16384/" + listed
	}
	u.files[listed] = expected{int64(len(content)), crc32.Checksum(content, castagnoli)}
	for range chunks {
		u.free <- nil
	}
	failed := u.unpackTar(t.Context(), &archive, Archive{Tablespace: tablespace})
	inside := 0
	err = filepath.WalkDir(outer, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch in, _ := filepath.Rel(outer, path); {
		case in == ".", in == "data", in == "data.tablespaces", in == filepath.Join("data.tablespaces", "16384"):
		case strings.HasPrefix(in, "data"+string(filepath.Separator)), strings.HasPrefix(in, filepath.Join("data.tablespaces", "16384")+string(filepath.Separator)):
			inside++
			if link, err := os.Readlink(path); err == nil && link != filepath.Join(outer, "data.tablespaces", "16384") {
				t.Errorf("%s links to %s", in, link)
			}
		default:
			t.Errorf("wrote %s", in)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if failed == nil && kind == tar.TypeReg && u.done.Files+len(u.wal) != 1 {
		t.Errorf("%q was accepted and not checked", name)
	}
	if failed == nil && inside == 0 {
		t.Errorf("%q was accepted and not written", name)
	}
}

// Whatever is written in whatever pieces, the frames come out in order and are one zstd stream.
func TestCompressor(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, length := range []int{0, 1, pieceSize - 1, pieceSize, 3*pieceSize + 12345} {
		data := make([]byte, length)
		for i := range data {
			data[i] = byte(random.IntN(8))
		}
		var out bytes.Buffer
		c, err := newCompressor(&out)
		if err != nil {
			t.Fatal(err)
		}
		for rest := data; len(rest) > 0; {
			n := min(len(rest), 1+random.IntN(1<<20))
			if _, err := c.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		z, err := zstd.NewReader(&out)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(z)
		z.Close()
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes became %d, %v", length, len(got), err)
		}
	}
}

// A writer that fails ends the compressor with its error, also when there is nothing more to write.
func TestCompressorFails(t *testing.T) {
	for _, pieces := range []int{1, 5} {
		full := errors.New("full")
		c, err := newCompressor(failing{full})
		if err != nil {
			t.Fatal(err)
		}
		var failed error
		for range pieces {
			if _, err := c.Write(make([]byte, pieceSize)); err != nil {
				failed = err
			}
		}
		if err := c.Close(); err != nil {
			failed = err
		}
		if !errors.Is(failed, full) {
			t.Errorf("%d pieces: %v", pieces, failed)
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestSize(t *testing.T) {
	for bytes, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 352e6: "352 MB", 1.9e9: "1.9 GB", 999.6e6: "1.0 GB", 12e12: "12 TB"} {
		if got := size(bytes); got != want {
			t.Errorf("%d bytes are %q, want %q", bytes, got, want)
		}
	}
}
