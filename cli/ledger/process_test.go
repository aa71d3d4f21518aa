package ledger_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/ledger"
	"github.com/smart-assistant/platform/cli/objectstore"
	"github.com/smart-assistant/platform/cli/objectstore/objectstoretest"
)

// holderEnv makes the test's binary a process that takes the lease of the store named in it and waits to be killed.
const holderEnv = "LEDGER_TEST_HOLD"

func holdUntilKilled() {
	var c objectstore.S3Config
	err := json.Unmarshal([]byte(os.Getenv(holderEnv)), &c)
	var store *objectstore.S3
	if err == nil {
		store, err = objectstore.OpenS3(context.Background(), c)
	}
	if err == nil {
		l := ledger.Open(store, ledger.Options{Environment: "prod", Actor: "mayfly", TTL: time.Hour})
		_, err = l.Acquire(context.Background(), "to be killed")
	}
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
	fmt.Println("held")
	_, _ = os.Stdin.Read(make([]byte, 1)) // ends when the test does, however it ends
	os.Exit(1)
}

// startHolder starts a process that holds the lease for an hour.
func startHolder(t *testing.T, c objectstore.S3Config) *exec.Cmd {
	t.Helper()
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), holderEnv+"="+string(raw))
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it is dead already unless the test failed
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("holder: %q, %v", line, err)
	}
	return cmd
}

func TestKilledHolderIsTakenOverAtOnce(t *testing.T) {
	t.Parallel()
	server := objectstoretest.Server(t)
	store := objectstoretest.Bucket(t, server, "test")
	c := objectstore.S3Config{Endpoint: server.Endpoint(), Bucket: "test", AccessKey: server.AccessKey, SecretKey: server.SecretKey}
	fence := int64(0)
	for _, reaped := range []bool{false, true} {
		holder := startHolder(t, c)
		_, err := as("anna", store).Acquire(t.Context(), "x")
		if held := wantHeld(t, err); held.PID != holder.Process.Pid || held.Actor != "mayfly" {
			t.Fatalf("held by %+v, want process %d", held.Holder, holder.Process.Pid)
		}
		if err := holder.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if reaped {
			_ = holder.Wait()
		}
		var lease *ledger.Lease
		for deadline := time.Now().Add(20 * time.Second); lease == nil; time.Sleep(10 * time.Millisecond) { // a signal takes its time
			if lease, err = as("anna", store).Acquire(t.Context(), "x"); err != nil && time.Now().After(deadline) {
				t.Fatalf("reaped %v: %v", reaped, err)
			}
		}
		if lease.Fence() <= fence {
			t.Errorf("fence %d comes after %d", lease.Fence(), fence)
		}
		fence = lease.Fence()
		if err := lease.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhoseProcessIsGone(t *testing.T) {
	store := objectstoretest.S3(t)
	lease := acquire(t, as("anna", store), "x")
	if err := lease.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	var record struct {
		Process struct {
			Machine, Started string
			PID              int
		}
	}
	released := get(t, store, "lease")
	if err := json.Unmarshal(released, &record); err != nil || record.Process.Machine == "" || record.Process.Started == "" {
		t.Fatalf("lease %s: %v", released, err)
	}
	held := bytes.Replace(released, []byte(`"released":true,`), nil, 1)
	for _, test := range []struct {
		name, old, new string
		free           bool
	}{
		{"this very process", "", "", false},
		{"an earlier process of the same number", `"started":"` + record.Process.Started, `"started":"1`, true},
		{"no process", fmt.Sprintf(`"pid":%d`, record.Process.PID), `"pid":4194305`, true}, // above the highest pid_max
		{"no process of another machine", `"machine":"`, `"machine":"other `, false},
		{"a machine that cannot tell", `"machine":"` + record.Process.Machine + `"`, `"machine":""`, false},
	} {
		raw := bytes.Replace(held, []byte(test.old), []byte(test.new), 1)
		if test.old != "" && bytes.Equal(raw, held) {
			t.Fatalf("%s has no %s", held, test.old)
		}
		put(t, store, "lease", raw)
		if h, err := as("ben", store).Holder(t.Context()); err != nil || (h == nil) != test.free {
			t.Errorf("%s: holder %+v, %v", test.name, h, err)
		}
	}
}
