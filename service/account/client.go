package account

import (
	"context"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/smart-assistant/platform/service/api"
)

// maxUserAgent is how much of a User-Agent header a session keeps, in bytes.
const maxUserAgent = 200

type userAgentKey struct{}

// NoteUserAgent is a middleware that lets sessions say which program opened them.
func NoteUserAgent(ctx huma.Context, next func(huma.Context)) {
	next(huma.WithValue(ctx, userAgentKey{}, ctx.Header("User-Agent")))
}

// userAgent is text that a column takes: a header may hold any bytes.
func userAgent(ctx context.Context) string {
	text, _ := ctx.Value(userAgentKey{}).(string)
	return strings.ToValidUTF8(strings.ReplaceAll(text[:min(len(text), maxUserAgent)], "\x00", ""), "")
}

// network is what an address belongs to that a household or an office may have: its /24, of IPv6 its /64. Empty where the address is unknown.
func network(ctx context.Context) string {
	from := api.ClientAddress(ctx).Unmap().WithZone("")
	bits := 64
	if from.Is4() {
		bits = 24
	}
	prefix, err := from.Prefix(bits)
	if err != nil || !from.IsValid() {
		return ""
	}
	return prefix.String()
}

// address is where the request came from, as far as anybody said.
func address(ctx context.Context) string {
	if from := api.ClientAddress(ctx); from.IsValid() {
		return from.String()
	}
	return ""
}
