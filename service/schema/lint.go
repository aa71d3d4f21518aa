package schema

import (
	"fmt"
	"strings"
)

// Finding is a rule that a migration breaks.
type Finding struct {
	Version int64  `json:"version"`
	Name    string `json:"name"`
	Rule    string `json:"rule"`
	Detail  string `json:"detail"`
}

func (f Finding) String() string {
	return fmt.Sprintf("%d %s: %s: %s", f.Version, f.Name, f.Rule, f.Detail)
}

// The rules. Each protects a promise that is made elsewhere: that a release can be rolled back over an expanded schema,
// that a migration does not stop the service, that an interrupted run can simply be run again.
const (
	Destructive = "destructive" // takes away or changes what the release before may use, and is not a contract
	Restrictive = "restrictive" // makes a write fail that the release before may make, and is not a contract
	Blocking    = "blocking"    // keeps a table locked for as long as its rows are many
	Unrepeating = "unrepeating" // outside a transaction, and cannot be run again after a crash in the middle
	Structural  = "structural"  // a backfill that changes structure
	Opaque      = "opaque"      // runs SQL that cannot be read from the file
	Oneway      = "one-way"     // cannot be taken back
)

// Lint checks every migration of the set.
func (s Set) Lint() []Finding {
	findings := []Finding{}
	for _, m := range s.list {
		findings = append(findings, m.Lint()...)
	}
	return findings
}

// Lint reads the migration's SQL and says which rules it breaks. It errs on the side of refusing: who is sure that a
// statement is harmless writes a migration of the phase that it looks like.
func (m Migration) Lint() []Finding {
	l := linter{migration: m, made: map[string]bool{}}
	up, down := sections(m.SQL)
	upward, downward := statements(up), statements(down)
	if len(upward) == 0 {
		l.find(Oneway, "it has no upward statement")
	}
	if len(downward) == 0 {
		l.find(Oneway, "it has no downward statement")
	}
	for _, s := range upward {
		l.statement(s)
	}
	if m.Concurrent {
		for _, s := range append(upward, downward...) {
			l.concurrent(s)
		}
	}
	return l.findings
}

type linter struct {
	migration Migration
	made      map[string]bool // tables that this very migration makes: nobody uses them yet
	findings  []Finding
}

func (l *linter) find(rule, format string, args ...any) {
	l.findings = append(l.findings, Finding{l.migration.Version, l.migration.Name, rule, fmt.Sprintf(format, args...)})
}

func (l *linter) statement(s statement) {
	if l.migration.Phase == Backfill && !s.starts("UPDATE") && !s.starts("INSERT") && !s.starts("DELETE") && !s.starts("WITH") && !s.starts("SELECT") {
		l.find(Structural, "%s", excerpt(s))
	}
	if s.starts("DO") {
		l.block(s)
		return
	}
	if s.starts("CREATE") {
		l.create(s)
		return
	}
	if l.migration.Phase == Contract {
		return
	}
	if l.migration.Phase == Expand && (s.starts("DELETE") || s.starts("UPDATE")) {
		l.find(Destructive, "%s: rows are changed by a backfill", excerpt(s))
	}
	for _, word := range []string{"DROP", "TRUNCATE", "REVOKE"} {
		if s.starts(word) {
			l.find(Destructive, "%s", excerpt(s))
		}
	}
	if s.starts("ALTER") {
		l.alter(s)
	}
}

// block judges the code of a DO block by its words, since it is not parsed as statements of a file.
func (l *linter) block(s statement) {
	for _, body := range s.bodies {
		for _, inner := range statements(body) {
			if inner.has("EXECUTE") {
				l.find(Opaque, "%s: a DO block that builds SQL from text", excerpt(s))
			}
			for _, word := range []string{"DROP", "TRUNCATE", "REVOKE", "RENAME", "ALTER", "DELETE"} {
				if inner.has(word) && l.migration.Phase != Contract {
					l.find(Destructive, "%s in a DO block", word)
				}
			}
		}
	}
}

func (l *linter) create(s statement) {
	if s.has("OR", "REPLACE") && l.migration.Phase != Contract {
		l.find(Destructive, "%s: what it replaces may be in use", excerpt(s))
	}
	if at := s.find(0, "TABLE"); at >= 0 && at <= 3 {
		at++
		if s.find(at, "IF", "NOT", "EXISTS") == at {
			at += 3
		}
		name := s.name(at)
		l.made[name] = true
		return
	}
	index := s.find(0, "INDEX")
	if index < 0 || index > 2 {
		return
	}
	on := s.find(index, "ON")
	if on < 0 {
		return
	}
	if s.find(on, "ON", "ONLY") == on {
		on++
	}
	table := s.name(on + 1)
	if l.made[table] {
		return
	}
	if s.find(index, "INDEX", "CONCURRENTLY") != index {
		l.find(Blocking, "%s: %s has rows; make the index CONCURRENTLY in a file with -- +goose NO TRANSACTION", excerpt(s), table)
	}
	if s.tokens[1] == "UNIQUE" && l.migration.Phase != Contract {
		l.find(Restrictive, "%s: rows that were fine before are refused", excerpt(s))
	}
}

func (l *linter) alter(s statement) {
	if s.starts("ALTER", "TABLE") {
		at := 2
		for s.find(at, "IF", "EXISTS") == at || s.find(at, "ONLY") == at {
			at++
			if s.tokens[at-1] == "IF" {
				at++
			}
		}
		if name := s.name(at); l.made[name] {
			return
		}
	}
	for _, word := range []string{"DROP", "RENAME", "TYPE"} {
		if at := s.find(2, word); at >= 0 && !(word == "TYPE" && s.starts("ALTER", "TYPE")) {
			l.find(Destructive, "%s", excerpt(s))
			return
		}
	}
	if s.has("SET", "SCHEMA") || s.has("OWNER", "TO") {
		l.find(Destructive, "%s", excerpt(s))
	}
	if s.starts("ALTER", "TYPE") && !s.has("ADD", "VALUE") {
		l.find(Destructive, "%s", excerpt(s))
	}
	if s.has("SET", "NOT", "NULL") || s.has("ADD", "CONSTRAINT") || s.has("ADD", "CHECK") || s.has("ADD", "UNIQUE") ||
		s.has("ADD", "FOREIGN") || s.has("ADD", "PRIMARY") {
		l.find(Restrictive, "%s: writes that were fine before are refused", excerpt(s))
	}
	if s.has("NOT", "NULL") && !s.has("SET", "NOT", "NULL") && !s.has("DEFAULT") {
		l.find(Restrictive, "%s: the release before does not fill the new column", excerpt(s))
	}
}

// concurrent allows outside a transaction only what can be run again after it was interrupted anywhere.
func (l *linter) concurrent(s statement) {
	made := s.has("INDEX", "CONCURRENTLY", "IF", "NOT", "EXISTS") && s.starts("CREATE")
	dropped := s.starts("DROP", "INDEX", "CONCURRENTLY", "IF", "EXISTS")
	valued := s.starts("ALTER", "TYPE") && s.has("ADD", "VALUE", "IF", "NOT", "EXISTS")
	if !made && !dropped && !valued {
		l.find(Unrepeating, "%s: without a transaction only CREATE INDEX CONCURRENTLY IF NOT EXISTS <name>, DROP INDEX CONCURRENTLY "+
			"IF EXISTS and ALTER TYPE … ADD VALUE IF NOT EXISTS can be run again", excerpt(s))
	}
}

func excerpt(s statement) string {
	text := strings.ReplaceAll(s.String(), " . ", ".")
	if runes := []rune(text); len(runes) > 80 {
		return string(runes[:79]) + "…"
	}
	return text
}
