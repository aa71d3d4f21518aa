package service_test

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"
)

// entrance is what a load balancer is to replicas: it asks each for /ready over and over, and hands requests in turn to those that are. It
// sends nothing a second time.
type entrance struct {
	url string

	mu    sync.Mutex
	ready []*url.URL
	turn  int
}

func startEntrance(t *testing.T) *entrance {
	t.Helper()
	e := &entrance{}
	server := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(e.next()) },
		Transport: &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute},
		ErrorLog:  log.New(io.Discard, "", 0), // it answers 502, which the load counts
	})
	t.Cleanup(server.Close)
	e.url = server.URL
	return e
}

// nowhere is where requests go when no replica is ready.
var nowhere = &url.URL{Scheme: "http", Host: "127.0.0.1:1"}

func (e *entrance) next() *url.URL {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.ready) == 0 {
		return nowhere
	}
	e.turn++
	return e.ready[e.turn%len(e.ready)]
}

// watch follows a replica's readiness until ctx ends. A probe without an answer in time says nothing; one that is refused does.
func (e *entrance) watch(ctx context.Context, t *testing.T, r *replica) {
	t.Helper()
	address, err := url.Parse(r.url)
	if err != nil {
		t.Fatal(err)
	}
	for ctx.Err() == nil {
		probe, cancel := context.WithTimeout(ctx, 5*time.Second)
		a, err := ask(probe, "GET", r.url+"/ready", "", nil)
		if probe.Err() == nil {
			e.set(address, err == nil && a.status == http.StatusOK)
		}
		cancel()
		time.Sleep(100 * time.Millisecond)
	}
	e.set(address, false)
}

func (e *entrance) knows(r *replica) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.ContainsFunc(e.ready, func(ready *url.URL) bool { return ready.String() == r.url })
}

func (e *entrance) set(address *url.URL, ready bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	others := slices.DeleteFunc(slices.Clone(e.ready), func(other *url.URL) bool { return other == address })
	if ready {
		others = append(others, address)
	}
	e.ready = others
}
