package server

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/smart-assistant/platform/service/account"
	"github.com/smart-assistant/platform/service/chat"
	"github.com/smart-assistant/platform/service/mail/index"
	"github.com/smart-assistant/platform/service/ratelimit"
)

func (r *replica) chatConfig(p *parts) chat.Config {
	c := r.config
	config := chat.Config{
		Users: chat.FromAccounts(r.accounts), Mail: p.mail, Jobs: p.jobs, Upstream: p.upstream, Metrics: r.metrics,
		Log: c.Log, Now: c.Now, ConnectionKey: c.ChatKey, UserTokenKey: c.ChatUserKey,
		Once: r.repeats.Once,
		Allow: func(ctx context.Context, userID string) (time.Duration, bool) {
			d := r.limiter.Allow(ctx, ratelimit.Limit{Name: "user", Events: c.Access.PerUser, Period: time.Minute}, userID)
			return d.RetryAfter, d.Allowed
		},
	}
	config.EmbedModel, config.Embed = index.Model, r.embed
	if p.briefings != nil { // or the interface would hold a pointer to nothing
		config.Briefings = p.briefings
	}
	return config
}

// caller is who sent a request, whichever part let it in.
func caller(ctx context.Context) string { return cmp.Or(account.UserID(ctx), chat.UserID(ctx)) }

// embed makes vectors as the search of mail does. A text without a word has none there; here all such texts have the same one, since
// clients divide vectors by their length.
func (r *replica) embed(ctx context.Context, userID string, texts []string) ([][]float32, error) {
	key, err := r.accounts.IndexKey(ctx, r.pool, userID)
	if err != nil {
		return nil, err
	}
	x, err := index.New(key)
	if err != nil {
		return nil, fmt.Errorf("make embeddings: %w", err)
	}
	vectors := make([][]float32, len(texts))
	for i, text := range texts {
		if vectors[i] = x.Embed(text); !slices.ContainsFunc(vectors[i], func(v float32) bool { return v != 0 }) {
			vectors[i][0] = 1
		}
	}
	return vectors, nil
}
