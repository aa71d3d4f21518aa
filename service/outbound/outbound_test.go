package outbound

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

var loopback = netip.MustParsePrefix("127.0.0.0/8")

func TestForbiddenAddresses(t *testing.T) {
	for name, host := range map[string]string{
		"loopback":                 "127.0.0.1",
		"all of loopback":          "127.255.255.254",
		"this network":             "0.0.0.0",
		"private 10":               "10.0.0.1",
		"private 172":              "172.31.255.255",
		"private 192":              "192.168.1.1",
		"carrier's NAT":            "100.64.0.1",
		"metadata":                 "169.254.169.254",
		"metadata of Alibaba":      "100.100.100.200",
		"metadata of Oracle":       "192.0.0.192",
		"WireServer of Azure":      "168.63.129.16",
		"documentation":            "192.0.2.1",
		"benchmarks":               "198.18.0.1",
		"multicast":                "224.0.0.1",
		"broadcast":                "255.255.255.255",
		"loopback, IPv6":           "::1",
		"unspecified, IPv6":        "::",
		"mapped loopback":          "::ffff:127.0.0.1",
		"mapped loopback, in hex":  "::ffff:7f00:1",
		"mapped metadata":          "::ffff:169.254.169.254",
		"compatible loopback":      "::127.0.0.1",
		"translated loopback":      "::ffff:0:127.0.0.1",
		"NAT64 of loopback":        "64:ff9b::7f00:1",
		"NAT64 of a public one":    "64:ff9b::808:808",
		"NAT64, local":             "64:ff9b:1::7f00:1",
		"6to4 of loopback":         "2002:7f00:1::",
		"Teredo":                   "2001:0:7f00:1::",
		"link-local, IPv6":         "fe80::1",
		"link-local with a zone":   "fe80::1%lo",
		"public with a zone":       "2606:4700::1%lo",
		"unique local":             "fd00::1",
		"metadata of AWS, IPv6":    "fd00:ec2::254",
		"site-local":               "fec0::1",
		"multicast, IPv6":          "ff02::1",
		"documentation, IPv6":      "2001:db8::1",
		"documentation, IPv6, new": "3fff::1",
	} {
		if _, err := New().DialContext(t.Context(), "tcp", net.JoinHostPort(host, "80")); !errors.Is(err, ErrForbidden) {
			t.Errorf("%s, %s: %v", name, host, err)
		}
	}
	for _, network := range []string{"udp", "unix"} {
		if _, err := New(loopback).DialContext(t.Context(), network, "127.0.0.1:80"); !errors.Is(err, ErrForbidden) {
			t.Errorf("%s: %v", network, err)
		}
	}
}

// No spelling of a host reaches a server on loopback, whatever a resolver makes of it.
func TestSpellingsOfLoopback(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	client := New().Client(5 * time.Second)
	for _, host := range []string{
		"localhost", "LOCALHOST", "localhost.", "a.localhost", "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1",
		"0177.0.0.1", "017700000001", "0", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "127.0.0.1.", "１２７.0.0.1",
	} {
		response, err := client.Get("http://" + host + ":" + port + "/") //nolint:noctx // the client has its own end
		if err == nil {
			response.Body.Close()
			t.Errorf("%s: %s", host, response.Status)
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the server was asked %d times", n)
	}
}

func TestAllowed(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	allowed, err := ParseAllowed(" 127.0.0.0/8, 10.0.0.5 ,fd00:1::/32,")
	if err != nil || len(allowed) != 3 || allowed[1].Bits() != 32 {
		t.Fatalf("%v %v", allowed, err)
	}
	conn, err := New(allowed...).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if _, err := New(allowed...).DialContext(t.Context(), "tcp", "[::1]:80"); !errors.Is(err, ErrForbidden) {
		t.Errorf("::1, which was not allowed: %v", err)
	}
	for _, text := range []string{"10.0.0.0/33", "localhost", "10.0.0.0/8 10.0.0.0/8", "::ffff:127.0.0.1/104", "fe80::1%eth0", "*"} {
		if _, err := ParseAllowed(text); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}

// nameServer answers every question for an IPv4 address with the next address of the list, and then with the last one again.
func nameServer(t *testing.T, addresses ...[4]byte) *net.Resolver {
	t.Helper()
	var config net.ListenConfig
	socket, err := config.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	go func() {
		packet := make([]byte, 512)
		for {
			n, from, err := socket.ReadFrom(packet)
			if err != nil {
				return
			}
			var message dnsmessage.Message
			if message.Unpack(packet[:n]) != nil {
				continue
			}
			message.Response, message.Additionals = true, nil
			if question := message.Questions[0]; question.Type == dnsmessage.TypeA {
				message.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET},
					Body:   &dnsmessage.AResource{A: addresses[0]},
				}}
				addresses = addresses[min(1, len(addresses)-1):]
			}
			if answer, err := message.Pack(); err == nil {
				_, _ = socket.WriteTo(answer, from)
			}
		}
	}()
	var dialer net.Dialer
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, "udp", socket.LocalAddr().String())
	}}
}

// A name that is fine when it is looked at and points home when it is used: 127.0.0.2 plays the public address.
func TestRebinding(t *testing.T) {
	guard := New(netip.MustParsePrefix("127.0.0.2/32"))
	guard.dialer.Resolver = nameServer(t, [4]byte{127, 0, 0, 2}, [4]byte{127, 0, 0, 1})
	var home atomic.Int32
	everywhere := serve(t, "0.0.0.0:0", func(_ http.ResponseWriter, r *http.Request) {
		if local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr); strings.HasPrefix(local.String(), "127.0.0.1:") {
			home.Add(1)
		}
	})
	_, port, _ := net.SplitHostPort(everywhere)
	client := guard.Client(5 * time.Second)
	url := "http://rebinding.example:" + port
	response, err := client.Get(url) //nolint:noctx // the client has its own end
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	client.CloseIdleConnections()
	response, err = client.Get(url) //nolint:noctx // the client has its own end
	if err == nil {
		response.Body.Close()
	}
	if !errors.Is(err, ErrForbidden) || home.Load() != 0 {
		t.Errorf("the second time: %v; %d requests came home", err, home.Load())
	}
}

func serve(t *testing.T, address string, handler http.HandlerFunc) string {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: handler, ReadHeaderTimeout: time.Second}}
	server.Start()
	t.Cleanup(server.Close)
	return listener.Addr().String()
}

func TestRedirects(t *testing.T) {
	var seen http.Header
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r.Header }))
	defer other.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("/hops/{n}", func(w http.ResponseWriter, r *http.Request) {
		var n int
		_, _ = fmt.Sscan(r.PathValue("n"), &n)
		if n > 0 {
			http.Redirect(w, r, fmt.Sprintf("/hops/%d", n-1), http.StatusFound)
		}
	})
	mux.Handle("/to", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Query().Get("url"), http.StatusTemporaryRedirect)
	}))
	server := httptest.NewServer(mux)
	defer server.Close()
	secure := httptest.NewTLSServer(mux)
	defer secure.Close()

	guard := New(netip.MustParsePrefix("127.0.0.1/32"))
	client := guard.Client(5 * time.Second)
	client.Transport.(*http.Transport).TLSClientConfig = secure.Client().Transport.(*http.Transport).TLSClientConfig
	for _, c := range []struct {
		name, method, url string
		want              error
	}{
		{"five", "GET", server.URL + "/hops/5", nil},
		{"six", "GET", server.URL + "/hops/6", ErrRedirect},
		{"from https to http", "GET", secure.URL + "/to?url=" + other.URL, ErrRedirect},
		{"from http to https", "GET", server.URL + "/to?url=" + secure.URL + "/hops/0", nil},
		{"to a private address", "GET", server.URL + "/to?url=http://127.0.0.2/", ErrForbidden},
		{"to the metadata server", "GET", server.URL + "/to?url=http://169.254.169.254/latest/meta-data/", ErrForbidden},
		{"of a body to another server", "POST", server.URL + "/to?url=" + other.URL, ErrRedirect},
		{"to another server", "GET", server.URL + "/to?key=secret&url=" + other.URL, nil},
	} {
		request, err := http.NewRequestWithContext(t.Context(), c.method, c.url, strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"Authorization", "Cookie", "X-Api-Key", "User-Agent"} {
			request.Header.Set(name, "secret")
		}
		response, err := client.Do(request)
		if err == nil {
			response.Body.Close()
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for name := range seen {
		if value := seen.Get(name); strings.Contains(value, "secret") && name != "User-Agent" {
			t.Errorf("the other server saw %s: %s", name, value)
		}
	}
	if seen == nil {
		t.Error("the other server saw nothing")
	}
}

func TestNoProxyOfTheEnvironment(t *testing.T) {
	var asked atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer proxy.Close()
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("http_proxy", proxy.URL)
	response, err := New(loopback).Client(5 * time.Second).Get("http://198.18.0.1/") //nolint:noctx // the client has its own end
	if err == nil {
		response.Body.Close()
	}
	if !errors.Is(err, ErrForbidden) || asked.Load() != 0 {
		t.Errorf("%v, and the proxy was asked %d times", err, asked.Load())
	}
}

func TestBodyLimit(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.CopyN(z, zeros{}, 1000)
		_ = z.Close()
	}))
	defer server.Close()
	for limit, want := range map[int64]error{999: ErrTooLarge, 1000: nil} {
		response, err := New(loopback).Client(5 * time.Second).Get(server.URL) //nolint:noctx // the client has its own end
		if err != nil {
			t.Fatal(err)
		}
		body, err := ReadAll(response.Body, limit)
		response.Body.Close()
		if !errors.Is(err, want) || err == nil && len(body) != 1000 {
			t.Errorf("limit %d: %d bytes, %v", limit, len(body), err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestReasonsNameNoURL(t *testing.T) {
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer slow.Close()
	guard := New(netip.MustParsePrefix("127.0.0.1/32"))
	for url, want := range map[string]string{
		secure.URL: "authority that is not trusted",
		"https://" + plain.Listener.Addr().String(): "does not speak TLS",
		gone.URL:            "refuses connections",
		slow.URL:            "takes too long",
		"http://127.0.0.2/": "ASSISTD_OUTBOUND_ALLOW",
	} {
		response, err := guard.Client(500 * time.Millisecond).Get(url + "?key=secret") //nolint:noctx // the client has its own end
		if err == nil {
			response.Body.Close()
			t.Errorf("%s: %s", url, response.Status)
			continue
		}
		if reason := Reason(err); !strings.Contains(reason, want) || strings.Contains(reason, "secret") {
			t.Errorf("%s: %s (%v)", url, reason, err)
		}
	}
}
