package server

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"github.com/smart-assistant/platform/service/encryption"
)

// TestRewrapHasTurns: a job of re-wrapping ends in time, so that one whose replica was killed is not taken for one that runs, and goes on later.
func TestRewrapHasTurns(t *testing.T) {
	keyring, err := encryption.Parse([]byte(base64.StdEncoding.EncodeToString(make([]byte, 32))), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.New(t.Context(), "postgres://127.0.0.1:1/nowhere")
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	w := &rewrapper{pool: pool, keyring: keyring}
	if turn := w.Timeout(nil); turn <= 0 || turn > time.Hour {
		t.Errorf("a turn takes %v", turn)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	var again *river.JobSnoozeError
	if err := w.Work(ctx, nil); !errors.As(err, &again) {
		t.Errorf("at the end of a turn: %v", err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := w.Work(stopped, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("when the replica stops: %v", err)
	}
}
