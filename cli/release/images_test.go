package release

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/smart-assistant/platform/cli/fault"
)

var digest = "sha256:" + strings.Repeat("0a", 32)

func TestManifestRefusesDigests(t *testing.T) {
	for value, good := range map[string]bool{
		digest: true, "": false, "v2": false, strings.ToUpper(digest): false, digest + "0": false, strings.TrimPrefix(digest, "sha256:"): false,
		"sha512:" + strings.Repeat("0a", 64): false,
	} {
		_, err := NewManifest(Manifest{Version: "v2", Images: map[string]string{"assistd": digest, "assistctl": value}})
		if (err == nil) != good || !good && !strings.Contains(err.Error(), `image "assistctl"`) {
			t.Errorf("%q: %v", value, err)
		}
	}
	if _, err := NewManifest(Manifest{Version: "v2", Images: map[string]string{"": digest}}); err == nil {
		t.Error("an image has no name")
	}
}

func TestReadImages(t *testing.T) {
	file := filepath.Join(t.TempDir(), "images.json")
	if _, err := ReadImages(file, "v2"); fault.CodeOf(err) != fault.Usage || !strings.Contains(fault.HintOf(err), "make images VERSION=v2") {
		t.Errorf("no file: %v", err)
	}
	for text, code := range map[string]int{
		`{`:                fault.Damaged,
		`{"version":"v1"}`: fault.Refused,
		`{"version":"v2","images":{"assistd":"` + digest + `"}}`:                              fault.Damaged,
		`{"version":"v2","images":{"assistd":"` + digest + `","assistctl":"` + digest + `"}}`: 0,
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadImages(file, "v2"); (err == nil) != (code == 0) || err != nil && (fault.CodeOf(err) != code || fault.HintOf(err) == "") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestImagesMatch(t *testing.T) {
	for _, c := range []struct {
		made, commit, binary string
		good                 bool
	}{
		{"c1", "c1", "", true},
		{"c1", "c1", "other", true}, // the commit says what was built; another compiler makes other bytes of it
		{"c1", "c2", "same", false},
		{"c1", "c1-dirty", "same", false},
		{"c1-dirty", "c1-dirty", "same", true},
		{"c1-dirty", "c1-dirty", "other", false},
		{"c1-dirty", "c1-dirty", "", true}, // not known: images for another platform
	} {
		err := ImageFile{Version: "v2", Commit: c.made, Binaries: map[string]string{"assistd": "same"}}.Match(c.commit, c.binary)
		if (err == nil) != c.good || err != nil && (fault.CodeOf(err) != fault.Refused || fault.HintOf(err) != "make images VERSION=v2") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
