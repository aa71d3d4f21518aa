package kubernetes

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/objectstore"
	"github.com/smart-assistant/platform/cli/target/kubernetes/outputs"
)

// The operator's own way to what runs inside: the bucket, the database, the entrance.

// Store is how to open the environment's bucket: with the operator's credentials from the cluster, or on Amazon with those that the
// operator has on this machine. A bucket inside the cluster is reached through the API server.
func (e *Environment) Store(ctx context.Context) (objectstore.S3Config, error) {
	c, err := e.reach(ctx)
	if err != nil {
		return objectstore.S3Config{}, err
	}
	b := c.out.Bucket
	s3 := objectstore.S3Config{Endpoint: b.Endpoint, Region: b.Region, Bucket: b.Name, ByHost: !b.PathStyle}
	if b.Secret == "" {
		s3.Surroundings = true
	} else {
		keys, err := c.secret(ctx, b.Secret)
		if err != nil {
			return s3, fmt.Errorf("credentials of the bucket of %s: %w", e.Name(), err)
		}
		s3.AccessKey, s3.SecretKey, s3.RootCAs = string(keys["access-key"]), string(keys["secret-key"]), keys["ca.crt"]
	}
	if b.Kind == outputs.BucketCluster {
		s3.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dialService(ctx, b.Service, b.Port) }
	}
	return s3, nil
}

// secret reads a Secret of the environment; ErrDown when it is not there, since the stack makes them all.
func (c *cluster) secret(ctx context.Context, name string) (map[string][]byte, error) {
	s, err := c.client.CoreV1().Secrets(c.namespace()).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, c.down("there is no Secret " + c.namespace() + "/" + name)
	}
	if err != nil {
		return nil, unreachable(fmt.Errorf("read Secret %s/%s: %w", c.namespace(), name, ended(ctx, err)))
	}
	return s.Data, nil
}

// Role is a role of the database.
type Role int

// The roles that the stack makes.
const (
	ServiceRole Role = iota // owns the database
	BackupRole              // may replicate
	Superuser
)

// Database says how to connect to the live database: through the API server, with the server's certificate checked as pods do.
func (e *Environment) Database(ctx context.Context, role Role) (*pgx.ConnConfig, error) {
	c, err := e.reach(ctx)
	if err != nil {
		return nil, err
	}
	d := c.out.Database
	secrets, err := c.secret(ctx, cmp.Or(d.Secret, "postgres"))
	if err != nil {
		return nil, fmt.Errorf("database of %s: %w", e.Name(), err)
	}
	user, password, database := d.Role, "service-password", d.Name
	switch role {
	case ServiceRole:
	case BackupRole:
		user, password, database = d.BackupRole, "backup-password", "postgres"
	case Superuser:
		user, password, database = "postgres", "superuser-password", "postgres"
	}
	at := url.URL{
		Scheme: "postgres", User: url.UserPassword(user, string(secrets[password])), Path: "/" + database,
		Host: net.JoinHostPort(d.Host, strconv.Itoa(d.Port)), RawQuery: "sslmode=require",
	}
	config, err := connConfig(at.String(), secrets["ca.crt"])
	if err != nil {
		return nil, fmt.Errorf("database of %s: %w", e.Name(), err)
	}
	config.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dialService(ctx, d.Service, d.Port) }
	return config, nil
}

// connConfig connects with TLS to a server whose certificate is of the CA; the caller says how to dial. Names are the cluster's, and not
// looked up here.
func connConfig(databaseURL string, ca []byte) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("there is no certificate in what should be its CA")
	}
	config.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, ServerName: config.Host}
	config.Fallbacks = nil
	config.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	return config, nil
}

// Entrance is a client for requests to the environment's URL from this machine: where the stack says so it connects to an address of the
// ingress, whatever the name's own is, and trusts a CA that is not a public one.
func (e *Environment) Entrance(ctx context.Context) (*http.Client, error) {
	c, err := e.reach(ctx)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}
	if c.out.TLSCA != "" {
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM([]byte(c.out.TLSCA)) {
			return nil, fmt.Errorf("entrance of %s: there is no certificate in what should be its CA", e.Name())
		}
	}
	if at := c.out.Address; at != "" {
		dialer := &net.Dialer{Timeout: 10 * time.Second}
		transport.Proxy = nil
		transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, at)
		}
	}
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}, nil
}

// down is ErrDown with what to type.
func (c *cluster) down(why string) error {
	return fault.Code(fault.Hint(downError(c.out.Name, why), c.wayUp), fault.Unreachable)
}
