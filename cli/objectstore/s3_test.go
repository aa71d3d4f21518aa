package objectstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/objectstore"
	"github.com/smart-assistant/platform/cli/objectstore/objectstoretest"
	"github.com/smart-assistant/platform/cli/objectstore/versitygw"
)

func TestS3Conforms(t *testing.T) {
	objectstoretest.Conformance(t, func(t *testing.T) objectstore.Store { return objectstoretest.S3(t) })
}

// config leads to a bucket "test" on the server, by way of endpoint.
func config(server *versitygw.Server, endpoint string) objectstore.S3Config {
	return objectstore.S3Config{
		Endpoint: endpoint, Region: versitygw.Region, Bucket: "test", AccessKey: server.AccessKey, SecretKey: server.SecretKey,
	}
}

func open(t *testing.T, c objectstore.S3Config) *objectstore.S3 {
	t.Helper()
	s, err := objectstore.OpenS3(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// through puts a proxy in front of the server, which does to the requests and answers what the test wants.
func through(t *testing.T, server *versitygw.Server, serve func(w http.ResponseWriter, r *http.Request, forward http.Handler)) *objectstore.S3 {
	t.Helper()
	target, err := url.Parse(server.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host }, // the signature covers Host
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) {
			panic(http.ErrAbortHandler)
		},
	}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serve(w, r, forward) }))
	t.Cleanup(proxy.Close)
	objectstoretest.Bucket(t, server, "test")
	c := config(server, proxy.URL)
	c.Stall = time.Second
	return open(t, c)
}

// answer serves a request and throws the answer away.
func answer(r *http.Request, forward http.Handler) { forward.ServeHTTP(httptest.NewRecorder(), r) }

func content(t *testing.T, s objectstore.Store, key string) string {
	t.Helper()
	body, _, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A bucket with a default retention takes only what comes with a checksum, however small it is.
func TestEveryWriteHasAChecksum(t *testing.T) {
	var mu sync.Mutex
	without := map[string]bool{}
	s := through(t, objectstoretest.Server(t), func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		mu.Lock()
		if r.Method == http.MethodPut && r.Header.Get("X-Amz-Checksum-Crc32c") == "" {
			without[r.URL.Path] = true
		}
		mu.Unlock()
		forward.ServeHTTP(w, r)
	})
	for name, size := range map[string]int{"nothing": 0, "small": 10, "large": 2 << 20} {
		if _, err := s.Put(t.Context(), name, strings.NewReader(strings.Repeat("x", size)), objectstore.IfAbsent()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(without) > 0 {
		t.Errorf("without a checksum: %v", without)
	}
}

func TestLostAnswerOfAConditionalPut(t *testing.T) {
	server := objectstoretest.Server(t)
	var lose atomic.Bool
	var before func()
	s := through(t, server, func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		if r.Method == http.MethodPut && lose.CompareAndSwap(true, false) {
			if before != nil {
				before()
			} else {
				answer(r, forward)
			}
			panic(http.ErrAbortHandler)
		}
		forward.ServeHTTP(w, r)
	})

	lose.Store(true)
	first, err := s.Put(t.Context(), "k", strings.NewReader("ours"), objectstore.IfAbsent())
	if err != nil {
		t.Fatalf("a write whose first answer was lost: %v", err)
	}
	if lose.Load() || content(t, s, "k") != "ours" {
		t.Fatal("the answer was not lost, or the object is not there")
	}
	lose.Store(true)
	second, err := s.Put(t.Context(), "k", strings.NewReader("ours again"), objectstore.IfMatch(first.ETag))
	if err != nil || second.Size != 10 || second.ServerTime.IsZero() {
		t.Fatalf("a replacement whose first answer was lost: %+v, %v", second, err)
	}

	// The request is lost instead, and somebody else writes the very same bytes before it is repeated.
	direct := open(t, config(server, server.Endpoint()))
	before = func() {
		if _, err := direct.Put(context.Background(), "other", strings.NewReader("same"), objectstore.IfAbsent()); err != nil {
			t.Error(err)
		}
	}
	lose.Store(true)
	if _, err := s.Put(t.Context(), "other", strings.NewReader("same"), objectstore.IfAbsent()); !errors.Is(err, objectstore.ErrPrecondition) {
		t.Errorf("somebody else's write counts as ours: %v", err)
	}
}

func TestTruncatedBody(t *testing.T) {
	server := objectstoretest.Server(t)
	s := through(t, server, func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		if r.Method != http.MethodGet {
			forward.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		forward.ServeHTTP(rec, r)
		maps.Copy(w.Header(), rec.Header())
		_, _ = w.Write(rec.Body.Bytes()[:rec.Body.Len()-1]) // Content-Length says one more
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	for _, size := range []int{10, 3 << 20} {
		if _, err := s.Put(t.Context(), "k", bytes.NewReader(make([]byte, size)), objectstore.Always()); err != nil {
			t.Fatal(err)
		}
		body, _, err := s.Get(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, body)
		if !errors.Is(err, io.ErrUnexpectedEOF) || n != int64(size-1) || !strings.Contains(err.Error(), "get k") {
			t.Errorf("read %d of %d bytes, error %v", n, size, err)
		}
		body.Close()
	}
}

func TestStalledAnswerIsGivenUpAndRepeated(t *testing.T) {
	server := objectstoretest.Server(t)
	var stalled atomic.Int32
	s := through(t, server, func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		if r.Method == http.MethodPut && stalled.Add(1) == 1 {
			answer(r, forward)
			<-r.Context().Done() // until the client gives the connection up
			return
		}
		forward.ServeHTTP(w, r)
	})
	if _, err := s.Put(t.Context(), "k", strings.NewReader("x"), objectstore.IfAbsent()); err != nil {
		t.Fatal(err)
	}
	if stalled.Load() != 2 {
		t.Errorf("%d requests, want 2", stalled.Load())
	}
}

func TestRefuseUnconditional(t *testing.T) {
	server := objectstoretest.Server(t)
	honest := objectstoretest.Bucket(t, server, "test")
	if err := honest.RefuseUnconditional(t.Context()); err != nil {
		t.Errorf("an honest store is refused: %v", err)
	}
	for _, header := range []string{"If-None-Match", "If-Match"} {
		s := through(t, server, func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
			if r.Header.Get(header) == "" {
				forward.ServeHTTP(w, r)
				return
			}
			putAnyway(w, r, honest) // the header is signed, so the proxy cannot just drop it
		})
		err := s.RefuseUnconditional(t.Context())
		if !errors.Is(err, objectstore.ErrUnconditional) || !strings.Contains(err.Error(), header) || fault.CodeOf(err) != fault.Refused {
			t.Errorf("a store that ignores %s: %v", header, err)
		}
	}
	for a, err := range honest.List(t.Context(), "") {
		t.Errorf("the probe left %+v, %v", a, err)
	}
}

// putAnyway does what a store does that does not know conditions.
func putAnyway(w http.ResponseWriter, r *http.Request, store objectstore.Store) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	a, err := store.Put(r.Context(), strings.TrimPrefix(r.URL.Path, "/test/"), bytes.NewReader(body), objectstore.Always())
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("ETag", a.ETag)
}

func TestEnsureBucket(t *testing.T) {
	server := objectstoretest.Server(t)
	s := open(t, config(server, server.Endpoint()))
	_, err := s.Put(t.Context(), "k", strings.NewReader("x"), objectstore.Always())
	if err == nil || errors.Is(err, objectstore.ErrNotExist) || fault.CodeOf(err) != fault.NotFound || !strings.Contains(err.Error(), "bucket test") {
		t.Errorf("Put without a bucket: %v", err)
	}
	_, err = s.Put(t.Context(), "k", strings.NewReader("x"), objectstore.IfMatch(`"x"`))
	if err == nil || errors.Is(err, objectstore.ErrPrecondition) {
		t.Errorf("conditional Put without a bucket: %v", err)
	}
	_, _, err = s.Get(t.Context(), "k")
	if err == nil || errors.Is(err, objectstore.ErrNotExist) {
		t.Errorf("Get without a bucket: %v", err)
	}
	for range 2 {
		if err := s.EnsureBucket(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Put(t.Context(), "k", strings.NewReader("x"), objectstore.Always()); err != nil {
		t.Fatal(err)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	server := objectstoretest.Server(t)
	objectstoretest.Bucket(t, server, "test")

	wrong := config(server, server.Endpoint())
	wrong.SecretKey = "not the secret"
	_, err := open(t, wrong).Stat(t.Context(), "k")
	if err == nil || !strings.Contains(fault.HintOf(err), "access key") {
		t.Errorf("wrong secret: %v, hint %q", err, fault.HintOf(err))
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := config(server, "http://"+l.Addr().String())
	l.Close()
	nobody.Attempts = 2
	_, _, err = open(t, nobody).Get(t.Context(), "some/key")
	if fault.CodeOf(err) != fault.Unreachable || fault.HintOf(err) == "" {
		t.Errorf("nobody listens: %v, code %d, hint %q", err, fault.CodeOf(err), fault.HintOf(err))
	}
	for _, part := range []string{"get some/key", nobody.Endpoint, "connection refused"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
	if strings.Contains(err.Error(), "RequestID") {
		t.Errorf("%q is the SDK's text", err)
	}
	for _, c := range []objectstore.S3Config{{AccessKey: "a", SecretKey: "b"}, {Bucket: "b"}} {
		if _, err := objectstore.OpenS3(t.Context(), c); err == nil {
			t.Errorf("OpenS3(%+v) is content", c)
		}
	}
}

func BenchmarkPut(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 20, 32 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			s := objectstoretest.S3(b)
			body := bytes.Repeat([]byte("0123456789abcdef"), size/16)
			b.SetBytes(int64(size))
			for b.Loop() {
				if _, err := s.Put(b.Context(), "k", bytes.NewReader(body), objectstore.Always()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkGet(b *testing.B) {
	s := objectstoretest.S3(b)
	const size = 32 << 20
	if _, err := s.Put(b.Context(), "k", bytes.NewReader(make([]byte, size)), objectstore.Always()); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(size)
	for b.Loop() {
		body, _, err := s.Get(b.Context(), "k")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, body); err != nil {
			b.Fatal(err)
		}
		body.Close()
	}
}
