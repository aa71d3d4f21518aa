package ledger

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func FuzzParseEntry(f *testing.F) {
	whole := Entry{
		Seq: 3, Prev: hashOf(nil), Time: time.Date(2026, 11, 24, 9, 12, 0, 0, time.UTC), Environment: "prod", Actor: "anna@laptop", Fence: 2, Run: 1,
		Kind: KindPromotion, Step: "migrate", Phase: PhaseFailed, Nonce: "00", Data: json.RawMessage(`{"error":"x","interrupted":true}`),
	}
	raw, err := whole.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(int64(3), raw)
	f.Add(int64(4), raw)
	f.Add(int64(3), []byte(strings.Replace(string(raw), `"failed"`, `"end"`, 1)))
	f.Add(int64(3), []byte(strings.Replace(string(raw), `"data":`, `"data":null,"more":`, 1)))
	f.Add(int64(0), []byte("{}"))
	f.Add(int64(1), []byte(""))
	f.Fuzz(func(t *testing.T, seq int64, raw []byte) {
		e, err := parseEntry(keyOf(seq), raw)
		if err != nil {
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), keyOf(seq)) {
				t.Fatalf("error %v", err)
			}
			return
		}
		again, err := e.encode()
		if err != nil {
			return // indented data can grow past the limit when it is escaped
		}
		back, err := parseEntry(keyOf(seq), again)
		if err != nil {
			t.Fatalf("%s\nis written as %s\nwhich is %v", raw, again, err)
		}
		if third, err := back.encode(); err != nil || string(third) != string(again) {
			t.Fatalf("%s\nis written anew as %s, %v", again, third, err)
		}
		// Whatever an entry says, reading the runs ends with runs or with damage.
		if _, err := fold([]link{{entry: e}}); err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatalf("fold: %v", err)
		}
		if _, err := fold([]link{{entry: Entry{Run: e.Run, Kind: e.Kind, Phase: PhaseBegin}}, {entry: e}, {entry: e}}); err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatalf("fold: %v", err)
		}
	})
}

func FuzzSeqOf(f *testing.F) {
	for _, key := range []string{"ledger/000000000001.json", "ledger/1.json", "ledger/+00000000001.json", "ledger/ 00000000001.json", "ledger/0000000000001.json", "ledger/000000000001.json/x", "ledger/"} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		seq, ok := seqOf(key)
		if ok && (keyOf(seq) != key || seq < 1 || len(key) != len("ledger/000000000001.json")) {
			t.Fatalf("%q is entry %d", key, seq)
		}
	})
}

func FuzzParseLease(f *testing.F) {
	whole, err := json.Marshal(record{
		Environment: "prod", Fence: 3, Nonce: "00", Renewals: 4, TTL: 30_000, Actor: "anna@laptop", Host: "laptop",
		Process: process{Machine: "b 4026531836", PID: 7, Started: "11"}, Purpose: "promote v2", Since: time.Date(2026, 11, 24, 9, 12, 0, 0, time.UTC),
		Head: seal{Seq: 1, Hash: hashOf(nil)},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte("null"))
	f.Add([]byte(strings.Replace(string(whole), `"ttl_ms":30000`, `"ttl_ms":9223372036854775807`, 1)))
	f.Add([]byte(strings.Replace(string(whole), `"pid":7`, `"pid":-1`, 1)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := parseLease(raw)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if r.ttl() < minTTL || r.ttl() > maxTTL || r.Fence < 1 || r.Process.PID < 1 {
			t.Fatalf("lease %+v", r)
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := parseLease(again); err != nil || !reflect.DeepEqual(back, r) {
			t.Fatalf("%+v is written as %s, which is %+v, %v", r, again, back, err)
		}
	})
}
