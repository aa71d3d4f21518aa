package readme

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/postgres/postgrestest"
	"github.com/smart-assistant/platform/test/builds"
	"github.com/smart-assistant/platform/test/database"
)

// TestNewcomer walks the README's way through the service, in a shell, and wants the output that stands there.
func TestNewcomer(t *testing.T) {
	feed := httptest.NewServer(http.FileServer(http.Dir("../../sample")))
	t.Cleanup(feed.Close)
	url := serve(t)
	_, after, marked := strings.Cut(readme(t), "<!-- TestNewcomer")
	block, ok := between(after, "```bash\n", "```\n")
	want, alsoOK := between(after, "```text\n", "```\n")
	if !marked || !ok || !alsoOK {
		t.Fatal("the README has no way for a newcomer")
	}
	walk := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", block)
	walk.Dir = "../.."
	walk.Env = append(os.Environ(), "URL="+url, "FEED="+feed.URL+"/jobs.xml")
	var stderr bytes.Buffer
	walk.Stderr = &stderr
	got, err := walk.Output()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, got, stderr.Bytes())
	}
	if timeless(string(got)) != timeless(want) {
		t.Errorf("the README promises\n%s\nand it is\n%s", want, got)
	}
}

func between(text, begin, end string) (string, bool) {
	_, text, begun := strings.Cut(text, begin)
	text, _, ended := strings.Cut(text, end)
	return text, begun && ended
}

var (
	aDate = regexp.MustCompile(`\d+ [A-Z][a-z]+ 20\d\d(, \d\d:\d\d)?`)
	anID  = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
)

// timeless is a text without what is another each time.
func timeless(text string) string {
	return strings.TrimSpace(anID.ReplaceAllString(aDate.ReplaceAllString(text, "<date>"), "<id>"))
}

// serve starts a replica of the working tree's build until the test ends, and returns its URL once it is ready.
func serve(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "assistd")
	if err := builds.Build(t.Context(), builds.Current, "v0.0.1", binary); err != nil {
		t.Fatal(err)
	}
	server := database.Start(t)
	key, err := exec.CommandContext(t.Context(), "openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout").Output()
	master := []byte(base64.StdEncoding.EncodeToString(make([]byte, 32)))
	if err := errors.Join(err, os.WriteFile(filepath.Join(dir, "key.pem"), key, 0o600), os.WriteFile(filepath.Join(dir, "master-key"), master, 0o600)); err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", postgrestest.FreePort(t))
	replica := exec.CommandContext(context.WithoutCancel(t.Context()), binary, "serve")
	var log bytes.Buffer
	replica.Stderr = &log
	replica.Env = []string{
		"ASSISTD_DATABASE_URL=" + server.New(t), "ASSISTD_JWT_KEY_FILE=" + dir + "/key.pem", "ASSISTD_MASTER_KEY_FILE=" + dir + "/master-key",
		"ASSISTD_LISTEN=" + address, "ASSISTD_OUTBOUND_ALLOW=127.0.0.1/32", "ASSISTD_DRAIN_DELAY=1ms",
	}
	if err := replica.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = replica.Process.Signal(syscall.SIGTERM)
		if err := replica.Wait(); err != nil {
			t.Errorf("the replica: %v\n%s", err, log.Bytes())
		}
	})
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if response, err := http.Get("http://" + address + "/ready"); err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return "http://" + address
			}
		}
	}
	t.Fatal("the replica is not ready after a minute")
	return ""
}
