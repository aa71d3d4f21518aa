package kubernetes

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5"
	corev1 "k8s.io/api/core/v1"
	utilexec "k8s.io/client-go/util/exec"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/cli/target/kubernetes/podcall"
)

// This file is the place where a restore puts its data: the database's volume, which only pods mount. What touches files is done by the
// restore pod (restore_pod.go), in package volume's words; what runs is stopped and started in restore_stop.go. Every step may be repeated,
// also after a kill -9 of this process in its middle: the cluster is asked how things stand, nothing is remembered here.

// SystemIdentifier is that of the live cluster; false when there is none, and 0 when its control data cannot be read.
func (e *Environment) SystemIdentifier(ctx context.Context) (uint64, bool, error) {
	l, err := e.lookAtVolume(ctx)
	return l.System, l.Exists, err
}

// Free is how many bytes a restore may write.
func (e *Environment) Free(ctx context.Context) (int64, error) {
	l, err := e.lookAtVolume(ctx)
	return l.Free, err
}

// Live reports whether the cluster of that name is the live one: whether Swap has put it there.
func (e *Environment) Live(ctx context.Context, name string) (bool, error) {
	l, err := e.lookAtVolume(ctx)
	return name != "" && l.Live == name, err
}

func (e *Environment) lookAtVolume(ctx context.Context) (l podcall.Looked, err error) {
	return l, e.onVolume(ctx, podcall.Look, nil, podcall.Listener{}, &l)
}

// Unpack lets the restore pod carry out cli/backup's request, and puts what that found into found.
func (e *Environment) Unpack(ctx context.Context, request any, progress func(bytes int64), found any) (dir string, err error) {
	var done podcall.Unpacked[json.RawMessage]
	heard := podcall.Listener{Progress: func(p podcall.Progress) { progress(p.Done) }}
	if err := e.onVolume(ctx, podcall.Unpack, request, heard, &done); err != nil {
		return "", err
	}
	if err := json.Unmarshal(done.Found, found); err != nil {
		return "", fmt.Errorf("read what was unpacked: %w", err)
	}
	return done.Dir, nil
}

// scratchPort is PostgreSQL's, which the network policies of the restore pod let in.
const scratchPort = 5432

// Try starts a server of its own on a prepared cluster, in the restore pod, waits until it has recovered, lets check look at it, and stops it.
// url is its superuser's, in the database postgres, as pods of the environment reach it; from here, Connect does.
func (e *Environment) Try(ctx context.Context, dir string, check func(ctx context.Context, url string) error) error {
	request := func(_ context.Context, _ *cluster, pod *corev1.Pod) (any, error) {
		return podcall.TryRequest{Dir: dir, Address: pod.Status.PodIP, Port: scratchPort, RootCert: "/etc/assistd/secrets/ca.crt"}, nil
	}
	ready := func(ctx context.Context, said json.RawMessage) error {
		var at string
		if err := json.Unmarshal(said, &at); err != nil {
			return err
		}
		return check(ctx, at)
	}
	return e.inRestorePod(ctx, podcall.Try, request, podcall.Listener{Ready: ready}, nil)
}

// Connect opens a connection to a server that Try has started, by the url that its check was given: over the API server.
func (e *Environment) Connect(ctx context.Context, databaseURL string) (*pgx.Conn, error) {
	c, err := e.reach(ctx)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(databaseURL)
	if err != nil {
		return nil, errors.New("connection string of the restored database is none") // it holds a password
	}
	secret, err := c.secret(ctx, c.out.Database.Secret)
	if err != nil {
		return nil, err
	}
	q := u.Query()
	withTLS := q.Get("sslmode") != ""
	q.Del("sslrootcert")
	q.Set("sslmode", "disable") // the configuration below says otherwise, with a CA that is no file here
	u.RawQuery = q.Encode()
	config, err := pgx.ParseConfig(u.String())
	if err != nil {
		return nil, err
	}
	if withTLS {
		if config.TLSConfig, err = anyNameOf(secret["ca.crt"]); err != nil {
			return nil, err
		}
	}
	config.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return c.dialPod(ctx, restoreName, scratchPort)
	}
	return pgx.ConnectConfig(ctx, config)
}

// anyNameOf trusts whoever has a certificate of the CA, whatever name is in it (sslmode verify-ca): the scratch server has the live one's.
func anyNameOf(ca []byte) (*tls.Config, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("there is no certificate in what should be the database's CA")
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // of names; VerifyConnection checks the chain
		VerifyConnection: func(s tls.ConnectionState) error {
			between := x509.NewCertPool()
			for _, certificate := range s.PeerCertificates[1:] {
				between.AddCert(certificate)
			}
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
			return err
		},
	}, nil
}

// Swap makes the cluster in dir the live one and keeps the one before as aside. It needs Stop before it. It is one atomic change on the
// volume: after a crash either the old cluster is live or the new one is, and repeating Swap completes it.
//
// Somebody may take the restore over while this process is suspended, and start the database. So each attempt looks again whether the database
// is stopped, and only the pod that is there then may swap: it ends before anybody starts the database.
func (e *Environment) Swap(ctx context.Context, dir, aside string) error {
	request := func(ctx context.Context, c *cluster, pod *corev1.Pod) (any, error) {
		if err := c.refuseRunning(ctx); err != nil {
			return nil, fmt.Errorf("make %s the live data of %s: %w", dir, e.Name(), err)
		}
		return podcall.SwapRequest{Dir: dir, Aside: aside, Stopped: true, Pod: pod.Annotations[annotationPod]}, nil
	}
	return e.inRestorePod(ctx, podcall.Swap, request, podcall.Listener{}, nil)
}

// Discard undoes Unpack and Try, short of Swap. A cluster that is live or kept aside, and one that is gone, stay as they are. The restore pod
// goes too.
func (e *Environment) Discard(ctx context.Context, name string) error {
	if err := e.onVolume(ctx, podcall.Discard, name, podcall.Listener{}, nil); err != nil {
		return err
	}
	return e.leaveVolume(ctx)
}

// Asides lists the clusters that were live before a Swap and were not dropped.
func (e *Environment) Asides(ctx context.Context) (all []target.Aside, err error) {
	return all, e.onVolume(ctx, podcall.Asides, nil, podcall.Listener{}, &all)
}

// DropAside deletes a cluster that is kept aside. One that is gone already is no error.
func (e *Environment) DropAside(ctx context.Context, name string) error {
	return e.onVolume(ctx, podcall.Drop, name, podcall.Listener{}, nil)
}

// onVolume runs a verb in the restore pod.
func (e *Environment) onVolume(ctx context.Context, verb string, request any, heard podcall.Listener, result any) error {
	return e.inRestorePod(ctx, verb, func(context.Context, *cluster, *corev1.Pod) (any, error) { return request, nil }, heard, result)
}

// requestFor says what is asked of a pod, each time anew.
type requestFor func(ctx context.Context, c *cluster, pod *corev1.Pod) (any, error)

// pauses are between the attempts of a verb whose connection was lost: an API server takes a while to come back. Tests have shorter ones.
var pauses = []time.Duration{time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute}

// inRestorePod runs a verb. When the connection is lost or the pod goes away meanwhile (it was idle for long, or its node was drained), the
// verb runs again: each may be repeated whole, whether it was carried out before or not, and a new one waits for the end of the one before.
func (e *Environment) inRestorePod(ctx context.Context, verb string, request requestFor, heard podcall.Listener, result any) error {
	lost := false
	for attempt := 0; ; attempt++ {
		answered, err := e.attempt(ctx, verb, request, heard, result)
		lost = lost || !answered
		// Once there was a connection, an API server that is away is away for a moment.
		again := !answered || lost && fault.CodeOf(err) == fault.Unreachable
		if err == nil || !again || attempt == len(pauses) || ctx.Err() != nil {
			return err
		}
		waits(ctx, "the connection to the restore pod was lost, and is made anew")
		if err := pause(ctx, pauses[attempt]); err != nil {
			return err
		}
	}
}

// attempt reports whether there was an answer, be it the pod's or the cluster's. A command that ended by itself without one would do so again.
func (e *Environment) attempt(ctx context.Context, verb string, request requestFor, heard podcall.Listener, result any) (answered bool, err error) {
	c, pod, err := e.restorePod(ctx)
	if err != nil {
		return true, err
	}
	said, err := request(ctx, c, pod)
	if err != nil {
		return true, err
	}
	err = c.inPod(ctx, pod, verb, said, heard, result)
	_, exited := errors.AsType[utilexec.ExitError](err)
	return !errors.Is(err, podcall.ErrLost) || exited && !c.hasGone(ctx, pod), err
}
