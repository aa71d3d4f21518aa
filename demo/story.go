package main

import (
	"maps"

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
	s.soak()
	s.assistctl("promote", "staging", "prod", "--yes", "--confirm=prod")
	s.runs("v1.0.0", "dev", "staging", "prod")

	s.chapter("Users arrive in prod: 200 requests a second until the end of the next two chapters")
	s.assistctl("backup", "create", "staging") // no promotion without a fresh backup
	s.assistctl("backup", "create", "prod")
	s.startTraffic("prod")

	s.chapter("v2 brings a migration and goes all the way under load")
	schema := s.schema("prod")
	s.assistctl("release", "create", "v2.0.0", "--binary", s.bin("v2.0.0"))
	s.assistctl("deploy", "dev", "v2.0.0", "--yes")
	s.assistctl("promote", "dev", "staging", "--yes")
	s.soak()
	promoted := s.assistctl("promote", "staging", "prod", "--yes", "--confirm=prod")
	s.note("promotion of v2", "%.1f s in prod: snapshot, migration, 3 replicas, 5 s of verification", promoted.Seconds())
	s.runs("v2.0.0", "dev", "staging", "prod")
	s.expect(s.schema("prod") > schema, "prod's schema went from %d to %d", schema, s.schema("prod"))
	s.trafficUnharmed("while v2 replaced v1 on all replicas")

	s.chapter("v3 is broken: one replica hides it, three do not")
	s.assistctl("release", "create", "v3.0.0", "--binary", s.bin("v3.0.0"))
	s.assistctl("deploy", "dev", "v3.0.0", "--yes")
	s.assistctl("promote", "dev", "staging", "--yes")
	s.soak()
	rolledBack := s.refused(exitRolledBack, "promote", "staging", "prod", "--yes", "--confirm=prod")
	s.note("rollback of v3", "%.1f s in prod from the command until v2 was back on all replicas", rolledBack.Seconds())
	s.runs("v3.0.0", "dev", "staging")
	s.runs("v2.0.0", "prod")
	s.assistctl("history", "prod")
	s.trafficUnharmed("while v3 came and was rolled back")
	s.stopTraffic()

	s.chapter("03:07, somebody dropped a table in prod")
	s.assistctl("backup", "create", "prod")
	before := s.count("prod")
	s.ok("prod holds %v", before)
	s.damage("prod", "DROP TABLE users CASCADE")
	damaged := s.count("prod")
	s.expect(!maps.Equal(before, damaged), "now it holds %v", damaged)
	s.assistctl("backup", "list", "prod")
	restored := s.assistctl("backup", "restore", "prod", "--yes", "--confirm=prod")
	after := s.count("prod")
	s.expect(maps.Equal(before, after), "after the restore it holds %v: every row of every table as before", after)
	s.runs("v2.0.0", "prod")
	s.note("restore", "prod was back %.1f s after the command, with %v", restored.Seconds(), after)
	s.assistctl("status")

	s.chapter("Home again")
	s.assistctl("local", "down")
}
