// Package outbound is every connection that the service opens because of what a user or a stranger said: feeds, IMAP servers, model
// servers. It keeps them away from private addresses.
//
// The address is checked when the connection is made, after the name was resolved and before anything is sent, so that a name which
// resolves differently the second time (DNS rebinding) gains nothing; redirects are checked the same way.
package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"code.dny.dev/ssrf"
)

// Guard makes guarded connections. Allowed prefixes are reachable although they are private: an own model server, a test's.
type Guard struct{ dialer *net.Dialer }

// New makes a guard.
func New(allowed ...netip.Prefix) *Guard {
	var four, six []netip.Prefix
	for _, prefix := range allowed {
		if prefix.Addr().Is4() {
			four = append(four, prefix)
		} else {
			six = append(six, prefix)
		}
	}
	guard := ssrf.New(ssrf.WithAnyPort(), ssrf.WithNetworks("tcp4", "tcp6"), ssrf.WithAllowedV4Prefixes(four...), ssrf.WithAllowedV6Prefixes(six...))
	return &Guard{&net.Dialer{Timeout: 10 * time.Second, Control: guard.Safe}}
}

// ErrForbidden is an address that the service does not connect to.
var ErrForbidden = errors.New("the address is not a public one")

// DialContext is net.Dialer's, with the guard. ErrForbidden when the address is private.
func (g *Guard) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := g.dialer.DialContext(ctx, network, address)
	if errors.Is(err, ssrf.ErrProhibitedIP) || errors.Is(err, ssrf.ErrProhibitedNetwork) || errors.Is(err, ssrf.ErrInvalidHostPort) {
		return nil, fmt.Errorf("connect to %s: %w", address, ErrForbidden)
	}
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// Client makes an HTTP client whose every connection is guarded. No proxy of the environment stands between.
func (g *Guard) Client(timeout time.Duration) *http.Client {
	return &http.Client{Timeout: timeout, Transport: &http.Transport{
		DialContext: g.DialContext, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: timeout, MaxResponseHeaderBytes: 64 << 10,
	}}
}
