package server

import (
	"github.com/smart-assistant/platform/service/account"
	"github.com/smart-assistant/platform/service/briefing"
	"github.com/smart-assistant/platform/service/encryption"
)

// newBriefings is apart because there are builds without it: the releases before briefings (test/builds).
func newBriefings(r *replica, p *parts) (*briefing.Service, error) {
	return briefing.New(briefing.Config{
		Pool: r.pool, Keyring: r.config.Keyring, Queue: p.queue, Mail: p.mail, Jobs: p.jobs, Upstream: p.upstream, Metrics: r.metrics,
		Log: r.config.Log, Now: r.config.Now, Caller: account.UserID,
	})
}

func sealedBriefings() []encryption.Column { return briefing.Sealed() }
