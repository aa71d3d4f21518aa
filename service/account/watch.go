package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	heartbeat = time.Second // of the listener; well below listenerPatience
	reconnect = time.Second
)

// Watch listens for ended sessions and new keys until ctx ends. While it is not connected, each request asks the database instead.
func (s *Service) Watch(ctx context.Context) {
	for ctx.Err() == nil {
		err := s.listen(ctx)
		s.revoked.listening(time.Time{})
		if ctx.Err() != nil {
			return
		}
		s.config.Log.WarnContext(ctx, "not listening for ended sessions: each request asks the database", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(reconnect):
		}
	}
}

// listen uses a connection of its own: the pool's are for requests.
func (s *Service) listen(ctx context.Context) error {
	config := s.config.Pool.Config().ConnConfig
	config.Tracer = nil // a heartbeat is no news
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "LISTEN assistd_revoked; LISTEN assistd_keys"); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	// What was committed before is read now, what is committed later is heard: nothing falls in between.
	if err := s.recall(ctx); err != nil {
		return err
	}
	if err := s.reloadKeys(ctx, s.db); err != nil {
		return err
	}
	for reload := s.config.Now().Add(reloadInterval); ; {
		s.revoked.listening(s.config.Now())
		if err := s.hear(ctx, conn); err != nil {
			return err
		}
		if now := s.config.Now(); now.After(reload) {
			reload = now.Add(reloadInterval)
			s.revoked.prune(now.Add(-s.tokensEnd()))
			if err := s.reloadKeys(ctx, s.db); err != nil {
				return err
			}
		}
	}
}

// tokensEnd is how long an ended session's access tokens may be about, whatever the replicas' clocks.
func (s *Service) tokensEnd() time.Duration { return s.config.AccessLifetime + time.Minute }

// recall reads what ended of late.
func (s *Service) recall(ctx context.Context) error {
	rows, err := s.db.Revoked(ctx, s.config.Now().Add(-s.tokensEnd()))
	if err != nil {
		return fmt.Errorf("read revocations: %w", err)
	}
	for _, row := range rows {
		s.revoked.add(row.SessionID, row.At)
	}
	return nil
}

// hear waits for one notification for the time of a heartbeat. Nothing heard is no error where the connection still answers.
func (s *Service) hear(ctx context.Context, conn *pgx.Conn) error {
	waiting, cancel := context.WithTimeout(ctx, heartbeat)
	defer cancel()
	notification, err := conn.WaitForNotification(waiting)
	switch {
	case err == nil:
		return s.heard(ctx, notification)
	case ctx.Err() != nil || !errors.Is(waiting.Err(), context.DeadlineExceeded) || conn.IsClosed():
		return fmt.Errorf("wait for a notification: %w", err)
	}
	answer, cancel := context.WithTimeout(ctx, heartbeat)
	defer cancel()
	if err := conn.Ping(answer); err != nil {
		return fmt.Errorf("the listening connection is dead: %w", err)
	}
	return nil
}

func (s *Service) heard(ctx context.Context, notification *pgconn.Notification) error {
	if notification.Channel == "assistd_keys" {
		return s.reloadKeys(ctx, s.db)
	}
	s.revoked.add(notification.Payload, s.config.Now())
	return nil
}
