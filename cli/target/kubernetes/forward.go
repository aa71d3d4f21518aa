package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"

	"github.com/smart-assistant/platform/cli/target"
)

// Connections to what runs inside, as `kubectl port-forward` makes them, but without a port on this machine that others could use as well.

// dialService connects to a ready pod of a Service, at the port by which the Service is known.
func (c *cluster) dialService(ctx context.Context, service string, port int) (net.Conn, error) {
	pod, inner, err := c.podOf(ctx, service, port)
	if err != nil {
		return nil, err
	}
	return c.dialPod(ctx, pod, inner)
}

// podOf finds a ready pod behind a Service and the port that it listens on.
func (c *cluster) podOf(ctx context.Context, service string, port int) (pod string, inner int, err error) {
	s, err := c.client.CoreV1().Services(c.namespace()).Get(ctx, service, metav1.GetOptions{})
	if err != nil {
		return "", 0, fmt.Errorf("reach service %s/%s: %w", c.namespace(), service, err)
	}
	at := slices.IndexFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return int(p.Port) == port })
	if at < 0 {
		return "", 0, fmt.Errorf("service %s/%s has no port %d", c.namespace(), service, port)
	}
	pods, err := c.client.CoreV1().Pods(c.namespace()).List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(s.Spec.Selector).String()})
	if err != nil {
		return "", 0, fmt.Errorf("reach service %s/%s: list its pods: %w", c.namespace(), service, err)
	}
	for i := range pods.Items {
		if p := &pods.Items[i]; podReady(p) {
			return p.Name, containerPort(p, s.Spec.Ports[at]), nil
		}
	}
	return "", 0, fmt.Errorf("reach service %s/%s: %w: none of its %d pods is ready", c.namespace(), service, target.ErrDown, len(pods.Items))
}

func containerPort(p *corev1.Pod, of corev1.ServicePort) int {
	for _, c := range p.Spec.Containers {
		for _, named := range c.Ports {
			if of.TargetPort.StrVal != "" && named.Name == of.TargetPort.StrVal {
				return int(named.ContainerPort)
			}
		}
	}
	if n := of.TargetPort.IntValue(); n != 0 {
		return n
	}
	return int(of.Port)
}

func podReady(p *corev1.Pod) bool {
	if p.DeletionTimestamp != nil {
		return false
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// dialPod connects to a port of a pod. The connection has deadlines, and ends when the pod does.
func (c *cluster) dialPod(ctx context.Context, pod string, port int) (net.Conn, error) {
	type opened struct {
		conn net.Conn
		err  error
	}
	done := make(chan opened, 1)
	go func() {
		conn, err := c.forward(pod, port)
		done <- opened{conn, err}
	}()
	select {
	case o := <-done:
		if o.err != nil {
			return nil, fmt.Errorf("reach port %d of pod %s/%s: %w", port, c.namespace(), pod, o.err)
		}
		return o.conn, nil
	case <-ctx.Done():
		go func() { // the dialer heeds no context
			if o := <-done; o.conn != nil {
				_ = o.conn.Close()
			}
		}()
		return nil, context.Cause(ctx)
	}
}

func (c *cluster) forward(pod string, port int) (net.Conn, error) {
	dialer, err := c.streamDialer(pod)
	if err != nil {
		return nil, err
	}
	streams, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		return nil, err
	}
	header := http.Header{}
	header.Set(corev1.PortHeader, strconv.Itoa(port))
	header.Set(corev1.PortForwardRequestIDHeader, "0")
	header.Set(corev1.StreamType, corev1.StreamTypeError)
	complaints, err := streams.CreateStream(header)
	if err != nil {
		return nil, errors.Join(err, streams.Close())
	}
	_ = complaints.Close() // nothing is written to it
	header.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := streams.CreateStream(header)
	if err != nil {
		return nil, errors.Join(err, streams.Close())
	}
	return newForwarded(streams, data, complaints, pod, port), nil
}

// streamDialer speaks SPDY inside a websocket, and SPDY alone to API servers before v1.31, as kubectl does.
func (c *cluster) streamDialer(pod string) (httpstream.Dialer, error) {
	at := c.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(c.namespace()).Name(pod).SubResource("portforward").URL()
	websocket, err := portforward.NewSPDYOverWebsocketDialer(at, c.rest)
	if err != nil {
		return nil, err
	}
	return portforward.NewFallbackDialer(websocket, oldDialer{c, at}, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	}), nil
}

type oldDialer struct {
	c  *cluster
	at *url.URL
}

func (d oldDialer) Dial(protocols ...string) (httpstream.Connection, string, error) {
	transport, upgrader, err := spdy.RoundTripperFor(d.c.rest)
	if err != nil {
		return nil, "", err
	}
	return spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, d.at).Dial(protocols...)
}

// forwarded is the caller's end of a pipe, the other end of which is copied to and from the pod: streams know no deadlines, and those who
// use connections (TLS, pgx, the S3 client) interrupt them by deadlines.
type forwarded struct {
	net.Conn
	peer  podAddr
	close func()

	mu  sync.Mutex
	err error // what the cluster complained of
}

type podAddr struct {
	pod  string
	port int
}

func (podAddr) Network() string  { return "pod" }
func (a podAddr) String() string { return net.JoinHostPort(a.pod, strconv.Itoa(a.port)) }

func newForwarded(streams httpstream.Connection, data, complaints httpstream.Stream, pod string, port int) *forwarded {
	mine, theirs := net.Pipe()
	f := &forwarded{Conn: mine, peer: podAddr{pod, port}}
	f.close = sync.OnceFunc(func() {
		_ = theirs.Close()
		_ = data.Reset() // discards what nobody will read, or the others wait for it
		_ = streams.Close()
	})
	go func() {
		if text, err := io.ReadAll(complaints); err == nil && len(text) > 0 {
			f.mu.Lock()
			f.err = fmt.Errorf("port %d of pod %s: %s", port, pod, text)
			f.mu.Unlock()
			f.close()
		}
	}()
	go func() {
		_, _ = io.Copy(theirs, data) // what is wrong shows as the end of the connection
		f.close()
	}()
	go func() {
		_, _ = io.Copy(data, theirs)
		f.close()
	}()
	return f
}

func (f *forwarded) Read(p []byte) (int, error) {
	n, err := f.Conn.Read(p)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.err != nil {
			err = f.err
		}
	}
	return n, err
}

func (f *forwarded) Close() error {
	err := f.Conn.Close()
	f.close()
	return err
}

func (f *forwarded) RemoteAddr() net.Addr { return f.peer }
