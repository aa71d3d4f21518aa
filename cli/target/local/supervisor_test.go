package local

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/postgres"
	"github.com/smart-assistant/platform/cli/postgres/postgrestest"
	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/cli/target/targettest"
)

func TestUpTwiceChangesNothing(t *testing.T) {
	e := newEnvironment(t)
	changed, err := e.Up(t.Context(), nil)
	if err != nil || !changed {
		t.Fatalf("the first Up: changed %v, %v", changed, err)
	}
	deploy(t, e, targettest.V1, 1)
	before, supervisor := running(status(t, e)), supervisorPID(t, e)
	secretsBefore, err := e.secrets()
	if err != nil {
		t.Fatal(err)
	}
	results := make(chan error, 3)
	for range cap(results) {
		go func() {
			changed, err := e.Up(t.Context(), nil)
			if changed {
				err = errors.Join(err, errors.New("it changed something"))
			}
			results <- err
		}()
	}
	for range cap(results) {
		if err := <-results; err != nil {
			t.Errorf("the second Up: %v", err)
		}
	}
	if after := running(status(t, e)); !maps.Equal(after, before) || supervisorPID(t, e) != supervisor {
		t.Errorf("processes %v, before %v", after, before)
	}
	if after, err := e.secrets(); err != nil || after != secretsBefore {
		t.Errorf("secrets changed: %v", err)
	}
	t.Run("it needs no terminal", func(t *testing.T) {
		ours, _, errno := syscall.Syscall(syscall.SYS_GETSID, 0, 0, 0)
		for name, pid := range mergeOne(before, "supervisor", supervisor) {
			session, _, errnoOther := syscall.Syscall(syscall.SYS_GETSID, uintptr(pid), 0, 0)
			if errno != 0 || errnoOther != 0 || session == ours {
				t.Errorf("%s, process %d, is in the session %d of the one that started it", name, pid, session)
			}
		}
	})
	t.Run("more replicas are started and fewer are kept", func(t *testing.T) {
		for _, n := range []int{3, 1} {
			c := e.config
			c.Replicas = n
			scaled, err := Open(c)
			if err != nil {
				t.Fatal(err)
			}
			if changed, err := scaled.Up(t.Context(), nil); err != nil || !changed {
				t.Errorf("Up with %d replicas: changed %v, %v", n, changed, err)
			}
			eventually(t, fmt.Sprintf("there are %d replicas", n), func() bool {
				st := status(t, scaled)
				return st.Settled(targettest.V1) && len(st.Replicas) == n
			})
		}
	})
	t.Run("another port needs a restart", func(t *testing.T) {
		c := e.config
		c.Replicas = 1
		c.PostgresPort = 1
		other, err := Open(c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Up(t.Context(), nil); err == nil || !strings.Contains(fault.HintOf(err), "local down") {
			t.Errorf("Up returned %v", err)
		}
	})
}

func mergeOne(m map[string]int, name string, pid int) map[string]int {
	all := maps.Clone(m)
	all[name] = pid
	return all
}

func TestSecretsAreTheUsersAlone(t *testing.T) {
	e := newEnvironment(t)
	up(t, e)
	entries, err := os.ReadDir(e.path("secrets"))
	if err != nil || len(entries) != 8 {
		t.Fatalf("%d secrets, %v", len(entries), err)
	}
	for _, entry := range entries {
		if info, err := entry.Info(); err != nil || info.Mode().Perm() != 0o600 || info.Size() == 0 {
			t.Errorf("%s: mode %v, %d bytes, %v", entry.Name(), info.Mode(), info.Size(), err)
		}
	}
	for _, folder := range []string{"secrets", "run", "log", "releases"} {
		if info, err := os.Stat(e.path(folder)); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", folder, info.Mode(), err)
		}
	}
	if info, err := os.Stat(e.socketPath()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("control socket: %v, %v", info.Mode(), err)
	}
	t.Run("no secret is in the configuration, the state or a command line", func(t *testing.T) {
		sec, err := e.secrets()
		if err != nil {
			t.Fatal(err)
		}
		places := []string{e.configPath(), e.statePath()}
		for _, pid := range running(status(t, e)) {
			places = append(places, fmt.Sprintf("/proc/%d/cmdline", pid))
		}
		for _, path := range places {
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, secret := range []string{sec.Superuser, sec.Service, sec.Backup, sec.S3SecretKey} {
				if strings.Contains(string(raw), secret) {
					t.Errorf("%s holds a secret", path)
				}
			}
		}
	})
}

func TestKilledSupervisor(t *testing.T) {
	e := newEnvironment(t)
	up(t, e)
	deploy(t, e, targettest.V1, 1)
	before := status(t, e)
	kill(t, supervisorPID(t, e))
	if st := status(t, e); st.Up {
		t.Error("an environment without its supervisor says that it is up")
	}
	t.Run("up goes on with the processes that are left", func(t *testing.T) {
		up(t, e)
		after := status(t, e)
		if !maps.Equal(running(after), running(before)) || after.URL != before.URL || !after.Settled(targettest.V1) {
			t.Errorf("processes %v, before %v", running(after), running(before))
		}
	})
	t.Run("an adopted replica that dies is started again", func(t *testing.T) {
		kill(t, status(t, e).Replicas[0].PID)
		eventually(t, "all replicas are ready", func() bool { return status(t, e).Settled(targettest.V1) })
	})
	t.Run("replicas that were not written down are ended", func(t *testing.T) {
		kill(t, supervisorPID(t, e))
		st, err := loadState(e.statePath())
		if err != nil {
			t.Fatal(err)
		}
		var forgotten []processID
		for name, r := range st.Processes {
			if r.Deployment != "" {
				forgotten = append(forgotten, r.processID)
				delete(st.Processes, name)
			}
		}
		if err := writeJSON(e.statePath(), st); err != nil {
			t.Fatal(err)
		}
		up(t, e)
		for _, id := range forgotten {
			if id.alive() {
				t.Errorf("process %d still runs", id.PID)
			}
		}
		if !status(t, e).Settled(targettest.V1) {
			t.Error("the replicas were not started anew")
		}
	})
	t.Run("down ends what is left", func(t *testing.T) {
		left := running(status(t, e))
		kill(t, supervisorPID(t, e))
		if err := e.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		for name, pid := range left {
			if _, err := identify(pid); err == nil {
				t.Errorf("%s, process %d, still runs", name, pid)
			}
		}
	})
}

func TestKilledAtTheWrongMoment(t *testing.T) {
	e := newEnvironment(t)
	t.Run("while the first cluster is created", func(t *testing.T) {
		ended := make(chan error, 1)
		go func() {
			_, err := e.Up(t.Context(), nil)
			ended <- err
		}()
		eventually(t, "initdb is at work", func() bool {
			begun, err := filepath.Glob(e.clusterPath("*.initdb/PG_VERSION"))
			return err == nil && len(begun) > 0
		})
		kill(t, supervisorPID(t, e))
		if err := <-ended; err == nil {
			t.Error("Up returned nil")
		}
		up(t, e)
		if left, err := filepath.Glob(e.clusterPath("*")); err != nil || len(left) != 1 {
			t.Errorf("clusters %v, %v", left, err)
		}
	})
	t.Run("after it was created and before it was linked", func(t *testing.T) {
		live, err := e.liveCluster()
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(e.currentLink()); err != nil {
			t.Fatal(err)
		}
		up(t, e)
		if now, err := e.liveCluster(); err != nil || now != live {
			t.Errorf("the live cluster is %s, was %s, %v", now, live, err)
		}
	})
	t.Run("while a deployment is rolled out", func(t *testing.T) {
		deploy(t, e, targettest.V1, 1)
		halfway := make(chan struct{})
		ended := make(chan error, 1)
		go func() {
			seen := false
			ended <- e.Deploy(t.Context(), target.Deployment{Build: targettest.V2, Fence: 2}, func(ready, _ int, _ string) {
				if ready == 1 && !seen {
					seen = true
					close(halfway)
				}
			})
		}()
		<-halfway
		kill(t, supervisorPID(t, e))
		if err := <-ended; !errors.Is(err, target.ErrDown) {
			t.Errorf("Deploy returned %v", err)
		}
		up(t, e)
		if st := status(t, e); !st.Settled(targettest.V1) || st.Fence != 2 {
			t.Errorf("it does not run what ran before: %+v", st)
		}
		deploy(t, e, targettest.V2, 2)
		if st := status(t, e); !st.Settled(targettest.V2) || st.Ready != 2 {
			t.Errorf("status %+v", st)
		}
	})
}

func TestStrangersProcessIsLeftAlone(t *testing.T) {
	e := newEnvironment(t)
	up(t, e)
	deploy(t, e, targettest.V1, 1)
	if err := e.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	stranger := exec.Command("sleep", "300")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = stranger.Process.Kill()
		_ = stranger.Wait()
	}()
	id, err := identify(stranger.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	st, err := loadState(e.statePath())
	if err != nil {
		t.Fatal(err)
	}
	// As after a restart of the machine: numbers that were written down belong to somebody else now.
	older, elsewhere := id, id
	older.Started--
	elsewhere.Boot = "another"
	st.Processes = map[string]record{
		storeName:    {processID: older, Port: st.Ports.S3},
		databaseName: {processID: elsewhere},
		"api-1":      {processID: elsewhere, Deployment: key(*st.Deployment)},
		"api-9":      {processID: older, Deployment: "gone"},
	}
	if err := writeJSON(e.statePath(), st); err != nil {
		t.Fatal(err)
	}
	up(t, e)
	if !status(t, e).Settled(targettest.V1) {
		t.Error("not settled")
	}
	for name, pid := range running(status(t, e)) {
		if pid == id.PID {
			t.Errorf("%s is taken for the stranger's process", name)
		}
	}
	if err := e.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !id.alive() {
		t.Error("the stranger's process was ended")
	}
}

func TestKilledChildren(t *testing.T) {
	e := newEnvironment(t)
	up(t, e)
	deploy(t, e, targettest.V1, 1)

	t.Run("a killed replica fails no read", func(t *testing.T) {
		load := targettest.StartReads(t, status(t, e).URL)
		for range 3 {
			st := status(t, e)
			kill(t, st.Replicas[0].PID)
			eventually(t, "it is back", func() bool {
				now := status(t, e)
				return now.Settled(targettest.V1) && now.Replicas[0].PID != st.Replicas[0].PID
			})
		}
		load.Await(t, 50)
		if sum := load.Stop(); sum.Failed > 0 {
			t.Errorf("%d of %d requests failed: %v", sum.Failed, sum.Requests, sum.Errors)
		}
		if st := status(t, e); st.Replicas[0].Restarts == 0 {
			t.Error("the restarts are not counted")
		}
	})
	t.Run("a killed database comes back", func(t *testing.T) {
		before := running(status(t, e))[databaseName]
		kill(t, before)
		eventually(t, "all is well", func() bool {
			st := status(t, e)
			return running(st)[databaseName] != before && st.Database.Reachable && st.Settled(targettest.V1)
		})
	})
	t.Run("a killed S3 server comes back on its port", func(t *testing.T) {
		before := running(status(t, e))[storeName]
		kill(t, before)
		eventually(t, "it runs", func() bool {
			now := status(t, e).Components[0]
			return now.State == "running" && now.PID != before
		})
	})
	t.Run("requests without a ready replica get 503", func(t *testing.T) {
		if err := os.Rename(e.buildPath(targettest.V1.SHA256), e.buildPath(targettest.V1.SHA256)+".away"); err != nil {
			t.Fatal(err)
		}
		hidden := targettest.V1.Artifact + ".away"
		if err := os.Rename(targettest.V1.Artifact, hidden); err != nil {
			t.Fatal(err)
		}
		defer os.Rename(hidden, targettest.V1.Artifact) //nolint:errcheck // later tests tell
		for _, r := range status(t, e).Replicas {
			kill(t, r.PID)
		}
		eventually(t, "the crash loop is seen", func() bool {
			for _, r := range status(t, e).Replicas {
				if r.Restarts < 2 || !strings.Contains(r.Detail, "not available") {
					return false
				}
			}
			return true
		})
		if got := fetch(t, e, "/version"); !got.refused() {
			t.Errorf("got %s", got)
		}
	})
}

func TestTakenPorts(t *testing.T) {
	stranger, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close() //nolint:errcheck // only there to be in the way
	port := stranger.Addr().(*net.TCPAddr).Port
	for name, change := range map[string]func(*Config){
		"entrance":   func(c *Config) { c.ProxyAddr = stranger.Addr().String() },
		"PostgreSQL": func(c *Config) { c.PostgresPort = port },
		"S3 server":  func(c *Config) { c.S3Port = port },
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnvironment(t, change)
			_, err := e.Up(t.Context(), nil)
			if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), fmt.Sprint(port)) || fault.HintOf(err) == "" {
				t.Errorf("Up returned %v, hint %q", err, fault.HintOf(err))
			}
			if st := status(t, e); st.Up {
				t.Error("something was left running")
			}
			if conn, err := net.Dial("tcp", stranger.Addr().String()); err != nil {
				t.Errorf("the stranger's port was touched: %v", err)
			} else {
				conn.Close() //nolint:errcheck // only there to be in the way
			}
		})
	}
}

func TestDatabaseThatDoesNotStart(t *testing.T) {
	e := newEnvironment(t, func(c *Config) { c.PostgresSettings["no_such_setting"] = "1" })
	_, err := e.Up(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("Up returned %v", err)
	}
	if st := status(t, e); !st.Up || st.Database.Reachable {
		t.Error("its supervisor is needed for a restore, and has gone")
	}
}

func TestDownAndReset(t *testing.T) {
	e := newEnvironment(t)
	if err := e.Down(t.Context()); err != nil {
		t.Errorf("Down of an environment that never was: %v", err)
	}
	up(t, e)
	deploy(t, e, targettest.V1, 1)
	pids := mergeOne(running(status(t, e)), "supervisor", supervisorPID(t, e))
	url := status(t, e).URL
	for range 2 {
		if err := e.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for name, pid := range pids {
		if _, err := identify(pid); err == nil {
			t.Errorf("%s, process %d, still runs", name, pid)
		}
	}
	if conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://")); err == nil {
		conn.Close() //nolint:errcheck // it should not be there
		t.Error("the entrance still listens")
	}
	if _, err := os.Stat(e.socketPath()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the control socket is left: %v", err)
	}
	if err := e.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(e.config.Root); err != nil || len(entries) > 0 {
		t.Errorf("Reset left %v, %v", entries, err)
	}
	t.Run("what a killed Reset left is swept", func(t *testing.T) {
		if err := os.MkdirAll(filepath.Join(e.config.Root, "."+e.Name()+".deleted", "run"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := e.Reset(t.Context()); err != nil {
			t.Fatal(err)
		}
		if entries, err := os.ReadDir(e.config.Root); err != nil || len(entries) > 0 {
			t.Errorf("Reset left %v, %v", entries, err)
		}
	})
	t.Run("a folder of something else is not deleted", func(t *testing.T) {
		precious := filepath.Join(e.dir, "thesis.tex")
		if err := errors.Join(os.Mkdir(e.dir, 0o700), os.WriteFile(precious, []byte("x"), 0o600)); err != nil {
			t.Fatal(err)
		}
		if err := e.Reset(t.Context()); err == nil {
			t.Error("Reset returned nil")
		}
		if _, err := os.Stat(precious); err != nil {
			t.Error(err)
		}
	})
}

func TestDeepFolder(t *testing.T) {
	e := newEnvironment(t, func(c *Config) {
		c.Root = filepath.Join(c.Root, strings.Repeat("deep/", 20)+"root")
		c.Supervise = []string{"supervise", filepath.Join(c.Root, "test")}
	})
	up(t, e)
	socket := e.socketPath()
	if len(socket) > 107 || strings.HasPrefix(socket, e.dir) {
		t.Errorf("control socket %s", socket)
	}
	if err := e.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Dir(socket)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket's folder is left: %v", err)
	}
}

func TestFolderClosedToTheDatabase(t *testing.T) {
	owner, err := postgres.ServerOwner()
	if err != nil {
		t.Fatal(err)
	}
	e := newEnvironment(t)
	if owner == nil { // not root: PostgreSQL runs as the same user, and nothing is closed to it
		up(t, e)
		return
	}
	if err := os.Chmod(e.config.Root, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err = e.Up(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), e.config.Root) || fault.HintOf(err) == "" {
		t.Errorf("Up returned %v, hint %q", err, fault.HintOf(err))
	}
}

// TestAsAnotherUser runs an environment as a user who is not root; root starts a copy of this test as nobody.
func TestAsAnotherUser(t *testing.T) {
	root := postgrestest.Dir(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The programs may lie where only root can pass.
	copied, s3 := copyProgram(t, self, root), copyProgram(t, versitygwPath(t), root)
	home := filepath.Join(root, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(copied, "live-as-a-user", home, targettest.V1.Artifact)
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_RUNTIME_DIR=", "ASSISTCTL_VERSITYGW="+s3)
	if os.Geteuid() == 0 {
		const nobody = 65534
		if err := os.Chown(home, nobody, nobody); err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		cmd.Dir = home
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if left, err := marked(filepath.Join(home, "test")); err != nil || len(left) > 0 {
		t.Errorf("processes left: %v %v", left, err)
	}
}

// copyProgram copies a program to where every user can execute it.
func copyProgram(t *testing.T, from, dir string) string {
	t.Helper()
	raw, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, filepath.Base(from))
	if err := os.WriteFile(to, raw, 0o755); err != nil { //nolint:gosec // it has to be executable
		t.Fatal(err)
	}
	return to
}

func liveAsAUser(root, artifact string) (err error) {
	if os.Geteuid() == 0 {
		return errors.New("this is root")
	}
	e, err := Open(Config{
		Environment: "test", Root: root, Versitygw: os.Getenv("ASSISTCTL_VERSITYGW"), PostgresBin: os.Getenv("ASSISTCTL_POSTGRES_BIN"),
		PostgresSettings: map[string]string{"fsync": "off"}, Supervise: []string{"supervise", filepath.Join(root, "test")},
		ReadyTimeout: 20 * time.Second,
	})
	if err != nil {
		return err
	}
	ctx := contextForUser()
	defer func() { err = errors.Join(err, e.Down(ctx)) }()
	if _, err := e.Up(ctx, nil); err != nil {
		return err
	}
	build := target.Build{Version: "v1", Artifact: artifact}
	if build.SHA256, err = targettest.Hash(artifact); err != nil {
		return err
	}
	if err := e.Deploy(ctx, target.Deployment{Build: build, Fence: 1, Canary: true}, nil); err != nil {
		return err
	}
	st, err := e.Status(ctx)
	if err != nil {
		return err
	}
	if !st.Settled(build) {
		return fmt.Errorf("not settled: %+v", st)
	}
	return nil
}
