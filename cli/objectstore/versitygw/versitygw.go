// Package versitygw owns the embedded S3 server: it finds the versitygw program, runs it as a process of its own over a folder
// of this machine, and says when it is ready.
//
// It does not restart a server that ended, which is its supervisor's task, and makes no S3 request: that is objectstore's.
//
// An object becomes visible whole, by the link of a finished file, so a server that is killed leaves either the old or the new object
// and never a torn one (Start sweeps what a killed write left behind). versitygw does not call fsync: what was written within the
// last seconds survives the server's end, as kill -9 or a crash, but not a power cut of the machine.
package versitygw

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
)

// BinaryEnv names the program for processes that cannot take a flag, such as tests.
const BinaryEnv = "ASSISTCTL_VERSITYGW"

// Region is the region that the server believes to be in; requests are signed for it.
const Region = "us-east-1"

// Find returns the path of the versitygw program: explicit, else $ASSISTCTL_VERSITYGW, else the one beside the running executable,
// else the one on PATH.
func Find(explicit string) (string, error) {
	named := []string{explicit, os.Getenv(BinaryEnv)}
	for _, path := range named {
		if path == "" {
			continue
		}
		found, err := exec.LookPath(path)
		if err != nil {
			return "", missing(err)
		}
		return filepath.Abs(found)
	}
	if self, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(self); err == nil {
			self = real
		}
		if found, err := exec.LookPath(filepath.Join(filepath.Dir(self), "versitygw")); err == nil {
			return found, nil
		}
	}
	found, err := exec.LookPath("versitygw")
	if err != nil {
		return "", missing(err)
	}
	return filepath.Abs(found)
}

func missing(err error) error {
	return fault.Hint(fmt.Errorf("find the S3 server versitygw: %w", err),
		"run `make tools` in the repository, or set "+BinaryEnv+" to the program's path")
}

// Server is one S3 server over one folder.
type Server struct {
	Binary    string // path of versitygw; "" stands for Find("")
	Root      string // folder that holds a folder per bucket; created by Start
	Log       string // file that the server's messages are appended to
	Port      int    // on 127.0.0.1
	AccessKey string
	SecretKey string

	process *process
}

type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // of Wait, once ended
}

// healthPath cannot be a bucket: their names have no underscore.
const healthPath = "/_health"

// Endpoint is the URL for S3 requests, addressed by path.
func (s *Server) Endpoint() string {
	return "http://" + s.address()
}

func (s *Server) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)) }

// sidecar is where attributes are kept when the file system has no extended attributes for users.
func (s *Server) sidecar() string {
	return filepath.Join(filepath.Dir(s.Root), "attributes-of-"+filepath.Base(s.Root)) // must not start with Root's path
}

// Command prepares the folders and returns the command that serves in the foreground, in a session of its own, its output appended
// to Log, for supervisors that start and watch processes themselves. The caller closes the returned file once the command has started.
func (s *Server) Command() (*exec.Cmd, *os.File, error) {
	fail := func(err error) (*exec.Cmd, *os.File, error) {
		return nil, nil, fmt.Errorf("prepare S3 server on %s: %w", s.Root, err)
	}
	binary := s.Binary
	if binary == "" {
		found, err := Find("")
		if err != nil {
			return fail(err)
		}
		binary = found
	}
	if s.AccessKey == "" || len(s.SecretKey) < 8 {
		return fail(errors.New("it needs an access key and a secret key of at least 8 characters"))
	}
	attributes, err := s.prepare()
	if err != nil {
		return fail(err)
	}
	log, err := os.OpenFile(s.Log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fail(err)
	}
	args := []string{
		"--port", s.address(), "--region", Region, "--health", healthPath, "--quiet", "--keep-alive",
		"posix", "--dir-perms", "0700", "--file-perms", "0600",
	}
	cmd := exec.Command(binary, append(append(args, attributes...), s.Root)...) //nolint:noctx // its life is not the call's
	// Through the environment, where other users cannot read the keys as they could a command line.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TZ=UTC", "ROOT_ACCESS_KEY=" + s.AccessKey, "ROOT_SECRET_KEY=" + s.SecretKey}
	cmd.Dir = s.Root
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // the terminal's signals are not for the server
	return cmd, log, nil
}

// prepare makes the folders, sweeps leftovers and returns the flags that say where objects' attributes are kept.
func (s *Server) prepare() (flags []string, err error) {
	if s.Root, err = filepath.Abs(s.Root); err != nil {
		return nil, err
	}
	for _, dir := range []string{s.Root, filepath.Dir(s.Log)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	// Somebody else's server on the port would answer in place of this one.
	l, err := net.Listen("tcp", s.address()) //nolint:noctx // binds and is gone
	if err != nil {
		return nil, err
	}
	if err := l.Close(); err != nil {
		return nil, err
	}
	if err := sweep(s.Root); err != nil {
		return nil, fmt.Errorf("sweep unfinished writes: %w", err)
	}
	// Extended attributes are set before an object's file gets its name, both appear at once. A sidecar's files are separate and can be
	// newer than an object whose replacement was interrupted, so it is only for file systems that have nothing better.
	_, sidecar := os.Stat(s.sidecar())
	if sidecar != nil && hasUserAttributes(s.Root) {
		return nil, nil
	}
	if err := os.MkdirAll(s.sidecar(), 0o700); err != nil {
		return nil, err
	}
	return []string{"--sidecar", s.sidecar()}, nil
}

// Start starts the server and waits until it answers. Done and Stop are about the process that it started.
func (s *Server) Start(ctx context.Context) error {
	cmd, log, err := s.Command()
	if err != nil {
		return err
	}
	defer log.Close()
	from, err := log.Seek(0, 2)
	if err != nil {
		return fmt.Errorf("start S3 server on %s: %w", s.Root, err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start S3 server on %s: %w", s.Root, err)
	}
	p := &process{cmd: cmd, ended: make(chan struct{})}
	go func() {
		if p.err = cmd.Wait(); p.err == nil {
			p.err = errors.New("exit status 0")
		}
		close(p.ended)
	}()
	s.process = p

	ready, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-p.ended:
			cancel(fmt.Errorf("it ended at once (%w); its log %s ends with:\n%s", p.err, s.Log, tail(s.Log, from)))
		case <-ready.Done():
		}
	}()
	if err := s.Ready(ready); err != nil {
		_ = cmd.Process.Kill() // fails only when it has ended
		<-p.ended
		return fmt.Errorf("start S3 server on %s: %w", s.address(), err)
	}
	return nil
}

// Ready waits until the server answers on its port.
func (s *Server) Ready(ctx context.Context) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Endpoint()+healthPath, nil)
		if err != nil {
			return err
		}
		if answer, err := client.Do(request); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK && answer.Header.Get("Server") == "VERSITYGW" && ctx.Err() == nil {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// PID returns the process that Start started, or 0.
func (s *Server) PID() int {
	if s.process == nil {
		return 0
	}
	return s.process.cmd.Process.Pid
}

// Done is closed when the process that Start started has ended; nil before Start.
func (s *Server) Done() <-chan struct{} {
	if s.process == nil {
		return nil
	}
	return s.process.ended
}

// grace is how long requests under way have to end.
const grace = time.Second

// Stop ends the server that Start started, if it still runs, and waits for its end. Requests that take longer than a second are cut off,
// which leaves no object half written: clients' idle connections alone would hold up versitygw's own way of ending for ten seconds.
func (s *Server) Stop(ctx context.Context) error {
	p := s.process
	if p == nil {
		return nil
	}
	s.process = nil
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails only when it has ended
	patience := time.NewTimer(grace)
	defer patience.Stop()
	select {
	case <-p.ended:
		return nil
	case <-patience.C:
	case <-ctx.Done():
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
	return nil
}
