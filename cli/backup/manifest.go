package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"

	"github.com/smart-assistant/platform/cli/backup/replication"
)

// manifest is PostgreSQL's backup_manifest ("Backup Manifest Format" in PostgreSQL's manual), versions 1 (to PostgreSQL 16) and 2.
type manifest struct {
	Version int             `json:"PostgreSQL-Backup-Manifest-Version"`
	System  uint64          `json:"System-Identifier"` // version 2
	Files   []manifestFile  `json:"Files"`
	WAL     []manifestRange `json:"WAL-Ranges"`
	Sum     string          `json:"Manifest-Checksum"`
}

type manifestFile struct {
	Path        string `json:"Path"`
	EncodedPath string `json:"Encoded-Path"` // hexadecimal, when the path is not UTF-8
	Size        int64  `json:"Size"`
	Algorithm   string `json:"Checksum-Algorithm"`
	Checksum    string `json:"Checksum"`
}

// manifestRange is a piece of log that the backup needs.
type manifestRange struct {
	Timeline uint32          `json:"Timeline"`
	Start    replication.LSN `json:"Start-LSN"`
	End      replication.LSN `json:"End-LSN"`
}

// expected is what the manifest says of a file.
type expected struct {
	size   int64
	crc32c uint32
}

// parseManifest checks the manifest's own checksum and returns its files by path.
func parseManifest(content []byte) (manifest, map[string]expected, error) {
	var m manifest
	// The checksum covers all lines but the last, which holds it.
	lines := bytes.TrimSuffix(content, []byte("\n"))
	end := bytes.LastIndexByte(lines, '\n') + 1
	if end == 0 || len(lines) == len(content) {
		return m, nil, errors.New("the last line is incomplete")
	}
	if err := json.Unmarshal(content, &m); err != nil {
		return m, nil, err
	}
	if sum := sha256.Sum256(content[:end]); m.Sum != hex.EncodeToString(sum[:]) {
		return m, nil, errors.New("its checksum does not match")
	}
	if m.Version != 1 && m.Version != 2 {
		return m, nil, fmt.Errorf("version is %d", m.Version)
	}
	files := make(map[string]expected, len(m.Files))
	for _, f := range m.Files {
		path, file, err := f.parse()
		if err != nil {
			return m, nil, err
		}
		if _, twice := files[path]; twice {
			return m, nil, fmt.Errorf("%s is listed twice", path)
		}
		files[path] = file
	}
	for _, w := range m.WAL {
		if w.Timeline == 0 || w.Start > w.End {
			return m, nil, errors.New("a range of the log is malformed")
		}
	}
	if len(files) == 0 || len(m.WAL) == 0 {
		return m, nil, errors.New("it lists no files, or no log")
	}
	return m, files, nil
}

func (f manifestFile) parse() (string, expected, error) {
	path := f.Path
	if f.EncodedPath != "" {
		raw, err := hex.DecodeString(f.EncodedPath)
		if err != nil || path != "" {
			return "", expected{}, fmt.Errorf("path %q is malformed", f.EncodedPath)
		}
		path = string(raw)
	}
	// PostgreSQL writes the four bytes of the checksum as they are in memory, low byte first on all platforms in use.
	sum, err := hex.DecodeString(f.Checksum)
	if err != nil || len(sum) != 4 || f.Algorithm != "CRC32C" {
		return "", expected{}, fmt.Errorf("%s has no CRC32C checksum", path)
	}
	if f.Size < 0 || path == "" || strings.HasPrefix(path, "/") {
		return "", expected{}, fmt.Errorf("entry %q is malformed", path)
	}
	return path, expected{f.Size, binary.LittleEndian.Uint32(sum)}, nil
}

// walFiles are the names of the log segments that a range needs. The segment size, in bytes, is a power of two from 1 MiB to 1 GiB.
func (w manifestRange) walFiles(segment int64) []string {
	size := uint64(segment)
	first, last := uint64(w.Start)/size, (max(uint64(w.End), 1)-1)/size
	var names []string
	for n := first; n <= max(first, last); n++ {
		perID := (uint64(1) << 32) / size
		names = append(names, fmt.Sprintf("%08X%08X%08X", w.Timeline, n/perID, n%perID))
	}
	return names
}

func decrypt(object []byte, id age.Identity) ([]byte, error) {
	r, err := age.Decrypt(bytes.NewReader(object), id)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}
