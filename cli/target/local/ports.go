package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"syscall"

	"github.com/smart-assistant/platform/cli/fault"
)

// Free ports are picked below the kernel's usual range for outgoing connections (32768 and up): one of those could hold a port just
// when a server wants it back.
const firstPort, lastPort = 20000, 31999

// pickPort returns a port of 127.0.0.1 on which nothing listens and that no environment has claimed.
func pickPort() (int, error) {
	port, claimed, err := claimFreePort("127.0.0.1")
	if err != nil {
		return 0, err
	}
	return port, claimed.Close()
}

// claimFreePort is pickPort on any host, for a port that is kept: the claim holds until it is closed.
func claimFreePort(host string) (int, io.Closer, error) {
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		if portFree(host, port) != nil {
			continue
		}
		if claimed, err := claimPort(port); err == nil {
			return port, claimed, nil
		}
	}
	return 0, nil, fmt.Errorf("no free port on %s in 100 tries between %d and %d", host, firstPort, lastPort)
}

// claimPort tells other supervisors that a port is spoken for, also while nothing listens on it: a database cluster is made before its
// server starts, and two environments that come up at once must not pick the same port meanwhile. The claim is a socket of the abstract
// namespace (unix(7)): it leaves no file and ends with the process.
func claimPort(port int) (io.Closer, error) {
	return new(net.ListenConfig).Listen(context.Background(), "unix", fmt.Sprintf("@assistctl/port/%d", port))
}

// portFree returns nil when nothing listens there, a *portTakenError when somebody does.
func portFree(host string, port int) error {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return &portTakenError{host, port}
	}
	if err != nil {
		return err
	}
	return l.Close()
}

type portTakenError struct {
	host string
	port int
}

func (e *portTakenError) Error() string {
	return fmt.Sprintf("port %d on %s is taken by a process that is not ours", e.port, e.host)
}

// forPort names the component that wanted the port, and what to change.
func forPort(err error, component, setting string) error {
	if taken := new(portTakenError); errors.As(err, &taken) {
		return fault.Hint(fmt.Errorf("%s: %w", component, err),
			fmt.Sprintf("see who has it with `ss -ltnp 'sport = :%d'`, or choose another port (%s)", taken.port, setting))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", component, err)
	}
	return nil
}
