package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/service/telemetry"
)

// Supervision is what the supervisor process is given.
type Supervision struct {
	Dir    string           // the environment's folder, as Environment.Dir
	Jobs   []Job            // run on their schedules while the environment is up
	Log    io.Writer        // nil is os.Stderr, which Up leads to log/supervisor.log
	Now    func() time.Time // nil is time.Now
	Jitter func() float64   // random, 0 ≤ x < 1; nil is math/rand's
}

// Supervise is the main function of the detached process. It brings the environment up, keeps it so, and ends everything in good order
// when ctx ends, on SIGTERM and SIGINT, and when Down asks for it. There is one supervisor for an environment: a second one returns
// ErrSupervised at once.
func Supervise(ctx context.Context, o Supervision) error {
	ctx, cancel := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer cancel()

	s, err := newSupervisor(o)
	if err != nil {
		return err
	}
	lock, err := lockFile(s.env.lockPath())
	if err != nil {
		return err
	}
	defer lock.Close() //nolint:errcheck // gives the lock back
	self, err := identify(os.Getpid())
	if err == nil {
		err = writeJSON(s.env.supervisorPath(), self)
	}
	if err == nil {
		err = s.run(ctx)
	}
	if err != nil {
		s.log.Error("supervisor failed", "error", err)
		return errors.Join(err, writeJSON(s.env.exitPath(), exit{Error: err.Error(), Hint: fault.HintOf(err)}))
	}
	return nil
}

// exit is left by a supervisor that failed, for Up to report.
type exit struct{ Error, Hint string }

func (e *Environment) exitPath() string { return e.path("run", "exit.json") }

// lockPath is what the supervisor holds locked, supervisorPath says which process it is.
func (e *Environment) lockPath() string       { return e.path("run", "supervisor.lock") }
func (e *Environment) supervisorPath() string { return e.path("run", "supervisor.json") }

// ErrSupervised says that the environment has a supervisor already.
var ErrSupervised = errors.New("another supervisor looks after the environment")

// lockFile takes a lock that ends with this process, however that ends.
func lockFile(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrSupervised
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// supervisor looks after one environment.
type supervisor struct {
	env    *Environment
	log    *slog.Logger
	now    func() time.Time
	jitter func() float64

	proxy     *proxy
	traffic   *telemetry.Traffic
	store     *keeper // the S3 server
	scheduler *scheduler
	shutdown  context.CancelFunc
	claims    []io.Closer // of ports, held until the process ends

	turn operations // one change at a time

	mu       sync.Mutex
	state    state
	want     int     // replicas
	database *keeper // nil while it is stopped for a restore
	replicas []*replica
	rollout  *rollout // under way, or nil
}

func newSupervisor(o Supervision) (*supervisor, error) {
	var config Config
	if err := readJSON(filepath.Join(o.Dir, "run", "config.json"), &config); err != nil {
		return nil, fmt.Errorf("read the environment's configuration: %w", err)
	}
	env, err := Open(config)
	if err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = os.Stderr
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Jitter == nil {
		o.Jitter = rand.Float64
	}
	log := slog.New(slog.NewJSONHandler(o.Log, nil))
	s := &supervisor{env: env, log: log, now: o.Now, jitter: o.Jitter, want: env.config.Replicas, traffic: telemetry.NewTraffic(o.Now())}
	s.proxy = newProxy(s.traffic, log)
	s.scheduler = &scheduler{jobs: o.Jobs, supervisor: s, running: map[string]time.Time{}}
	return s, nil
}

// run is the supervisor's life. What fails before the first process is started ends it; what fails later is tried again and visible in
// the status.
func (s *supervisor) run(ctx context.Context) error {
	ctx, s.shutdown = context.WithCancel(ctx)
	defer s.shutdown()

	var err error
	if s.state, err = loadState(s.env.statePath()); err != nil {
		return err
	}
	if err := s.endStrays(); err != nil {
		return fmt.Errorf("end processes that an earlier supervisor left: %w", err)
	}
	entrance, err := s.takePorts()
	if err != nil {
		return err
	}
	defer entrance.Close() //nolint:errcheck // the server closes it first
	if err := s.env.writeDatabaseURL(); err != nil {
		return err
	}
	control, err := s.env.listenControl()
	if err != nil {
		return err
	}
	defer s.env.removeSocket()

	if s.state.Paused != "" {
		s.proxy.pause(s.state.Paused)
	}
	if s.store, err = s.newStore(); err != nil {
		return errors.Join(err, control.Close())
	}
	s.log.Info("supervisor up", "environment", s.env.Name(), "pid", os.Getpid(), "address", entrance.Addr().String())
	s.store.begin()
	if s.state.Stopped {
		if err := s.endDatabase(); err != nil { // the earlier supervisor may have died before it could
			return errors.Join(err, control.Close(), s.endEverything())
		}
	} else {
		s.startDatabase()
		s.bringUpInBackground()
	}
	failed := make(chan error, 2)
	controlServer := &http.Server{
		Handler: s.controlHandler(), ReadHeaderTimeout: headerTimeout,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	go func() { failed <- s.proxy.server.Serve(entrance) }()
	go func() { failed <- controlServer.Serve(control) }()
	var chores sync.WaitGroup
	chores.Go(func() { s.scheduler.run(ctx) })
	chores.Go(func() { s.rotateLogs(ctx) })

	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("serve: %w", err)
	}
	s.shutdown()
	chores.Wait()
	return errors.Join(err, s.endEverything(), controlServer.Close())
}

// bringUpInBackground gives way to a deployment, which does the same and more.
func (s *supervisor) bringUpInBackground() {
	turn, release, err := s.turn.begin(context.Background(), true)
	if err != nil {
		return // not reached: nobody else is at work yet
	}
	go func() {
		defer release()
		if err := s.bringUp(turn, true); err != nil {
			s.log.Warn("not everything came up", "error", err)
		}
	}()
}

// endStrays ends what an earlier supervisor has left and nobody will adopt. Processes that are not recorded carry the mark.
func (s *supervisor) endStrays() error {
	wanted := map[processID]bool{}
	for name, r := range s.state.Processes {
		if s.adoptable(name, r) {
			wanted[r.processID] = true
		} else if name != databaseName { // PostgreSQL is found by its own postmaster.pid
			delete(s.state.Processes, name)
		}
	}
	found, err := marked(s.env.dir)
	if err != nil {
		return err
	}
	var strays []processID
	for _, id := range found {
		if !wanted[id] {
			strays = append(strays, id)
		}
	}
	if err := endAll(strays, s.env.config.StopTimeout); err != nil {
		return err
	}
	return writeJSON(s.env.statePath(), s.state)
}

// adoptable reports whether a recorded process goes on as it is.
func (s *supervisor) adoptable(name string, r record) bool {
	if !r.alive() {
		return false
	}
	if name == storeName {
		return r.Port == s.state.Ports.S3
	}
	return s.state.Deployment != nil && r.Deployment == key(*s.state.Deployment) && !s.state.Stopped
}

// takePorts picks the ports that are not chosen yet, and refuses those that somebody else has.
func (s *supervisor) takePorts() (net.Listener, error) {
	host, port, err := net.SplitHostPort(s.env.config.ProxyAddr)
	if err != nil {
		return nil, err
	}
	wanted, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	p := &s.state.Ports
	for _, choice := range []struct {
		port       *int
		configured int
		host       string
	}{{&p.Proxy, wanted, host}, {&p.Postgres, s.env.config.PostgresPort, "127.0.0.1"}, {&p.S3, s.env.config.S3Port, "127.0.0.1"}} {
		if choice.configured != 0 {
			*choice.port = choice.configured
		} else if *choice.port == 0 {
			port, claimed, err := claimFreePort(choice.host)
			if err != nil {
				return nil, err
			}
			*choice.port = port
			s.claims = append(s.claims, claimed)
			continue
		}
		if claimed, err := claimPort(*choice.port); err == nil { // else another environment was told to use it too: listening will tell
			s.claims = append(s.claims, claimed)
		}
	}
	if err := s.checkPorts(); err != nil {
		return nil, err
	}
	entrance, err := new(net.ListenConfig).Listen(context.Background(), "tcp", net.JoinHostPort(host, strconv.Itoa(p.Proxy)))
	if errors.Is(err, syscall.EADDRINUSE) {
		err = &portTakenError{host, p.Proxy}
	}
	if err != nil {
		return nil, forPort(err, "entrance", "ports.proxy")
	}
	return entrance, errors.Join(writeJSON(s.env.statePath(), s.state))
}

// checkPorts refuses ports that strangers have, before anything is started. Our own servers may still have theirs.
func (s *supervisor) checkPorts() error {
	if r, ok := s.state.Processes[storeName]; !ok || !r.alive() {
		if err := forPort(portFree("127.0.0.1", s.state.Ports.S3), "S3 server", "ports.s3"); err != nil {
			return err
		}
	}
	server, err := s.env.server()
	if err != nil {
		return err
	}
	if _, runs := server.PID(); runs {
		return nil
	}
	return forPort(portFree("127.0.0.1", s.state.Ports.Postgres), "PostgreSQL", "ports.postgres")
}

// update changes the state and writes it down.
func (s *supervisor) update(change func(*state)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.state)
	return writeJSON(s.env.statePath(), s.state)
}

// endEverything ends the environment in good order: first the entrance, then replicas, database and S3.
func (s *supervisor) endEverything() error {
	s.log.Info("supervisor ends")
	ctx, cancel := context.WithTimeout(context.Background(), s.env.config.DrainTimeout)
	defer cancel()
	release, err := s.turn.take(ctx) // ends a rollout under way
	if err == nil {
		defer release()
	}
	if err := s.proxy.server.Shutdown(ctx); err != nil { // the drain time-out has passed
		_ = s.proxy.server.Close() // nothing left to tell
	}
	errs := []error{s.endReplicas(), s.endDatabase()}
	if s.store != nil {
		errs = append(errs, s.store.end())
	}
	left, err := marked(s.env.dir)
	errs = append(errs, err, endAll(left, s.env.config.StopTimeout))
	return errors.Join(append(errs, s.update(func(st *state) { st.Processes = map[string]record{} }))...)
}

// newKeeper is a keeper with the supervisor's clock.
func (s *supervisor) newKeeper(name string) *keeper {
	return &keeper{name: name, now: s.now, jitter: s.jitter, turned: func(bool) {}}
}

// launched writes a new process down. When that fails the process is ended: nobody would find it again.
func (s *supervisor) launched(name string, p *process, r record) (*process, error) {
	r.processID = p.id
	if err := s.update(func(st *state) { st.Processes[name] = r }); err != nil {
		return nil, errors.Join(fmt.Errorf("record process %d: %w", p.id.PID, err), p.stop(syscall.SIGTERM, s.env.config.StopTimeout))
	}
	s.log.Info("process runs", "name", name, "pid", p.id.PID)
	return p, nil
}

// status is what the control socket answers.
func (s *supervisor) status() target.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := target.Status{
		Environment: s.env.Name(), Up: true, URL: s.env.url(s.state.Ports), Want: s.want, Paused: s.state.Paused,
		Fence: s.state.Fence, Rollout: s.state.Rollout, Jobs: s.scheduler.results(s.state.Jobs),
	}
	if d := s.state.Deployment; d != nil {
		build := d.Build
		st.Build, st.Settings = &build, d.Settings
	}
	if s.rollout != nil {
		view := s.rollout.view()
		st.Rollout = &view
	}
	for _, r := range s.replicas {
		view := r.view(s.proxy)
		st.Replicas = append(st.Replicas, view)
		if view.Ready {
			st.Ready++
		}
	}
	st.Components = append(st.Components, component(s.store, storeName, s.state.Ports.S3))
	if s.database == nil {
		st.Components = append(st.Components, target.Component{Name: databaseName, State: stopped, Port: s.state.Ports.Postgres})
		st.Database.Detail = "stopped"
		return st
	}
	database := component(s.database, databaseName, s.state.Ports.Postgres)
	st.Components = append(st.Components, database)
	st.Database = target.Health{Reachable: database.State == "running", Detail: database.Detail}
	if !st.Database.Reachable && st.Database.Detail == "" {
		st.Database.Detail = database.State
	}
	return st
}

func component(k *keeper, name string, port int) target.Component {
	v := k.look()
	if v.State == ready {
		v.State = "running"
	}
	return target.Component{Name: name, State: v.State, PID: v.PID, Port: port, Since: v.Since, Restarts: v.Restarts, Detail: v.Detail}
}
