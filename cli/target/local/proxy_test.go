package local

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/service/telemetry"
)

// entrance is a proxy that listens, in front of backends that the test plays itself.
type entrance struct {
	*proxy
	url string
}

func newEntrance(t testing.TB) entrance {
	t.Helper()
	p := newProxy(telemetry.NewTraffic(time.Now()), slog.New(slog.DiscardHandler))
	server := httptest.NewServer(p.server.Handler)
	t.Cleanup(server.Close)
	return entrance{p, server.URL}
}

// serve adds a backend.
func (e entrance) serve(t testing.TB, name, version string, h http.HandlerFunc) *backend {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	b := newBackend(name, version, server.Listener.Addr().String(), func() {})
	t.Cleanup(b.transport.CloseIdleConnections)
	e.add(b)
	return b
}

// dead adds a backend where nobody listens.
func (e entrance) dead(t testing.TB, suspected *atomic.Int64) *backend {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close() //nolint:errcheck // nobody shall listen
	b := newBackend("dead", "v0", addr, func() { suspected.Add(1) })
	e.add(b)
	return b
}

// counted is the traffic once all the requests are in it, which happens after their answers.
func (e entrance) counted(t *testing.T, requests int64) target.Traffic {
	t.Helper()
	var sum target.Traffic
	eventually(t, "all is counted", func() bool {
		sum = summarize(e.traffic, time.Now(), time.Minute)
		return sum.Requests >= requests
	})
	return sum
}

func (e entrance) do(t testing.TB, method, path string, body io.Reader) fetched {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, e.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fetched{answer.StatusCode, answer.Header, string(text)}
}

// cutting answers a request by breaking the connection, at first after it has written part of an answer.
func cutting(t *testing.T, partly string) (http.HandlerFunc, *atomic.Int64) {
	t.Helper()
	hits := new(atomic.Int64)
	return func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, partly)
		conn.Close() //nolint:errcheck // that is the point
	}, hits
}

func TestRetries(t *testing.T) {
	for name, partly := range map[string]string{
		"before an answer": "",
		"in a header":      "HTTP/1.1 200 OK\r\nContent-Le",
		"in a body":        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of",
	} {
		t.Run("a read that breaks "+name+" is asked for elsewhere", func(t *testing.T) {
			e := newEntrance(t)
			cut, hits := cutting(t, partly)
			e.serve(t, "bad", "v1", cut)
			e.serve(t, "good", "v1", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "fine") })
			for range 10 {
				if got := e.do(t, http.MethodGet, "/", nil); got.status != http.StatusOK || got.body != "fine" {
					t.Errorf("got %s", got)
				}
			}
			if hits.Load() == 0 {
				t.Error("the bad one was never asked: the test shows nothing")
			}
		})
		t.Run("a write that breaks "+name+" is not repeated", func(t *testing.T) {
			e := newEntrance(t)
			cut, hits := cutting(t, partly)
			e.serve(t, "bad", "v1", cut)
			var others atomic.Int64
			r, err := http.Post(e.url, "text/plain", strings.NewReader("x")) //nolint:noctx // the test's own time limit does
			if err == nil {
				_, err = io.Copy(io.Discard, r.Body)
				r.Body.Close() //nolint:errcheck // only read
				if err == nil && r.StatusCode != http.StatusBadGateway {
					t.Errorf("got %d", r.StatusCode)
				}
			}
			if hits.Load() != 1 || others.Load() != 0 {
				t.Errorf("the write arrived %d times", hits.Load()+others.Load())
			}
			eventually(t, "it is counted as failed", func() bool { return summarize(e.traffic, time.Now(), time.Minute).Failed == 1 })
		})
	}
	t.Run("a write that nobody got is sent elsewhere, whole", func(t *testing.T) {
		e := newEntrance(t)
		var suspected atomic.Int64
		dead := e.dead(t, &suspected)
		e.serve(t, "good", "v1", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
		sent := strings.Repeat("x", 400)
		for range 4 {
			e.add(dead)
			if got := e.do(t, http.MethodPost, "/", strings.NewReader(sent)); got.status != http.StatusOK || got.body != sent {
				t.Errorf("got %s", got)
			}
		}
		if suspected.Load() == 0 {
			t.Error("the dead one was never tried: the test shows nothing")
		}
	})
	t.Run("when nobody is left the answer is 503", func(t *testing.T) {
		e := newEntrance(t)
		var suspected atomic.Int64
		e.dead(t, &suspected)
		for range 2 {
			if got := e.do(t, http.MethodGet, "/", nil); !got.refused() {
				t.Errorf("got %s", got)
			}
		}
		if suspected.Load() != 1 || len(*e.rotation.Load()) != 0 {
			t.Errorf("the dead one was tried %d times", suspected.Load())
		}
	})
}

func TestHeaders(t *testing.T) {
	e := newEntrance(t)
	var got http.Header
	var host string
	e.serve(t, "api-7", "v1.2.3", func(_ http.ResponseWriter, r *http.Request) { got, host = r.Header.Clone(), r.Host })
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.url+"/x?y=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Forwarded-For", "6.6.6.6")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close() //nolint:errcheck // only read
	if got.Get("X-Forwarded-For") != "127.0.0.1" || got.Get("X-Forwarded-Proto") != "http" || got.Get("X-Forwarded-Host") != host || "http://"+host != e.url {
		t.Errorf("the replica got %v, host %s", got, host)
	}
	id := got.Get(requestIDHeader)
	if len(id) != 24 || answer.Header.Get(requestIDHeader) != id {
		t.Errorf("request id %q, answered %q", id, answer.Header.Get(requestIDHeader))
	}
	if answer.Header.Get(replicaHeader) != "api-7" || answer.Header.Get(releaseHeader) != "v1.2.3" {
		t.Errorf("answer %v", answer.Header)
	}
	for given, kept := range map[string]bool{"abc-123": true, "with space": false, `quo"te`: false, strings.Repeat("x", 200): false} {
		request.Header.Set(requestIDHeader, given)
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close() //nolint:errcheck // only read
		if (got.Get(requestIDHeader) == given) != kept {
			t.Errorf("a client's id %q became %q", given, got.Get(requestIDHeader))
		}
	}
}

func TestRequestsAreSpread(t *testing.T) {
	e := newEntrance(t)
	var hits [3]atomic.Int64
	hold := make(chan struct{})
	for i := range hits {
		e.serve(t, fmt.Sprint(i), "v1", func(http.ResponseWriter, *http.Request) {
			hits[i].Add(1)
			<-hold
		})
	}
	var all sync.WaitGroup
	for range 9 {
		all.Go(func() { e.do(t, http.MethodGet, "/", nil) })
		n := e.inFlight.Load()
		eventually(t, "it is in flight", func() bool { return e.inFlight.Load() >= n })
	}
	eventually(t, "all are in flight", func() bool { return hits[0].Load()+hits[1].Load()+hits[2].Load() == 9 })
	close(hold)
	all.Wait()
	for i := range hits {
		if hits[i].Load() != 3 {
			t.Errorf("replica %d got %d of 9 requests", i, hits[i].Load())
		}
	}
}

func TestDrain(t *testing.T) {
	e := newEntrance(t)
	arrived, hold := make(chan struct{}), make(chan struct{})
	old := e.serve(t, "old", "v1", func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-hold
		fmt.Fprint(w, "late")
	})
	late := make(chan string)
	go func() {
		late <- e.do(t, http.MethodPost, "/", nil).body
	}()
	<-arrived
	e.serve(t, "new", "v2", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "new") })

	impatient, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := e.drain(impatient, old); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("drain with a request in flight returned %v", err)
	}
	for range 5 {
		if got := e.do(t, http.MethodGet, "/", nil); got.body != "new" {
			t.Errorf("a draining replica got a request: %s", got)
		}
	}
	if old.enter() {
		t.Error("a draining replica can be entered")
	}
	drained := make(chan error)
	go func() { drained <- e.drain(t.Context(), old) }()
	close(hold)
	if body := <-late; body != "late" {
		t.Errorf("the request in flight got %q", body)
	}
	if err := <-drained; err != nil {
		t.Errorf("drain returned %v", err)
	}
}

func TestStreamsArePassedOnAtOnce(t *testing.T) {
	e := newEntrance(t)
	next := make(chan struct{})
	e.serve(t, "api", "v1", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			_ = http.NewResponseController(w).Flush()
			<-next
		}
	})
	r, err := http.Get(e.url) //nolint:noctx // the test's own time limit does
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close() //nolint:errcheck // only read
	lines := bufio.NewScanner(r.Body)
	for i := range 3 {
		if !lines.Scan() || lines.Text() != fmt.Sprintf("data: %d", i) || !lines.Scan() {
			t.Fatalf("event %d: %q, %v", i, lines.Text(), lines.Err())
		}
		next <- struct{}{} // the replica goes on only after its event has arrived
	}
}

func TestUpgradedConnections(t *testing.T) {
	e := newEntrance(t)
	e.serve(t, "api", "v1", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "shout")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, both, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close() //nolint:errcheck // the test is over
		line, _ := both.ReadString('\n')
		_, _ = io.WriteString(conn, strings.ToUpper(line))
	})
	conn, err := net.Dial("tcp", strings.TrimPrefix(e.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n")
	in := bufio.NewReader(conn)
	answer, err := http.ReadResponse(in, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v %v", answer, err)
	}
	defer answer.Body.Close() //nolint:errcheck // an upgraded connection has none
	fmt.Fprint(conn, "hello\n")
	if line, err := in.ReadString('\n'); err != nil || line != "HELLO\n" {
		t.Errorf("got %q, %v", line, err)
	}
	conn.Close() //nolint:errcheck // only that it closes matters
	eventually(t, "the connection has left the replica", func() bool { return e.inFlight.Load() == 0 })
}

func TestLargeAnswersAndBodies(t *testing.T) {
	e := newEntrance(t)
	e.serve(t, "api", "v1", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(body)
	})
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	if got := e.do(t, http.MethodPut, "/", bytes.NewReader(sent)); got.status != http.StatusOK || got.body != string(sent) {
		t.Errorf("got %d, %d of %d bytes", got.status, len(got.body), len(sent))
	}
}

func TestClientThatGoesAwayIsNoFailure(t *testing.T) {
	e := newEntrance(t)
	arrived := make(chan struct{}, 1)
	e.serve(t, "api", "v1", func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := http.DefaultClient.Do(r); err == nil {
		answer.Body.Close() //nolint:errcheck // it should not be there
		t.Error("got an answer")
	}
	eventually(t, "it is counted", func() bool { return summarize(e.traffic, time.Now(), time.Minute).Requests == 1 })
	if sum := summarize(e.traffic, time.Now(), time.Minute); sum.Failed != 0 {
		t.Errorf("it counts as failed: %+v", sum)
	}
}

func TestProxyBlamesTheReleaseThatBreaksOff(t *testing.T) {
	for name, partly := range map[string]string{
		"before an answer":   "",
		"in a header":        "HTTP/1.1 200 OK\r\nContent-Le",
		"in a body":          "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of",
		"in a chunked body":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf of",
		"in a false upgrade": "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: never-asked-for\r\n\r\n",
	} {
		t.Run("a write that breaks "+name, func(t *testing.T) {
			e := newEntrance(t)
			cut, hits := cutting(t, partly)
			e.serve(t, "api", "v2", func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					cut(w, r)
				}
			})
			for range 5 {
				if got := e.do(t, http.MethodGet, "/", nil); got.status != http.StatusOK {
					t.Errorf("got %s", got)
				}
			}
			for range 3 {
				r, err := http.Post(e.url, "text/plain", strings.NewReader("x")) //nolint:noctx // the test's own time limit does
				if err == nil {
					_, _ = io.Copy(io.Discard, r.Body) // a client that goes first would be no failure
					r.Body.Close()                     //nolint:errcheck // only read
				}
			}
			sum := e.counted(t, 8)
			if hits.Load() != 3 || len(sum.Releases) != 1 || sum.Releases["v2"].Requests != 8 || sum.Releases["v2"].Failed != 3 {
				t.Errorf("%d writes arrived, releases %+v", hits.Load(), sum.Releases)
			}
		})
	}
	t.Run("a read that breaks everywhere", func(t *testing.T) {
		e := newEntrance(t)
		cut, hits := cutting(t, "")
		e.serve(t, "old", "v1", cut)
		e.serve(t, "new", "v2", cut)
		if got := e.do(t, http.MethodGet, "/", nil); got.status != http.StatusBadGateway {
			t.Errorf("got %s", got)
		}
		sum := e.counted(t, 1)
		if hits.Load() < 2 || sum.Releases["v1"].Failed+sum.Releases["v2"].Failed != 1 {
			t.Errorf("asked %d times, releases %+v", hits.Load(), sum.Releases)
		}
	})
	t.Run("a read that breaks, and goes well elsewhere", func(t *testing.T) {
		e := newEntrance(t)
		cut, hits := cutting(t, "")
		e.serve(t, "new", "v2", cut)
		e.serve(t, "old", "v1", func(http.ResponseWriter, *http.Request) {})
		for range 4 {
			e.do(t, http.MethodGet, "/", nil)
		}
		sum := e.counted(t, 4)
		if hits.Load() == 0 || sum.Failed != 0 || sum.Releases["v1"].Requests != 4 {
			t.Errorf("broken off %d times, releases %+v", hits.Load(), sum.Releases)
		}
	})
}

func TestProxyBlamesNoReleaseForItsOwnAnswers(t *testing.T) {
	e := newEntrance(t)
	e.do(t, http.MethodGet, "/", nil) // nothing in rotation
	var suspected atomic.Int64
	e.dead(t, &suspected)
	e.do(t, http.MethodPost, "/", strings.NewReader("x")) // nobody listens
	e.serve(t, "api", "v1", func(http.ResponseWriter, *http.Request) {})
	e.pause("restore")
	e.do(t, http.MethodGet, "/", nil)
	sum := e.counted(t, 3)
	if suspected.Load() != 1 || len(sum.Releases) != 1 || sum.Releases[""].Failed != 3 {
		t.Errorf("tried the dead one %d times, releases %+v", suspected.Load(), sum.Releases)
	}
}

func TestProxyBlamesNoReleaseForBrokenUploads(t *testing.T) {
	for name, sent := range map[string]string{
		"one that ends early":  "Content-Length: 100\r\n\r\nhalf of",
		"one that is no chunk": "Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			e := newEntrance(t)
			var suspected atomic.Int64
			b := e.serve(t, "api", "v1", func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
			b.suspect = func() { suspected.Add(1) }
			conn, err := net.Dial("tcp", strings.TrimPrefix(e.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close() //nolint:errcheck // only that it closes matters
			fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\n"+sent)
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close() //nolint:errcheck // only the status matters
			sum := e.counted(t, 1)
			if answer.StatusCode >= 500 || sum.Failed != 0 || suspected.Load() != 0 {
				t.Errorf("got %d, suspected %d times, traffic %+v", answer.StatusCode, suspected.Load(), sum)
			}
		})
	}
}

// BenchmarkProxy measures the entrance alone: client, proxy and replica share this process.
func BenchmarkProxy(b *testing.B) {
	e := newEntrance(b)
	for i := range 3 {
		e.serve(b, fmt.Sprint(i), "v1", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"status":"ok"}`) })
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r, err := client.Get(e.url) //nolint:noctx // the benchmark's own time limit does
			if err != nil {
				b.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, r.Body)
			r.Body.Close() //nolint:errcheck // only read
		}
	})
}
