package account

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"runtime"

	"golang.org/x/crypto/bcrypt"
)

const (
	minPassword = 8  // characters; NIST SP 800-63B, 5.1.1.2
	maxPassword = 72 // bytes; bcrypt hashes no more, and compares only the first 72 of what it is given
)

// passwords hashes and compares with bcrypt. A hash takes tens of milliseconds of one core, so at most half of the cores do
// nothing else: a burst of log-ins makes log-ins wait and leaves the rest of the service quick.
type passwords struct {
	cost    int
	slots   chan struct{}
	unknown []byte // hash of a random password, compared against when there is no user
}

func newPasswords(cost int, rand io.Reader) (*passwords, error) {
	var random [32]byte
	if _, err := io.ReadFull(rand, random[:]); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	unknown, err := bcrypt.GenerateFromPassword([]byte(base64.RawURLEncoding.EncodeToString(random[:])), cost)
	if err != nil {
		return nil, fmt.Errorf("hash with bcrypt at cost %d: %w", cost, err)
	}
	return &passwords{cost: cost, slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), unknown: unknown}, nil
}

// checkLength refuses a password that bcrypt would cut. It is the same at sign-up and at log-in: compared by its first 72
// bytes, a longer one would open the account of a shorter one.
func checkLength(field, password string) error {
	if len(password) > maxPassword {
		return &InvalidError{field, fmt.Sprintf("is longer than %d bytes", maxPassword)}
	}
	return nil
}

// hash makes what the table keeps of a password that checkPassword let through.
func (p *passwords) hash(ctx context.Context, password string) (string, error) {
	if err := p.enter(ctx); err != nil {
		return "", err
	}
	defer p.leave()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), p.cost)
	if err != nil {
		return "", fmt.Errorf("hash the password: %w", err)
	}
	return string(hash), nil
}

// compare says whether the password belongs to the hash. Without a hash (no such user) it works as long and says no.
func (p *passwords) compare(ctx context.Context, hash, password string) (bool, error) {
	if err := p.enter(ctx); err != nil {
		return false, err
	}
	defer p.leave()
	if hash == "" {
		_ = bcrypt.CompareHashAndPassword(p.unknown, []byte(password))
		return false, nil
	}
	err := bcrypt.CompareHashAndPassword([]byte(hash), []byte(password))
	if err != nil && !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		return false, fmt.Errorf("compare the password: %w", err)
	}
	for _, cost := range p.missing(hash) {
		if _, err := bcrypt.GenerateFromPassword([]byte(password), cost); err != nil {
			return false, fmt.Errorf("work as long as for a new hash: %w", err)
		}
	}
	return err == nil, nil
}

// missing are the costs that a hash of an older, lower cost lacks to the work of a new one, which an unknown user's log-in does. Each
// cost doubles the work: a hash of cost 8 and further ones of 8 and 9 are as much as one of 10.
func (p *passwords) missing(hash string) []int {
	old, err := bcrypt.Cost([]byte(hash))
	if err != nil {
		return nil
	}
	var costs []int
	for cost := old; cost < p.cost; cost++ {
		costs = append(costs, cost)
	}
	return costs
}

func (p *passwords) enter(ctx context.Context) error {
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait to hash a password: %w", context.Cause(ctx))
	}
}

func (p *passwords) leave() { <-p.slots }
