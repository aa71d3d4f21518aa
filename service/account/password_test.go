package account

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// TestUnknownUserCostsAsMuch: what is compared for an unknown user is a bcrypt hash of the same cost as everybody's, so that
// the answer takes as long.
func TestUnknownUserCostsAsMuch(t *testing.T) {
	p, err := newPasswords(5, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	hash, err := p.hash(t.Context(), "some password")
	if err != nil {
		t.Fatal(err)
	}
	known, err := bcrypt.Cost([]byte(hash))
	if err != nil {
		t.Fatal(err)
	}
	if unknown, err := bcrypt.Cost(p.unknown); err != nil || unknown != known {
		t.Errorf("cost %d for unknown users (%v), %d for known ones", unknown, err, known)
	}
	if match, err := p.compare(t.Context(), "", ""); err != nil || match {
		t.Errorf("nobody logs in: %v %v", match, err)
	}
}

func TestHashingWaitsItsTurn(t *testing.T) {
	p, err := newPasswords(4, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for range cap(p.slots) {
		if err := p.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.compare(ctx, "", "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("a client that left is waited for: %v", err)
	}
	p.leave()
	if _, err := p.compare(t.Context(), "", "x"); err != nil {
		t.Error(err)
	}
}

// TestOlderHashCostsAsMuch: a hash from before the cost was raised, and what is done beside it, are the work of a hash of today. The work
// of a cost is two to its power.
func TestOlderHashCostsAsMuch(t *testing.T) {
	p, err := newPasswords(6, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for cost := 4; cost <= 7; cost++ {
		hash, err := bcrypt.GenerateFromPassword([]byte("some password"), cost)
		if err != nil {
			t.Fatal(err)
		}
		work := 1 << cost
		for _, extra := range p.missing(string(hash)) {
			work += 1 << extra
		}
		if want := 1 << max(cost, p.cost); work != want {
			t.Errorf("cost %d: work %d, want %d", cost, work, want)
		}
		for password, want := range map[string]bool{"some password": true, "another": false} {
			if match, err := p.compare(t.Context(), string(hash), password); err != nil || match != want {
				t.Errorf("cost %d, %q: %v %v", cost, password, match, err)
			}
		}
	}
}
