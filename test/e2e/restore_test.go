package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var restoreProd = []string{"backup", "restore", "prod", "--to", "latest", "--yes", "--confirm=prod"}

// users writes n users and returns how many there are then.
func (m *machine) users(n int) int {
	m.t.Helper()
	conn := m.database("prod")
	defer conn.Close(m.t.Context()) //nolint:errcheck // only the next statement matters
	for i := range n {
		_, err := conn.Exec(m.t.Context(), "insert into users (email, password_hash, created_at) values ($1, 'x', now())", fmt.Sprintf("u%d-%d@example.com", time.Now().UnixNano(), i))
		if err != nil {
			m.t.Fatal(err)
		}
	}
	return m.count()
}

func (m *machine) count() int {
	m.t.Helper()
	conn := m.database("prod")
	defer conn.Close(m.t.Context()) //nolint:errcheck // only read
	var n int
	if err := conn.QueryRow(m.t.Context(), "select count(*) from users").Scan(&n); err != nil {
		m.t.Fatal(err)
	}
	return n
}

// TestRestore damages prod in the ways that happen, brings it back, and lets PostgreSQL's own tools judge.
func TestRestore(t *testing.T) {
	m := newMachine(t, "1s")
	want := m.users(25)
	var good struct{ ID string } // not the latest: a restore is followed by a backup, which may see the next damage
	m.ask(&good, "backup", "create", "prod")
	m.must("backup", "verify", "prod", good.ID)
	restore := []string{"backup", "restore", "prod", "--to", good.ID, "--yes", "--confirm=prod"}

	t.Run("a table is gone", func(t *testing.T) {
		conn := m.database("prod")
		if _, err := conn.Exec(t.Context(), "drop table users cascade"); err != nil {
			t.Fatal(err)
		}
		m.must(restore...)
		m.isBack(t, want)
	})
	t.Run("the data directory is gone", func(t *testing.T) {
		cluster, err := filepath.EvalSymlinks(filepath.Join(m.dir, "data", "prod", "pg", "current"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"base", "global", "pg_wal"} {
			eventually(t, name+" is gone, though the server goes on writing to it", func() bool { return os.RemoveAll(filepath.Join(cluster, name)) == nil })
		}
		// Its system identifier went with pg_control: the operator has to say that it is meant.
		r := m.run(restore...)
		if r.code != 0 {
			m.must(append(restore, "--onto-other-system")...)
		}
		m.isBack(t, want)
	})
	t.Run("the control data is cut short", func(t *testing.T) {
		var r result
		for range 5 { // the server writes the file anew at each checkpoint: the backup that follows a restore makes one
			if err := os.Truncate(filepath.Join(m.dir, "data", "prod", "pg", "current", "global", "pg_control"), 100); err != nil {
				t.Fatal(err)
			}
			if r = m.run(append(restore, "--plan")...); r.code != 0 {
				break
			}
		}
		if r.code != 3 || !strings.Contains(r.errOut, "--onto-other-system") {
			t.Errorf("exit status %d\n%s", r.code, r.errOut)
		}
		m.must(append(restore, "--onto-other-system")...)
		m.isBack(t, want)
	})
	t.Run("earlier schema is brought forward", func(t *testing.T) {
		m.promote() // takes a snapshot of v1's schema first
		var backups []struct{ ID, Kind string }
		m.ask(&backups, "backup", "list", "prod")
		snapshot := ""
		for _, b := range backups {
			if b.Kind == "pre-deploy" && snapshot == "" {
				snapshot = b.ID
			}
		}
		m.must("backup", "restore", "prod", "--to", snapshot, "--yes", "--confirm=prod")
		m.isBack(t, want)
		if s := m.status("prod"); s.Release != "v2" {
			t.Errorf("prod: %+v", s)
		}
	})
}

// isBack checks that prod serves again with its rows, and that pg_amcheck finds nothing.
func (m *machine) isBack(t *testing.T, rows int) {
	t.Helper()
	if s := m.status("prod"); s.Ready != s.Want || s.Want == 0 {
		t.Errorf("prod: %+v", s)
	}
	if got := m.count(); got != rows {
		t.Errorf("%d users, want %d", got, rows)
	}
	superuser, err := os.ReadFile(filepath.Join(m.dir, "data", "prod", "secrets", "postgres-superuser"))
	if err != nil {
		t.Fatal(err)
	}
	conn := m.database("prod")
	defer conn.Close(t.Context()) //nolint:errcheck // only its address is of interest
	c := conn.Config()
	check := exec.Command(serverProgram(t, "pg_amcheck"), "--install-missing", "--heapallindexed", "--host", c.Host, "--port", fmt.Sprint(c.Port), "--username", "postgres", "assistant")
	check.Env = append(os.Environ(), "PGPASSWORD="+strings.TrimSpace(string(superuser)))
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("pg_amcheck: %v\n%s", err, out)
	}
}

// serverProgram finds one of PostgreSQL's programs beside its server.
func serverProgram(t *testing.T, name string) string {
	t.Helper()
	if found, err := exec.LookPath(name); err == nil {
		return found
	}
	all, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(all) == 0 {
		t.Fatalf("%s is not installed", name)
	}
	return all[len(all)-1]
}

// TestRestoreKilled kills a restore at each of its steps and resumes it.
func TestRestoreKilled(t *testing.T) {
	m := newMachine(t, "1s")
	want := m.users(10)
	var good struct{ ID string } // not the latest: a restore is followed by a backup, which may see the next damage
	m.ask(&good, "backup", "create", "prod")
	restore := []string{"backup", "restore", "prod", "--to", good.ID, "--yes", "--confirm=prod"}
	w := newWire(t, m)
	w.watch(nil)
	m.must(restore...)
	entries := w.count()
	for n := 1; n <= entries; n++ {
		conn := m.database("prod")
		if _, err := conn.Exec(t.Context(), "truncate users cascade"); err != nil {
			t.Fatal(err)
		}
		conn.Close(t.Context()) //nolint:errcheck // the server goes away anyway
		m.killedAt(w, n, restore...)
		if m.status("prod").Unfinished != 0 {
			m.must("backup", "restore", "prod", "--resume")
		}
		if got := m.count(); got != want {
			t.Errorf("killed after entry %d of %d: %d users, want %d", n, entries, got, want)
		}
		if s := m.status("prod"); s.Ready != s.Want || s.Unfinished != 0 {
			t.Errorf("killed after entry %d: %+v", n, s)
		}
	}
}

// TestRefusals tries what must not work, and sees that nothing was touched.
func TestRefusals(t *testing.T) {
	m := newMachine(t, "1s")
	before := m.users(3)
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"a gate says no":            {[]string{"promote", "staging", "prod", "--yes", "--confirm=prod", "--set", "environments.prod.gates.soak=100h"}, 3, "soak"},
		"without a terminal":        {[]string{"promote", "staging", "prod"}, 2, "--confirm=prod"},
		"another name":              {[]string{"promote", "staging", "prod", "--yes", "--confirm=staging"}, 2, "prod"},
		"not the next":              {[]string{"promote", "prod", "staging"}, 2, "staging → prod"},
		"a release past the order":  {[]string{"deploy", "prod", "v2"}, 3, "promote staging prod"},
		"a release that is not":     {[]string{"deploy", "staging", "v9"}, 5, "release list"},
		"a backup that is not":      {[]string{"backup", "restore", "prod", "--to", "b-20200101-000000", "--yes", "--confirm=prod"}, 5, "backup list"},
		"a version with other code": {[]string{"release", "create", "v1", "--binary", filepath.Join(binaries, "v2")}, 3, "v1"},
	} {
		r := m.run(c.args...)
		if r.code != c.code || !strings.Contains(r.errOut, c.says) {
			t.Errorf("%s: exit status %d, want %d and %q\n%s", name, r.code, c.code, c.says, r.errOut)
		}
	}
	other := append(m.env, "XDG_CONFIG_HOME="+filepath.Join(m.dir, "stranger"))
	mine := m.env
	m.env = other
	if r := m.run(restoreProd...); r.code != 6 {
		t.Errorf("under another key: exit status %d\n%s", r.code, r.errOut)
	}
	m.env = mine
	if got := m.count(); got != before {
		t.Errorf("%d users, were %d", got, before)
	}
	if s := m.status("prod"); s.Release != "v1" || s.Ready != s.Want || s.Unfinished != 0 {
		t.Errorf("prod: %+v", s)
	}
}
