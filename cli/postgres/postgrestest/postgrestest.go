// Package postgrestest starts throwaway PostgreSQL servers for tests. It owns their ports, files and end: nothing is left
// behind, not even when the test process is killed.
package postgrestest

import (
	"context"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/postgres"
)

// Password is the superuser's.
const Password = "postgrestest"

// Server is a running throwaway server.
type Server struct {
	*postgres.Server
}

// URL is the connection string of a database for the superuser.
func (s *Server) URL(database string) string {
	return s.Server.URL(database, postgres.Superuser, Password)
}

// Option changes a server before it is created.
type Option func(*postgres.Server)

// WithSettings sets server parameters.
func WithSettings(settings map[string]string) Option {
	return func(s *postgres.Server) { maps.Copy(s.Settings, settings) }
}

// Start creates a cluster in a temporary folder and starts its server with fsync off. The test's end stops and removes it.
func Start(t testing.TB, options ...Option) *Server {
	t.Helper()
	s := New(t, options...)
	if err := s.Init(t.Context(), Password); err != nil {
		t.Fatal(err)
	}
	// Between asking for a free port and the server's bind, somebody else may take it.
	for attempt := 1; ; attempt++ {
		err := s.Server.Start(t.Context())
		if err == nil {
			return s
		}
		if attempt == 5 {
			t.Fatal(err)
		}
		s.Port = FreePort(t)
	}
}

// New describes a server in a temporary folder of its own, with neither a cluster nor a process yet.
func New(t testing.TB, options ...Option) *Server {
	t.Helper()
	binaries, err := postgres.Find("")
	if err != nil {
		t.Fatal(err)
	}
	dir := Dir(t)
	s := &postgres.Server{
		Binaries: binaries,
		DataDir:  filepath.Join(dir, "data"),
		Port:     FreePort(t),
		Log:      filepath.Join(dir, "postgres.log"),
		Settings: map[string]string{"fsync": "off", "shared_buffers": "32MB"},
	}
	for _, option := range options {
		option(s)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.Stop(ctx, postgres.Immediate); err != nil {
			t.Error(err)
		}
	})
	guard(t, s.DataDir)
	return &Server{s}
}

// Dir is a temporary folder that the server's user can pass through, whoever runs the test.
func Dir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if os.Geteuid() != 0 {
		return dir
	}
	// t.TempDir makes two folders that only root may enter; what is above is not ours to open.
	for _, ours := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(ours, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// FreePort is a port of 127.0.0.1 on which nothing listened a moment ago.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// guard ends the server when this process dies before it could: a killed or panicking test runs no cleanup. It is a shell
// that reads from a pipe which only this process holds open, and acts on its end.
func guard(t testing.TB, dataDir string) {
	t.Helper()
	const script = `read -r _ && exit
pid=$(head -n 1 "$1/postmaster.pid" 2>/dev/null)
[ "$(readlink "/proc/$pid/cwd")" = "$(readlink -f "$1")" ] && kill -QUIT "$pid" && while [ -d "/proc/$pid" ]; do sleep 0.1; done
rm -rf "${1%/*}"; rmdir "${1%/*/*}"`
	cmd := exec.Command("sh", "-c", script, "guard", dataDir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a terminal's Ctrl-C is for the test, and the guard comes after it
	pipe, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = pipe.Write([]byte("done\n")) // a guard that is gone already needs no word
		_ = cmd.Wait()
	})
}
