package outbound

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"
)

const maxRedirects = 5

// Client makes an HTTP client whose every connection is guarded. No proxy of the environment stands between. The timeout is that of a
// whole request with its answer; 0 is none.
//
// A redirect is followed at most 5 times, never from https to http, and takes neither credentials nor a body to another origin.
func (g *Guard) Client(timeout time.Duration) *http.Client {
	return &http.Client{Timeout: timeout, CheckRedirect: checkRedirect, Transport: &http.Transport{
		DialContext: g.DialContext, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: timeout, MaxResponseHeaderBytes: 64 << 10,
	}}
}

// ErrRedirect is a redirect that is not followed.
var ErrRedirect = errors.New("the redirect is not followed")

// carried are the headers that another origin may see. All others are credentials, or may be.
var carried = []string{"Accept", "Accept-Language", "User-Agent"}

// checkRedirect is http.Client's CheckRedirect. The client copies the first request's headers before it asks.
func checkRedirect(next *http.Request, via []*http.Request) error {
	first, last := via[0], via[len(via)-1]
	next.Header.Del("Referer") // it would tell a key that stands in the former URL's query
	if len(via) > maxRedirects {
		return fmt.Errorf("%w: more than %d in a row", ErrRedirect, maxRedirects)
	}
	if last.URL.Scheme == "https" && next.URL.Scheme != "https" {
		return fmt.Errorf("%w: it leads from https to %s", ErrRedirect, next.URL.Scheme)
	}
	if sameOrigin(first.URL, next.URL) {
		return nil
	}
	if next.Method != http.MethodGet && next.Method != http.MethodHead {
		return fmt.Errorf("%w: it leads a %s to another server", ErrRedirect, next.Method)
	}
	for name := range next.Header {
		if !slices.Contains(carried, name) {
			next.Header.Del(name)
		}
	}
	return nil
}

// sameOrigin is RFC 6454's, but that a port which is written differs from one which is left out.
func sameOrigin(a, b *url.URL) bool { return a.Scheme == b.Scheme && a.Host == b.Host }

// ErrTooLarge is a body above its limit.
var ErrTooLarge = errors.New("the answer is too large")

// ReadAll reads a body of at most limit bytes, counted as they come out of decompression. ErrTooLarge when there are more.
func ReadAll(body io.Reader, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
	}
	return text, nil
}
