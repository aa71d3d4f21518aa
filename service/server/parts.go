package server

import (
	"context"
	"errors"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-chi/chi/v5"

	"github.com/smart-assistant/platform/service/account"
	"github.com/smart-assistant/platform/service/briefing"
	"github.com/smart-assistant/platform/service/chat"
	"github.com/smart-assistant/platform/service/job"
	"github.com/smart-assistant/platform/service/mail"
	"github.com/smart-assistant/platform/service/mail/maildb"
	"github.com/smart-assistant/platform/service/signin"
	"github.com/smart-assistant/platform/service/upstream"
	"github.com/smart-assistant/platform/service/work"
)

// parts are the pieces of the service beside accounts.
type parts struct {
	queue     *work.Queue
	upstream  *upstream.Client
	mail      *mail.Service
	jobs      *job.Service
	briefings *briefing.Service // nil in a build without them
	signin    *signin.Service
	chat      *chat.Service
}

// assemble puts the parts together, each on those that it needs.
func (r *replica) assemble() error {
	c := r.config
	p := &parts{queue: work.New(work.Config{Pool: r.pool, Log: c.Log, Workers: c.QueueWorkers, Drain: c.DrainTimeout * 2 / 3})}
	var err error
	c.Upstream.Metrics = r.metrics
	if p.upstream, err = upstream.New(c.Upstream); err != nil {
		return err
	}
	if p.mail, err = mail.New(mail.Config{
		Pool: r.pool, Keyring: c.Keyring, Queue: p.queue, Outbound: c.Outbound, Upstream: p.upstream, Metrics: r.metrics,
		Log: c.Log, Now: c.Now, Caller: account.UserID, Record: r.accounts.Record, Sync: c.MailSync, Gmail: c.Gmail, GmailURL: c.GmailURL,
		IndexKey: func(ctx context.Context, db maildb.DBTX, userID string) ([]byte, error) {
			return r.accounts.IndexKey(ctx, db, userID)
		},
	}); err != nil {
		return err
	}
	if p.jobs, err = job.New(job.Config{
		Pool: r.pool, Keyring: c.Keyring, Queue: p.queue, Mail: p.mail, Outbound: c.Outbound, Metrics: r.metrics,
		Log: c.Log, Now: c.Now, Caller: account.UserID,
	}); err != nil {
		return err
	}
	p.mail.Observe(p.jobs)
	if p.briefings, err = newBriefings(r, p); err != nil {
		return err
	}
	if p.signin, err = signin.New(signin.Config{
		Pool: r.pool, Keyring: c.Keyring, Accounts: r.accounts, Mail: p.mail, Caller: account.UserID, Log: c.Log, Now: c.Now, Rand: c.Rand,
		Providers: c.Providers, PublicURL: c.PublicURL, ReturnTo: c.ReturnTo, Gmail: c.Gmail, GmailURL: c.GmailURL,
	}); err != nil {
		return err
	}
	if p.chat, err = chat.New(r.chatConfig(p)); err != nil {
		return err
	}
	r.accounts.AddExporter("identities", p.signin)
	r.accounts.AddExporter("mail", p.mail)
	r.accounts.AddExporter("jobs", p.jobs)
	if p.briefings != nil {
		r.accounts.AddExporter("briefings", p.briefings)
		r.accounts.AddEraser("briefings", p.briefings)
	}
	r.accounts.OnProof(p.signin.Proved)
	r.accounts.OnProof(p.mail.Proved)
	r.accounts.AddEraser("mail", p.mail)
	r.accounts.AddEraser("jobs", p.jobs)
	r.accounts.OnDelete(p.signin.Forget)
	r.accounts.Background(p.queue)
	addSweep(p.queue, r.accounts.Sweep, p.signin.Sweep, r.repeats.Sweep)
	addRewrap(p.queue, r.pool, c.Keyring)
	r.parts = p
	return errors.Join(p.queue.Build(), r.metrics.Register(p.queue.Collector()))
}

// routes adds everybody's routes.
func (p *parts) routes(router chi.Router, public, private huma.API) {
	p.mail.Routes(private)
	p.jobs.Routes(private)
	if p.briefings != nil {
		p.briefings.Routes(private)
	}
	p.signin.Routes(public, private)
	p.chat.Routes(router)
}
