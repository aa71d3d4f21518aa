package api

import (
	"context"
	"net/netip"
)

type addressKey struct{}

// WithClientAddress tells handlers where the request came from: the peer, or whom a trusted proxy forwards for.
func WithClientAddress(ctx context.Context, address netip.Addr) context.Context {
	return context.WithValue(ctx, addressKey{}, address)
}

// ClientAddress returns what WithClientAddress said; the zero Addr outside a request.
func ClientAddress(ctx context.Context) netip.Addr {
	address, _ := ctx.Value(addressKey{}).(netip.Addr)
	return address
}
