// Package schema is what a build of the service knows about its database: the embedded migrations, the head that they lead
// to, and how a database's own history compares with them.
//
// It owns the migration files, their headers and checksums, drift, readiness and the rules that the files keep. It changes
// no database: service/schema/migrator does. It depends on the standard library alone, so that a command which only talks
// about migrations links no driver.
//
// A migration file is named <five digits>_<name>.sql and is written for goose (https://pressly.github.io/goose/). It opens
// with a header of comment lines:
//
//	-- phase: expand | backfill | contract
//	-- drops-what-schema-before: N     (contract only: releases whose head is below N still need what it drops)
package schema

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

//go:embed migrations/*.sql
var files embed.FS

// The other parts' queries are compiled against these files.
//go:generate sqlc generate --file ../sqlc.yaml

// Phase says what a migration does to the release that runs before it.
type Phase string

const (
	Expand   Phase = "expand"   // only adds: the release before works on
	Backfill Phase = "backfill" // fills what an expand added; changes no structure
	Contract Phase = "contract" // takes away what only older releases still use
)

// Migration is one file of a build. Its JSON form is part of a release's manifest.
type Migration struct {
	Version int64  `json:"version"`
	Name    string `json:"name"`
	Phase   Phase  `json:"phase"`
	SHA256  string `json:"sha256"` // of the file's bytes, lower-case hex

	// Needs is the schema head that every release beside this migration must have at least; 0 unless it is a contract.
	Needs int64 `json:"needs,omitempty"`

	// Concurrent migrations run outside a transaction, so that a crash can leave part of them behind.
	Concurrent bool `json:"concurrent,omitempty"`

	File string `json:"-"`
	SQL  string `json:"-"`
}

// Set is the ordered list of migrations that a build carries.
type Set struct {
	list []Migration
	fsys fs.FS
}

// Embedded returns the migrations of this build.
func Embedded() (Set, error) {
	dir, err := fs.Sub(files, "migrations")
	if err != nil {
		return Set{}, fmt.Errorf("open the embedded migrations: %w", err)
	}
	return Load(dir)
}

var fileName = regexp.MustCompile(`^([0-9]{5})_([a-z0-9_]+)\.sql$`)

// Load reads every .sql file of a folder. A file whose name or header is not as the package describes is an error: a
// migration that is left out by a slip of its name would be noticed in production only.
func Load(dir fs.FS) (Set, error) {
	names, err := fs.Glob(dir, "*.sql")
	if err != nil {
		return Set{}, fmt.Errorf("list migrations: %w", err)
	}
	slices.Sort(names)
	set := Set{fsys: dir}
	for _, name := range names {
		text, err := fs.ReadFile(dir, name)
		if err != nil {
			return Set{}, fmt.Errorf("read migration %s: %w", name, err)
		}
		m, err := parse(name, text)
		if err != nil {
			return Set{}, fmt.Errorf("migration %s: %w", name, err)
		}
		if m.Version <= set.Head() {
			return Set{}, fmt.Errorf("migration %s: version %d is taken", name, m.Version)
		}
		set.list = append(set.list, m)
	}
	if len(set.list) == 0 {
		return Set{}, fmt.Errorf("no migrations found")
	}
	return set, nil
}

// Head is the version that the database has when every migration of the set is applied; 0 for the empty set.
func (s Set) Head() int64 {
	if len(s.list) == 0 {
		return 0
	}
	return s.list[len(s.list)-1].Version
}

// Migrations returns the set in ascending order of version.
func (s Set) Migrations() []Migration { return slices.Clone(s.list) }

// Files is the folder that the set was read from.
func (s Set) Files() fs.FS { return s.fsys }

// Get finds a migration by its version.
func (s Set) Get(version int64) (Migration, bool) {
	i, found := slices.BinarySearchFunc(s.list, version, func(m Migration, v int64) int { return int(m.Version - v) })
	if !found {
		return Migration{}, false
	}
	return s.list[i], true
}

func parse(name string, text []byte) (Migration, error) {
	parts := fileName.FindStringSubmatch(name)
	if parts == nil {
		return Migration{}, fmt.Errorf("the name is not <five digits>_<name>.sql")
	}
	version, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil || version == 0 {
		return Migration{}, fmt.Errorf("version %q: want a number above 0", parts[1])
	}
	sum := sha256.Sum256(text)
	m := Migration{Version: version, Name: parts[2], SHA256: hex.EncodeToString(sum[:]), File: name, SQL: string(text)}
	if err := m.readHeader(); err != nil {
		return Migration{}, err
	}
	up, down := sections(m.SQL)
	for line := range strings.Lines(up + down) {
		if note := annotation(line); strings.HasPrefix(note, "NO TRANSACTION") || strings.HasPrefix(note, "ENVSUB") {
			return Migration{}, fmt.Errorf("-- +goose %s: NO TRANSACTION stands above -- +goose Up, and ENVSUB is not used", note)
		}
	}
	return m, nil
}

// readHeader takes phase and needs from the comment lines above goose's first annotation that starts a direction.
func (m *Migration) readHeader() error {
	for line := range strings.Lines(m.SQL) {
		line = strings.TrimSpace(line)
		comment, isComment := strings.CutPrefix(line, "--")
		if line != "" && !isComment {
			return fmt.Errorf("SQL stands above -- +goose Up")
		}
		key, value, found := strings.Cut(strings.TrimSpace(comment), ":")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		switch {
		case key == "+goose Up":
			return m.checkHeader()
		case key == "+goose NO TRANSACTION":
			m.Concurrent = true
		case found && key == "phase":
			m.Phase = Phase(value)
		case found && key == "drops-what-schema-before":
			needs, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return fmt.Errorf("drops-what-schema-before: %q is no version", value)
			}
			m.Needs = needs
		}
	}
	return fmt.Errorf("has no -- +goose Up")
}

func (m *Migration) checkHeader() error {
	switch m.Phase {
	case Expand, Backfill:
		if m.Needs != 0 {
			return fmt.Errorf("drops-what-schema-before belongs to a contract, this is %s", m.Phase)
		}
	case Contract:
		if m.Needs < 1 || m.Needs > m.Version {
			return fmt.Errorf("a contract says -- drops-what-schema-before: N with N from 1 to %d", m.Version)
		}
	case "":
		return fmt.Errorf("the header has no -- phase: expand, backfill or contract")
	default:
		return fmt.Errorf("phase %q: want expand, backfill or contract", m.Phase)
	}
	return nil
}

// Manifest is what a build says of its schema, and what a release's manifest keeps of it.
type Manifest struct {
	Head       int64       `json:"head"`
	Migrations []Migration `json:"migrations"`
}

// Manifest describes the set.
func (s Set) Manifest() Manifest { return Manifest{Head: s.Head(), Migrations: s.Migrations()} }
