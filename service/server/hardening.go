package server

import (
	"context"
	"math"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/rs/cors"

	"github.com/smart-assistant/platform/service/account"
	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/ratelimit"
	"github.com/smart-assistant/platform/service/signin"
	"github.com/smart-assistant/platform/service/telemetry"
)

// Access says who may reach the service, and how often.
type Access struct {
	Hosts          []string       // names that requests may be for, without port; empty for any
	Origins        []string       // web pages that may call the API, such as https://app.example.org
	TrustedProxies []netip.Prefix // whose X-Forwarded-For is believed
	Unlimited      []netip.Prefix // addresses whose requests are not counted (default: loopback)

	PerAddress     int // requests a minute (default 3000, as the ingress lets through)
	PerUser        int // requests a minute (default 6000)
	AuthPerAddress int // log-ins, sign-ups and the like a minute (default 30)
}

func (a Access) withDefaults() Access {
	orDefault(&a.PerAddress, 3000)
	orDefault(&a.PerUser, 6000)
	orDefault(&a.AuthPerAddress, 30)
	if a.Unlimited == nil {
		a.Unlimited = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	return a
}

// clientAddress finds out who asks: the peer, or, where the peer is a trusted proxy, the last address in X-Forwarded-For that is not
// one. What stands before it was written by the client and means nothing.
func (r *replica) clientAddress(next http.Handler) http.Handler {
	trusted := r.config.Access.TrustedProxies
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		host, _, _ := net.SplitHostPort(req.RemoteAddr)
		address := parseAddress(host)
		forwarded := strings.Split(strings.Join(req.Header.Values("X-Forwarded-For"), ","), ",")
		for _, entry := range slices.Backward(forwarded) {
			before := parseForwarded(entry)
			if !within(address, trusted) || !before.IsValid() {
				break
			}
			address = before
		}
		next.ServeHTTP(w, req.WithContext(api.WithClientAddress(req.Context(), address)))
	})
}

// parseForwarded reads an entry of X-Forwarded-For, to which some proxies add the client's port.
func parseForwarded(entry string) netip.Addr {
	entry = strings.TrimSpace(entry)
	if with, err := netip.ParseAddrPort(entry); err == nil {
		return with.Addr().Unmap().WithZone("")
	}
	return parseAddress(strings.Trim(entry, "[]"))
}

func parseAddress(text string) netip.Addr {
	address, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}
	}
	return address.Unmap().WithZone("")
}

func within(address netip.Addr, prefixes []netip.Prefix) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(address) })
}

// trustedHost answers 421 (RFC 9110, section 15.5.20) to requests for another host, so that a name which somebody points at this service
// reaches nothing. Whoever asks by the very address that is connected to asks by no name: probes, and smoke tests of one replica.
func (r *replica) trustedHost(next http.Handler) http.Handler {
	hosts := map[string]bool{}
	for _, host := range r.config.Access.Hosts {
		hosts[strings.ToLower(host)] = true
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		host := req.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		if len(hosts) > 0 && !hosts[strings.ToLower(strings.TrimSuffix(host, "."))] && !isLocal(req, host) {
			writeProblem(w, req, http.StatusMisdirectedRequest, "this service does not answer for that host")
			return
		}
		next.ServeHTTP(w, req)
	})
}

// isLocal says whether the host is the address on which the connection arrived.
func isLocal(req *http.Request, host string) bool {
	local, ok := req.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	address := parseAddress(strings.Trim(host, "[]"))
	return ok && address.IsValid() && address == local.AddrPort().Addr().Unmap().WithZone("")
}

// Content-Security-Policy of answers that are data. The documentation page widens it to its own style sheet.
const (
	dataPolicy = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
	pagePolicy = "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)

// securityHeaders tells browsers what not to do with an answer (OWASP's HTTP headers cheat sheet).
func securityHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		h := w.Header()
		h.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains") // browsers heed it over TLS only
		h.Set("Content-Security-Policy", dataPolicy)
		h.Set("X-Frame-Options", "DENY")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "private, no-cache") // handlers say otherwise: no-store for tokens, public for keys
		next.ServeHTTP(w, req)
	})
}

// crossOrigin answers browsers that ask for another origin's page. Tokens travel in a header, never in a cookie, so no credentials but
// for the routes that bind a log-in elsewhere to the browser.
func (r *replica) crossOrigin(next http.Handler) http.Handler {
	if len(r.config.Access.Origins) == 0 {
		return next
	}
	options := cors.Options{
		AllowedOrigins: r.config.Access.Origins,
		AllowedMethods: []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete},
		AllowedHeaders: []string{"Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", requestIDHeader},
		ExposedHeaders: []string{"ETag", "Location", "Retry-After", requestIDHeader, "Idempotency-Replayed"},
		MaxAge:         600,
	}
	plain := cors.New(options).Handler(next)
	options.AllowCredentials = true
	binding := cors.New(options).Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if signin.BindsBrowser(req.URL.Path) {
			binding.ServeHTTP(w, req)
			return
		}
		plain.ServeHTTP(w, req)
	})
}

// limitAddress counts requests by address, and those that open an account's door once more. Open WebUI's address is that of all its users,
// who are counted one by one; a request that only claims to come from there is not.
func (r *replica) limitAddress(next http.Handler) http.Handler {
	access := r.config.Access
	all := ratelimit.Limit{Name: "address", Events: access.PerAddress, Period: time.Minute}
	doors := ratelimit.Limit{Name: "auth", Events: access.AuthPerAddress, Period: time.Minute}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		address := api.ClientAddress(req.Context())
		if telemetry.IsProbe(req.URL.Path) || within(address, access.Unlimited) && !forwardsOthers(req, access.Unlimited) {
			next.ServeHTTP(w, req)
			return
		}
		from, limits := network(address), []ratelimit.Limit{all}
		if user := r.parts.chat.ConnectionUser(req); user != "" {
			from = "openwebui:" + user
		} else if req.Method == http.MethodPost && strings.HasPrefix(req.URL.Path, "/api/v1/auth/") {
			limits = append(limits, doors)
		}
		for _, limit := range limits {
			if d := r.limiter.Allow(req.Context(), limit, from); !d.Allowed {
				w.Header().Set("Retry-After", retryAfter(d))
				writeProblem(w, req, http.StatusTooManyRequests, "too many requests from this address")
				return
			}
		}
		next.ServeHTTP(w, req)
	})
}

// forwardsOthers says whether a peer whose own requests are not counted asks for others: a proxy on this machine that nobody has declared as
// one is counted like a client.
func forwardsOthers(req *http.Request, unlimited []netip.Prefix) bool {
	forwarded := strings.Join(req.Header.Values("X-Forwarded-For"), ",")
	last := forwarded[strings.LastIndexByte(forwarded, ',')+1:]
	return forwarded != "" && !within(parseForwarded(last), unlimited)
}

// network is whom an address is counted as: an IPv6 client has the 2⁶⁴ addresses of its network.
func network(address netip.Addr) string {
	if address.Is6() {
		if prefix, err := address.Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return address.String()
}

// retryAfter is whole seconds, at least one (RFC 9110, section 10.2.3).
func retryAfter(d ratelimit.Decision) string {
	return strconv.Itoa(max(1, int(math.Ceil(d.RetryAfter.Seconds()))))
}

// limitUser counts the requests of whoever is logged in, from wherever they come.
func (r *replica) limitUser(problems huma.API) func(huma.Context, func(huma.Context)) {
	limit := ratelimit.Limit{Name: "user", Events: r.config.Access.PerUser, Period: time.Minute}
	return func(ctx huma.Context, next func(huma.Context)) {
		if d := r.allowUser(ctx.Context(), limit); !d.Allowed {
			ctx.SetHeader("Retry-After", retryAfter(d))
			_ = huma.WriteErr(problems, ctx, http.StatusTooManyRequests, "too many requests of this account")
			return
		}
		next(ctx)
	}
}

func (r *replica) allowUser(ctx context.Context, limit ratelimit.Limit) ratelimit.Decision {
	return r.limiter.Allow(ctx, limit, account.UserID(ctx))
}
