package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// Kinds of entries and runs.
const (
	KindPromotion = "promotion"
	KindDeploy    = "deploy"
	KindRollback  = "rollback"
	KindRestore   = "restore"
	KindMigrate   = "migrate"
	KindApproval  = "approval"
	KindOverride  = "override"
	KindNote      = "note"
)

// Phases of a run's entries. Begin, Resume and End are about the run, the others about one of its steps.
const (
	PhaseBegin  = "begin"  // data: the plan
	PhaseResume = "resume" // no data
	PhaseStart  = "start"  // no data
	PhaseDone   = "done"   // data: the result
	PhaseFailed = "failed" // data: {"error", "interrupted"}
	PhaseEnd    = "end"    // data: {"outcome", "detail"}
)

// Entry is one object of the chain.
type Entry struct {
	Seq         int64           `json:"seq"`  // 1, 2, 3 …
	Prev        string          `json:"prev"` // hex SHA-256 of the exact bytes of the entry before; of nothing for the first
	Time        time.Time       `json:"time"` // by the writer's clock, UTC
	Environment string          `json:"environment"`
	Actor       string          `json:"actor"`
	Fence       int64           `json:"fence"` // in force; never falls along the chain
	Run         int             `json:"run,omitempty"`
	Kind        string          `json:"kind"`
	Step        string          `json:"step,omitempty"`
	Phase       string          `json:"phase,omitempty"`
	Nonce       string          `json:"nonce"` // tells an own write whose answer was lost from somebody else's
	Data        json.RawMessage `json:"data,omitempty"`
}

const (
	prefix   = "ledger/"
	maxEntry = 1 << 20 // bytes
	maxSeq   = 999_999_999_999
)

// keyOf is the object of an entry: ledger/000000000001.json.
func keyOf(seq int64) string { return fmt.Sprintf("%s%012d.json", prefix, seq) }

// seqOf is the inverse of keyOf.
func seqOf(key string) (int64, bool) {
	var seq int64
	if _, err := fmt.Sscanf(key, prefix+"%d.json", &seq); err != nil || seq < 1 || seq > maxSeq || keyOf(seq) != key {
		return 0, false
	}
	return seq, true
}

func hashOf(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// encode returns the entry's object: one line of JSON, so that the chain reads well in a terminal.
func (e Entry) encode() ([]byte, error) {
	raw, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode ledger entry %s %s: %w", e.Kind, e.Phase, err)
	}
	raw = append(raw, '\n')
	if len(raw) > maxEntry {
		return nil, fmt.Errorf("ledger entry %s %s is %d bytes long, more than %d", e.Kind, e.Phase, len(raw), maxEntry)
	}
	return raw, nil
}

// parseEntry reads the object under a key. Fields it does not know are left to newer builds.
func parseEntry(key string, raw []byte) (Entry, error) {
	bad := func(format string, args ...any) (Entry, error) {
		return Entry{}, fmt.Errorf("%s %s: %w", key, fmt.Sprintf(format, args...), ErrDamaged)
	}
	seq, ok := seqOf(key)
	if !ok {
		return bad("is not a name of an entry")
	}
	if len(raw) > maxEntry {
		return bad("is longer than %d bytes", maxEntry)
	}
	var e Entry
	if err := json.Unmarshal(raw, &e); err != nil {
		return bad("is not an entry: %v", err)
	}
	if prev, err := hex.DecodeString(e.Prev); err != nil || len(prev) != sha256.Size {
		return bad("has no hash of the entry before")
	}
	switch {
	case e.Seq != seq:
		return bad("holds entry %d", e.Seq)
	case e.Kind == "" || e.Actor == "" || e.Environment == "" || e.Nonce == "" || e.Time.IsZero() || e.Fence < 0 || e.Run < 0:
		return bad("lacks a kind, actor, environment, time or nonce, or has a negative number")
	}
	if bytes.Equal(e.Data, []byte("null")) {
		e.Data = nil
	}
	return e, nil
}
