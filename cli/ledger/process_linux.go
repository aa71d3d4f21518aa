package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// thisProcess identifies the running process; an empty Machine says that it cannot.
func thisProcess() process {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return process{PID: os.Getpid()}
	}
	// Containers share the boot and number their processes each for itself.
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return process{PID: os.Getpid()}
	}
	started, _, err := stat(os.Getpid())
	if err != nil {
		return process{PID: os.Getpid()}
	}
	return process{Machine: strings.TrimSpace(string(boot)) + " " + namespace, PID: os.Getpid(), Started: started}
}

// gone reports that a process of this machine has ended. In doubt it has not: another user's process may be out of sight.
func (p process) gone() bool {
	if err := syscall.Kill(p.PID, 0); errors.Is(err, syscall.ESRCH) {
		return true
	}
	started, state, err := stat(p.PID)
	if err != nil {
		return false
	}
	return started != p.Started || state == "Z" || state == "X"
}

// stat reads a process's start time, in clock ticks since boot, and its state (proc_pid_stat(5), fields 22 and 3).
func stat(pid int) (started, state string, err error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", "", err
	}
	// The second field is the command's name in brackets, which may itself hold brackets and spaces.
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	if len(fields) < 20 {
		return "", "", fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields)+2)
	}
	return fields[19], fields[0], nil
}
