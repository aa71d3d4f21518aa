package signin

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// isOrigin says whether the text is scheme and host of a web page, and nothing else (RFC 6454, section 6.2).
func isOrigin(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && text == u.Scheme+"://"+u.Host && text == strings.ToLower(text)
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// checkReturn refuses to send a browser anywhere but to the origins that the operator listed: an open redirect would hand log-ins to
// strangers (RFC 9700, section 4.11).
func (s *Service) checkReturn(target string) error {
	if target == "" {
		return nil
	}
	u, err := url.Parse(target)
	if err != nil || u.User != nil || u.Fragment != "" || strings.ContainsAny(target, "\\\x00\r\n\t ") || len(target) > maxReturnTo ||
		!slices.Contains(s.config.ReturnTo, u.Scheme+"://"+u.Host) {
		return refuse(422, "return_to", "return_to is not a page of an origin that this service may send browsers to; the operator lists them")
	}
	return nil
}

// withQuery is the URL with a parameter set.
func withQuery(target, name, value string) string {
	u, err := url.Parse(target)
	if err != nil {
		return target // was checked when the flow began
	}
	query := u.Query()
	query.Set(name, value)
	u.RawQuery = query.Encode()
	return u.String()
}
