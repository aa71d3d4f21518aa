// Package outbound is every connection that the service opens because of what a user or a stranger said: feeds, IMAP servers, model
// servers. It keeps them away from private addresses.
//
// The address is checked when the connection is made, after the name was resolved and before anything is sent, so that a name which
// resolves differently the second time (DNS rebinding) gains nothing, and no spelling of a host (2130706433, 0x7f.1, a name that
// points home) is a way around; redirects are checked the same way. What is forbidden is all that IANA's special-purpose registries
// list, every IPv6 address outside 2000::/3 (so loopback, link-local, mapped IPv4 and NAT64), 6to4 and Teredo within it, and the
// addresses of the machinery of clouds.
package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"code.dny.dev/ssrf"
)

// Guard makes guarded connections. Allowed prefixes are reachable although they are private: an own model server, a test's.
type Guard struct{ dialer *net.Dialer }

// machinery is what looks public and is not: Azure's WireServer, which hands out a machine's secrets, has an address of the public
// range. Other clouds' metadata servers stand in link-local, shared or unique local ranges.
var machinery = netip.MustParsePrefix("168.63.129.16/32")

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
	guard := ssrf.New(ssrf.WithAnyPort(), ssrf.WithNetworks("tcp4", "tcp6"), ssrf.WithDeniedV4Prefixes(machinery),
		ssrf.WithAllowedV4Prefixes(four...), ssrf.WithAllowedV6Prefixes(six...))
	return &Guard{&net.Dialer{Timeout: 10 * time.Second, Control: guard.Safe}}
}

// ParseAllowed reads prefixes that are separated by commas, such as "10.1.0.0/16, fd00:1::/32". An address alone is a prefix of one.
func ParseAllowed(text string) ([]netip.Prefix, error) {
	var allowed []netip.Prefix
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		prefix, err := netip.ParsePrefix(part)
		if err != nil {
			var address netip.Addr
			if address, err = netip.ParseAddr(part); err == nil && address.Zone() == "" {
				prefix = netip.PrefixFrom(address, address.BitLen())
			}
		}
		if err != nil || !prefix.IsValid() || prefix.Addr().Is4In6() {
			return nil, fmt.Errorf("%q is not a network such as 10.1.0.0/16", part)
		}
		allowed = append(allowed, prefix.Masked())
	}
	return allowed, nil
}

// ErrForbidden is an address that the service does not connect to. Its text is for users.
var ErrForbidden = errors.New("the address is not public; an operator may allow it with ASSISTD_OUTBOUND_ALLOW")

// DialContext is net.Dialer's, with the guard. ErrForbidden when the address is private, or the network is not TCP.
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
