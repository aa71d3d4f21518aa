package postgres

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// Control is the part of pg_control that backups and restores decide upon.
type Control struct {
	SystemIdentifier uint64
	State            string // "in production", "shut down", "in archive recovery" …, as pg_controldata says it
	TimeLineID       uint32
	CheckpointLSN    string // as PostgreSQL prints it, such as 0/1A2B3C8
	RedoLSN          string
	RedoWALFile      string
	MinRecoveryLSN   string // 0/0 when none
	WALSegmentBytes  int64
	Checksums        bool
}

// ReadControl reads a data directory's control file with pg_controldata; the server may run or not.
// A nil owner stands for ServerOwner.
func ReadControl(ctx context.Context, b Binaries, dataDir string, owner *Owner) (Control, error) {
	fail := func(err error) (Control, error) {
		return Control{}, fmt.Errorf("read pg_control of %s: %w", dataDir, err)
	}
	owner, err := orServerOwner(owner)
	if err != nil {
		return fail(err)
	}
	if err := owner.Reach(dataDir); err != nil {
		return fail(err)
	}
	cmd := owner.Command(ctx, b.Path("pg_controldata"), "-D", dataDir)
	out, err := cmd.Output()
	if err != nil {
		return fail(withOutput(err, nil))
	}
	c, err := parseControl(string(out))
	if err != nil {
		return fail(err)
	}
	return c, nil
}

func parseControl(out string) (Control, error) {
	fields := map[string]string{}
	for line := range strings.Lines(out) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			fields[name] = strings.TrimSpace(value)
		}
	}
	c := Control{
		State:          fields["Database cluster state"],
		CheckpointLSN:  fields["Latest checkpoint location"],
		RedoLSN:        fields["Latest checkpoint's REDO location"],
		RedoWALFile:    fields["Latest checkpoint's REDO WAL file"],
		MinRecoveryLSN: fields["Minimum recovery ending location"],
		Checksums:      fields["Data page checksum version"] != "0",
	}
	var err error
	if c.SystemIdentifier, err = strconv.ParseUint(fields["Database system identifier"], 10, 64); err != nil {
		return Control{}, fmt.Errorf("system identifier: %w", err)
	}
	timeline, err := strconv.ParseUint(fields["Latest checkpoint's TimeLineID"], 10, 32)
	if err != nil {
		return Control{}, fmt.Errorf("timeline: %w", err)
	}
	c.TimeLineID = uint32(timeline)
	if c.WALSegmentBytes, err = strconv.ParseInt(fields["Bytes per WAL segment"], 10, 64); err != nil {
		return Control{}, fmt.Errorf("WAL segment size: %w", err)
	}
	return c, nil
}
