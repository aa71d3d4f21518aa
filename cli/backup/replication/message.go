package replication

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
)

// The CopyData messages of BASE_BACKUP, by their first byte.
const (
	archiveMessage  = 'n' // a new archive begins: its name, then the tablespace's path or nothing, each ended by a zero byte
	manifestMessage = 'm' // the backup manifest begins
	dataMessage     = 'd' // more of the archive or the manifest
	progressMessage = 'p' // bytes of all archives so far, before compression, as an Int64
)

// message is one CopyData message. Data is valid until the next one is received.
type message struct {
	kind     byte
	name     string // of an archive
	location string // of a tablespace's archive
	data     []byte
	done     int64
}

func parseMessage(copyData []byte) (message, error) {
	if len(copyData) == 0 {
		return message{}, errors.New("empty message")
	}
	m, rest := message{kind: copyData[0]}, copyData[1:]
	switch m.kind {
	case archiveMessage:
		name, after, ok := bytes.Cut(rest, []byte{0})
		location, end, ok2 := bytes.Cut(after, []byte{0})
		if !ok || !ok2 || len(name) == 0 || len(end) != 0 {
			return message{}, errors.New("malformed archive message")
		}
		m.name, m.location = string(name), string(location)
	case manifestMessage:
		if len(rest) != 0 {
			return message{}, errors.New("malformed manifest message")
		}
	case dataMessage:
		m.data = rest
	case progressMessage:
		if len(rest) != 8 {
			return message{}, errors.New("malformed progress message")
		}
		if m.done = int64(binary.BigEndian.Uint64(rest)); m.done < 0 {
			return message{}, errors.New("negative progress")
		}
	default:
		return message{}, fmt.Errorf("unknown message type %q", m.kind)
	}
	return m, nil
}

// parsePosition reads a row of the result sets before and after the archives: an LSN and a timeline.
func parsePosition(row [][]byte) (Position, error) {
	if len(row) != 2 {
		return Position{}, errors.New("a position has two columns")
	}
	lsn, err := ParseLSN(string(row[0]))
	if err != nil {
		return Position{}, err
	}
	timeline, err := strconv.ParseUint(string(row[1]), 10, 32)
	if err != nil || timeline == 0 {
		return Position{}, fmt.Errorf("%q is no timeline", row[1])
	}
	return Position{lsn, uint32(timeline)}, nil
}

// parseTablespace reads a row of the second result set: OID, location and size in KiB. All are null for the data directory,
// but for the size, which is null only when progress was not asked for.
func parseTablespace(row [][]byte) (Tablespace, error) {
	if len(row) != 3 {
		return Tablespace{}, errors.New("a tablespace has three columns")
	}
	var t Tablespace
	if row[0] != nil {
		oid, err := strconv.ParseUint(string(row[0]), 10, 32)
		if err != nil || oid == 0 {
			return Tablespace{}, fmt.Errorf("%q is no OID", row[0])
		}
		t.OID, t.Location = uint32(oid), string(row[1])
	}
	if row[2] != nil {
		size, err := strconv.ParseInt(string(row[2]), 10, 53)
		if err != nil || size < 0 {
			return Tablespace{}, fmt.Errorf("%q is no size", row[2])
		}
		t.Size = size << 10
	}
	return t, nil
}
