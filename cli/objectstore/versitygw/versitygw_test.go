package versitygw_test

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // what an ETag is made of
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/objectstore"
	"github.com/smart-assistant/platform/cli/objectstore/objectstoretest"
	"github.com/smart-assistant/platform/cli/objectstore/versitygw"
)

func sidecar(server *versitygw.Server) string {
	return filepath.Join(filepath.Dir(server.Root), "attributes-of-"+filepath.Base(server.Root))
}

// inEveryMode runs a test with attributes in the objects' files and, as on file systems that have none, beside them.
func inEveryMode(t *testing.T, test func(t *testing.T, server *versitygw.Server)) {
	t.Run("extended attributes", func(t *testing.T) { test(t, objectstoretest.Server(t)) })
	t.Run("sidecar", func(t *testing.T) {
		server := objectstoretest.NewServer(t)
		if err := os.MkdirAll(sidecar(server), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := server.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		test(t, server)
		if entries, err := os.ReadDir(sidecar(server)); err != nil || len(entries) == 0 {
			t.Errorf("the sidecar was not used: %v %v", entries, err)
		}
	})
}

func TestConditionsHoldAcrossRestart(t *testing.T) {
	inEveryMode(t, func(t *testing.T, server *versitygw.Server) {
		ctx := t.Context()
		store := objectstoretest.Bucket(t, server, "test")
		if err := store.RefuseUnconditional(ctx); err != nil {
			t.Fatal(err)
		}
		first, err := store.Put(ctx, "ledger/1", strings.NewReader("one"), objectstore.IfAbsent())
		if err != nil {
			t.Fatal(err)
		}

		if err := server.Stop(ctx); err != nil {
			t.Fatal(err)
		}
		if err := server.Start(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Put(ctx, "ledger/1", strings.NewReader("again"), objectstore.IfAbsent()); !errors.Is(err, objectstore.ErrPrecondition) {
			t.Errorf("If-None-Match on an object from before the restart: %v", err)
		}
		if _, err := store.Put(ctx, "ledger/1", strings.NewReader("two"), objectstore.IfMatch(`"0123"`)); !errors.Is(err, objectstore.ErrPrecondition) {
			t.Errorf("If-Match of another version: %v", err)
		}
		if _, err := store.Put(ctx, "ledger/1", strings.NewReader("two"), objectstore.IfMatch(first.ETag)); err != nil {
			t.Errorf("If-Match of the version from before the restart: %v", err)
		}
		if _, err := store.Put(ctx, "ledger/2", strings.NewReader("x"), objectstore.IfMatch(first.ETag)); err == nil {
			t.Error("If-Match on an object that does not exist succeeded")
		}
		if body, _ := get(t, store, "ledger/1"); string(body) != "two" {
			t.Errorf("ledger/1 = %q, want two", body)
		}
	})
}

// A killed server leaves whole objects: each is one of those that were written, and nothing else is listed.
func TestKilledServerLeavesWholeObjects(t *testing.T) {
	inEveryMode(t, func(t *testing.T, server *versitygw.Server) {
		store := objectstoretest.Bucket(t, server, "test")
		acknowledged := map[string]byte{}
		for round := range byte(3) {
			written := writeUntilKilled(t, server, store, round)
			if err := server.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			maps.Copy(acknowledged, written)
			listed := map[string]bool{}
			for object, err := range store.List(t.Context(), "") {
				if err != nil {
					t.Fatal(err)
				}
				listed[object.Key] = true
				if !strings.HasPrefix(object.Key, "new/") && !strings.HasPrefix(object.Key, "replaced/") {
					t.Errorf("%s is listed", object.Key)
				}
				checkWhole(t, store, object.Key, acknowledged)
			}
			for key := range acknowledged {
				if !listed[key] {
					t.Errorf("%s was acknowledged and is gone", key)
				}
			}
		}
	})
}

const bodySize = 512 << 10

// writeUntilKilled has several writers put objects filled with one byte, new ones and replacements, kills the server in the middle
// and returns what was acknowledged.
func writeUntilKilled(t *testing.T, server *versitygw.Server, store *objectstore.S3, round byte) map[string]byte {
	t.Helper()
	const writers, enough = 4, 12
	ctx, cancel := context.WithCancel(t.Context())
	acknowledged := map[string]byte{}
	var lock sync.Mutex
	var kill sync.Once
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for n := 0; ; n++ {
				value := 1 + round*16 + byte(n%16)
				fresh, replaced := fmt.Sprintf("new/%d-%d-%d", round, w, n), fmt.Sprintf("replaced/%d", w)
				for key, cond := range map[string]objectstore.Condition{fresh: objectstore.IfAbsent(), replaced: objectstore.Always()} {
					if _, err := store.Put(ctx, key, bytes.NewReader(bytes.Repeat([]byte{value}, bodySize)), cond); err != nil {
						return
					}
					lock.Lock()
					acknowledged[key] = value
					if len(acknowledged) == enough {
						kill.Do(func() {
							if err := syscall.Kill(server.PID(), syscall.SIGKILL); err != nil {
								t.Error(err)
							}
							cancel() // what is under way stays unknown; nobody waits for a server that is gone
						})
					}
					lock.Unlock()
				}
			}
		})
	}
	group.Wait()
	cancel()
	<-server.Done()
	return acknowledged
}

// checkWhole checks that an object is one that was written, and at least as new as the one that was acknowledged.
func checkWhole(t *testing.T, store *objectstore.S3, key string, acknowledged map[string]byte) {
	t.Helper()
	body, attributes := get(t, store, key)
	if len(body) != bodySize || attributes.Size != bodySize {
		t.Errorf("%s has %d bytes, its attributes say %d, want %d", key, len(body), attributes.Size, bodySize)
		return
	}
	if !bytes.Equal(body, bytes.Repeat(body[:1], bodySize)) {
		t.Errorf("%s is mixed of two writes", key)
	}
	if want, known := acknowledged[key]; known && strings.HasPrefix(key, "new/") && body[0] != want {
		t.Errorf("%s is filled with %d, acknowledged was %d", key, body[0], want)
	}
}

// In the objects' own files, body and attributes are replaced together.
func TestETagBelongsToBodyAfterKill(t *testing.T) {
	server := objectstoretest.Server(t)
	store := objectstoretest.Bucket(t, server, "test")
	for round := range byte(3) {
		writeUntilKilled(t, server, store, round)
		if err := server.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		for object, err := range store.List(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			body, attributes := get(t, store, object.Key)
			sum := md5.Sum(body) //nolint:gosec // what an ETag is made of
			if want := hex.EncodeToString(sum[:]); strings.Trim(attributes.ETag, `"`) != want {
				t.Errorf("%s: ETag %s, its body's is %s", object.Key, attributes.ETag, want)
			}
		}
	}
}

func TestLeftoverOfAKilledReplacementIsSwept(t *testing.T) {
	server := objectstoretest.Server(t)
	store := objectstoretest.Bucket(t, server, "test")
	for _, key := range []string{"lease", ".hidden", "a/.dot.sgwtmp"} {
		if _, err := store.Put(t.Context(), key, strings.NewReader("x"), objectstore.Always()); err != nil {
			t.Fatal(err)
		}
	}
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".lease.sgwtmp.1700000000000000000", "a/.b.sgwtmp.1"} {
		if err := os.WriteFile(filepath.Join(server.Root, "test", name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for object, err := range store.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, object.Key)
	}
	if got := strings.Join(keys, " "); got != ".hidden a/.dot.sgwtmp lease" {
		t.Errorf("listed: %s", got)
	}
}

func TestStartFailures(t *testing.T) {
	running := objectstoretest.Server(t)
	second := objectstoretest.NewServer(t)
	second.Port = running.Port
	if err := second.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("Start on a taken port: %v", err)
	}
	second = objectstoretest.NewServer(t)
	second.SecretKey = "short"
	if err := second.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "at least 8") {
		t.Errorf("Start with a short secret: %v", err)
	}

	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, []byte("#!/bin/sh\necho out of order\nexit 3\n"), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	second = objectstoretest.NewServer(t)
	second.Binary = broken
	if err := second.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "out of order") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("Start of a broken program: %v", err)
	}
	if _, err := versitygw.Find(filepath.Join(t.TempDir(), "absent")); !strings.Contains(fault.HintOf(err), "make tools") {
		t.Errorf("Find: %v, hint %q", err, fault.HintOf(err))
	}
	t.Setenv(versitygw.BinaryEnv, broken)
	if path, err := versitygw.Find(""); path != broken || err != nil {
		t.Errorf("Find by the environment: %s, %v", path, err)
	}
}

func TestServerKeepsToItself(t *testing.T) {
	server := objectstoretest.Server(t)
	store := objectstoretest.Bucket(t, server, "test")
	if _, err := store.Put(t.Context(), "secret", strings.NewReader("x"), objectstore.Always()); err != nil {
		t.Fatal(err)
	}
	stranger := *server
	stranger.SecretKey = "anotheranother"
	if _, _, err := open(t, &stranger).Get(t.Context(), "secret"); err == nil {
		t.Error("another secret key reads the object")
	}
	for _, path := range []string{server.Root, server.Log, filepath.Join(server.Root, "test", "secret")} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: mode %v, %v; want it closed to other users", path, info.Mode(), err)
		}
	}
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", server.PID()))
	if err != nil || bytes.Contains(command, []byte(server.SecretKey)) {
		t.Errorf("command line: %q %v", command, err)
	}
	log, err := os.ReadFile(server.Log)
	if err != nil || len(log) > 300 || bytes.Contains(log, []byte(server.SecretKey)) {
		t.Errorf("the log is not quiet: %s %v", log, err)
	}
}

func open(t *testing.T, server *versitygw.Server) *objectstore.S3 {
	t.Helper()
	store, err := objectstore.OpenS3(t.Context(), objectstore.S3Config{
		Endpoint: server.Endpoint(), Region: versitygw.Region, Bucket: "test",
		AccessKey: server.AccessKey, SecretKey: server.SecretKey, Attempts: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func get(t *testing.T, store *objectstore.S3, key string) ([]byte, objectstore.Attributes) {
	t.Helper()
	body, attributes, err := store.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	content, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return content, attributes
}
