package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"os"
	"syscall"
)

// Reason says to a user why a server could not be reached or its answer not be read. It names no URL, which may hold a secret, and
// never what is known of the network behind the name.
func Reason(err error) string {
	var (
		name      *net.DNSError
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		notTLS    tls.RecordHeaderError
		timeout   net.Error
	)
	switch {
	case errors.Is(err, ErrForbidden):
		return ErrForbidden.Error()
	case errors.Is(err, ErrRedirect):
		return "the server sends on to where the service does not follow: too often, from https to http, or with a body to another server"
	case errors.Is(err, ErrTooLarge):
		return "the answer is too large"
	case errors.As(err, &name) && name.IsNotFound:
		return "the host's name is not known; check the spelling"
	case errors.As(err, &name):
		return "the host's name could not be looked up; try again later"
	case errors.As(err, &authority):
		return "the server's certificate is of an authority that is not trusted"
	case errors.As(err, &hostname):
		return "the server's certificate is for another name"
	case errors.As(err, &invalid):
		return "the server's certificate is not valid: it has expired, or may not be used for this"
	case errors.As(err, &notTLS), errors.Is(err, http.ErrSchemeMismatch):
		return "the server does not speak TLS there; try http:// or another port"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the server refuses connections at this port"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "the server takes too long to answer"
	default:
		return "the connection failed"
	}
}
