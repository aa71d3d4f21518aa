package server

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/chat"
	"github.com/smart-assistant/platform/service/mail"
	"github.com/smart-assistant/platform/service/telemetry"
)

const requestIDHeader = "X-Request-Id"

// requestID takes the caller's id where it is harmless to log, or makes one, and names it and the replica in the answer.
func (r *replica) requestID(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		id := req.Header.Get(requestIDHeader)
		if !plainID(id) {
			var random [8]byte
			if _, err := io.ReadFull(r.config.Rand, random[:]); err != nil {
				writeProblem(w, req, http.StatusInternalServerError, "no randomness")
				return
			}
			id = hex.EncodeToString(random[:])
		}
		w.Header().Set(requestIDHeader, id)
		if r.config.Replica != "" {
			w.Header().Set("X-Replica", r.config.Replica)
		}
		next.ServeHTTP(w, req.WithContext(telemetry.WithRequestID(req.Context(), id)))
	})
}

func plainID(id string) bool {
	return id != "" && len(id) <= 64 && strings.IndexFunc(id, func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' && c != '.'
	}) < 0
}

// observe counts, times and logs each request. Probes that succeed are logged at debug level: they come every second.
func (r *replica) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		began := r.config.Now()
		r.metrics.RequestStarted()
		answer := &answer{ResponseWriter: w}
		completed := false
		defer func() { // also when a handler gives up in the middle of an answer, by http.ErrAbortHandler
			status := cmp.Or(answer.status, http.StatusOK)
			route := route(req)
			took := r.config.Now().Sub(began)
			r.metrics.RequestDone(method(req.Method), route, status, took)
			if !telemetry.IsProbe(req.URL.Path) {
				r.traffic.Record(r.config.Now(), telemetry.Request{
					Release: r.config.Build.Version, Method: method(req.Method), Path: route, Status: outcome(req, status, completed), Took: took,
				})
			}
			r.config.Log.LogAttrs(req.Context(), requestLevel(req.URL.Path, status), "request",
				slog.String("method", req.Method), slog.String("route", route), slog.Int("status", status),
				slog.Int("bytes", answer.bytes), slog.Float64("ms", float64(took.Microseconds())/1000),
				slog.String("client", api.ClientAddress(req.Context()).String()))
		}()
		next.ServeHTTP(answer, req)
		answer.send()
		completed = true
	})
}

// route is the pattern that a request met, once it was routed.
func route(req *http.Request) string {
	pattern := chi.RouteContext(req.Context()).RoutePattern()
	if pattern == "" || strings.HasSuffix(pattern, "*") {
		return "none"
	}
	return pattern
}

const statusClientGone = 499 // as nginx calls it

// outcome is the status as the traffic counts it: whoever goes before the answer is there has not been failed.
func outcome(req *http.Request, status int, completed bool) int {
	switch {
	case req.Context().Err() != nil:
		return statusClientGone
	case !completed:
		return telemetry.BrokenOff
	default:
		return status
	}
}

// method keeps a metric's label to the methods that exist: the header says what the client likes.
func method(name string) string {
	switch name {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return name
	default:
		return "other"
	}
}

func requestLevel(path string, status int) slog.Level {
	switch {
	case status >= http.StatusInternalServerError && path != "/ready":
		return slog.LevelError
	case path == "/health" || path == "/ready":
		return slog.LevelDebug
	default:
		return slog.LevelInfo
	}
}

// recover turns a panic into 500 and a log line with its stack.
func (r *replica) recover(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			if err, isError := cause.(error); isError && errors.Is(err, http.ErrAbortHandler) {
				panic(cause) // net/http's own way to cut a connection
			}
			r.config.Log.ErrorContext(req.Context(), "panic", "cause", cause, "stack", string(debug.Stack()))
			writeProblem(w, req, http.StatusInternalServerError, "the service made a mistake; its log has it under the request's id")
		}()
		next.ServeHTTP(w, req)
	})
}

// closeWhenDraining asks clients to connect anew, which leads them to another replica. Connections that are idle stay open
// until the listener ends: closing one while a request is on its way into it would lose that request.
func (r *replica) closeWhenDraining(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		select {
		case <-r.draining:
			w.Header().Set("Connection", "close")
		default:
		}
		next.ServeHTTP(w, req)
	})
}

// limits are what one request may take.
type limits struct {
	body int64
	time time.Duration
}

// longer are the routes with limits of their own: they work while they read, and keep what they have when they are cut off.
var longer = map[string]limits{
	"POST " + mail.ImportPath:      {body: 2 << 30, time: time.Hour},
	"POST " + chat.CompletionsPath: {time: 10 * time.Minute}, // a language model writes
}

// limit bounds each request's body and time. A body that is too long meets huma's limit first, which answers 413; what is
// refused here is what no route reads.
func (r *replica) limit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		most, ctx := limits{r.config.MaxBody + 1, r.config.RequestTimeout}, req.Context()
		if own, has := longer[req.Method+" "+req.URL.Path]; has {
			most = limits{cmp.Or(own.body, most.body), own.time}
			conn := http.NewResponseController(w)
			// The connection's clock; with time left to say that it took too long. Where there is no deadline, reading says so.
			_ = conn.SetWriteDeadline(time.Now().Add(own.time + r.config.RequestTimeout))
			req.Body = patientBody{req.Body, conn, r.config.RequestTimeout, own.time}
		} else {
			ctx = impatient(ctx)
		}
		ctx, cancel := context.WithTimeoutCause(ctx, most.time, errTooSlow)
		defer cancel()
		req.Body = http.MaxBytesReader(w, req.Body, most.body)
		next.ServeHTTP(w, req.WithContext(ctx))
	})
}

// patientBody takes its time, as long as something comes: each read may last as long as a whole request elsewhere.
type patientBody struct {
	io.ReadCloser
	conn        *http.ResponseController
	pause, most time.Duration
}

func (b patientBody) Read(p []byte) (int, error) {
	now := time.Now() // the connection's clock
	if err := b.conn.SetReadDeadline(now.Add(b.pause)); err != nil {
		return 0, fmt.Errorf("allow for a long request: %w", err)
	}
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) { // net/http goes on reading, to see a client that leaves, and would take the deadline for one
		if late := b.conn.SetReadDeadline(now.Add(b.most)); late != nil {
			return n, fmt.Errorf("allow for a long request: %w", late)
		}
	}
	return n, err
}

var errTooSlow = errors.New("the request took longer than the service allows")
