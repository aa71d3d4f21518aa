//go:build cluster

package kubernetes

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/smart-assistant/platform/cli/objectstore"
	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/cli/target/kubernetes/outputs"
	"github.com/smart-assistant/platform/cli/target/targettest"
)

// What the operator does around a deployment, on one environment.
func TestAround(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t, func(*Config) {})
	t.Run("the bucket", func(t *testing.T) { bucketAnswers(t, e) })
	t.Run("the database", func(t *testing.T) { databaseAnswers(t, e) })
	t.Run("another database", func(t *testing.T) { execOnAnother(t, e) })
	if err := (complete{e}).Deploy(t.Context(), target.Deployment{Build: targettest.V1, Fence: 1, Canary: true}, nil); err != nil {
		t.Fatal(err)
	}
	t.Run("previews", func(t *testing.T) { previews(t, e) })
	t.Run("drift", func(t *testing.T) { drifts(t, e) })
}

// bucketAnswers reaches the bucket inside the cluster, over TLS and the API server.
func bucketAnswers(t *testing.T, e *Environment) {
	access, err := e.Store(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	store, err := objectstore.OpenS3(t.Context(), access)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.RefuseUnconditional(t.Context()); err != nil {
		t.Error(err)
	}
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<20) // 16 MiB
	began := time.Now()
	if _, err := store.Put(t.Context(), "large", bytes.NewReader(large), objectstore.Always()); err != nil {
		t.Fatal(err)
	}
	t.Logf("16 MiB up in %s", time.Since(began).Round(time.Millisecond))
	began = time.Now()
	body, _, err := store.Get(t.Context(), "large")
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, body); err != nil || !bytes.Equal(sum.Sum(nil), sha256Of(large)) {
		t.Errorf("another content came back: %v", err)
	}
	t.Logf("16 MiB down in %s", time.Since(began).Round(time.Millisecond))
}

func sha256Of(b []byte) []byte { s := sha256.Sum256(b); return s[:] }

func databaseAnswers(t *testing.T, e *Environment) {
	for role, want := range map[Role]string{ServiceRole: "assistd", BackupRole: "backup", Superuser: "postgres"} {
		config, err := e.Database(t.Context(), role)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := pgx.ConnectConfig(t.Context(), config)
		if err != nil {
			t.Errorf("as %s: %v", want, err)
			continue
		}
		var user string
		var tls bool
		err = conn.QueryRow(t.Context(), "SELECT current_user, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").Scan(&user, &tls)
		if err != nil || user != want || !tls {
			t.Errorf("as %s: user %q, TLS %v: %v", want, user, tls, err)
		}
		if role == ServiceRole { // what ends a query from outside must end it here too
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			began := time.Now()
			if _, err := conn.Exec(ctx, "SELECT pg_sleep(60)"); err == nil || time.Since(began) > 20*time.Second {
				t.Errorf("a query that is given up: %v, after %s", err, time.Since(began))
			}
			cancel()
		}
		_ = conn.Close(t.Context())
	}
}

// execOnAnother runs a build against a database whose address it gets by a file that is gone afterwards. The live server lets the service
// into its own database alone, and so says which one was asked for.
func execOnAnother(t *testing.T, e *Environment) {
	c, err := e.reach(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := c.secret(t.Context(), secretName)
	if err != nil {
		t.Fatal(err)
	}
	own := string(secrets[databaseURLKey])
	var out bytes.Buffer
	if err := e.ExecOn(t.Context(), own, targettest.V1, []string{"print", "LANG"}, &out, nil); err != nil || !strings.HasPrefix(out.String(), "assistant ") {
		t.Errorf("%q %v", out.String(), err)
	}
	elsewhere := strings.Replace(own, "/assistant?", "/postgres?", 1)
	err = e.ExecOn(t.Context(), elsewhere, targettest.V1, []string{"print", "LANG"}, &out, nil)
	var exit *target.ExitError
	if elsewhere == own || !errors.As(err, &exit) || !strings.Contains(exit.Stderr, "database=postgres") {
		t.Errorf("ExecOn returned %v", err)
	}
	all, err := c.client.CoreV1().Secrets(c.namespace()).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all.Items {
		if strings.HasPrefix(s.Name, "exec-") && s.DeletionTimestamp == nil {
			time.Sleep(3 * time.Second) // the collector of what has no owner any more
			if _, err := c.client.CoreV1().Secrets(c.namespace()).Get(t.Context(), s.Name, metav1.GetOptions{}); err == nil {
				t.Errorf("Secret %s is left", s.Name)
			}
		}
	}
}

func previews(t *testing.T, e *Environment) {
	file := filepath.Join(e.config.Dir, "Pulumi."+e.config.Stack+".yaml")
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if all, err := e.Preview(t.Context(), nil); err != nil || len(all) > 0 {
		t.Errorf("after a deployment a preview shows %v %v", all, err)
	}
	next := &outputs.Release{Version: "v2", Images: map[string]string{serviceImage: "sha256:" + targettest.V2.SHA256, "assistctl": "sha256:" + targettest.V2.SHA256}}
	all, err := e.Preview(t.Context(), next)
	if err != nil || len(all) == 0 {
		t.Fatalf("a preview of v2 shows %v %v", all, err)
	}
	for _, c := range all {
		t.Log(c)
		if !c.Release {
			t.Errorf("a deployment is not expected to change %s", c)
		}
	}
	if !slices.ContainsFunc(all, func(c Change) bool {
		return c.Name == apiName && strings.HasSuffix(c.Type, ":Deployment") && c.Op == "update"
	}) {
		t.Error("the Deployment is not among the changes")
	}
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the settings have changed: %v\n%s", err, after)
	}
}

// drifts changes behind Pulumi's back what it has made.
func drifts(t *testing.T, e *Environment) {
	if all, err := e.Drift(t.Context()); err != nil || len(all) > 0 {
		t.Errorf("without drift: %v %v", all, err)
	}
	c, err := e.reach(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	patch := []byte(`{"spec":{"maxReplicas":9}}`)
	scalers := c.client.AutoscalingV2().HorizontalPodAutoscalers(c.namespace())
	if _, err := scalers.Patch(t.Context(), apiName, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "somebody"}); err != nil {
		t.Fatal(err)
	}
	all, err := e.Drift(t.Context())
	if err != nil || !slices.ContainsFunc(all, func(c Change) bool { return strings.HasSuffix(c.Type, ":HorizontalPodAutoscaler") }) {
		t.Errorf("drift %v %v", all, err)
	}
	t.Log(all)
}

// A process that is killed in the middle of a deployment leaves the stack locked, or its update half done. The next one goes on.
func TestKilled(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t, func(*Config) {})
	if err := (complete{e}).Deploy(t.Context(), target.Deployment{Build: targettest.V1, Fence: 1}, nil); err != nil {
		t.Fatal(err)
	}
	fence := int64(1)
	for name, kill := range map[string]func(t *testing.T, e *Environment, child *os.Process){
		"assistctl":            func(t *testing.T, _ *Environment, child *os.Process) { kill9(t, child.Pid) },
		"assistctl and Pulumi": func(t *testing.T, e *Environment, child *os.Process) { kill9(t, pulumis(t, e)[0], child.Pid) },
		"Pulumi alone":         func(t *testing.T, e *Environment, _ *os.Process) { kill9(t, pulumis(t, e)[0]) },
	} {
		fence += 2
		t.Run(name, func(t *testing.T) {
			child := deployInChild(t, e, targettest.Unready, fence)
			awaitRolling(t, e, targettest.Unready)
			kill(t, e, child)
			_, _ = child.Wait()
			began := time.Now()
			if err := (complete{e}).Deploy(t.Context(), target.Deployment{Build: targettest.V2, Fence: fence + 1, Canary: true}, nil); err != nil {
				t.Fatal(err)
			}
			t.Logf("V2 runs after %s", time.Since(began).Round(time.Second))
			if s, err := e.Status(t.Context()); err != nil || !s.Settled(targettest.V2) {
				t.Errorf("%+v %v", s, err)
			}
			if all, err := e.Preview(t.Context(), nil); err != nil || len(all) > 0 {
				t.Errorf("a preview shows %v %v", all, err)
			}
			if err := (complete{e}).Deploy(t.Context(), target.Deployment{Build: targettest.V1, Fence: fence}, nil); !errors.Is(err, target.ErrFenced) {
				t.Errorf("the killed one's number: %v", err)
			}
		})
	}
}
