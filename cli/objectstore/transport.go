package objectstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"time"
)

// newHTTPClient returns a client for few hosts and large bodies: connections are kept, buffers are big, and there is no limit on
// how long a transfer takes, only on how long it may stand still.
// dial and rootCAs may be nil.
func newHTTPClient(stall time.Duration, dial Dialer, rootCAs []byte) (*http.Client, error) {
	if dial == nil {
		dial = (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext
	}
	security := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(rootCAs) > 0 {
		security.RootCAs = x509.NewCertPool()
		if !security.RootCAs.AppendCertsFromPEM(rootCAs) {
			return nil, errors.New("there is no certificate in what should be the endpoint's CA")
		}
	}
	return &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment,
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				c, err := dial(ctx, network, address)
				if err != nil {
					return nil, err
				}
				return &stallingConn{Conn: c, limit: stall}, nil
			},
			TLSClientConfig:       security,
			TLSHandshakeTimeout:   10 * time.Second,
			ExpectContinueTimeout: time.Second,
			MaxIdleConns:          64,
			MaxIdleConnsPerHost:   64,
			IdleConnTimeout:       30 * time.Second, // below the stall limit, which would end an idle connection less politely
			ReadBufferSize:        256 << 10,
			WriteBufferSize:       256 << 10,
			DisableCompression:    true, // a body is what was stored
			ForceAttemptHTTP2:     false,
		},
		// A redirect would be followed with the signature of another host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// stallingConn fails when nothing was read or written for a while. Progress in one direction counts for both: the answer to a
// long upload is awaited from its beginning.
type stallingConn struct {
	net.Conn
	limit time.Duration
}

func (c *stallingConn) Read(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c *stallingConn) Write(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
