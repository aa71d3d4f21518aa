package local

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/smart-assistant/platform/cli/target"
)

// replica is one copy of the service that is kept running, on a port that it picks anew at each start.
type replica struct {
	*keeper
	deployment target.Deployment
	env        *Environment
	proxy      *proxy
	adopted    record // a process of an earlier supervisor, for the first start

	mu       sync.Mutex
	backend  *backend // of the process that runs; nil before the first
	ready    bool
	admitted bool // may get traffic
	leaving  bool
}

// key tells deployments apart: two with the same key run alike.
func key(d target.Deployment) string {
	raw, _ := json.Marshal([]any{d.Build.Version, d.Build.SHA256, d.Settings}) // strings always marshal, maps in the order of their keys
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8])
}

// replicaLog is the log file of a replica. It names the version, so that the logs of a release can be found when it is gone.
func (e *Environment) replicaLog(name, version string) string {
	return e.logPath(name + "@" + strings.ReplaceAll(version, "/", "_"))
}

// newReplica describes a further replica of d, which begin starts.
func (s *supervisor) newReplica(d target.Deployment) (*replica, error) {
	var serial int
	if err := s.update(func(st *state) { st.Serial++; serial = st.Serial }); err != nil {
		return nil, err
	}
	return s.replica(fmt.Sprintf("api-%d", serial), d, record{}), nil
}

func (s *supervisor) replica(name string, d target.Deployment, adopted record) *replica {
	r := &replica{keeper: s.newKeeper(name), deployment: d, env: s.env, proxy: s.proxy, adopted: adopted}
	r.start = func(ctx context.Context) (*process, error) { return s.startReplica(ctx, r) }
	r.probe = r.askReady
	r.stop = func(p *process) error { return p.stop(syscall.SIGTERM, s.env.config.StopTimeout) }
	r.turned = r.setReady
	return r
}

func (s *supervisor) startReplica(ctx context.Context, r *replica) (*process, error) {
	if p, ok := adopt(r.adopted.processID); ok {
		r.at(r.adopted.Port)
		return p, nil
	}
	if err := s.env.ensureBuild(ctx, r.deployment.Build); err != nil {
		return nil, err
	}
	port, err := pickPort()
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(s.env.replicaLog(r.name, r.deployment.Build.Version), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()                                                        //nolint:errcheck // the process has its own handle
	cmd := exec.Command(s.env.buildPath(r.deployment.Build.SHA256), "serve") //nolint:noctx // its life is not the call's
	cmd.Env = s.env.serviceEnv(r.deployment.Settings, map[string]string{
		"ASSISTD_LISTEN":         "127.0.0.1:" + strconv.Itoa(port),
		"ASSISTD_METRICS_LISTEN": "127.0.0.1:0",
		"ASSISTD_REPLICA":        r.name,
		"ASSISTD_DRAIN_DELAY":    "1ms", // the entrance has taken the traffic away before it says SIGTERM
		marker:                   s.env.dir,
	})
	cmd.Dir = s.env.dir
	cmd.Stdout, cmd.Stderr = log, log
	p, err := launch(cmd)
	if err != nil {
		return nil, err
	}
	r.at(port)
	return s.launched(r.name, p, record{Port: port, Deployment: key(r.deployment)})
}

// at is told where the replica's new process listens.
func (r *replica) at(port int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.backend = newBackend(r.name, r.deployment.Build.Version, "127.0.0.1:"+strconv.Itoa(port), r.suspect)
}

func (r *replica) address() *backend {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.backend
}

var probeClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func (r *replica) askReady(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.address().addr+"/ready", nil)
	if err != nil {
		return err
	}
	answer, err := probeClient.Do(request)
	if err != nil {
		return fmt.Errorf("/ready: %w", errors.Unwrap(err)) // without the URL, which says nothing
	}
	defer answer.Body.Close() //nolint:errcheck // only read
	if answer.StatusCode == http.StatusOK {
		r.recovered()
		return nil
	}
	text := make([]byte, 500)
	n, _ := answer.Body.Read(text) // what it says besides its status is a courtesy
	return fmt.Errorf("/ready answers %d: %s", answer.StatusCode, strings.TrimSpace(string(text[:n])))
}

// recovered puts a replica back that the proxy had taken out because nobody listened for a moment.
func (r *replica) recovered() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ready && r.admitted && !r.leaving {
		r.proxy.add(r.backend)
	}
}

func (r *replica) setReady(ready bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ready = ready
	switch {
	case r.backend == nil:
	case ready && r.admitted && !r.leaving:
		r.proxy.add(r.backend)
	case !ready:
		r.proxy.remove(r.backend)
	}
}

// admit lets the replica have traffic, from now on whenever it is ready.
func (r *replica) admit() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.admitted = true
	if r.ready && !r.leaving {
		r.proxy.add(r.backend)
	}
}

// drain takes the replica's traffic away and waits until its last request is answered, or ctx ends.
func (r *replica) drain(ctx context.Context) error {
	r.mu.Lock()
	r.leaving = true
	b := r.backend
	r.mu.Unlock()
	if b == nil {
		return nil
	}
	return r.proxy.drain(ctx, b)
}

func (r *replica) view(p *proxy) target.Replica {
	v := r.look()
	r.mu.Lock()
	defer r.mu.Unlock()
	t := target.Replica{
		Name: r.name, Build: r.deployment.Build, State: v.State, Since: v.Since, PID: v.PID, Restarts: v.Restarts, Detail: v.Detail,
	}
	if r.backend != nil {
		t.Address = r.backend.addr
		t.Ready = p.has(r.backend)
	}
	if r.leaving {
		t.State, t.Ready = draining, false
	}
	return t
}

// logTail is the end of the replica's log.
func (r *replica) logTail() string {
	lines, err := lastLines(r.env.replicaLog(r.name, r.deployment.Build.Version), 20)
	if err != nil {
		return err.Error()
	}
	return strings.Join(lines, "\n")
}

// retire drains a replica, ends it and forgets it.
func (s *supervisor) retire(r *replica) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.env.config.DrainTimeout)
	defer cancel()
	if err := r.drain(ctx); err != nil {
		s.log.Warn("requests were still in flight when the drain time-out passed", "replica", r.name)
	}
	if err := r.end(); err != nil {
		return fmt.Errorf("end replica %s: %w", r.name, err)
	}
	s.mu.Lock()
	for i, other := range s.replicas {
		if other == r {
			s.replicas = append(s.replicas[:i:i], s.replicas[i+1:]...)
			break
		}
	}
	s.mu.Unlock()
	return s.update(func(st *state) { delete(st.Processes, r.name) })
}

// endReplicas retires all of them side by side.
func (s *supervisor) endReplicas() error {
	all := s.fleet()
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, r := range all {
		wg.Go(func() { errs[i] = s.retire(r) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (s *supervisor) fleet() []*replica {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*replica{}, s.replicas...)
}

// enlist adds a replica and starts it.
func (s *supervisor) enlist(r *replica) {
	s.mu.Lock()
	s.replicas = append(s.replicas, r)
	s.mu.Unlock()
	r.begin()
}
