package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/target"
)

// The control API: JSON over HTTP on a unix socket that only the environment's user may open. It is private to this package.
const (
	pathStatus        = "/v1/status"
	pathTraffic       = "/v1/traffic"
	pathDeploy        = "/v1/deploy"
	pathPause         = "/v1/pause"
	pathResume        = "/v1/resume"
	pathStopDatabase  = "/v1/database/stop"
	pathStartDatabase = "/v1/database/start"
	pathScale         = "/v1/scale"
	pathRunJob        = "/v1/jobs/run"
	pathShutdown      = "/v1/shutdown"
)

// line is one line of a deployment's answer: events, and at last the end.
type line struct {
	Event *event  `json:"event,omitempty"`
	End   *answer `json:"end,omitempty"`
}

// answer carries an error with all that the client's side wants to know of it.
type answer struct {
	Error   string               `json:"error,omitempty"`
	Kind    string               `json:"kind,omitempty"`
	Hint    string               `json:"hint,omitempty"`
	Rollout *target.RolloutError `json:"rollout,omitempty"`
}

var kinds = map[string]error{"fenced": target.ErrFenced, "no-build": target.ErrNoBuild, "replaced": errReplaced}

func answerOf(err error) answer {
	if err == nil {
		return answer{}
	}
	a := answer{Error: err.Error(), Hint: fault.HintOf(err)}
	for kind, known := range kinds {
		if errors.Is(err, known) {
			a.Kind = kind
		}
	}
	errors.As(err, &a.Rollout)
	return a
}

// remoteError is an error of the supervisor on the client's side.
type remoteError struct {
	text  string
	cause error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.cause }

func (a answer) err() error {
	if a.Error == "" {
		return nil
	}
	var cause error
	if known, ok := kinds[a.Kind]; ok {
		cause = known
	}
	if a.Rollout != nil {
		cause = a.Rollout
	}
	err := error(&remoteError{a.Error, cause})
	if a.Hint != "" {
		err = fault.Hint(err, a.Hint)
	}
	return err
}

// listenControl opens the control socket. The caller holds the supervisor's lock, so an old socket has nobody behind it.
func (e *Environment) listenControl() (net.Listener, error) {
	path := e.socketPath()
	if dir := filepath.Dir(path); dir != e.path("run") {
		if err := ownFolder(dir); err != nil {
			return nil, err
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// ownFolder makes a folder in a place that is open to everybody, and refuses one that somebody else has put there.
func ownFolder(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || int(stat.Uid) != os.Geteuid() || info.Mode().Perm() != 0o700 {
		return fmt.Errorf("%s is not a folder of this user's alone", dir)
	}
	return nil
}

// removeSocket leaves nothing outside the environment's folder.
func (e *Environment) removeSocket() {
	path := e.socketPath()
	_ = os.Remove(path) // gone already after the listener was closed
	if dir := filepath.Dir(path); dir != e.path("run") {
		_ = os.Remove(dir)
	}
}

func (s *supervisor) controlHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathStatus, func(w http.ResponseWriter, _ *http.Request) { reply(w, s.status()) })
	mux.HandleFunc("GET "+pathTraffic, func(w http.ResponseWriter, r *http.Request) {
		window, err := time.ParseDuration(r.URL.Query().Get("window"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		reply(w, summarize(s.traffic, time.Now(), window))
	})
	mux.HandleFunc("POST "+pathDeploy, s.serveDeploy)
	mux.HandleFunc("POST "+pathStartDatabase, s.serveStartDatabase)
	act := func(path string, do func(ctx context.Context, argument string) error) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			reply(w, answerOf(do(r.Context(), r.URL.Query().Get("argument"))))
		})
	}
	act(pathPause, func(_ context.Context, reason string) error { return s.pause(reason) })
	act(pathResume, func(context.Context, string) error { return s.resume() })
	act(pathStopDatabase, s.stopDatabase)
	act(pathScale, s.scale)
	act(pathRunJob, func(_ context.Context, name string) error { return s.scheduler.request(name) })
	act(pathShutdown, func(context.Context, string) error { s.shutdown(); return nil })
	return mux
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // a client that has gone is nobody's loss
}

// serveDeploy answers with a line for each step of the rollout. The rollout does not depend on its client.
func (s *supervisor) serveDeploy(w http.ResponseWriter, r *http.Request) {
	var d target.Deployment
	if err := json.NewDecoder(r.Body).Decode(&d); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	out := json.NewEncoder(w)
	say := func(l line) bool {
		return out.Encode(l) == nil && http.NewResponseController(w).Flush() == nil
	}
	rollout, err := s.deploy(r.Context(), d)
	if err != nil {
		end := answerOf(err)
		say(line{End: &end})
		return
	}
	for said := 0; ; {
		ended, err := rollout.result() // asked first: after the end there are no more events
		events, changed := rollout.after(said)
		for i := range events {
			if !say(line{Event: &events[i]}) {
				return
			}
		}
		said += len(events)
		if ended {
			end := answerOf(err)
			say(line{End: &end})
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

func (s *supervisor) pause(reason string) error {
	if reason == "" {
		reason = "the environment is paused"
	}
	s.proxy.pause(reason)
	return s.update(func(st *state) { st.Paused = reason })
}

func (s *supervisor) resume() error {
	s.mu.Lock()
	stopped := s.state.Stopped
	s.mu.Unlock()
	if stopped {
		return errors.New("the database is stopped for a restore: start it first")
	}
	if err := s.update(func(st *state) { st.Paused = "" }); err != nil {
		return err
	}
	s.proxy.resume()
	return nil
}

// stopDatabase pauses the entrance, lets requests in flight end, and ends replicas and database. It stays so over restarts.
func (s *supervisor) stopDatabase(ctx context.Context, reason string) error {
	release, err := s.turn.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := s.pause(reason); err != nil {
		return err
	}
	drain, cancel := context.WithTimeout(ctx, s.env.config.DrainTimeout)
	defer cancel()
	if err := s.proxy.quiesce(drain); err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := s.update(func(st *state) { st.Stopped = true }); err != nil {
		return err
	}
	return errors.Join(s.endReplicas(), s.endDatabase())
}

// startRequest is what serveStartDatabase is asked for.
type startRequest struct {
	Chosen     bool               `json:"chosen"`               // else what was deployed last runs again
	Deployment *target.Deployment `json:"deployment,omitempty"` // chosen to run; nil for no replicas
	Fence      int64              `json:"fence"`                // of the lease of the one who chose
}

func (s *supervisor) serveStartDatabase(w http.ResponseWriter, r *http.Request) {
	var start startRequest
	if err := json.NewDecoder(r.Body).Decode(&start); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	reply(w, answerOf(s.restartDatabase(r.Context(), start)))
}

// restartDatabase is stopDatabase's counterpart. It returns when all replicas are ready and the entrance is open.
func (s *supervisor) restartDatabase(ctx context.Context, start startRequest) error {
	release, err := s.turn.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := s.admitStart(start); err != nil {
		return err
	}
	s.mu.Lock()
	running, deployment, want := s.database != nil, s.state.Deployment, s.want
	s.mu.Unlock()
	if !running {
		s.startDatabase()
	}
	if deployment == nil {
		if err := s.endReplicas(); err != nil {
			return err
		}
	}
	if err := s.bringUp(ctx, false); err != nil {
		return err
	}
	if deployment != nil {
		if err := s.settle(ctx, *deployment, want, false, func(int, string) {}); err != nil {
			return err
		}
	}
	return s.resume()
}

// admitStart writes down that the database may run, and what runs on it: from then on also a supervisor that comes after this one knows.
func (s *supervisor) admitStart(start startRequest) error {
	s.mu.Lock()
	fence := s.state.Fence
	s.mu.Unlock()
	if start.Chosen && start.Fence < fence {
		return fmt.Errorf("start the database with fencing number %d: %w: %d", start.Fence, target.ErrFenced, fence)
	}
	if start.Chosen && start.Deployment != nil {
		if err := s.env.verifyBuild(start.Deployment.Build); err != nil {
			return err
		}
	}
	return s.update(func(st *state) {
		st.Stopped = false
		if start.Chosen {
			st.Deployment, st.Rollout, st.Fence = start.Deployment, nil, max(st.Fence, start.Fence)
		}
	})
}

// scale changes the number of replicas by a rollout of what runs already.
func (s *supervisor) scale(ctx context.Context, argument string) error {
	n, err := strconv.Atoi(argument)
	if err != nil || n < 1 {
		return fmt.Errorf("%q is not a number of replicas", argument)
	}
	s.mu.Lock()
	s.want = n
	deployment, fence, stopped := s.state.Deployment, s.state.Fence, s.state.Stopped
	s.mu.Unlock()
	if deployment == nil || stopped {
		return nil
	}
	d := *deployment
	d.Fence, d.Canary = fence, false
	_, err = s.deploy(ctx, d)
	return err
}
