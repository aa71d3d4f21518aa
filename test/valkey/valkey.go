// Package valkey starts throwaway Valkey servers for tests, or Redis servers, which speak the same protocol.
package valkey

import (
	"bytes"
	"fmt"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/postgres/postgrestest"
)

// Server is a server on loopback, which can be stopped and started again at the same address.
type Server struct {
	port    int
	process *exec.Cmd
	output  bytes.Buffer
}

// Start starts a server that ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{port: postgrestest.FreePort(t)}
	t.Cleanup(func() { s.Stop(t) })
	s.Again(t)
	return s
}

// URL is where clients reach it.
func (s *Server) URL() string { return fmt.Sprintf("redis://127.0.0.1:%d", s.port) }

// Again starts it, empty.
func (s *Server) Again(t testing.TB) {
	t.Helper()
	program, err := exec.LookPath("valkey-server")
	if err != nil {
		if program, err = exec.LookPath("redis-server"); err != nil {
			t.Fatal("neither valkey-server nor redis-server is here: scripts/install-test-tools.sh installs one")
		}
	}
	s.output.Reset()
	s.process = exec.Command(program, "--port", fmt.Sprint(s.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir())
	s.process.Stdout, s.process.Stderr = &s.output, &s.output
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen: %v", program, err)
		}
	}
}

// Stop kills it.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if s.process == nil {
		return
	}
	_ = s.process.Process.Kill()
	_ = s.process.Wait()
	s.process = nil
}
