package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// pidFile is what a postmaster writes into postmaster.pid (PostgreSQL's src/include/utils/pidfile.h).
type pidFile struct {
	pid    int
	port   int
	status string // starting, stopping, ready, standby
}

func readPIDFile(dataDir string) (pidFile, error) {
	raw, err := os.ReadFile(filepath.Join(dataDir, "postmaster.pid"))
	if err != nil {
		return pidFile{}, err
	}
	lines := strings.Split(string(raw), "\n")
	var f pidFile
	if f.pid, err = strconv.Atoi(strings.TrimSpace(lines[0])); err != nil || f.pid <= 1 {
		return pidFile{}, fmt.Errorf("postmaster.pid in %s starts with %q", dataDir, lines[0])
	}
	if len(lines) > 3 {
		f.port, _ = strconv.Atoi(strings.TrimSpace(lines[3])) // written a moment after the number of the process
	}
	if len(lines) > 7 {
		f.status = strings.TrimSpace(lines[7])
	}
	return f, nil
}

// inDataDir says whether a process is a PostgreSQL process that works in dataDir: its executable is postgres and its working
// directory is the data directory, which every PostgreSQL process enters at start and never leaves. A process that is gone,
// a zombie, or somebody else's that may not be looked at, is none.
func inDataDir(pid int, dataDir string) bool {
	proc := fmt.Sprintf("/proc/%d/", pid)
	exe, err := os.Readlink(proc + "exe")
	if err != nil || filepath.Base(strings.TrimSuffix(exe, " (deleted)")) != "postgres" {
		return false
	}
	cwd, err := os.Stat(proc + "cwd")
	if err != nil {
		return false
	}
	dir, err := os.Stat(dataDir)
	return err == nil && os.SameFile(cwd, dir)
}

// leftovers are the PostgreSQL processes that work in dataDir. After a postmaster was killed its children live on for a moment.
func leftovers(dataDir string) []int {
	entries, _ := os.ReadDir("/proc") // without /proc there is nothing to find; postgres keeps its own interlock
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && inDataDir(pid, dataDir) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// clearStale waits until no process is left in the data directory, and removes a postmaster.pid whose number meanwhile
// belongs to a stranger: postgres would take that one for a running server and refuse to start.
func clearStale(ctx context.Context, dataDir string) error {
	if err := poll(ctx, func() (bool, error) { return len(leftovers(dataDir)) == 0, nil }); err != nil {
		return fmt.Errorf("processes %v of an earlier server still work in %s: %w", leftovers(dataDir), dataDir, err)
	}
	if f, err := readPIDFile(dataDir); err != nil || syscall.Kill(f.pid, 0) != nil {
		return nil //nolint:nilerr // there is none, or one that postgres replaces by itself
	}
	return os.Remove(filepath.Join(dataDir, "postmaster.pid"))
}

// lockDir keeps two starters of one data directory apart. Closing the file unlocks.
func lockDir(ctx context.Context, dir string) (io.Closer, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	err = poll(ctx, func() (bool, error) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return f, nil
}

// poll asks until the answer is yes, an error, or the context's end.
func poll(ctx context.Context, done func() (bool, error)) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// tail returns the last lines of a log file from an offset on, or "" when there are none.
func tail(path string, from int64) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	const most = 8 << 10
	if size, err := f.Seek(0, io.SeekEnd); err == nil && size-from > most {
		from = size - most
	}
	raw, err := io.ReadAll(io.NewSectionReader(f, from, most))
	if err != nil {
		return ""
	}
	lines := bytes.Split(bytes.TrimSpace(raw), []byte("\n"))
	if len(lines) > 12 {
		lines = lines[len(lines)-12:]
	}
	return string(bytes.Join(lines, []byte("\n")))
}

// withOutput adds what a failed program wrote.
func withOutput(err error, output []byte) error {
	var exit *exec.ExitError
	if len(output) == 0 && errors.As(err, &exit) {
		output = exit.Stderr
	}
	if text := strings.TrimSpace(string(output)); text != "" {
		return fmt.Errorf("%w\n%s", err, text)
	}
	return err
}
