package feed

import (
	"net/url"
	"strings"
)

// Link resolves a reference against where it stood (RFC 3986, section 5). It is empty when that leads to no web page: javascript:,
// data: and the like; user names and passwords are dropped.
func Link(base *url.URL, reference string) string {
	reference = strings.TrimSpace(reference)
	if reference == "" || len(reference) > maxLink {
		return ""
	}
	link, err := url.Parse(reference)
	if err != nil {
		return ""
	}
	if base != nil {
		link = base.ResolveReference(link)
	}
	if link.Scheme != "http" && link.Scheme != "https" || link.Hostname() == "" {
		return ""
	}
	link.User = nil
	text := clip(link.String(), maxLink+1)
	if len(text) > maxLink || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' }) {
		return ""
	}
	return text
}

// tracking are parameters that say where a click came from and not where it leads; those that begin with utm_ count as well.
var tracking = map[string]bool{
	"fbclid": true, "gclid": true, "dclid": true, "msclkid": true, "yclid": true, "mc_cid": true, "mc_eid": true, "igshid": true,
	"gh_src": true, "lever-source": true, "lever-origin": true, "ref": true, "referrer": true, "source": true, "src": true,
	"trk": true, "trackingid": true, "refid": true, "_hsenc": true, "_hsmi": true, "recommended": true, "campaign": true,
}

// Canonical is the same text for all spellings of a link to one page: scheme and host in lower case, http as https, no default port,
// no tracking parameters, the others sorted, no fragment and no slash at the end. Empty for what is no link.
func Canonical(link string) string {
	u, err := url.Parse(link)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return ""
	}
	host := strings.TrimRight(strings.ToLower(u.Hostname()), ".")
	if host == "" {
		return ""
	}
	query := u.Query()
	for name := range query {
		lower := strings.ToLower(name)
		if tracking[lower] || strings.HasPrefix(lower, "utm_") {
			query.Del(name)
		}
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port := u.Port(); port != "" && port != "80" && port != "443" {
		host += ":" + port
	}
	text := "https://" + host + strings.TrimRight(u.EscapedPath(), "/")
	if len(query) > 0 {
		text += "?" + query.Encode()
	}
	return text
}
