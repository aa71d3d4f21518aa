package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

// wire stands between assistctl and prod's bucket and sees each ledger entry go by.
type wire struct {
	*httptest.Server
	mu      sync.Mutex
	entries int
	written func(n int) // after the nth entry is durable and before its writer hears of it
}

func newWire(t *testing.T, m *machine) *wire {
	t.Helper()
	var state struct{ Ports struct{ S3 int } }
	readJSON(t, filepath.Join(m.dir, "data", "prod", "run", "state.json"), &state)
	to := &url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", state.Ports.S3)}
	w := &wire{}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host // it is signed
		},
		ModifyResponse: func(r *http.Response) error {
			if r.Request.Method == http.MethodPut && strings.Contains(r.Request.URL.Path, "/ledger/") && r.StatusCode == http.StatusOK {
				w.mu.Lock()
				w.entries++
				n, written := w.entries, w.written
				w.mu.Unlock()
				if written != nil {
					written(n)
				}
			}
			return nil
		},
		ErrorHandler: func(rw http.ResponseWriter, _ *http.Request, _ error) { rw.WriteHeader(http.StatusBadGateway) },
	}
	w.Server = httptest.NewServer(proxy)
	t.Cleanup(w.Close)
	secrets := filepath.Join(m.dir, "data", "prod", "secrets")
	m.configure("1s", fmt.Sprintf("bucket: {endpoint: %q, name: assistant, path_style: true, access_key_file: %q, secret_key_file: %q}",
		w.URL, filepath.Join(secrets, "s3-access-key"), filepath.Join(secrets, "s3-secret-key")))
	return w
}

// watch sets what happens at each entry, and starts counting anew.
func (w *wire) watch(written func(n int)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.entries, w.written = 0, written
}

func (w *wire) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.entries
}

// end is what a promotion leaves behind.
type end struct {
	status
	Outcome   string
	Snapshots int
	Tables    []string
}

func (m *machine) end() end {
	m.t.Helper()
	e := end{status: m.status("prod")}
	var runs []struct {
		Number  int
		Outcome string
	}
	m.ask(&runs, "history", "prod", "--limit", "1")
	e.Outcome = runs[0].Outcome
	var backups []struct {
		Kind string
		Run  int
	}
	m.ask(&backups, "backup", "list", "prod")
	for _, b := range backups {
		if b.Run == runs[0].Number {
			e.Snapshots++
		}
	}
	rows, err := m.database("prod").Query(m.t.Context(), "select table_name || '.' || column_name from information_schema.columns where table_schema = 'public' order by 1")
	if err != nil {
		m.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			m.t.Fatal(err)
		}
		e.Tables = append(e.Tables, name)
	}
	return e
}

// back brings prod back to v1 on v1's schema, so that the same promotion can be made again.
func (m *machine) back() {
	m.t.Helper()
	m.must("rollback", "prod", "--to", "v1", "--yes", "--confirm=prod")
	m.must("migrate", "down", "prod", "--release", "v2", "--to", fmt.Sprint(m.v1Schema()), "--yes", "--confirm=prod")
}

func (m *machine) v1Schema() int64 {
	var manifest struct{ Schema struct{ Head int64 } }
	m.ask(&manifest, "release", "show", "v1")
	return manifest.Schema.Head
}

// TestKilledAfterEveryEntry kills assistctl with SIGKILL after each entry that a promotion writes to the ledger, and once between two,
// resumes from another process, and compares with a promotion that nobody disturbed.
func TestKilledAfterEveryEntry(t *testing.T) {
	m := newMachine(t, "1s")
	w := newWire(t, m)
	w.watch(nil)
	m.promote()
	entries, want := w.count(), m.end()
	if want.Outcome != "committed" || want.Release != "v2" || want.Ready != 2 || want.Snapshots != 1 || entries < 10 {
		t.Fatalf("the undisturbed promotion: %d entries, %+v", entries, want)
	}
	for n := 1; n <= entries; n++ {
		m.back()
		m.killedAt(w, n, promoteProd...)
		m.resume()
		if got := m.end(); !reflect.DeepEqual(got, want) {
			t.Errorf("killed after entry %d of %d:\n got %+v\nwant %+v", n, entries, got, want)
		}
	}
	m.back()
	m.killBetween(w, entries)
	if got := m.end(); !reflect.DeepEqual(got, want) {
		t.Errorf("killed between two entries:\n got %+v\nwant %+v", got, want)
	}
}

// killedAt runs a command until the nth entry is written; the process never hears that it was.
func (m *machine) killedAt(w *wire, n int, args ...string) {
	m.t.Helper()
	cmd := m.command(args...)
	started, killed := make(chan struct{}), make(chan struct{})
	w.watch(func(entry int) {
		if entry == n {
			<-started
			kill(cmd)
			close(killed)
		}
	})
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	close(started)
	select {
	case <-killed:
	case <-time.After(2 * time.Minute):
		kill(cmd)
		m.t.Fatalf("entry %d was never written", n)
	}
	w.watch(nil)
}

// resume goes on, when there is something to go on with: after the last entry there is not.
func (m *machine) resume() {
	m.t.Helper()
	if m.status("prod").Unfinished != 0 {
		m.must("promote", "--resume")
	}
}

// killBetween kills the process while the deployment is under way: after its start was journalled, before its end.
func (m *machine) killBetween(w *wire, entries int) {
	m.t.Helper()
	cmd := m.command(promoteProd...)
	started := make(chan struct{}, entries)
	w.watch(func(int) { started <- struct{}{} })
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	for range entries - 5 { // … deploy starts, deploy done, verify starts, verify done, end
		<-started
	}
	time.Sleep(200 * time.Millisecond)
	kill(cmd)
	w.watch(nil)
	if m.status("prod").Unfinished == 0 {
		m.t.Error("the promotion had ended before it was killed")
	}
	m.resume()
}

// TestTwoPromotionsAtOnce lets two operators promote at the same moment.
func TestTwoPromotionsAtOnce(t *testing.T) {
	m := newMachine(t, "2s")
	var commands []*exec.Cmd
	var outputs []*strings.Builder
	for range 2 {
		cmd, out := m.command(promoteProd...), &strings.Builder{}
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		commands, outputs = append(commands, cmd), append(outputs, out)
	}
	codes := map[int]int{}
	for i, cmd := range commands {
		_ = cmd.Wait()
		code := cmd.ProcessState.ExitCode()
		codes[code]++
		if code != 0 && !strings.Contains(outputs[i].String(), "held by") && !strings.Contains(outputs[i].String(), "being changed by") {
			t.Errorf("exit status %d, and no word of who holds the lease:\n%s", code, outputs[i])
		}
	}
	if codes[0] != 1 || codes[4] != 1 {
		t.Errorf("exit statuses %v: want one 0 and one that says who is at work", codes)
	}
	if s := m.status("prod"); s.Release != "v2" || s.Ready != 2 || s.Unfinished != 0 {
		t.Errorf("prod: %+v", s)
	}
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}
