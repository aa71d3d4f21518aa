package local

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/smart-assistant/platform/service/telemetry"
)

// proxy is the environment's entrance: it hands each request to the ready replica that has the fewest in flight.
//
// A request is sent to another replica when the first one provably did not get it (nobody listened), or when sending it twice does
// no harm (GET, HEAD and OPTIONS without a body, RFC 9110 section 9.2). Everything else that goes wrong is answered 502.
type proxy struct {
	traffic *telemetry.Traffic
	server  *http.Server

	paused   atomic.Pointer[string]
	inFlight atomic.Int64 // at replicas
	rotation atomic.Pointer[[]*backend]
	turn     atomic.Uint64
	mu       sync.Mutex // of changes to rotation
}

// backend is one start of a replica, as the proxy sees it.
type backend struct {
	replica, version, addr string
	transport              *http.Transport
	suspect                func() // told when nobody listened at addr

	mu       sync.Mutex
	leaving  bool
	inFlight int
	idle     chan struct{} // closed when leaving and nothing is in flight
}

const (
	retryWhenPaused  = 5        // seconds, in Retry-After
	retryWhenNone    = 1        // seconds
	bufferedAnswer   = 64 << 10 // an answer up to this size is read whole before it is passed on, so that it can be asked for again
	connectTimeout   = 2 * time.Second
	headerTimeout    = 10 * time.Second
	clientIdle       = 2 * time.Minute
	idlePerReplica   = 256
	requestIDHeader  = "X-Request-Id"
	replicaHeader    = "X-Assistd-Replica"
	releaseHeader    = "X-Assistd-Release"
	longestRequestID = 128
)

var (
	errNoReplica    = errors.New("no replica is ready")
	errBodyBrokeOff = errors.New("the request's body broke off")
)

func newProxy(t *telemetry.Traffic, log *slog.Logger) *proxy {
	p := &proxy{traffic: t}
	p.rotation.Store(&[]*backend{})
	reverse := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetXForwarded()
			r.Out.URL.Scheme = "http"
			r.Out.URL.Host = "replica" // the transport knows better
			r.Out.Host = r.In.Host
		},
		Transport:    p,
		BufferPool:   &bufferPool{},
		ErrorHandler: p.answerError,
		ErrorLog:     slog.NewLogLogger(log.Handler(), slog.LevelDebug), // remarks on broken connections, which are counted anyway
	}
	p.server = &http.Server{
		Handler:           p.observe(reverse),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       clientIdle,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return p
}

// newBackend describes a process of a replica; it gets requests once it is added.
func newBackend(replica, version, addr string, suspect func()) *backend {
	dialer := &net.Dialer{Timeout: connectTimeout}
	return &backend{
		replica: replica, version: version, addr: addr, suspect: suspect, idle: make(chan struct{}),
		transport: &http.Transport{
			DialContext:         dialer.DialContext,
			MaxIdleConns:        idlePerReplica,
			MaxIdleConnsPerHost: idlePerReplica,
			IdleConnTimeout:     time.Minute,
			DisableCompression:  true, // answers are passed on as they are
		},
	}
}

// add puts a backend into rotation.
func (p *proxy) add(b *backend) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.has(b) {
		return
	}
	next := append(slices.Clone(*p.rotation.Load()), b)
	p.rotation.Store(&next)
}

// remove takes a backend out of rotation. Requests in flight go on.
func (p *proxy) remove(b *backend) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := slices.DeleteFunc(slices.Clone(*p.rotation.Load()), func(other *backend) bool { return other == b })
	p.rotation.Store(&next)
}

func (p *proxy) has(b *backend) bool { return slices.Contains(*p.rotation.Load(), b) }

// drain takes a backend out of rotation for good and waits until nothing is in flight there, or ctx ends.
func (p *proxy) drain(ctx context.Context, b *backend) error {
	p.remove(b)
	b.mu.Lock()
	if !b.leaving {
		b.leaving = true
		if b.inFlight == 0 {
			close(b.idle)
		}
	}
	b.mu.Unlock()
	defer b.transport.CloseIdleConnections()
	select {
	case <-b.idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// quiesce waits until no request is at any replica, or ctx ends.
func (p *proxy) quiesce(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for p.inFlight.Load() > 0 {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}

func (p *proxy) pause(reason string) { p.paused.Store(&reason) }
func (p *proxy) resume()             { p.paused.Store(nil) }

// take picks the backend with the fewest requests in flight, in turn among equals, that was not tried yet.
func (p *proxy) take(tried []*backend) *backend {
	for {
		all := *p.rotation.Load()
		var best *backend
		fewest := 0
		offset := int(p.turn.Add(1) % uint64(max(len(all), 1)))
		for i := range all {
			b := all[(i+offset)%len(all)]
			if slices.Contains(tried, b) {
				continue
			}
			if n := b.load(); best == nil || n < fewest {
				best, fewest = b, n
			}
		}
		if best == nil || best.enter() {
			return best
		}
		tried = append(tried, best) // it left this very moment
	}
}

func (b *backend) load() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.inFlight
}

// enter counts a request in, unless the backend is leaving: none slips in after drain has seen the last one out.
func (b *backend) enter() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.leaving {
		return false
	}
	b.inFlight++
	return true
}

func (b *backend) exit() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.inFlight--; b.leaving && b.inFlight == 0 {
		close(b.idle)
	}
}

// RoundTrip sends the request to a replica, or to one after the other.
func (p *proxy) RoundTrip(r *http.Request) (*http.Response, error) {
	body := r.Body
	if body != nil {
		defer body.Close() //nolint:errcheck // the request's body has no error to report on close
	}
	harmless := (r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions) &&
		(body == nil || body == http.NoBody || r.ContentLength == 0)
	var tried []*backend
	last := errNoReplica
	for {
		b := p.take(tried)
		if b == nil {
			return nil, last
		}
		p.inFlight.Add(1)
		left := func() { p.inFlight.Add(-1); b.exit() }
		answer, err := b.send(r, body)
		unreached := notSent(err)
		if seen, ok := r.Context().Value(observedKey{}).(*observed); ok && !unreached {
			seen.version = b.version
		}
		if err == nil && harmless {
			err = readAhead(answer)
		}
		if err == nil {
			answer.Header.Set(replicaHeader, b.replica)
			answer.Header.Set(releaseHeader, b.version)
			answer.Body = onClose(answer.Body, left)
			return answer, nil
		}
		left()
		if r.Context().Err() != nil || errors.Is(err, errBodyBrokeOff) {
			return nil, err
		}
		if unreached {
			p.remove(b)
		}
		b.suspect()
		if !unreached && !harmless {
			return nil, err
		}
		tried, last = append(tried, b), err
	}
}

func (b *backend) send(r *http.Request, body io.ReadCloser) (*http.Response, error) {
	out := r.WithContext(r.Context()) // a shallow copy: the transport changes nothing in it
	address := *r.URL
	address.Host = b.addr
	out.URL = &address
	if body != nil && body != http.NoBody {
		out.Body = io.NopCloser(incoming{body}) // the transport closes what it is given, and another replica may need it
	}
	return b.transport.RoundTrip(out)
}

// incoming is a request's body. It marks its errors, as a client that breaks off its upload is no failure of the replica.
type incoming struct{ io.Reader }

func (i incoming) Read(p []byte) (int, error) {
	n, err := i.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %w", errBodyBrokeOff, err)
	}
	return n, err
}

// notSent reports whether err says that no connection was made.
func notSent(err error) bool {
	op := new(net.OpError)
	return errors.As(err, &op) && op.Op == "dial"
}

// readAhead reads a short answer whole, so that a replica that dies in its middle is found out before the client sees any of it.
func readAhead(r *http.Response) error {
	if r.ContentLength <= 0 || r.ContentLength > bufferedAnswer || r.Request.Method == http.MethodHead {
		return nil
	}
	content, err := io.ReadAll(r.Body)
	if err := errors.Join(err, r.Body.Close()); err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(content))
	return nil
}

// onClose runs f once when the body is closed, which ReverseProxy does in every case. It stays writable for an upgraded connection.
func onClose(body io.ReadCloser, f func()) io.ReadCloser {
	c := closer{ReadCloser: body, f: sync.OnceFunc(f)}
	if w, ok := body.(io.Writer); ok {
		return upgraded{c, w}
	}
	return c
}

type closer struct {
	io.ReadCloser
	f func()
}

func (c closer) Close() error {
	defer c.f()
	return c.ReadCloser.Close()
}

type upgraded struct {
	closer
	io.Writer
}

// answerError is called when no answer of a replica can be passed on.
func (p *proxy) answerError(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, errNoReplica) || notSent(err):
		refuse(w, http.StatusServiceUnavailable, retryWhenNone, errNoReplica.Error())
	case r.Context().Err() != nil:
		w.WriteHeader(statusClientGone)
	case errors.Is(err, errBodyBrokeOff):
		refuse(w, http.StatusBadRequest, 0, err.Error())
	default:
		refuse(w, http.StatusBadGateway, 0, "the replica did not answer: "+err.Error())
	}
}

// refuse answers by itself, as RFC 9457 (problem details) says.
func refuse(w http.ResponseWriter, status, retryAfter int, detail string) {
	if retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{ // a client that has gone is nobody's loss
		"title": http.StatusText(status), "status": status, "detail": detail,
	})
}

// statusClientGone is counted, and never seen, when the client went away before there was an answer (nginx's number for it).
const statusClientGone = 499

// observe gives each request its id, answers for a paused environment, and counts.
func (p *proxy) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		id := r.Header.Get(requestIDHeader)
		if !usableID(id) {
			id = newRequestID()
			r.Header.Set(requestIDHeader, id)
		}
		seen := &observed{ResponseWriter: w, requestID: id}
		completed := false
		defer func() { // also when ReverseProxy gives up in the middle of an answer, by http.ErrAbortHandler
			status := seen.status
			if !completed {
				status = telemetry.BrokenOff
				if r.Context().Err() != nil {
					status = statusClientGone
				}
			}
			p.traffic.Record(time.Now(), telemetry.Request{Release: seen.version, Method: r.Method, Path: r.URL.Path, Status: status, Took: time.Since(began)})
		}()
		if reason := p.paused.Load(); reason != nil {
			refuse(seen, http.StatusServiceUnavailable, retryWhenPaused, *reason)
		} else {
			next.ServeHTTP(seen, r.WithContext(context.WithValue(r.Context(), observedKey{}, seen)))
		}
		completed = true
	})
}

// observed remembers an answer's status, and whose it is.
type observed struct {
	http.ResponseWriter
	requestID string
	status    int
	version   string // of the replica that got the request last, also when it did not answer; "" when none got it
}

// observedKey finds a request's *observed in its context.
type observedKey struct{}

func (o *observed) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		o.status = status
		if o.Header().Get(requestIDHeader) == "" {
			o.Header().Set(requestIDHeader, o.requestID)
		}
	}
	o.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController flush and hijack.
func (o *observed) Unwrap() http.ResponseWriter { return o.ResponseWriter }

// usableID takes a client's own request id if it is harmless in a log line.
func usableID(id string) bool {
	if id == "" || len(id) > longestRequestID {
		return false
	}
	for _, c := range []byte(id) {
		if c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func newRequestID() string {
	var raw [12]byte
	_, _ = rand.Read(raw[:]) // never fails (crypto/rand)
	return hex.EncodeToString(raw[:])
}

type bufferPool struct{ pool sync.Pool }

func (b *bufferPool) Get() []byte {
	if v, ok := b.pool.Get().(*[]byte); ok {
		return *v
	}
	return make([]byte, 32<<10)
}

func (b *bufferPool) Put(buffer []byte) { b.pool.Put(&buffer) }
