package objectstoretest

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/objectstore"
	"github.com/smart-assistant/platform/cli/objectstore/versitygw"
)

// S3 returns the store of a fresh bucket on an S3 server of the test's own. The test's end stops the server and removes all.
func S3(t testing.TB) *objectstore.S3 {
	t.Helper()
	return Bucket(t, Server(t), "test")
}

// Bucket returns the store of a bucket on the server, which it creates unless it is there.
func Bucket(t testing.TB, server *versitygw.Server, name string) *objectstore.S3 {
	t.Helper()
	store, err := objectstore.OpenS3(t.Context(), objectstore.S3Config{
		Endpoint: server.Endpoint(), Region: versitygw.Region, Bucket: name,
		AccessKey: server.AccessKey, SecretKey: server.SecretKey,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.EnsureBucket(t.Context()); err != nil {
		t.Fatal(err)
	}
	return store
}

// Server starts an S3 server over a temporary folder. The test may stop and start it again; the test's end stops it and removes all,
// also when the test is killed.
func Server(t testing.TB) *versitygw.Server {
	t.Helper()
	s := NewServer(t)
	// Between asking for a free port and the server's bind, somebody else may take it.
	for attempt := 1; ; attempt++ {
		err := s.Start(t.Context())
		if err == nil {
			break
		}
		if attempt == 5 {
			t.Fatal(err)
		}
		s.Port = freePort(t)
	}
	return s
}

// NewServer describes a server over a temporary folder, not started yet.
func NewServer(t testing.TB) *versitygw.Server {
	t.Helper()
	binary, err := versitygw.Find(repositoryBinary())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := &versitygw.Server{
		Binary: binary, Root: filepath.Join(dir, "s3"), Log: filepath.Join(dir, "versitygw.log"),
		Port: freePort(t), AccessKey: "test", SecretKey: "testtesttest",
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	guard(t, dir)
	return s
}

// repositoryBinary is bin/versitygw of the repository that the test is part of, or "" where there is none or another is named.
func repositoryBinary() string {
	dir, err := os.Getwd()
	if err != nil || os.Getenv(versitygw.BinaryEnv) != "" {
		return ""
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
			continue
		}
		binary := filepath.Join(dir, "bin", "versitygw")
		if _, err := os.Stat(binary); err == nil {
			return binary
		}
	}
	return ""
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// guard ends the server and removes its folder when this process dies before it could: a killed or panicking test runs no cleanup.
// It is a shell that reads from a pipe which only this process holds open, and acts on its end. The server is the process whose
// working directory is in the folder.
func guard(t testing.TB, dir string) {
	t.Helper()
	const script = `read -r _ && exit
for p in /proc/[0-9]*; do [ "$(readlink "$p/cwd")" = "$1/s3" ] && kill -KILL "${p#/proc/}"; done
rm -rf "$1"; rmdir "${1%/*}"`
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", script, "guard", real)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a terminal's Ctrl-C is for the test, and the guard comes after it
	pipe, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = pipe.Write([]byte("done\n")) // a guard that is gone already needs no word
		_ = cmd.Wait()
	})
}
