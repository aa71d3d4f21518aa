package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/test/load"
)

// status is what the demo reads of `assistctl status --json`, for each environment.
type status struct {
	Environment string `json:"environment"`
	URL         string `json:"url"`
	Release     string `json:"release"` // that the ledger says
	Runs        string `json:"runs"`    // that the replicas run, when it is another
	Schema      int64  `json:"schema"`
	Want        int    `json:"want"`
	Ready       int    `json:"ready"`
}

// status asks what an environment says of itself.
func (s *stage) status(environment string) status {
	var all []status
	s.ask(&all, "status")
	i := slices.IndexFunc(all, func(st status) bool { return st.Environment == environment })
	if i < 0 {
		s.fail("assistctl status does not know %s", environment)
	}
	return all[i]
}

// runs checks that the environments run the release on all their replicas.
func (s *stage) runs(version string, environments ...string) {
	for _, environment := range environments {
		st := s.status(environment)
		s.expect(st.Release == version && st.Runs == "" && st.Want > 0 && st.Ready == st.Want,
			"%s runs %s on %d of %d replicas, schema %d", environment, st.Release, st.Ready, st.Want, st.Schema)
	}
}

// schema is the newest migration that the environment's database has.
func (s *stage) schema(environment string) int64 { return s.status(environment).Schema }

// contents are the tables of a database, each with its number of rows and a digest of them all.
type contents map[string]table

type table struct {
	rows   int64
	digest string
}

// String names the tables that the service writes to all the time, and sums up the rest.
func (c contents) String() string {
	var rows int64
	for _, t := range c {
		rows += t.rows
	}
	users := "no table of users"
	if t, ok := c["users"]; ok {
		users = fmt.Sprintf("%d users (%.8s)", t.rows, t.digest)
	}
	return fmt.Sprintf("%d tables, %d rows, %s", len(c), rows, users)
}

// count reads every table of the environment's database.
func (s *stage) count(environment string) contents {
	found := contents{}
	s.query(environment, func(db *pgx.Conn) error {
		// The tables of background work change all the time: who leads, what is done.
		names, err := db.Query(s.ctx, `SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE 'river\_%'`)
		if err != nil {
			return err
		}
		tables, err := pgx.CollectRows(names, pgx.RowTo[string])
		if err != nil {
			return err
		}
		for _, name := range tables {
			var t table
			err := db.QueryRow(s.ctx, `SELECT count(*), md5(coalesce(string_agg(t::text, E'\n' ORDER BY t::text), '')) FROM `+
				pgx.Identifier{name}.Sanitize()+` t`).Scan(&t.rows, &t.digest)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			found[name] = t
		}
		return nil
	})
	return found
}

// damage does to the environment's database what nobody should.
func (s *stage) damage(environment, sql string) {
	s.say("in " + environment + "'s database: " + sql)
	s.query(environment, func(db *pgx.Conn) error {
		_, err := db.Exec(s.ctx, sql)
		return err
	})
}

// query connects to the environment's database as the service does.
func (s *stage) query(environment string, do func(*pgx.Conn) error) {
	url, err := os.ReadFile(filepath.Join(s.path("data"), environment, "secrets", "database-url"))
	s.must(err, "find the database of "+environment)
	db, err := pgx.Connect(s.ctx, strings.TrimSpace(string(url)))
	s.must(err, "connect to the database of "+environment)
	defer db.Close(context.WithoutCancel(s.ctx))
	s.must(do(db), "ask the database of "+environment)
}

// users is how many accounts the traffic makes: each costs a registration and a log-in, with real bcrypt.
const users = 10

// startTraffic lets users arrive at an environment's entrance, at a constant rate, until stopTraffic.
func (s *stage) startTraffic(environment string) {
	url := s.status(environment).URL
	runner, err := load.Start(s.ctx, load.Options{URL: url, Rate: 200, Users: users})
	s.must(err, "start the traffic")
	s.load = runner
	s.ok("%d users registered and logged in; 200 requests/s to %s", users, url)
}

// trafficUnharmed checks that no request failed so far, and tells what was sent since it was last asked.
func (s *stage) trafficUnharmed(when string) {
	now := s.load.Report()
	sent := now.Sent - s.reported.Sent
	s.expect(sent > 0 && now.Failed == 0, "%d requests %s, %d failed", sent, when, now.Failed-s.reported.Failed)
	s.reported = now
}

// stopTraffic waits for the last answers and keeps the figures for the summary.
func (s *stage) stopTraffic() {
	report := s.load.Stop()
	s.expect(report.Failed == 0, "all in all: %v", report)
	s.note("traffic", "%d requests in %.0f s, %d failed, p95 %.0f ms, longest gap %.0f ms",
		report.Sent, report.Seconds, report.Failed, report.P95, report.LongestGap)
}
