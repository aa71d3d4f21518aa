package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/smart-assistant/platform/cli/objectstore"
	"github.com/smart-assistant/platform/cli/objectstore/versitygw"
)

const (
	accessKey = "bench"
	secretKey = "benchbenchbench"
	bucket    = "bench"
)

// s3Server is versitygw over TLS, with a certificate of its own.
type s3Server struct {
	root string // of the buckets
	cert string // file
	port int
	cmd  *exec.Cmd
}

func startS3(ctx context.Context, dir string) (*s3Server, error) {
	explicit := ""
	if _, err := os.Stat("bin/versitygw"); err == nil {
		explicit = "bin/versitygw"
	}
	binary, err := versitygw.Find(explicit)
	if err != nil {
		return nil, err
	}
	s := &s3Server{root: filepath.Join(dir, "root"), cert: filepath.Join(dir, "cert.pem")}
	if s.port, err = freePort(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.root, 0o755); err != nil {
		return nil, err
	}
	keyFile := filepath.Join(dir, "key.pem")
	if err := certify(s.cert, keyFile); err != nil {
		return nil, err
	}
	s.cmd = exec.Command(binary, "--access", accessKey, "--secret", secretKey, "--port", s.address(), "--region", versitygw.Region,
		"--cert", s.cert, "--key", keyFile, "--quiet", "posix", s.root)
	s.cmd.Dir = s.root
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	// From here on this process trusts the certificate; so do those that it starts.
	if err := os.Setenv("SSL_CERT_FILE", s.cert); err != nil {
		return nil, err
	}
	store, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	for try := 0; ; try++ {
		if err = store.EnsureBucket(ctx); err == nil {
			return s, nil
		}
		if try == 50 {
			s.stop()
			return nil, fmt.Errorf("start versitygw: %w", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (s *s3Server) address() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

func (s *s3Server) open(ctx context.Context) (*objectstore.S3, error) {
	return objectstore.OpenS3(ctx, objectstore.S3Config{
		Endpoint: "https://" + s.address(), Region: versitygw.Region, Bucket: bucket, AccessKey: accessKey, SecretKey: secretKey,
	})
}

func (s *s3Server) stop() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// certify makes a certificate for 127.0.0.1 that is its own authority.
func certify(certFile, keyFile string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return err
	}
	return os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600)
}
