package replication

import (
	"bytes"
	"strings"
	"testing"
)

// FuzzMessage feeds CopyData messages. What is accepted is one of the four types, and is written back as it was.
func FuzzMessage(f *testing.F) {
	for _, good := range []string{"nbase.tar\x00\x00", "n16384.tar.zst\x00/srv/space\x00", "m", "d", "dcontent", "p\x00\x00\x00\x00\x00\x01\x02\x03"} {
		if _, err := parseMessage([]byte(good)); err != nil {
			f.Fatalf("%q: %v", good, err)
		}
		f.Add([]byte(good))
	}
	for _, bad := range []string{"", "n", "n\x00\x00", "nbase.tar", "nbase.tar\x00", "nbase.tar\x00\x00x", "mx", "p", "p\xff\x00\x00\x00\x00\x00\x00\x00", "x"} {
		if m, err := parseMessage([]byte(bad)); err == nil {
			f.Fatalf("%q: %+v", bad, m)
		}
		f.Add([]byte(bad))
	}
	f.Fuzz(func(t *testing.T, copyData []byte) {
		m, err := parseMessage(copyData)
		if err != nil {
			return
		}
		again := []byte{m.kind}
		switch m.kind {
		case archiveMessage:
			again = append(again, m.name+"\x00"+m.location+"\x00"...)
		case dataMessage:
			again = append(again, m.data...)
		case progressMessage:
			again = append(again, copyData[1:]...)
			if m.done < 0 {
				t.Errorf("progress is %d", m.done)
			}
		}
		if !bytes.Equal(again, copyData) {
			t.Errorf("%q was read as %+v", copyData, m)
		}
	})
}

// FuzzRows feeds the result sets around the archives. A position that is accepted is written as it was read.
func FuzzRows(f *testing.F) {
	f.Add("0/2000028", "1", "16384", "/srv/space", "1024")
	f.Add("FFFFFFFF/FFFFFFFF", "4294967295", "", "", "0")
	f.Add("0/0/0", "-1", "4294967296", "x", "9007199254740993")
	f.Fuzz(func(t *testing.T, lsn, timeline, oid, location, size string) {
		if p, err := parsePosition([][]byte{[]byte(lsn), []byte(timeline)}); err == nil {
			if again, err := ParseLSN(p.LSN.String()); err != nil || again != p.LSN || p.Timeline == 0 {
				t.Errorf("%s %s was read as %+v", lsn, timeline, p)
			}
		}
		if s, err := parseTablespace([][]byte{[]byte(oid), []byte(location), []byte(size)}); err == nil {
			if s.OID == 0 || s.Location != location || s.Size < 0 {
				t.Errorf("%s %s %s was read as %+v", oid, location, size, s)
			}
		}
		if s, err := parseTablespace([][]byte{nil, nil, []byte(size)}); err == nil && (s.OID != 0 || s.Size < 0) {
			t.Errorf("the data directory was read as %+v", s)
		}
	})
}

func TestLSN(t *testing.T) {
	for text, want := range map[string]LSN{"0/0": 0, "16/B374D848": 0x16B374D848, "FFFFFFFF/FFFFFFFF": 1<<64 - 1} {
		if got, err := ParseLSN(text); err != nil || got != want || got.String() != text {
			t.Errorf("%s is %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "1", "/", "1/", "/1", "x/1", "1/100000000", "1/1/1", "-1/1"} {
		if got, err := ParseLSN(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func TestMajorVersion(t *testing.T) {
	for version, want := range map[string]int{"15.14": 15, "18beta1": 18, "9.6.24": 9, "17": 17, "": 0, "devel": 0} {
		if got := majorVersion(version); got != want {
			t.Errorf("%s is %d, want %d", version, got, want)
		}
	}
}

func TestCommandQuotes(t *testing.T) {
	got := command(Options{Label: "it's\x00 'here'", Compression: "zstd:level=1,workers=2"})
	for _, want := range []string{`LABEL 'it''s ''here''',`, `WAIT false`, `COMPRESSION 'zstd', COMPRESSION_DETAIL 'level=1,workers=2')`} {
		if !strings.Contains(got, want) {
			t.Errorf("command is %s, without %s", got, want)
		}
	}
}
