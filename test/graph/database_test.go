package graph

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The probes' commands, run against a pg_isready that says each thing that it can say: 0 accepting, 1 rejecting (starting up, recovering),
// 2 no answer, 3 no attempt.
func TestProbesDoNotKillARecovery(t *testing.T) {
	for _, s := range NewView(graphOf(t, "prod")).StatefulSets {
		if s.Name != "postgres" {
			continue
		}
		c := s.Spec.Template.Spec.Containers[0]
		for status, want := range [][3]bool{{true, true, true}, {true, true, false}, {false, false, false}, {false, false, false}} {
			for i, command := range [][]string{c.StartupProbe.Exec.Command, c.LivenessProbe.Exec.Command, c.ReadinessProbe.Exec.Command} {
				name := []string{"startup", "liveness", "readiness"}[i]
				if got := succeeds(t, command, status); got != want[i] {
					t.Errorf("%s with pg_isready's status %d succeeds: %v, want %v", name, status, got, want[i])
				}
			}
		}
		return
	}
	t.Error("prod has no database")
}

func succeeds(t *testing.T, command []string, status int) bool {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "pg_isready"), fmt.Appendf(nil, "#!/bin/sh\nexit %d\n", status), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = []string{"PATH=" + dir + ":/bin:/usr/bin"}
	return cmd.Run() == nil
}
