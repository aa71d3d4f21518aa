// Package fault carries what an error needs beyond its text: the next command to type and the exit code.
//
// It owns the hint, the code and the list of codes that assistctl documents. It does not print: the command package turns
// an error into text and exit status in one place.
package fault

import "errors"

// Exit codes of assistctl. They are part of its interface: scripts branch on them.
const (
	OK          = 0
	Failed      = 1   // the operation failed; nothing else fits
	Usage       = 2   // flags, arguments or configuration are wrong; nothing was tried
	Refused     = 3   // a gate or a guard said no; nothing was changed
	Held        = 4   // somebody else holds the environment's lease
	NotFound    = 5   // no such environment, release, run or backup
	Damaged     = 6   // a backup, ledger or release is not what was written, or does not open under this key
	Unreachable = 7   // the environment, its database or its bucket does not answer
	RolledBack  = 10  // the promotion failed and the environment runs its previous release again
	Stuck       = 11  // the run failed and could not be rolled back: somebody has to look
	Drift       = 12  // a check found a difference
	Interrupted = 130 // Ctrl-C; the run can be resumed
)

type hinted struct {
	error
	next string
}

func (h hinted) Unwrap() error { return h.error }

// Hint attaches the command (or the sentence) that helps next. A nil error stays nil.
func Hint(err error, next string) error {
	if err == nil {
		return nil
	}
	return hinted{err, next}
}

// HintOf returns the outermost hint of err, or "".
func HintOf(err error) string {
	if h, ok := errors.AsType[hinted](err); ok {
		return h.next
	}
	return ""
}

type coded struct {
	error
	code int
}

func (c coded) Unwrap() error { return c.error }

// Code attaches an exit code. A nil error stays nil.
func Code(err error, code int) error {
	if err == nil {
		return nil
	}
	return coded{err, code}
}

// CodeOf returns the outermost exit code of err, Failed when it carries none, OK for nil.
func CodeOf(err error) int {
	if err == nil {
		return OK
	}
	if c, ok := errors.AsType[coded](err); ok {
		return c.code
	}
	return Failed
}
