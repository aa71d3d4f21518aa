package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestUnfinished kills runs where their ends are hardest to tell, and puts an end to each with the verb that the next command names.
func TestUnfinished(t *testing.T) {
	m := newMachine(t, "1s")
	want := m.users(10)
	var good struct{ ID string }
	m.ask(&good, "backup", "create", "prod")
	restore := []string{"backup", "restore", "prod", "--to", good.ID, "--yes", "--confirm=prod"}

	t.Run("a restore after a promotion that died once it was rolled out", func(t *testing.T) {
		m.configure("1h", "") // it verifies until it is killed
		promotion := m.command(promoteProd...)
		if err := promotion.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "v2 is rolled out", func() bool { return m.status("prod").Runs == "v2" }) // other than the ledger says
		kill(promotion)
		m.configure("1s", "")
		m.must(restore...)
		m.isBack(t, want)
		if s := m.status("prod"); s.Release != "v1" || s.Runs != "" || s.Unfinished != 0 {
			t.Errorf("prod: %+v", s)
		}
	})
	w := newWire(t, m)
	t.Run("a migration", func(t *testing.T) {
		up := []string{"migrate", "up", "prod", "--release", "v2", "--yes", "--confirm=prod"}
		m.killedAt(w, 3, up...) // it began, its step started, its step is done
		if m.status("prod").Unfinished == 0 {
			t.Error("the migration had ended before it was killed")
		}
		m.must(up...)
		if s := m.status("prod"); s.Unfinished != 0 {
			t.Errorf("prod: %+v", s)
		}
	})
	t.Run("a restore that is abandoned while its scratch server runs", func(t *testing.T) {
		before := m.clusters()
		cmd := m.command(restore...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		pid := ""
		eventually(t, "a scratch server runs", func() bool {
			for _, dir := range m.clusters() {
				raw, err := os.ReadFile(filepath.Join(dir, "postmaster.pid"))
				if lines := strings.SplitN(string(raw), "\n", 2); err == nil && !slices.Contains(before, dir) && len(lines) == 2 {
					pid = lines[0]
					return true
				}
			}
			return false
		})
		kill(cmd)
		m.must("backup", "restore", "prod", "--abandon")
		if now := m.clusters(); !slices.Equal(now, before) {
			t.Errorf("clusters %v, were %v", now, before)
		}
		if cmdline, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline")); err == nil && len(cmdline) > 0 { // a zombie has none
			t.Errorf("the scratch server, process %s, still runs", pid)
		}
		m.isBack(t, want)
	})
	t.Run("a restore that is abandoned after the swap", func(t *testing.T) {
		m.users(1)
		m.killedAt(w, 9, restore...) // it began; fetch, recover, stop and swap have each started and are done
		if r := m.must("backup", "restore", "prod", "--abandon"); !strings.Contains(r.out, "runs on the restored data") {
			t.Errorf("it said %q", r.out)
		}
		m.isBack(t, want)
		if s := m.status("prod"); s.Release != "v1" || s.Runs != "" || s.Unfinished != 0 {
			t.Errorf("prod: %+v", s)
		}
	})
}

// clusters are the folders of prod's database clusters: the live one, those kept aside, and what a restore works on.
func (m *machine) clusters() []string {
	m.t.Helper()
	found, err := filepath.Glob(filepath.Join(m.dir, "data", "prod", "pg", "clusters", "*"))
	if err != nil {
		m.t.Fatal(err)
	}
	return found
}
