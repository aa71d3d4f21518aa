package local

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// processID tells one process from all others on this machine, also from a later one with the same number.
type processID struct {
	PID     int    `json:"pid"`
	Started uint64 `json:"started"` // clock ticks after boot: field 22 of /proc/<pid>/stat (proc(5))
	Boot    string `json:"boot"`    // /proc/sys/kernel/random/boot_id
}

var bootID = sync.OnceValues(func() (string, error) {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(raw)), err
})

// identify returns fs.ErrNotExist for a process that is gone or a zombie.
func identify(pid int) (processID, error) {
	boot, err := bootID()
	if err != nil {
		return processID{}, err
	}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, syscall.ESRCH) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return processID{}, err
	}
	// The second field is the program's name in parentheses and may itself hold spaces and parentheses.
	fields := bytes.Fields(raw[bytes.LastIndexByte(raw, ')')+1:])
	if len(fields) < 20 {
		return processID{}, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	if state := fields[0][0]; state == 'Z' || state == 'X' {
		return processID{}, fs.ErrNotExist
	}
	started, err := strconv.ParseUint(string(fields[19]), 10, 64)
	if err != nil {
		return processID{}, fmt.Errorf("/proc/%d/stat: %w", pid, err)
	}
	return processID{PID: pid, Started: started, Boot: boot}, nil
}

// alive reports whether exactly this process runs.
func (id processID) alive() bool {
	now, err := identify(id.PID)
	return err == nil && now == id
}

// signal sends a signal to exactly this process; one that is gone is no error.
func (id processID) signal(sig syscall.Signal) error {
	// The handle (a pidfd) pins the process: if it is ours now, the signal reaches no other one.
	p, err := os.FindProcess(id.PID)
	if err != nil {
		return nil
	}
	defer p.Release() //nolint:errcheck // closes the handle
	if !id.alive() {
		return nil
	}
	if err := p.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal process %d: %w", id.PID, err)
	}
	return nil
}

// process is a running process that this supervisor has started, or found again.
type process struct {
	id     processID
	done   chan struct{} // closed when it is gone
	status error         // why, once it is gone
}

// launch starts cmd in a session of its own, so that it outlives the supervisor and hears no terminal's signals.
func launch(cmd *exec.Cmd) (*process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid = true
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	id, err := identify(cmd.Process.Pid)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // gone already: Wait says why
		return nil, errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	p := &process{id: id, done: make(chan struct{})}
	go func() {
		p.status = errors.New(ending(cmd.Wait()))
		close(p.done)
	}()
	return p, nil
}

// adopt takes over a process that somebody else has started. Such a one cannot be waited for, only looked at.
func adopt(id processID) (*process, bool) {
	if id.PID == 0 || !id.alive() {
		return nil, false
	}
	p := &process{id: id, done: make(chan struct{}), status: errors.New("it is gone")}
	go func() {
		for id.alive() {
			time.Sleep(100 * time.Millisecond)
		}
		close(p.done)
	}()
	return p, true
}

// stop asks the process to end, kills it when it has not after grace, and returns when it is gone.
func (p *process) stop(polite syscall.Signal, grace time.Duration) error {
	if err := p.id.signal(polite); err != nil {
		return err
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
	}
	if err := p.id.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return nil
}

// marker is the environment variable by which a child is recognised when its supervisor died before it could write its number down.
const marker = "ASSISTCTL_LOCAL_ENVIRONMENT"

// marked lists the processes of this user that carry dir's mark, whoever started them.
func marked(dir string) ([]processID, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	want := []byte(marker + "=" + dir)
	var found []processID
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		id, err := identify(pid)
		if err != nil {
			continue // gone meanwhile
		}
		environ, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "environ"))
		if err != nil {
			continue // another user's, or gone
		}
		for variable := range bytes.SplitSeq(environ, []byte{0}) {
			if bytes.Equal(variable, want) && id.alive() {
				found = append(found, id)
				break
			}
		}
	}
	return found, nil
}

// endAll ends processes side by side.
func endAll(ids []processID, grace time.Duration) error {
	errs := make([]error, len(ids))
	var wg sync.WaitGroup
	for i, id := range ids {
		if p, ok := adopt(id); ok {
			wg.Go(func() { errs[i] = p.stop(syscall.SIGTERM, grace) })
		}
	}
	wg.Wait()
	return errors.Join(errs...)
}
