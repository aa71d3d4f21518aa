package account

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/smart-assistant/platform/service/account/accountdb"
)

// noSession is no session's id: where all of a user's sessions end, none is left out.
const noSession = noUser

// listenerPatience is how old the listener's last sign of life may be. After that each request asks the database.
const listenerPatience = 2 * time.Second

// revocations are the sessions that ended while access tokens of theirs may still be about. The transaction that ends a session tells
// every replica (NOTIFY); current says whether this one can have heard.
type revocations struct {
	mu       sync.RWMutex
	sessions map[string]time.Time // when the session ended
	heard    time.Time            // the listener's last sign of life; zero while it is not connected
}

func newRevocations() *revocations { return &revocations{sessions: map[string]time.Time{}} }

func (r *revocations) current(now time.Time) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return !r.heard.IsZero() && now.Sub(r.heard) < listenerPatience
}

func (r *revocations) has(session string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, ended := r.sessions[session]
	return ended
}

func (r *revocations) add(session string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions[session] = at
}

// listening notes a sign of life; the zero time that there is no listener.
func (r *revocations) listening(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard = at
}

// prune drops what ended so long ago that its tokens have ended as well.
func (r *revocations) prune(before time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for session, at := range r.sessions {
		if at.Before(before) {
			delete(r.sessions, session)
		}
	}
}

// endSession ends one session of a user; false when there is none to end. After the transaction, forget is due.
func (s *Service) endSession(ctx context.Context, db *accountdb.Queries, userID, session, why string) (bool, error) {
	now := s.config.Now()
	revoke := accountdb.RevokeSessionParams{ID: session, UserID: userID, RevokedAt: &now}
	if why == "logout" || why == "reuse" {
		revoke.RevokeReason = &why
	} else {
		revoke.RevokeDetail = &why
	}
	n, err := db.RevokeSession(ctx, revoke)
	if err != nil {
		return false, fmt.Errorf("end session %s: %w", session, err)
	}
	if n == 0 {
		return false, nil
	}
	return true, s.tell(ctx, db, []string{session}, now)
}

// endSessions ends all sessions of a user, whose row is locked, but one, and returns which. After the transaction, forget is due.
func (s *Service) endSessions(ctx context.Context, db *accountdb.Queries, userID, but, why string) ([]string, error) {
	now := s.config.Now()
	ended, err := db.RevokeSessions(ctx, accountdb.RevokeSessionsParams{UserID: userID, RevokedAt: &now, RevokeDetail: why, But: but})
	if err != nil {
		return nil, fmt.Errorf("end the sessions of %s: %w", userID, err)
	}
	return ended, s.tell(ctx, db, ended, now)
}

// tell makes every replica hear of ended sessions when the transaction is committed.
func (s *Service) tell(ctx context.Context, db *accountdb.Queries, sessions []string, at time.Time) error {
	if len(sessions) == 0 {
		return nil
	}
	if err := db.Revoke(ctx, accountdb.RevokeParams{Sessions: sessions, At: at}); err != nil {
		return fmt.Errorf("write revocations: %w", err)
	}
	if err := db.TellRevoked(ctx, sessions); err != nil {
		return fmt.Errorf("tell of revocations: %w", err)
	}
	return nil
}

// forget makes this replica know at once what its own transaction has ended.
func (s *Service) forget(sessions []string) {
	for _, session := range sessions {
		s.revoked.add(session, s.config.Now())
	}
}
