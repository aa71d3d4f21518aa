package kubernetes

import (
	"os/exec"
	"syscall"
)

// tie makes the child end in good order, as after a Ctrl-C, when this process is killed: an update that nobody waits for any more would
// hold the stack's lock against whoever comes next.
func tie(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGINT}
}
