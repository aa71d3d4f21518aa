// Package load sends the service a constant rate of requests and measures what a client sees.
//
// It is an open loop: request n is due at start + n/rate whether or not the ones before it were answered, and its
// latency counts from the moment it was due. A server that stalls thus shows in the numbers instead of slowing its
// own measurement down (no coordinated omission). It owns no server and talks to this machine only.
package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

// Bounds of a run: a mistake in a script must not turn into a flood.
const (
	MaxRate     = 2000             // requests per second
	MaxDuration = 30 * time.Minute // after this a run ends by itself
	maxInFlight = 1000             // requests that wait for their answer at once; more wait for their turn, and that wait counts
)

// Options of a run. The zero value of each but URL takes the default named.
type Options struct {
	URL      string        // of the API, http://127.0.0.1:port
	Rate     int           // requests per second; 200
	Users    int           // accounts that are registered first and then ask in turn; 4
	Duration time.Duration // 10 minutes; Stop ends it earlier
	Timeout  time.Duration // of one request; 10 seconds

	Address string      // IP:port to connect to, whatever the URL's host; one of this machine's own
	TLS     *tls.Config // for https
}

// Runner is a load under way.
type Runner struct {
	stop  context.CancelFunc
	done  chan struct{}
	tally *tally
}

// Start registers the users, logs them in and begins to send; it returns when the first request is due.
// The load ends by Stop, by its duration or with ctx. Errors: a URL that is not this machine's, an option out of its bounds,
// or a service that does not let the users in.
func Start(ctx context.Context, o Options) (*Runner, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	client := newClient(o)
	users, err := signUp(ctx, client, o)
	if err != nil {
		client.CloseIdleConnections()
		return nil, err
	}

	ctx, stop := context.WithTimeout(ctx, o.Duration)
	r := &Runner{stop: stop, done: make(chan struct{}), tally: newTally(o)}
	go func() {
		defer close(r.done)
		defer client.CloseIdleConnections()
		send(ctx, o, r.tally, func(n int) { r.tally.one(ask(client, o, users, n)) })
		r.tally.end()
	}()
	return r, nil
}

// Stop sends no further request, waits for the answers still due and reports.
func (r *Runner) Stop() Report {
	r.stop()
	<-r.done
	return r.tally.report()
}

// Done is closed when the load has ended and every answer is counted.
func (r *Runner) Done() <-chan struct{} { return r.done }

// Report tells what was measured so far.
func (r *Runner) Report() Report { return r.tally.report() }

// complete fills in the defaults and checks the bounds.
func (o *Options) complete() error {
	setDefault(&o.Rate, 200)
	setDefault(&o.Users, 4)
	setDefault(&o.Duration, 10*time.Minute)
	setDefault(&o.Timeout, 10*time.Second)
	switch {
	case o.Rate < 1 || o.Rate > MaxRate:
		return fmt.Errorf("load: rate %d is outside 1 to %d requests/s", o.Rate, MaxRate)
	case o.Users < 1 || o.Users > 1000:
		return fmt.Errorf("load: %d users are outside 1 to 1000", o.Users)
	case o.Duration < 0 || o.Duration > MaxDuration:
		return fmt.Errorf("load: duration %v is above %v", o.Duration, MaxDuration)
	}
	u, err := url.Parse(o.URL)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("load: %q is not an http URL", o.URL)
	}
	if host := u.Hostname(); o.Address == "" && host != "localhost" && !net.ParseIP(host).IsLoopback() {
		return fmt.Errorf("load: %q is not on this machine: only its own addresses are loaded", host)
	}
	return nil
}

// onThisMachine refuses an address of somebody else.
func onThisMachine(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	ip := net.ParseIP(host)
	if ip.IsLoopback() {
		return nil
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	for _, a := range own {
		if n, ok := a.(*net.IPNet); ok && n.IP.Equal(ip) {
			return nil
		}
	}
	return fmt.Errorf("load: %s is not an address of this machine", host)
}

func setDefault[T comparable](value *T, fallback T) {
	var zero T
	if *value == zero {
		*value = fallback
	}
}

// newClient keeps connections open as a gateway in front of the service would, follows no redirect and, whatever a
// name resolves to, connects to this machine only.
func newClient(o Options) *http.Client {
	dialer := &net.Dialer{Timeout: o.Timeout, Control: func(_, address string, _ syscall.RawConn) error { return onThisMachine(address) }}
	dial := dialer.DialContext
	if o.Address != "" {
		dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, o.Address)
		}
	}
	return &http.Client{
		Timeout: o.Timeout,
		Transport: &http.Transport{
			DialContext:         dial,
			TLSClientConfig:     o.TLS,
			MaxIdleConnsPerHost: maxInFlight,
			IdleConnTimeout:     time.Minute,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// send calls do(n) for request n at start + n/rate, each in a goroutine of its own, until ctx ends; then it waits for all.
func send(ctx context.Context, o Options, t *tally, do func(n int)) {
	var (
		slots = make(chan struct{}, maxInFlight)
		start = t.start()
		timer = time.NewTimer(0)
	)
	defer timer.Stop()
	defer func() { // every slot taken: every answer is in
		for range maxInFlight {
			slots <- struct{}{}
		}
	}()
	for n := 0; ; n++ {
		timer.Reset(time.Until(due(start, n, o.Rate)))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if errors.Is(ctx.Err(), context.Canceled) {
			return
		}
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			do(n)
		}()
	}
}

// due is when request n ought to leave.
func due(start time.Time, n, rate int) time.Time {
	return start.Add(time.Duration(float64(n) * float64(time.Second) / float64(rate)))
}
