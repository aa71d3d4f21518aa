package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/postgres"
	"github.com/smart-assistant/platform/cli/target"
)

// Up starts the environment's supervisor and waits until S3, database and all replicas of the last deployment are ready. It returns
// whether it changed anything: of an environment that is up it only changes the number of replicas, when that is configured anew.
// progress may be nil.
//
// When the supervisor cannot start (a port is taken, a program is missing) nothing is left running. When it can, but something it
// looks after does not come up, it stays and tries again, and the error says what is wrong.
func (e *Environment) Up(ctx context.Context, progress func(detail string)) (changed bool, err error) {
	if progress == nil {
		progress = func(string) {}
	}
	if err := e.createFolders(); err != nil {
		return false, fmt.Errorf("bring %s up: %w", e.Name(), err)
	}
	unlock, err := e.lockCommands(ctx)
	if err != nil {
		return false, fmt.Errorf("bring %s up: %w", e.Name(), err)
	}
	defer unlock()
	_, err = e.reach(ctx)
	switch {
	case err == nil:
		changed, err = e.reconfigure(ctx)
		if err == nil {
			err = e.awaitUp(ctx, nil, progress)
		}
	case errors.Is(err, target.ErrDown):
		changed = true
		err = e.startSupervisor(ctx, progress)
	}
	if err != nil {
		return changed, fmt.Errorf("bring %s up: %w", e.Name(), err)
	}
	return changed, nil
}

// createFolders makes the folders, open to the database's user where it has to pass.
func (e *Environment) createFolders() error {
	if _, err := e.Binaries(); err != nil {
		return err
	}
	if _, err := e.versitygw(); err != nil {
		return err
	}
	owner, err := postgres.ServerOwner()
	if err != nil {
		return err
	}
	passable := os.FileMode(0o700)
	if owner != nil {
		passable = 0o711
	}
	if err := os.MkdirAll(e.config.Root, 0o755); err != nil {
		return err
	}
	for _, folder := range []struct {
		path string
		mode os.FileMode
	}{
		{e.dir, passable},
		{e.path("pg"), passable},
		{e.path("pg", "clusters"), passable},
		{e.path("pg", "asides"), 0o700},
		{e.path("run"), 0o700},
		{e.path("log"), 0o700},
		{e.path("releases"), 0o700},
		{e.path("secrets"), 0o700},
	} {
		if err := os.MkdirAll(folder.path, folder.mode); err != nil {
			return err
		}
		if err := os.Chmod(folder.path, folder.mode); err != nil { // whatever the umask
			return err
		}
	}
	return owner.Reach(e.clusterPath(firstCluster))
}

// lockCommands keeps two of Up, Down and Reset apart.
func (e *Environment) lockCommands(ctx context.Context) (unlock func(), err error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		lock, err := lockFile(e.path("run", "command.lock"))
		if err == nil {
			return func() { _ = lock.Close() }, nil
		}
		if !errors.Is(err, ErrSupervised) {
			return nil, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("another assistctl brings it up or down: %w", context.Cause(ctx))
		}
	}
}

// reconfigure takes a new number of replicas to a running supervisor, and refuses what needs a restart.
func (e *Environment) reconfigure(ctx context.Context) (changed bool, err error) {
	var before Config
	if err := readJSON(e.configPath(), &before); err != nil {
		return false, err
	}
	wanted := e.config
	wanted.Replicas = before.Replicas
	wanted.Executable, wanted.Supervise = before.Executable, before.Supervise // as good as the ones it was started with
	if !equalConfig(before, wanted) {
		return false, fault.Hint(errors.New("its configuration has changed while it is up"),
			fmt.Sprintf("assistctl local down %s && assistctl local up %s", e.Name(), e.Name()))
	}
	if e.config.Replicas == before.Replicas {
		return false, nil
	}
	before.Replicas = e.config.Replicas
	if err := writeJSON(e.configPath(), before); err != nil {
		return false, err
	}
	return true, e.act(ctx, pathScale, fmt.Sprint(e.config.Replicas))
}

func equalConfig(a, b Config) bool {
	if len(a.PostgresSettings) == 0 && len(b.PostgresSettings) == 0 { // nil or empty
		a.PostgresSettings, b.PostgresSettings = nil, nil
	}
	return reflect.DeepEqual(a, b)
}

func (e *Environment) startSupervisor(ctx context.Context, progress func(string)) error {
	if err := e.createSecrets(); err != nil {
		return err
	}
	if err := writeJSON(e.configPath(), e.config); err != nil {
		return err
	}
	if err := os.Remove(e.exitPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	ended, err := e.spawn()
	if err != nil {
		return fmt.Errorf("start supervisor: %w", err)
	}
	return e.awaitUp(ctx, ended, progress)
}

// spawn starts the supervisor in a session of its own; the terminal that it was started from does not matter to it.
func (e *Environment) spawn() (ended <-chan error, err error) {
	executable := e.config.Executable
	if executable == "" {
		if executable, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	log, err := os.OpenFile(e.logPath(supervisorName), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()                                      //nolint:errcheck // the process has its own handle
	cmd := exec.Command(executable, e.config.Supervise...) //nolint:noctx // its life is not the call's
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	return done, nil
}

// awaitUp waits until all that has to run is ready. ended tells of the end of a supervisor that was just started.
func (e *Environment) awaitUp(ctx context.Context, ended <-chan error, progress func(string)) error {
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	said := ""
	var patience time.Time // how long replicas may take, from the moment when all else is there
	for {
		st, err := e.reach(ctx)
		switch {
		case err == nil:
			missing, hopeless := missing(st)
			if missing == "" {
				return nil
			}
			if st.Database.Reachable && patience.IsZero() {
				patience = time.Now().Add(e.config.ReadyTimeout)
			}
			if hopeless || !patience.IsZero() && time.Now().After(patience) {
				return fault.Hint(errors.New(missing), "assistctl local logs "+e.Name())
			}
			if missing != said {
				progress(missing)
				said = missing
			}
		case !errors.Is(err, target.ErrDown):
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		case status := <-ended:
			return e.whyEnded(status)
		}
	}
}

// missing says what is not as it should be, or "", and whether there is no point in waiting for it.
func missing(st target.Status) (what string, hopeless bool) {
	for _, c := range st.Components {
		if c.State != "running" && (c.State != stopped || c.Name != databaseName) {
			what = c.Name + " is " + c.State
			if c.Detail != "" {
				what += ": " + c.Detail
			}
			return what, c.Restarts >= 2 || c.State == backoff && c.Restarts == 1
		}
	}
	if st.Build == nil || st.Paused != "" || st.Ready >= st.Want {
		return "", false
	}
	what = fmt.Sprintf("%d of %d replicas are ready", st.Ready, st.Want)
	for _, r := range st.Replicas {
		if !r.Ready && r.Detail != "" {
			what += fmt.Sprintf("; %s: %s", r.Name, r.Detail)
			hopeless = hopeless || r.Restarts >= hopelessRestarts
		}
	}
	return what, hopeless
}

const hopelessRestarts = 3

func (e *Environment) whyEnded(status error) error {
	var x exit
	if err := readJSON(e.exitPath(), &x); err == nil {
		return fault.Hint(errors.New(x.Error), x.Hint)
	}
	lines, err := lastLines(e.logPath(supervisorName), 5)
	if err != nil {
		return errors.Join(errors.New("the supervisor ended: "+ending(status)), err)
	}
	return fmt.Errorf("the supervisor ended: %s; its log ends with:\n%s", ending(status), strings.Join(lines, "\n"))
}

// ending puts a process's status into words; nil is a good end.
func ending(status error) string {
	if status == nil {
		return "exit status 0"
	}
	return status.Error()
}

// Down ends the environment in good order and returns when no process is left: also those that a supervisor left which was killed.
// Data stays. An environment that is down is no error.
func (e *Environment) Down(ctx context.Context) error {
	if _, err := os.Stat(e.path("run")); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	unlock, err := e.lockCommands(ctx)
	if err != nil {
		return fmt.Errorf("take %s down: %w", e.Name(), err)
	}
	defer unlock()
	if err := e.takeDown(ctx); err != nil {
		return fmt.Errorf("take %s down: %w", e.Name(), err)
	}
	return nil
}

func (e *Environment) takeDown(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		lock, err := lockFile(e.lockPath())
		if err == nil {
			err = errors.Join(e.awaitSupervisorsEnd(ctx), e.endOrphans())
			return errors.Join(err, lock.Close())
		}
		if !errors.Is(err, ErrSupervised) {
			return err
		}
		// Asked again until it is gone: a supervisor that is just starting does not listen yet.
		if err := e.act(ctx, pathShutdown, ""); err != nil && !errors.Is(err, target.ErrDown) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("its supervisor has not ended yet: %w", context.Cause(ctx))
		}
	}
}

// awaitSupervisorsEnd waits for the last moments of a supervisor that has given its lock back.
func (e *Environment) awaitSupervisorsEnd(ctx context.Context) error {
	var id processID
	if err := readJSON(e.supervisorPath(), &id); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	p, ok := adopt(id)
	if !ok {
		return nil
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("its supervisor, process %d, has not ended yet: %w", id.PID, context.Cause(ctx))
	}
}

// endOrphans ends what is left without a supervisor. The caller holds the supervisor's lock.
func (e *Environment) endOrphans() error {
	st, err := loadState(e.statePath())
	if err != nil {
		return err
	}
	orphans, err := marked(e.dir)
	if err != nil {
		return err
	}
	for name, r := range st.Processes {
		if name != databaseName {
			orphans = append(orphans, r.processID)
		}
	}
	if err := endAll(orphans, e.config.StopTimeout); err != nil {
		return err
	}
	if _, err := e.liveCluster(); err == nil {
		server, err := e.server()
		if err != nil {
			return err
		}
		p, _ := adopt(st.Processes[databaseName].processID)
		if err := e.stopServer(server, p); err != nil {
			return err
		}
	}
	if err := e.endScratches(context.Background()); err != nil { // each within its time
		return err
	}
	e.removeSocket()
	if len(st.Processes) == 0 {
		return nil
	}
	st.Processes = map[string]record{}
	return writeJSON(e.statePath(), st)
}

// Reset takes the environment down and deletes everything of it: data, bucket with its backups, secrets, releases.
func (e *Environment) Reset(ctx context.Context) error {
	if err := e.reset(ctx); err != nil {
		return fmt.Errorf("reset %s: %w", e.Name(), err)
	}
	return nil
}

func (e *Environment) reset(ctx context.Context) error {
	// The folder is renamed before it is deleted: killed in the middle, Reset leaves no half environment under the name, and a name that no
	// environment can have, which the next Reset sweeps.
	doomed := filepath.Join(e.config.Root, "."+e.Name()+".deleted")
	if err := os.RemoveAll(doomed); err != nil {
		return err
	}
	entries, err := os.ReadDir(e.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := os.Stat(e.path("run")); err == nil {
		unlock, err := e.lockCommands(ctx)
		if err != nil {
			return err
		}
		defer unlock()
		if err := e.takeDown(ctx); err != nil {
			return err
		}
	}
	if _, err := os.Stat(e.configPath()); err != nil && len(entries) > 0 {
		return fault.Hint(fmt.Errorf("%s holds no environment", e.dir), "look at it and delete it by hand")
	}
	if err := os.Rename(e.dir, doomed); err != nil {
		return err
	}
	if err := syncPath(e.config.Root); err != nil {
		return err
	}
	return os.RemoveAll(doomed)
}
