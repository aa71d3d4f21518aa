package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/cli/postgres"
	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/cli/target/targettest"
)

// says runs a statement that returns one text, in the service's database or at url.
func says(t *testing.T, url, query string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background()) //nolint:errcheck // nothing hangs on it
	var text string
	if err := conn.QueryRow(t.Context(), query).Scan(&text); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		t.Fatal(err)
	}
	return text
}

func serviceURL(t *testing.T, e *Environment) string {
	t.Helper()
	url, err := e.ServiceURL()
	if err != nil {
		t.Fatal(err)
	}
	return url
}

// copyLive puts a copy of the live cluster into a prepared folder: what a restore does with a backup.
func copyLive(t *testing.T, e *Environment, name string) string {
	t.Helper()
	dir, err := e.Prepare(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	live, err := e.liveCluster()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", live+"/.", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if os.Geteuid() == 0 { // unpacked by root, as a restore does
		if out, err := exec.Command("chown", "-R", "0:0", dir).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	return dir
}

func TestRestorePlace(t *testing.T) {
	e := newEnvironment(t)
	up(t, e)
	deploy(t, e, targettest.V1, 1)
	service := serviceURL(t, e)
	says(t, service, "CREATE TABLE note (text text)")
	says(t, service, "INSERT INTO note VALUES ('good')")

	id, exists, err := e.SystemIdentifier(t.Context())
	if err != nil || !exists || id == 0 {
		t.Fatalf("system identifier %d %v %v", id, exists, err)
	}
	if free, err := e.Free(t.Context()); err != nil || free <= 0 {
		t.Errorf("free space %d, %v", free, err)
	}
	t.Run("swap is refused while the environment runs", func(t *testing.T) {
		dir, err := e.Prepare(t.Context(), "too-early")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "PG_VERSION"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := e.Swap(t.Context(), dir, "before"); err == nil {
			t.Error("Swap returned nil")
		}
	})

	for range 2 { // each step may be repeated
		if err := e.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := fetch(t, e, "/version"); !got.refused() || !strings.Contains(got.body, "restored") {
		t.Errorf("a stopped environment answers %s", got)
	}
	if st := status(t, e); st.Database.Reachable || len(st.Replicas) > 0 || st.Paused == "" {
		t.Errorf("status %+v", st)
	}
	dir := copyLive(t, e, "restored")
	t.Run("no deployment meanwhile", func(t *testing.T) {
		if err := e.Deploy(t.Context(), target.Deployment{Build: targettest.V2, Fence: 1}, nil); err == nil || errors.Is(err, target.ErrDown) {
			t.Errorf("Deploy returned %v", err)
		}
		if err := e.Resume(t.Context()); err == nil {
			t.Error("Resume returned nil")
		}
	})
	t.Run("it stays stopped over a restart", func(t *testing.T) {
		kill(t, supervisorPID(t, e))
		up(t, e)
		if st := status(t, e); st.Database.Reachable || len(st.Replicas) > 0 {
			t.Errorf("status %+v", st)
		}
	})
	for range 2 {
		if err := e.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if st := status(t, e); !st.Settled(targettest.V1) || st.Paused != "" {
		t.Errorf("status after Start: %+v", st)
	}
	says(t, service, "UPDATE note SET text = 'damaged'")

	if err := e.Own(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	t.Run("try", func(t *testing.T) { tryCopy(t, e, dir) })
	if got := says(t, service, "SELECT text FROM note"); got != "damaged" {
		t.Errorf("the live data changed by trying: %q", got)
	}

	if err := e.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	live, err := e.liveCluster()
	if err != nil {
		t.Fatal(err)
	}
	if err := e.setAside(live, "before"); err != nil { // a Swap that was killed after its first step
		t.Fatal(err)
	}
	if all, err := e.Asides(t.Context()); err != nil || len(all) > 0 {
		t.Errorf("the live data counts as put aside: %v %v", all, err)
	}
	for range 2 {
		if err := e.Swap(t.Context(), dir, "before"); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := says(t, service, "SELECT text FROM note"); got != "good" {
		t.Errorf("after the swap the data is %q", got)
	}
	if now, _, err := e.SystemIdentifier(t.Context()); err != nil || now != id {
		t.Errorf("system identifier %d, was %d, %v", now, id, err)
	}
	if st := status(t, e); !st.Settled(targettest.V1) || st.Paused != "" {
		t.Errorf("status %+v", st)
	}

	t.Run("what was live is kept until it is dropped", func(t *testing.T) { keptAside(t, e, live) })
}

func tryCopy(t *testing.T, e *Environment, dir string) {
	var url string
	err := e.Try(t.Context(), dir, func(_ context.Context, u string) error {
		url = u
		if got := says(t, strings.Replace(u, "/postgres?", "/assistant?", 1), "SELECT text FROM note"); got != "good" {
			t.Errorf("the copy says %q", got)
		}
		return nil
	})
	if err != nil || url == "" {
		t.Errorf("Try returned %v", err)
	}
	no := errors.New("rows are missing")
	if err := e.Try(t.Context(), dir, func(context.Context, string) error { return no }); !errors.Is(err, no) {
		t.Errorf("Try returned %v", err)
	}
	// One that was killed leaves its server behind; the next one ends it.
	server, err := e.scratch(dir)
	if err != nil {
		t.Fatal(err)
	}
	if server.Port, err = pickPort(); err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := e.Try(t.Context(), dir, func(context.Context, string) error { return nil }); err != nil {
		t.Errorf("Try returned %v", err)
	}
	if pid, runs := server.PID(); runs {
		t.Errorf("a scratch server is left, process %d", pid)
	}
	live, err := e.liveCluster()
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Try(t.Context(), live, func(context.Context, string) error { return nil }); err == nil {
		t.Error("Try of the live cluster returned nil")
	}
}

func keptAside(t *testing.T, e *Environment, before string) {
	all, err := e.Asides(t.Context())
	if err != nil || len(all) != 1 || all[0].Name != "before" || all[0].Bytes < 1<<20 || all[0].Since.IsZero() {
		t.Errorf("asides %+v, %v", all, err)
	}
	for _, name := range []string{filepath.Base(before), "restored", "../clusters/x", ""} {
		if _, err := e.Prepare(t.Context(), name); err == nil {
			t.Errorf("Prepare(%q) would empty data that is in use", name)
		}
	}
	if _, err := os.Stat(filepath.Join(before, "PG_VERSION")); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := e.DropAside(t.Context(), "before"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(before); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("dropped data is still there: %v", err)
	}
	if all, err := e.Asides(t.Context()); err != nil || len(all) > 0 {
		t.Errorf("asides %+v, %v", all, err)
	}
}

func TestDamagedDatabaseCanBeStopped(t *testing.T) {
	e := newEnvironment(t)
	up(t, e)
	deploy(t, e, targettest.V1, 1)
	pid := running(status(t, e))[databaseName]
	live, err := e.liveCluster()
	if err != nil {
		t.Fatal(err)
	}
	// Without postmaster.pid and pg_control only the written-down number tells which process it is.
	if err := errors.Join(os.Remove(filepath.Join(live, "postmaster.pid")), os.RemoveAll(filepath.Join(live, "global"))); err != nil {
		t.Fatal(err)
	}
	if err := e.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := identify(pid); err == nil {
		t.Errorf("PostgreSQL, process %d, still runs", pid)
	}
	if _, exists, err := e.SystemIdentifier(t.Context()); err != nil || exists {
		t.Errorf("damaged data has a system identifier: %v, %v", exists, err)
	}
	if err := e.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "does not come up") {
		t.Errorf("Start on damaged data returned %v", err)
	}
	if got := fetch(t, e, "/version"); !got.refused() {
		t.Errorf("the environment answers %s", got)
	}
}

func TestRolesOfTheDatabase(t *testing.T) {
	e := newEnvironment(t)
	up(t, e)
	backup, err := e.BackupURL()
	if err != nil {
		t.Fatal(err)
	}
	if got := says(t, backup, "SELECT rolreplication::text || rolsuper::text FROM pg_roles WHERE rolname = current_user"); got != "truefalse" {
		t.Errorf("the backup role: %s", got)
	}
	if got := says(t, serviceURL(t, e), "SELECT current_user || ' owns ' || datname FROM pg_database WHERE datdba = current_user::regrole"); got != "assistd owns assistant" {
		t.Errorf("the service's role: %s", got)
	}
	admin, err := e.AdminURL(Database)
	if err != nil {
		t.Fatal(err)
	}
	if got := says(t, admin, "SELECT current_setting('wal_level') || current_setting('data_checksums')"); got != "replicaon" {
		t.Errorf("the server's settings: %s", got)
	}
	if owner, err := postgres.ServerOwner(); err != nil {
		t.Fatal(err)
	} else if owner != nil {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", running(status(t, e))[databaseName]))
		if err != nil || !strings.Contains(string(raw), fmt.Sprintf("Uid:\t%d", owner.UID)) {
			t.Errorf("PostgreSQL does not run as %s: %v", owner.Name, err)
		}
	}
}

// TestStartWithAnotherRelease is a restore after a promotion that was rolled out and never committed.
func TestStartWithAnotherRelease(t *testing.T) {
	e := newEnvironment(t)
	up(t, e)
	deploy(t, e, targettest.V1, 1)
	deploy(t, e, targettest.V2, 2)
	for _, stopped := range []bool{true, false} { // false: an attempt before it has started the database already
		if stopped {
			if err := e.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := e.StartWith(t.Context(), target.Deployment{Build: targettest.V1, Fence: 3}); err != nil {
			t.Fatal(err)
		}
		if st := status(t, e); !st.Settled(targettest.V1) || st.Paused != "" || st.Fence != 3 {
			t.Errorf("stopped before: %v: status %+v", stopped, st)
		}
		deploy(t, e, targettest.V2, 3)
	}
	if err := e.StartWith(t.Context(), target.Deployment{Build: targettest.V1, Fence: 2}); !errors.Is(err, target.ErrFenced) {
		t.Errorf("under an older lease it returned %v", err)
	}
	if err := e.StartWith(t.Context(), target.Deployment{Build: target.Build{Version: "none", SHA256: strings.Repeat("0", 64)}, Fence: 3}); !errors.Is(err, target.ErrNoBuild) {
		t.Errorf("without its build it returned %v", err)
	}
	if st := status(t, e); !st.Settled(targettest.V2) {
		t.Errorf("after refusals: status %+v", st)
	}
	if err := e.StartWith(t.Context(), target.Deployment{Fence: 4}); err != nil {
		t.Fatal(err)
	}
	if st := status(t, e); len(st.Replicas) > 0 || st.Build != nil || !st.Database.Reachable {
		t.Errorf("without a release: status %+v", st)
	}
}

func TestDiscard(t *testing.T) {
	e := newEnvironment(t)
	up(t, e)
	if err := e.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	leave := func(name string) (*postgres.Server, string) {
		dir := copyLive(t, e, name)
		if err := errors.Join(os.Mkdir(dir+".tablespaces", 0o700), e.Own(t.Context(), dir)); err != nil {
			t.Fatal(err)
		}
		server, err := e.scratch(dir)
		if err != nil {
			t.Fatal(err)
		}
		if server.Port, err = pickPort(); err != nil {
			t.Fatal(err)
		}
		if err := server.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		return server, dir
	}
	server, dir := leave("killed")
	for range 2 {
		if err := e.Discard(t.Context(), "killed"); err != nil {
			t.Fatal(err)
		}
	}
	if pid, runs := server.PID(); runs {
		t.Errorf("the scratch server still runs, process %d", pid)
	}
	if left, err := filepath.Glob(dir + "*"); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	live, err := e.liveCluster()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{filepath.Base(live), "../../secrets", ""} {
		if err := e.Discard(t.Context(), name); err == nil {
			t.Errorf("Discard(%q) returned nil", name)
		}
	}
	if err := e.setAside(live, "before"); err != nil {
		t.Fatal(err)
	}
	if err := e.linkCurrent("unknown"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(e.currentLink()), os.Mkdir(e.currentLink(), 0o700)); err != nil { // a link no more
		t.Fatal(err)
	}
	if err := e.DropAside(t.Context(), "before"); err == nil {
		t.Error("data was dropped though nobody can say which is live")
	}
	if err := errors.Join(os.Remove(e.currentLink()), e.linkCurrent(filepath.Base(live)), os.Remove(e.asideLink("before"))); err != nil {
		t.Fatal(err)
	}
	server, _ = leave("killed-too")
	if err := e.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if pid, runs := server.PID(); runs {
		t.Errorf("after Down the scratch server still runs, process %d", pid)
	}
}

func TestDamagedControlData(t *testing.T) {
	e := newEnvironment(t)
	up(t, e)
	if err := e.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	live, err := e.liveCluster()
	if err != nil {
		t.Fatal(err)
	}
	for _, length := range []int64{100, 0} {
		if err := os.Truncate(filepath.Join(live, "global", "pg_control"), length); err != nil {
			t.Fatal(err)
		}
		if id, exists, err := e.SystemIdentifier(t.Context()); id != 0 || !exists || err != nil {
			t.Errorf("%d bytes of pg_control: %d, %v, %v", length, id, exists, err)
		}
	}
}
