package api

import (
	"net/http"
	"strings"

	"github.com/go-chi/chi/v5"
)

// Allow says in an answer's header which methods the route of a request does know, as 405 must (RFC 9110, section 15.5.6). HEAD is among them
// where GET is.
func Allow(header http.Header, req *http.Request) {
	path := req.URL.RawPath // as chi routes it
	if path == "" {
		path = req.URL.Path
	}
	routes := chi.RouteContext(req.Context()).Routes
	var known []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		if routes.Match(chi.NewRouteContext(), method, path) {
			known = append(known, method)
			if method == http.MethodGet {
				known = append(known, http.MethodHead)
			}
		}
	}
	header.Set("Allow", strings.Join(known, ", "))
}
