package service_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// testSilence has the way to the database go silent, as a network does that drops packets: connections stay open and carry nothing. Requests
// are refused in time all the same, and served again when the way is back.
func testSilence(t *testing.T, w *world) {
	way := startWire(t, w)
	w.env = append(w.env, "ASSISTD_REQUEST_TIMEOUT=8s")
	r := w.start(t)
	token := signUp(t, r.url, "outage@example.org")
	recovers(t, r, token)
	way.silence(true)
	// Those that have a connection find out by the end of their time; those that come later get none.
	for _, wave := range []string{"first", "second"} {
		var all sync.WaitGroup
		for range 3 {
			for _, one := range requests {
				all.Go(func() {
					a, err := one.send(t.Context(), r.url, token)
					if err == nil && one.waitsForTwin(a) {
						return
					}
					if err != nil || a.status != http.StatusServiceUnavailable || a.took > 3*slow {
						t.Errorf("%s wave: %s %s: %v, %d after %v: %s", wave, one.method, one.path, err, a.status, a.took, a.text)
					}
				})
			}
		}
		began := time.Now()
		all.Wait()
		t.Logf("%s wave: all refused after %v", wave, time.Since(began).Round(time.Millisecond))
		if a := want(t, http.StatusServiceUnavailable, "GET", r.url+"/ready", "", nil); a.took > slow {
			t.Errorf("/ready takes %v", a.took)
		}
		want(t, http.StatusOK, "GET", r.url+"/health", "", nil)
	}
	way.silence(false)
	recovers(t, r, token)
	r.stop(t)
}

// wire is a way to the database that can go silent.
type wire struct {
	mu     sync.Mutex
	silent bool
	change *sync.Cond
}

// startWire leads the world's replicas to their database.
func startWire(t *testing.T, w *world) *wire {
	t.Helper()
	v := &wire{}
	v.change = sync.NewCond(&v.mu)
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it ends with the test
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close(); v.silence(false) })
	for i, setting := range w.env {
		text, is := strings.CutPrefix(setting, "ASSISTD_DATABASE_URL=")
		if !is {
			continue
		}
		database, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		go v.lead(listener, database.Host)
		database.Host = listener.Addr().String()
		w.env[i] = "ASSISTD_DATABASE_URL=" + database.String()
	}
	return v
}

func (v *wire) lead(listener net.Listener, to string) {
	for {
		near, err := listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", to) //nolint:noctx // as long as the test
		if err != nil {
			_ = near.Close()
			continue
		}
		for from, into := range map[net.Conn]net.Conn{near: far, far: near} {
			go func() {
				_, err := io.Copy(gate{into, v}, from)
				_ = errors.Join(err, near.Close(), far.Close()) // either end may have gone first
			}()
		}
	}
}

func (v *wire) silence(silent bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.silent = silent
	v.change.Broadcast()
}

// gate lets nothing through while its wire is silent.
type gate struct {
	io.Writer
	wire *wire
}

func (g gate) Write(p []byte) (int, error) {
	g.wire.mu.Lock()
	for g.wire.silent {
		g.wire.change.Wait()
	}
	g.wire.mu.Unlock()
	return g.Writer.Write(p)
}
