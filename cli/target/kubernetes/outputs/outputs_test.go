package outputs_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/target/kubernetes/outputs"
)

func whole() outputs.Outputs {
	return outputs.Outputs{
		Format: outputs.Format, Name: "prod", Namespace: "assistant-prod", Bucket: outputs.Bucket{Name: "backups"},
		Database: outputs.Database{Host: "postgres", Name: "assistant", Role: "assistd", BackupRole: "backup", Volume: "/v", Live: "/v/live"},
	}
}

func TestParse(t *testing.T) {
	for what, tt := range map[string]struct {
		change func(o *outputs.Outputs)
		want   []string // in the error
	}{
		"whole":               {func(*outputs.Outputs) {}, nil},
		"another format":      {func(o *outputs.Outputs) { o.Format = 2 }, []string{"format 2", "reads 1"}},
		"two missing":         {func(o *outputs.Outputs) { o.Namespace, o.Bucket.Name = "", "" }, []string{"no bucket.name", "no namespace"}},
		"live off the volume": {func(o *outputs.Outputs) { o.Database.Live = "/elsewhere/live" }, []string{"/elsewhere/live", "/v"}},
		"live too deep":       {func(o *outputs.Outputs) { o.Database.Live = "/v/a/live" }, []string{"/v/a/live"}},
	} {
		o := whole()
		tt.change(&o)
		content, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		read, err := outputs.Parse(content)
		if len(tt.want) == 0 && (err != nil || read.Database != o.Database) {
			t.Errorf("%s: %+v, %v", what, read, err)
		}
		for _, text := range tt.want {
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v, want %q in it", what, err, text)
			}
		}
		if o.Format != outputs.Format && fault.HintOf(err) == "" {
			t.Errorf("%s: no hint", what)
		}
	}
	if _, err := outputs.Parse([]byte("release: v1")); err == nil {
		t.Error("what is no JSON was read")
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	files := outputs.Files(dir)
	if _, err := files.Environment(); err == nil {
		t.Error("a pod without configuration knows its environment")
	}
	content, err := json.Marshal(whole())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "environment.json"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	if o, err := files.Environment(); err != nil || o.Name != "prod" {
		t.Errorf("%+v, %v", o, err)
	}
	for got, want := range map[string]string{
		files.Writer(): "writer/writer.json", files.Bucket("access-key"): "bucket/access-key", files.Database("ca.crt"): "database/ca.crt",
	} {
		if got != filepath.Join(dir, want) {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
