package main

import (
	"time"

	"github.com/smart-assistant/platform/test/builds"
)

// story is the demo. Each step prints what it does and stops the story when what it expects does not hold.
func story(s *stage) {
	s.chapter("Three builds of the service")
	s.say("v1 does not know the newest migration yet; v3 keeps profiles in memory, which is wrong as soon as there are two replicas.")
	s.build("assistctl", "./cli/assistctl")
	s.release(builds.V1, "v1.0.0")
	s.release(builds.Current, "v2.0.0")
	s.release(builds.Stale, "v3.0.0")

	s.chapter("Three environments: dev, staging, prod")
	s.assistctl("local", "up")
	s.assistctl("status")

	s.chapter("v1 goes all the way")
	s.assistctl("release", "create", "v1.0.0", "--binary", s.bin("v1.0.0"))
	s.assistctl("deploy", "dev", "v1.0.0", "--yes")
	s.assistctl("promote", "dev", "staging", "--yes")
	s.assistctl("promote", "staging", "prod", "--yes", "--confirm=prod")
	s.runs("v1.0.0", "dev", "staging", "prod")

	s.chapter("Users arrive in prod: 200 requests a second until the end of the next two chapters")
	s.assistctl("backup", "create", "staging") // no promotion without a fresh backup
	s.assistctl("backup", "create", "prod")
	s.startTraffic("prod")

	s.chapter("v2 brings a migration and goes all the way under load")
	before := s.schema("prod")
	s.assistctl("release", "create", "v2.0.0", "--binary", s.bin("v2.0.0"))
	s.assistctl("deploy", "dev", "v2.0.0", "--yes")
	s.assistctl("promote", "dev", "staging", "--yes")
	s.assistctl("promote", "staging", "prod", "--yes", "--confirm=prod")
	s.runs("v2.0.0", "dev", "staging", "prod")
	s.expect(s.schema("prod") > before, "prod's schema went from %d to %d", before, s.schema("prod"))
	s.trafficUnharmed("while v2 replaced v1 on all replicas")

	s.chapter("v3 is broken: one replica hides it, three do not")
	s.assistctl("release", "create", "v3.0.0", "--binary", s.bin("v3.0.0"))
	s.assistctl("deploy", "dev", "v3.0.0", "--yes")
	s.assistctl("promote", "dev", "staging", "--yes")
	s.refused(exitRolledBack, "promote", "staging", "prod", "--yes", "--confirm=prod")
	s.runs("v3.0.0", "dev", "staging")
	s.runs("v2.0.0", "prod")
	s.assistctl("history", "prod")
	s.trafficUnharmed("while v3 came and was rolled back")
	s.stopTraffic()

	s.chapter("03:07, somebody dropped a table in prod")
	s.assistctl("backup", "create", "prod")
	rows := s.count("prod")
	s.damage("prod", "DROP TABLE users CASCADE")
	s.expect(s.count("prod").String() != rows.String(), "prod lost data: %v", s.count("prod"))
	s.assistctl("backup", "list", "prod")
	restore := s.assistctl("backup", "restore", "prod", "--yes", "--confirm=prod")
	after := s.count("prod")
	s.expect(after.String() == rows.String(), "every row is back: %v", after)
	s.runs("v2.0.0", "prod")
	s.note("restore of prod", "%.1f s from the command to ready replicas", restore.Round(100*time.Millisecond).Seconds())
	s.assistctl("status")

	s.chapter("Home again")
	s.assistctl("local", "down")
}
