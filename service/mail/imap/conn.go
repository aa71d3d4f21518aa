package imap

import (
	"net"
	"sync/atomic"
	"time"
)

const (
	small  = 1 << 20 // bytes that an answer without messages may have
	search = 8 << 20 // bytes of the UIDs of a mailbox: some million messages
)

// limitedConn is a connection whose other side may send only as much as it is asked for, and may be silent only so long. The client
// library has neither limit: it waits for an answer for ever, and reads a literal of any size.
type limitedConn struct {
	net.Conn
	quiet time.Duration
	left  atomic.Int64
}

func newLimitedConn(conn net.Conn, quiet time.Duration) *limitedConn {
	c := &limitedConn{Conn: conn, quiet: quiet}
	c.allow(small)
	return c
}

// allow lets the other side send n bytes from now on.
func (c *limitedConn) allow(n int64) { c.left.Store(n) }

// Read fails with ErrTooMuch once the allowance is used up.
func (c *limitedConn) Read(p []byte) (int, error) {
	if err := c.Conn.SetReadDeadline(time.Now().Add(c.quiet)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	if c.left.Add(-int64(n)) < 0 {
		return 0, ErrTooMuch
	}
	return n, err
}

// SetReadDeadline does nothing: each Read has a deadline of its own.
func (c *limitedConn) SetReadDeadline(time.Time) error { return nil }

// SetDeadline sets the deadline of writing, for the same reason.
func (c *limitedConn) SetDeadline(t time.Time) error { return c.Conn.SetWriteDeadline(t) }
