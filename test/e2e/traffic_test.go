package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/smart-assistant/platform/test/load"
)

// under measures what users see at prod's entrance while something happens.
func (m *machine) under(rate int, what func()) load.Report {
	m.t.Helper()
	runner, err := load.Start(m.t.Context(), load.Options{URL: m.status("prod").URL, Rate: rate})
	if err != nil {
		m.t.Fatal(err)
	}
	defer runner.Stop()
	eventually(m.t, "the load is under way", func() bool { return runner.Report().Sent > rate })
	what()
	time.Sleep(time.Second)
	return runner.Stop()
}

func noFailures(t *testing.T, r load.Report) {
	t.Helper()
	t.Logf("%+v", r)
	if r.Failed != 0 || r.Sent == 0 {
		t.Errorf("%d of %d requests failed: %v %v", r.Failed, r.Sent, r.Errors, r.Samples)
	}
}

// TestNoRequestFails promotes a good release, and then one that is caught and rolled back, under 250 requests a second.
func TestNoRequestFails(t *testing.T) {
	m := newMachine(t, "2s")
	noFailures(t, m.under(250, func() { m.promote() }))
	if s := m.status("prod"); s.Release != "v2" {
		t.Fatalf("prod runs %s", s.Release)
	}
	// v3 keeps profiles in each process's memory: the one replica of staging does not show it, the two of prod do.
	m.must("release", "create", "v3", "--binary", binaries+"/v3")
	m.must("deploy", "staging", "v3")
	noFailures(t, m.under(250, func() {
		r := m.run(promoteProd...)
		if r.code != 10 || !strings.Contains(r.errOut, "was rolled back: prod runs v2") {
			t.Errorf("exit status %d\n%s", r.code, r.errOut)
		}
	}))
	if s := m.status("prod"); s.Release != "v2" || s.Runs != "" || s.Ready != s.Want {
		t.Errorf("prod after the rollback: %+v", s)
	}
	// By hand, back to v1: the code goes, the schema stays.
	schema := m.status("prod").Schema
	noFailures(t, m.under(250, func() { m.must("rollback", "prod", "--to", "v1", "--yes", "--confirm=prod") }))
	if s := m.status("prod"); s.Release != "v1" || s.Schema != schema {
		t.Errorf("prod after the rollback by hand: %+v", s)
	}
}

// TestLateFailureIsCaught promotes a release that serves well at first: only watching it for a while shows.
func TestLateFailureIsCaught(t *testing.T) {
	m := newMachine(t, "8s")
	m.promote()
	m.must("release", "create", "v4", "--binary", binaries+"/v4")
	m.must("deploy", "staging", "v4")
	r := m.run(promoteProd...)
	if r.code != 10 || m.status("prod").Release != "v2" {
		t.Errorf("exit status %d, prod: %+v\n%s", r.code, m.status("prod"), r.errOut)
	}
}
