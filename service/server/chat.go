package server

import (
	"context"
	"time"

	"github.com/smart-assistant/platform/service/chat"
	"github.com/smart-assistant/platform/service/ratelimit"
)

func (r *replica) chatConfig(p *parts) chat.Config {
	c := r.config
	config := chat.Config{
		Users: chat.FromAccounts(r.accounts), Mail: p.mail, Jobs: p.jobs, Upstream: p.upstream, Metrics: r.metrics,
		Log: c.Log, Now: c.Now, ConnectionKey: c.ChatKey, UserTokenKey: c.ChatUserKey,
		Allow: func(ctx context.Context, userID string) (time.Duration, bool) {
			d := r.limiter.Allow(ctx, ratelimit.Limit{Name: "user", Events: c.Access.PerUser, Period: time.Minute}, userID)
			return d.RetryAfter, d.Allowed
		},
	}
	if p.briefings != nil { // or the interface would hold a pointer to nothing
		config.Briefings = p.briefings
	}
	return config
}
