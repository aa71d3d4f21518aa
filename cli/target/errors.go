package target

import (
	"errors"
	"fmt"
)

var (
	// ErrFenced says that somebody with a newer lease has been here: the caller has lost its right to change the environment.
	ErrFenced = errors.New("fencing number is lower than one seen before")
	// ErrDown says that the environment is not up.
	ErrDown = errors.New("environment is not up")
	// ErrNoBuild says that a build's artifact is neither installed nor where it is said to be, or is another one than it is said to be.
	ErrNoBuild = errors.New("build is not available")
	// ErrUnreachable says that the target itself does not answer, so that nothing can be said of the environment.
	ErrUnreachable = errors.New("target does not answer")
	// ErrReplaced says that a later change of the environment took a deployment's place.
	ErrReplaced = errors.New("a later change of the environment took its place")
)

// RolloutError says why a deployment was given up. The replicas that served before it still do.
type RolloutError struct {
	Build   Build
	Replica string
	Reason  string
	Log     string // the end of the failed replica's log
}

func (e *RolloutError) Error() string {
	return fmt.Sprintf("deploy %s: replica %s %s", e.Build.Version, e.Replica, e.Reason)
}

// ExitError says that a command run by Exec ended with another status than 0.
type ExitError struct {
	Args   []string
	Code   int    // -1 when a signal ended it
	Stderr string // its end
}

func (e *ExitError) Error() string {
	if e.Stderr == "" {
		return fmt.Sprintf("assistd %q: exit status %d", e.Args, e.Code)
	}
	return fmt.Sprintf("assistd %q: exit status %d: %s", e.Args, e.Code, e.Stderr)
}
