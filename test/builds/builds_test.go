package builds_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/postgres/postgrestest"
	"github.com/smart-assistant/platform/test/builds"
)

// TestVariants builds every variant and shows its difference against one database.
func TestVariants(t *testing.T) {
	s := &site{dir: t.TempDir(), database: postgrestest.Start(t).URL("postgres")}
	s.writeKeys(t)
	for _, variant := range builds.Variants() {
		if err := builds.Build(t.Context(), variant, "v0.0.0-"+variant, s.binary(variant)); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("schemas", s.schemas)
	t.Run("v1, then current, then v1 on the newer schema", s.upgradeAndBack)
	t.Run("current on three replicas", func(t *testing.T) {
		if out, err := s.smoke(t, builds.Current, s.proxy(t, builds.Current, 3)); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("stale on one replica", func(t *testing.T) {
		if out, err := s.smoke(t, builds.Stale, s.proxy(t, builds.Stale, 1)); err != nil {
			t.Errorf("one replica gives it away: %v\n%s", err, out)
		}
	})
	for _, replicas := range []int{2, 3} {
		t.Run(fmt.Sprintf("stale on %d replicas", replicas), func(t *testing.T) {
			out, err := s.smoke(t, builds.Stale, s.proxy(t, builds.Stale, replicas))
			if err == nil || !strings.Contains(out, "✗ profile: read") || !strings.Contains(out, "replica r") || !strings.Contains(out, "✓ delete") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	t.Run("late", s.late)
}

func TestBuildRefuses(t *testing.T) {
	err := builds.Build(t.Context(), "v0", "v0.0.0", filepath.Join(t.TempDir(), "out"))
	if err == nil || !strings.Contains(err.Error(), builds.Late) {
		t.Errorf("got %v, want the list of variants", err)
	}
}

// site is where the builds run: their binaries, one signing key, one database.
type site struct{ dir, database string }

func (s *site) binary(variant string) string { return filepath.Join(s.dir, "assistd-"+variant) }

func (s *site) command(ctx context.Context, variant string, env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.binary(variant), args...)
	cmd.Env = append([]string{"ASSISTD_DATABASE_URL=" + s.database, "ASSISTD_JWT_KEY_FILE=" + s.dir + "/key.pem", "ASSISTD_MASTER_KEY_FILE=" + s.dir + "/master-key"}, env...)
	return cmd
}

func (s *site) run(t *testing.T, variant string, args ...string) string {
	t.Helper()
	out, err := s.command(t.Context(), variant, nil, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("assistd %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (s *site) smoke(t *testing.T, variant, url string) (string, error) {
	t.Helper()
	out, err := s.command(t.Context(), variant, nil, "smoke", "--url", url).CombinedOutput()
	return string(out), err
}

func (s *site) schemas(t *testing.T) {
	heads := map[string]int{}
	for _, variant := range builds.Variants() {
		var answer struct {
			Version string
			Schema  struct{ Head int }
		}
		if err := json.Unmarshal([]byte(s.run(t, variant, "version", "--json")), &answer); err != nil {
			t.Fatal(err)
		}
		if answer.Version != "v0.0.0-"+variant {
			t.Errorf("%s says that it is %s", variant, answer.Version)
		}
		heads[variant] = answer.Schema.Head
	}
	if heads[builds.V1] != heads[builds.Current]-1 || heads[builds.Stale] != heads[builds.Current] || heads[builds.Late] != heads[builds.Current] {
		t.Errorf("schema heads: %v", heads)
	}
}

// upgradeAndBack is what a promotion and its rollback do with the builds.
func (s *site) upgradeAndBack(t *testing.T) {
	s.run(t, builds.V1, "migrate", "up")
	v1 := s.proxy(t, builds.V1, 1)
	out, err := s.smoke(t, builds.V1, v1)
	if err != nil || strings.Contains(out, "briefing") {
		t.Errorf("v1's smoke: %v\n%s", err, out)
	}
	if out, err := s.smoke(t, builds.Current, v1); err == nil || !strings.Contains(out, "✗ briefing") {
		t.Errorf("the current build's smoke finds its schedule in v1: %v\n%s", err, out)
	}
	s.run(t, builds.Current, "migrate", "up")
	current := s.proxy(t, builds.Current, 1)
	for variant, url := range map[string]string{builds.Current: current, builds.V1: v1} {
		if out, err := s.smoke(t, variant, url); err != nil {
			t.Errorf("%s on the new schema: %v\n%s", variant, err, out)
		}
	}
	if out := s.run(t, builds.V1, "migrate", "plan"); out != "" {
		t.Errorf("v1 would do something on the newer schema: %s", out)
	}
}

// late passes at first, and then only its reads go on working.
func (s *site) late(t *testing.T) {
	url := s.proxy(t, builds.Late, 1)
	if out, err := s.smoke(t, builds.Late, url); err != nil {
		t.Errorf("it fails at once: %v\n%s", err, out)
	}
	var out string
	eventually(t, "smoke fails", func() bool {
		var err error
		out, err = s.smoke(t, builds.Late, url)
		return err != nil
	})
	if !strings.Contains(out, "✗ profile: PATCH /api/v1/me: 503") || !strings.Contains(out, "✓ login") || !strings.Contains(out, "✓ delete") {
		t.Errorf("it fails in another place:\n%s", out)
	}
}

// proxy starts replicas of a variant and a proxy that asks them in turn, and returns the proxy's URL.
func (s *site) proxy(t *testing.T, variant string, replicas int) string {
	t.Helper()
	var upstreams []*url.URL
	for i := range replicas {
		address := fmt.Sprintf("127.0.0.1:%d", postgrestest.FreePort(t))
		env := []string{"ASSISTD_LISTEN=" + address, fmt.Sprintf("ASSISTD_REPLICA=r%d", i), "ASSISTD_DRAIN_DELAY=1ms"}
		cmd := s.command(context.WithoutCancel(t.Context()), variant, env, "serve") // the cleanup stops it, cleanly
		log, err := os.Create(filepath.Join(t.TempDir(), "log"))
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			if err := cmd.Wait(); err != nil {
				t.Errorf("%s: %v", variant, err)
			}
			_ = log.Close()
		})
		upstreams = append(upstreams, &url.URL{Scheme: "http", Host: address})
		eventually(t, "a replica of "+variant+" is ready", func() bool {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/ready", nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				return false
			}
			response.Body.Close()
			return response.StatusCode == http.StatusOK
		})
	}
	var turn atomic.Int64
	front := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(upstreams[int(turn.Add(1))%len(upstreams)])
	}})
	t.Cleanup(front.Close)
	return front.URL
}

func (s *site) writeKeys(t *testing.T) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	master := []byte(base64.StdEncoding.EncodeToString(make([]byte, 32)))
	if err := errors.Join(os.WriteFile(filepath.Join(s.dir, "key.pem"), text, 0o600), os.WriteFile(filepath.Join(s.dir, "master-key"), master, 0o600)); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("30 s on, this still does not hold: %s", what)
		}
	}
}
