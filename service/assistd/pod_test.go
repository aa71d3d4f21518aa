package main_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/postgres"
	"github.com/smart-assistant/platform/cli/postgres/postgrestest"
	"github.com/smart-assistant/platform/service/schema"
	"github.com/smart-assistant/platform/service/telemetry"
)

// testInAPod runs assistd as a pod does: secrets in files, a database that proves who it is, listening everywhere, a private port,
// nothing written anywhere, and a drain after SIGTERM in which it still answers.
func testInAPod(t *testing.T, p program) {
	secrets := t.TempDir()
	server := startTLS(t, filepath.Join(secrets, "ca.crt"))
	writeKey(t, filepath.Join(secrets, "jwt-key.pem"))
	url := strings.Replace(server.URL("postgres"), "127.0.0.1", "localhost", 1)
	url, _, _ = strings.Cut(url, "?")
	write := func(ca string) {
		if err := os.WriteFile(filepath.Join(secrets, "database-url"), []byte(url+"?sslmode=verify-full&sslrootcert="+ca+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	api, private := postgrestest.FreePort(t), postgrestest.FreePort(t)
	p.env = []string{
		"ASSISTD_DATABASE_URL_FILE=" + filepath.Join(secrets, "database-url"), "ASSISTD_JWT_KEY_FILE=" + filepath.Join(secrets, "jwt-key.pem"),
		"ASSISTD_MASTER_KEY_FILE=" + writeMasterKey(t),
		fmt.Sprintf("ASSISTD_LISTEN=0.0.0.0:%d", api), fmt.Sprintf("ASSISTD_METRICS_LISTEN=0.0.0.0:%d", private),
		"ASSISTD_REPLICA=api-7d4f-x2k9p", "ASSISTD_DRAIN_DELAY=2s",
	}
	other := filepath.Join(secrets, "other.crt")
	certificate(t, other, filepath.Join(secrets, "other.key"))
	write(other)
	if out, err := p.command(t, "migrate", "status", "--json").CombinedOutput(); err == nil || !strings.Contains(string(out), "certificate") {
		t.Errorf("a database whose certificate is another authority's: %v\n%s", err, out)
	}
	write(filepath.Join(secrets, "ca.crt"))
	for line := range strings.Lines(p.run(t, "migrate", "up", "--json")) {
		var e schema.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Event == "" {
			t.Errorf("not an event: %s", line)
		}
	}

	var stdout, log bytes.Buffer
	cmd := p.command(t, "serve")
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = &stdout, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	eventually(t, "it is ready", func() bool { return p.command(t, "health", "--ready").Run() == nil })
	status := func(port int, path string) (int, []byte) {
		answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
		if err != nil {
			return 0, nil
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, body
	}
	if code, _ := status(api, "/version"); code != http.StatusOK {
		t.Errorf("version: %d", code)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is not ready any more", func() bool { code, _ := status(api, "/ready"); return code == http.StatusServiceUnavailable })
	if code, _ := status(api, "/version"); code != http.StatusOK {
		t.Errorf("while it drains: %d", code)
	}
	var page telemetry.Page
	if _, body := status(private, telemetry.TrafficPath); json.Unmarshal(body, &page) != nil || page.Version != "v9.9.9" || page.Replica != "api-7d4f-x2k9p" || page.Requests != 2 || page.Failed != 0 {
		t.Errorf("traffic: %s", body)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, log.String())
	}
	if stdout.Len() > 0 {
		t.Errorf("on stdout: %s", stdout.String())
	}
}

// startTLS starts a server that takes no connection without TLS and writes its own authority's certificate to ca.
func startTLS(t *testing.T, ca string) *postgrestest.Server {
	t.Helper()
	dir := postgrestest.Dir(t)
	key := filepath.Join(dir, "server.key")
	cert := filepath.Join(dir, "server.crt")
	certificate(t, cert, key)
	owner, err := postgres.ServerOwner()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{key, cert} {
		if err := owner.Chown(file); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ca, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return postgrestest.Start(t, postgrestest.WithSettings(map[string]string{"ssl": "on", "ssl_cert_file": cert, "ssl_key_file": key}))
}

// certificate is for localhost, and signed by itself.
func certificate(t *testing.T, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "EC PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
