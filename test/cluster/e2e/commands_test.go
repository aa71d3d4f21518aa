//go:build cluster

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// result is what a command said.
type result struct {
	code        int
	out, errOut string
}

func (w *world) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Env, cmd.Dir = w.env, w.dir
	return cmd
}

func (w *world) try(program string, args ...string) result {
	w.t.Helper()
	cmd := w.command(program, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	began := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.t.Fatalf("%s %s: %v", filepath.Base(program), strings.Join(args, " "), err)
	}
	w.t.Logf("%s %s: exit status %d, %s", filepath.Base(program), strings.Join(args, " "), cmd.ProcessState.ExitCode(), time.Since(began).Round(100*time.Millisecond))
	return result{cmd.ProcessState.ExitCode(), out.String(), errOut.String()}
}

func (w *world) must(program string, args ...string) result {
	w.t.Helper()
	r := w.try(program, args...)
	if r.code != 0 {
		w.t.Fatalf("%s %s: exit status %d\n%s%s", filepath.Base(program), strings.Join(args, " "), r.code, r.out, r.errOut)
	}
	return r
}

func (w *world) pulumi(args ...string) result {
	w.t.Helper()
	return w.must(lab.pulumi, append(args, "--non-interactive")...)
}

func (w *world) assistctl(args ...string) result {
	w.t.Helper()
	return w.must(lab.assistctl, args...)
}

// ask decodes what a command of assistctl prints with --json.
func (w *world) ask(into any, args ...string) {
	w.t.Helper()
	r := w.assistctl(append(args, "--json")...)
	if err := json.Unmarshal([]byte(r.out), into); err != nil {
		w.t.Fatalf("assistctl %s --json: %v\n%s", strings.Join(args, " "), err, r.out)
	}
}

// status is what the tests read of an environment.
type status struct {
	Environment, URL, Release, Runs string
	Problem                         string
	Want, Ready                     int
	Schema                          int64
	Unfinished                      int
}

// status waits for an environment to say how it does: a busy machine may keep it from answering in time, and then it says so.
func (w *world) status(env string) status {
	w.t.Helper()
	for range 5 {
		s := w.lookAt(env)
		if s.Problem == "" {
			return s
		}
		w.t.Logf("%s: %s", env, s.Problem)
	}
	w.t.Fatalf("%s does not answer", env)
	return status{}
}

// unfinished reports whether an environment waits for a run to be resumed, which may be one that has stopped its database.
func (w *world) unfinished(env string) bool {
	w.t.Helper()
	return w.lookAt(env).Unfinished != 0 || w.status(env).Unfinished != 0
}

func (w *world) lookAt(env string) status {
	w.t.Helper()
	var all []status
	w.ask(&all, "status")
	i := slices.IndexFunc(all, func(s status) bool { return s.Environment == env })
	if i < 0 {
		w.t.Fatalf("status does not speak of %s", env)
	}
	return all[i]
}

// sql runs a statement in an environment's database as its superuser and returns what psql prints.
func (w *world) sql(env, statement string) string {
	w.t.Helper()
	r := w.must("kubectl", "-n", w.namespace(env), "exec", "postgres-0", "--", "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "assistant", "-c", statement)
	return strings.TrimSpace(r.out)
}

// wire stands between everybody and prod's bucket and sees each ledger entry go by.
type wire struct {
	*httptest.Server
	mu      sync.Mutex
	written func(kind string) // after the entry is durable and before its writer hears of it; kind is like "start deploy"
}

// newWire listens on the node's address: pods have to reach it.
func newWire(t *testing.T, endpoint string) *wire {
	t.Helper()
	to, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	s := &wire{}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host // it is signed
			if r.In.Method == http.MethodPut && strings.Contains(r.In.URL.Path, "/ledger/") {
				body, _ := io.ReadAll(r.In.Body) // what is missing of it, the server refuses
				r.Out.Body = io.NopCloser(bytes.NewReader(body))
				r.Out = r.Out.WithContext(context.WithValue(r.Out.Context(), entryKind{}, kindOf(body)))
			}
		},
		ModifyResponse: func(r *http.Response) error {
			kind, isEntry := r.Request.Context().Value(entryKind{}).(string)
			s.mu.Lock()
			written := s.written
			s.mu.Unlock()
			if isEntry && r.StatusCode == http.StatusOK && written != nil {
				written(kind)
			}
			return nil
		},
		ErrorHandler: func(rw http.ResponseWriter, _ *http.Request, _ error) { rw.WriteHeader(http.StatusBadGateway) },
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(lab.node, "0"))
	if err != nil {
		t.Fatal(err)
	}
	s.Server = httptest.NewUnstartedServer(proxy)
	s.Server.Listener.Close()
	s.Server.Listener = listener
	s.Server.Start()
	t.Cleanup(s.Server.Close)
	return s
}

// entryKind is where a request's context says what entry it writes.
type entryKind struct{}

var phase, step = regexp.MustCompile(`"phase":"([^"]*)"`), regexp.MustCompile(`"step":"([^"]*)"`)

// kindOf is an entry's phase and step, whatever the client has wrapped around its bytes.
func kindOf(body []byte) string {
	kind := ""
	for _, field := range []*regexp.Regexp{phase, step} {
		if m := field.FindSubmatch(body); m != nil {
			kind += " " + string(m[1])
		}
	}
	return strings.TrimSpace(kind)
}

// watch sets what happens at each entry.
func (s *wire) watch(written func(kind string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written = written
}

// kill sends SIGKILL.
func kill(cmd *exec.Cmd) { _ = cmd.Process.Signal(syscall.SIGKILL) }
