//go:build cluster

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/smart-assistant/platform/test/load"
)

var promoteProd = []string{"promote", "staging", "prod", "--yes", "--confirm=prod"}

// TestStory is the way of a release on a cluster, as its users go it: stacks come up, a release is deployed to dev and promoted to prod,
// the next one under load, a broken one comes back by itself, damaged data comes back from a backup, and the stacks are as they were declared.
func TestStory(t *testing.T) {
	w, _ := newWorld(t, 2*time.Second)
	chapter := func(name string, do func(w *world)) {
		began := time.Now()
		ok := t.Run(name, func(t *testing.T) {
			scene := *w
			scene.t = t
			do(&scene)
		})
		t.Logf("%s: %s", name, time.Since(began).Round(time.Second))
		if !ok {
			w.lookAround()
			t.FailNow()
		}
	}
	chapter("dev comes up with one command, and a release on it", func(w *world) {
		w.pulumi("up", "--yes", "--stack", "dev")
		w.release("v1")
		w.assistctl("deploy", "dev", "v1")
		w.runs("dev", "v1", 1)
	})
	chapter("staging and prod come up, and get the release by promotion", func(w *world) {
		w.pulumi("up", "--yes", "--stack", "staging")
		w.pulumi("up", "--yes", "--stack", "prod")
		w.assistctl("promote", "dev", "staging")
		w.assistctl(promoteProd...)
		w.runs("prod", "v1", 3)
		for _, env := range []string{"dev", "staging", "prod"} { // a gate of the next promotion asks for one
			var taken []struct{ Kind, Label string }
			if w.ask(&taken, "backup", "list", env); len(taken) != 1 || taken[0].Kind != "scheduled" {
				w.t.Errorf("backups of %s after its first release: %+v", env, taken)
			}
		}
	})
	chapter("the next release is promoted under load and fails no request", func(w *world) {
		w.release("v2")
		w.assistctl("deploy", "dev", "v2")
		w.assistctl("promote", "dev", "staging")
		w.under(func() { w.assistctl(promoteProd...) })
		w.runs("prod", "v2", 3)
	})
	chapter("a broken release comes back by itself and fails no request", func(w *world) {
		w.release("v3") // keeps profiles in each process's memory: one replica does not show it
		w.assistctl("deploy", "dev", "v3")
		w.under(func() {
			// Two replicas are enough to show it: staging is where it stops.
			r := w.try(lab.assistctl, "promote", "dev", "staging")
			if r.code != 10 || !strings.Contains(r.errOut, "was rolled back: staging runs v2") {
				w.t.Errorf("exit status %d\n%s", r.code, r.errOut)
			}
		})
		w.runs("staging", "v2", 2)
		w.assistctl("rollback", "dev")
		w.runs("dev", "v2", 1)
	})
	chapter("damaged data comes back", func(w *world) { w.damageAndRestore() })
	chapter("what no rule keeps is removed by the one role that may", func(w *world) { w.prune() })
	chapter("the stacks are as they are declared", func(w *world) {
		for _, env := range []string{"dev", "staging", "prod"} {
			w.pulumi("preview", "--stack", env, "--expect-no-changes")
			w.assistctl("drift", env)
		}
		w.assistctl("doctor")
	})
	chapter("a checkout that missed a promotion changes nothing", func(w *world) { w.staleCheckout() })
	chapter("what nobody declared stops a promotion", func(w *world) { w.undeclared() })
}

// release records a release whose images are on the cluster.
func (w *world) release(version string) {
	w.t.Helper()
	w.assistctl("release", "create", version, "--binary", filepath.Join(lab.dir, version), "--commit", commit, "--images", filepath.Join(lab.dir, version+".json"))
}

func (w *world) runs(env, version string, replicas int) {
	w.t.Helper()
	if s := w.status(env); s.Release != version || s.Runs != "" || s.Ready != replicas || s.Want != replicas || s.Unfinished != 0 {
		w.t.Errorf("%s: %+v, want %d replicas of %s", env, s, replicas, version)
	}
}

// under measures what users of prod see, through the ingress and over TLS, while something happens.
func (w *world) under(what func()) {
	w.t.Helper()
	var out struct{ URL, TLSCA string }
	r := w.pulumi("stack", "output", "environment", "--json", "--stack", "prod")
	if err := json.Unmarshal([]byte(r.out), &out); err != nil {
		w.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(out.TLSCA)) {
		w.t.Fatalf("the stack tells no CA of its entrance: %q", out.TLSCA)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	runner, err := load.Start(ctx, load.Options{
		URL: out.URL, Rate: 60, Duration: 15 * time.Minute, Timeout: 20 * time.Second, Address: w.entrance(), TLS: &tls.Config{RootCAs: roots},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	what()
	time.Sleep(time.Second)
	report := runner.Stop()
	w.t.Log(report)
	if report.Failed != 0 || report.Sent < 100 {
		w.t.Errorf("%d of %d requests failed: %v %v", report.Failed, report.Sent, report.Errors, report.Samples)
	}
}

// damageAndRestore loses a table and gets it back.
func (w *world) damageAndRestore() {
	w.t.Helper()
	w.sql("prod", "insert into users (email, password_hash, created_at) select 'u' || n || '@example.com', 'x', now() from generate_series(1, 500) n")
	want := w.sql("prod", "select count(*) || ' ' || md5(string_agg(email, ',' order by email)) from users")
	var good struct{ ID string }
	w.ask(&good, "backup", "create", "prod")
	w.assistctl("backup", "verify", "prod", good.ID)
	w.sql("prod", "drop table users cascade")
	w.assistctl("backup", "restore", "prod", "--to", good.ID, "--yes", "--confirm=prod")
	if got := w.sql("prod", "select count(*) || ' ' || md5(string_agg(email, ',' order by email)) from users"); got != want {
		w.t.Errorf("users: %s, want %s", got, want)
	}
	w.runs("prod", "v2", 3)
	w.must("kubectl", "-n", w.namespace("prod"), "exec", "postgres-0", "--", "pg_amcheck", "--install-missing", "--heapallindexed", "-U", "postgres", "assistant")
	var asides []struct{ Name string }
	w.ask(&asides, "backup", "aside", "prod")
	if len(asides) != 1 {
		w.t.Fatalf("aside: %+v", asides)
	}
	w.assistctl("backup", "aside", "prod", "--drop", asides[0].Name, "--yes", "--confirm=prod")
}

// prune takes a second backup of dev, which keeps one.
func (w *world) prune() {
	w.t.Helper()
	var second struct{ ID string }
	w.ask(&second, "backup", "create", "dev")
	w.assistctl("backup", "prune", "dev", "--yes")
	var left []struct{ ID string }
	if w.ask(&left, "backup", "list", "dev"); len(left) != 1 || left[0].ID != second.ID {
		w.t.Errorf("left are %+v, want %s", left, second.ID)
	}
}

// staleCheckout runs pulumi from settings that name an earlier release, as a colleague's checkout does that was not updated.
func (w *world) staleCheckout() {
	w.t.Helper()
	now := w.pulumi("config", "get", "smart-assistant:release", "--stack", "staging").out
	stale := strings.ReplaceAll(strings.TrimSpace(now), `"v2"`, `"v1"`)
	w.pulumi("config", "set", "--stack", "staging", "smart-assistant:release", stale)
	r := w.pulumi("up", "--yes", "--stack", "staging")
	if !strings.Contains(r.out+r.errOut, "v2") {
		w.t.Errorf("pulumi up from a stale checkout does not say what runs:\n%s%s", r.out, r.errOut)
	}
	w.runs("staging", "v2", 2)
	w.pulumi("config", "set", "--stack", "staging", "smart-assistant:release", strings.TrimSpace(now))
}

// undeclared changes the program's settings without applying them: a promotion would bring them along.
func (w *world) undeclared() {
	w.t.Helper()
	w.assistctl("rollback", "prod", "--yes", "--confirm=prod")
	w.runs("prod", "v1", 3)
	w.pulumi("config", "set", "--stack", "prod", "--path", "smart-assistant:cache.memory", "24Mi")
	r := w.try(lab.assistctl, append(promoteProd, "--plan")...)
	if !strings.Contains(r.out+r.errOut, "infrastructure unchanged") || !strings.Contains(r.out+r.errOut, "valkey") {
		w.t.Errorf("exit status %d; the plan does not speak of the change:\n%s%s", r.code, r.out, r.errOut)
	}
	if r := w.try(lab.assistctl, promoteProd...); r.code != 3 {
		w.t.Errorf("exit status %d, want 3\n%s", r.code, r.errOut)
	}
	w.pulumi("config", "set", "--stack", "prod", "--path", "smart-assistant:cache.memory", "16Mi")
}

// lookAround logs what somebody would look at first.
func (w *world) lookAround() {
	for _, args := range [][]string{
		{lab.assistctl, "status"}, {lab.assistctl, "history", "prod"},
		{"kubectl", "get", "pods", "-A", "-o", "wide"}, {"kubectl", "get", "events", "-A", "--sort-by=.lastTimestamp"},
	} {
		out, _ := w.command(args[0], args[1:]...).CombinedOutput()
		w.t.Logf("%s\n%s", strings.Join(args, " "), out[max(0, len(out)-6000):])
	}
}
