package main

import (
	"net/netip"
	"net/url"
	"strings"

	"github.com/smart-assistant/platform/service/server"
)

// access reads who may reach the service, and how often.
func (e *environment) access() server.Access {
	return server.Access{
		Hosts:          e.list("ASSISTD_HOSTS"),
		Origins:        e.origins("ASSISTD_CORS_ORIGINS"),
		TrustedProxies: e.prefixes("ASSISTD_TRUSTED_PROXIES"),
		Unlimited:      e.prefixes("ASSISTD_RATE_EXEMPT"),
		PerAddress:     e.number("ASSISTD_RATE_PER_ADDRESS", 1, 1_000_000),
		PerUser:        e.number("ASSISTD_RATE_PER_USER", 1, 1_000_000),
		AuthPerAddress: e.number("ASSISTD_RATE_AUTH", 1, 1_000_000),
	}
}

// list reads words between commas.
func (e *environment) list(name string) []string {
	var words []string
	for word := range strings.SplitSeq(e.text(name, ""), ",") {
		if word = strings.TrimSpace(word); word != "" {
			words = append(words, word)
		}
	}
	return words
}

// prefixes reads networks (10.0.0.0/8) and single addresses.
func (e *environment) prefixes(name string) []netip.Prefix {
	var prefixes []netip.Prefix
	for _, word := range e.list(name) {
		prefix, err := netip.ParsePrefix(word)
		if address, single := netip.ParseAddr(word); single == nil {
			prefix, err = netip.PrefixFrom(address, address.BitLen()), nil
		}
		if err != nil {
			e.problem("%s: %q is neither an address nor a network such as 10.0.0.0/8", name, word)
			continue
		}
		prefixes = append(prefixes, prefix.Masked())
	}
	return prefixes
}

func (e *environment) origins(name string) []string {
	origins := e.list(name)
	for _, origin := range origins {
		u, err := url.Parse(origin)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || origin != u.Scheme+"://"+u.Host || strings.Contains(u.Host, "*") {
			e.problem("%s: %q is no origin such as https://app.example.org", name, origin)
		}
	}
	return origins
}
