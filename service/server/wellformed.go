package server

import (
	"net/http"
	"strings"
	"unicode/utf8"
)

// wellFormed refuses text that no column can hold (PostgreSQL's manual, section 8.3: no zero bytes, and what the encoding has), wherever it
// would get to. Bodies are JSON, whose decoder sees to it.
func wellFormed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch {
		case !isText(req.URL.Path):
			writeProblem(w, req, http.StatusBadRequest, "the path is no UTF-8 text")
		case !hasTextOnly(req):
			writeProblem(w, req, http.StatusBadRequest, "the query is no UTF-8 text: each value wants percent-encoding (RFC 3986, section 2.1)")
		case strings.IndexFunc(req.Header.Get("Idempotency-Key"), func(r rune) bool { return r < ' ' || r > '~' }) >= 0:
			writeProblem(w, req, http.StatusBadRequest, "the Idempotency-Key has other characters than printable ASCII")
		default:
			next.ServeHTTP(w, req)
		}
	})
}

func hasTextOnly(req *http.Request) bool {
	for name, values := range req.URL.Query() {
		if !isText(name) {
			return false
		}
		for _, value := range values {
			if !isText(value) {
				return false
			}
		}
	}
	return true
}

func isText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }
