package account

import (
	"context"
	"embed"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// Pages that the links in mails lead to.
//
//go:embed page
var pages embed.FS

// pagePolicy lets a page run its own script and ask its own server, and nothing else.
const pagePolicy = "default-src 'none'; script-src 'self'; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"

type page struct {
	ContentType string `header:"Content-Type"`
	Policy      string `header:"Content-Security-Policy"`
	Referrer    string `header:"Referrer-Policy"`
	Body        []byte
}

// pageRoutes are not part of the API, and not in its document.
func pageRoutes(public huma.API) {
	for _, p := range []struct{ path, file, kind string }{
		{"/account/verify", "verify.html", "text/html; charset=utf-8"},
		{"/account/reset", "reset.html", "text/html; charset=utf-8"},
		{"/account/page.js", "page.js", "text/javascript; charset=utf-8"},
	} {
		huma.Register(public, huma.Operation{
			OperationID: "page-" + p.file, Method: http.MethodGet, Path: p.path, Hidden: true,
		}, func(context.Context, *struct{}) (*page, error) {
			body, err := pages.ReadFile("page/" + p.file)
			if err != nil {
				return nil, fmt.Errorf("read the page %s: %w", p.file, err)
			}
			return &page{p.kind, pagePolicy, "no-referrer", body}, nil
		})
	}
}
