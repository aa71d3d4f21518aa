package schema_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/smart-assistant/platform/service/schema"
)

func TestEmbedded(t *testing.T) {
	set, err := schema.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	for _, finding := range set.Lint() {
		t.Error(finding)
	}
	list := set.Migrations()
	if set.Head() != list[len(list)-1].Version {
		t.Errorf("head is %d, the last migration %d", set.Head(), list[len(list)-1].Version)
	}
	for i, m := range list {
		if m.Version != int64(i+1) {
			t.Errorf("%s: version %d, want %d: versions have no gaps", m.File, m.Version, i+1)
		}
		if len(m.SHA256) != 64 {
			t.Errorf("%s: SHA-256 %q", m.File, m.SHA256)
		}
	}
}

const goodBody = "-- +goose Up\nSELECT 1;\n-- +goose Down\nSELECT 1;\n"

func TestLoad(t *testing.T) {
	set := load(t, map[string]string{
		"00002_second.sql": "-- phase: contract\n-- drops-what-schema-before: 1\n-- Words: with a colon.\n" + goodBody,
		"00001_first.sql":  "-- phase: expand\n-- +goose NO TRANSACTION\n" + goodBody,
	})
	list := set.Migrations()
	if len(list) != 2 || list[0].Name != "first" || list[1].Name != "second" {
		t.Fatalf("got %+v", list)
	}
	if !list[0].Concurrent || list[1].Concurrent {
		t.Error("only the first is concurrent")
	}
	if list[1].Phase != schema.Contract || list[1].Needs != 1 {
		t.Errorf("second: %+v", list[1])
	}
	if m, found := set.Get(2); !found || m.Name != "second" {
		t.Errorf("Get(2) = %+v, %v", m, found)
	}
	if _, found := set.Get(3); found {
		t.Error("found a migration that is not there")
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, test := range map[string]struct{ file, text, want string }{
		"no files":                 {"readme.md", "", "no migrations"},
		"short version":            {"0001_a.sql", "-- phase: expand\n" + goodBody, "five digits"},
		"version 0":                {"00000_a.sql", "-- phase: expand\n" + goodBody, "above 0"},
		"no phase":                 {"00001_a.sql", goodBody, "phase"},
		"unknown phase":            {"00001_a.sql", "-- phase: shrink\n" + goodBody, "shrink"},
		"no up":                    {"00001_a.sql", "-- phase: expand\nSELECT 1;\n", "above"},
		"only a header":            {"00001_a.sql", "-- phase: expand\n", "no -- +goose Up"},
		"contract without needs":   {"00001_a.sql", "-- phase: contract\n" + goodBody, "drops-what-schema-before"},
		"contract needs the later": {"00001_a.sql", "-- phase: contract\n-- drops-what-schema-before: 2\n" + goodBody, "from 1 to 1"},
		"expand with needs":        {"00001_a.sql", "-- phase: expand\n-- drops-what-schema-before: 1\n" + goodBody, "belongs to a contract"},
		"needs no number":          {"00001_a.sql", "-- phase: contract\n-- drops-what-schema-before: v1\n" + goodBody, "no version"},
		"no transaction below":     {"00001_a.sql", "-- phase: expand\n-- +goose Up\n-- +goose NO TRANSACTION\nSELECT 1;\n", "NO TRANSACTION"},
		"phase below":              {"00001_a.sql", "-- +goose Up\n-- phase: expand\nSELECT 1;\n", "phase"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := schema.Load(fstest.MapFS{test.file: {Data: []byte(test.text)}})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

func TestLint(t *testing.T) {
	for name, test := range map[string]struct {
		header string
		up     string
		want   string // a rule, or "" for none
	}{
		"create":                         {"expand", "CREATE TABLE t (a int); CREATE INDEX i ON t (a); CREATE UNIQUE INDEX u ON t (a);", ""},
		"create in a schema":             {"expand", "CREATE TABLE IF NOT EXISTS s.t (a int); CREATE INDEX i ON s.t (a);", ""},
		"add column":                     {"expand", "ALTER TABLE t ADD COLUMN a int;", ""},
		"add column with a default":      {"expand", "ALTER TABLE t ADD COLUMN a int NOT NULL DEFAULT 0;", ""},
		"words in strings and comments":  {"expand", "COMMENT ON TABLE t IS 'DROP TABLE t; it''s'; /* DROP /* TABLE */ t */ -- DROP\n SELECT $x$ DROP TABLE t $x$;", ""},
		"a column named like a keyword":  {"expand", `ALTER TABLE t ADD COLUMN "DROP" int;`, ""},
		"drop table":                     {"expand", "DROP TABLE t;", schema.Destructive},
		"drop, split by a comment":       {"expand", "drop/**/table t;", schema.Destructive},
		"drop column":                    {"expand", "ALTER TABLE t DROP COLUMN a;", schema.Destructive},
		"drop not null":                  {"expand", "ALTER TABLE t ALTER a DROP NOT NULL;", schema.Destructive},
		"rename column":                  {"expand", "ALTER TABLE t RENAME COLUMN a TO b;", schema.Destructive},
		"rename table":                   {"expand", "ALTER TABLE IF EXISTS ONLY t RENAME TO u;", schema.Destructive},
		"change type":                    {"expand", "ALTER TABLE t ALTER COLUMN a TYPE bigint;", schema.Destructive},
		"rename an enum's value":         {"expand", "ALTER TYPE e RENAME VALUE 'a' TO 'b';", schema.Destructive},
		"add an enum's value":            {"expand", "ALTER TYPE e ADD VALUE 'c';", ""},
		"truncate":                       {"expand", "TRUNCATE t;", schema.Destructive},
		"delete":                         {"expand", "DELETE FROM t;", schema.Destructive},
		"update":                         {"expand", "UPDATE t SET a = 1;", schema.Destructive},
		"replace a function":             {"expand", "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;", schema.Destructive},
		"a function that drops":          {"expand", "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ DROP TABLE t $$;", ""},
		"drop in a block":                {"expand", "DO $$ BEGIN DROP TABLE t; END $$;", schema.Destructive},
		"dynamic SQL in a block":         {"expand", "DO $$ BEGIN EXECUTE 'DR' || 'OP TABLE t'; END $$;", schema.Opaque},
		"dynamic SQL in a contract":      {"contract", "DO $$ BEGIN EXECUTE 'DR' || 'OP TABLE t'; END $$;", schema.Opaque},
		"drop in a contract":             {"contract", "DROP TABLE t; ALTER TABLE u DROP COLUMN a;", ""},
		"not null without a default":     {"expand", "ALTER TABLE t ADD COLUMN a int NOT NULL;", schema.Restrictive},
		"set not null":                   {"expand", "ALTER TABLE t ALTER a SET NOT NULL;", schema.Restrictive},
		"add constraint":                 {"expand", "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID;", schema.Restrictive},
		"constraint of the file's table": {"expand", "CREATE TABLE t (a int); ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0);", ""},
		"index on rows":                  {"expand", "CREATE INDEX i ON t (a);", schema.Blocking},
		"index on rows in a contract":    {"contract", "CREATE INDEX i ON t (a);", schema.Blocking},
		"concurrent index":               {"concurrent", "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a);", ""},
		"concurrent index, once only":    {"concurrent", "CREATE INDEX CONCURRENTLY i ON t (a);", schema.Unrepeating},
		"table outside a transaction":    {"concurrent", "CREATE TABLE IF NOT EXISTS t (a int);", schema.Unrepeating},
		"concurrent unique index":        {"concurrent", "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a);", schema.Restrictive},
		"backfill":                       {"backfill", "UPDATE t SET a = 1 WHERE a IS NULL;", ""},
		"backfill with structure":        {"backfill", "ALTER TABLE t ADD COLUMN a int;", schema.Structural},
		"nothing":                        {"expand", "-- nothing", schema.Oneway},
	} {
		t.Run(name, func(t *testing.T) {
			headers := map[string]string{
				"expand": "-- phase: expand\n", "backfill": "-- phase: backfill\n",
				"contract":   "-- phase: contract\n-- drops-what-schema-before: 1\n",
				"concurrent": "-- phase: expand\n-- +goose NO TRANSACTION\n",
			}
			down := "SELECT 1;"
			if test.header == "concurrent" {
				down = "DROP INDEX CONCURRENTLY IF EXISTS i;"
			}
			set := load(t, map[string]string{"00001_a.sql": headers[test.header] + "-- +goose Up\n" + test.up + "\n-- +goose Down\n" + down + "\n"})
			var rules []string
			for _, f := range set.Lint() {
				rules = append(rules, f.Rule)
			}
			if test.want == "" && len(rules) > 0 || test.want != "" && (len(rules) == 0 || rules[0] != test.want) {
				t.Errorf("found %v, want %q first: %v", rules, test.want, set.Lint())
			}
		})
	}
}

func TestIndexes(t *testing.T) {
	set := load(t, map[string]string{"00001_a.sql": `-- phase: expand
-- +goose NO TRANSACTION
-- +goose Up
CREATE INDEX CONCURRENTLY IF NOT EXISTS Plain ON t (a); -- CREATE INDEX CONCURRENTLY IF NOT EXISTS no ON t (a);
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS s."Quo""ted" ON t (a);
-- +goose Down
CREATE INDEX CONCURRENTLY IF NOT EXISTS down ON t (a);
`})
	got := set.Migrations()[0].Indexes()
	if len(got) != 2 || got[0] != "plain" || got[1] != `Quo"ted` {
		t.Errorf("got %q", got)
	}
}

// FuzzLint feeds the SQL reader with what no server would take: it must neither panic nor hang.
func FuzzLint(f *testing.F) {
	f.Add("CREATE TABLE t (a text DEFAULT 'x');")
	f.Add("DO $a$ BEGIN EXECUTE E'\\'' ; END $a$")
	f.Add(`/* /* */ "a""b" $1 $$ 'it''s'`)
	f.Add("ALTER TABLE IF EXISTS ONLY a.b.c DROP")
	f.Add("CREATE INDEX CONCURRENTLY IF NOT EXISTS")
	f.Fuzz(func(t *testing.T, sql string) {
		set, err := schema.Load(fstest.MapFS{"00001_a.sql": {Data: []byte("-- phase: expand\n-- +goose NO TRANSACTION\n-- +goose Up\n" + sql)}})
		if err != nil {
			return
		}
		m := set.Migrations()[0]
		_, _ = m.Lint(), m.Indexes()
	})
}

func load(t *testing.T, files map[string]string) schema.Set {
	t.Helper()
	dir := fstest.MapFS{}
	for name, text := range files {
		dir[name] = &fstest.MapFile{Data: []byte(text)}
	}
	set, err := schema.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return set
}
