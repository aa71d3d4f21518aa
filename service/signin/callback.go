package signin

import (
	"context"
	"net/http"

	"github.com/smart-assistant/platform/service/account"
)

// answer is what a provider sends the browser back with (RFC 6749, section 4.1.2; iss is RFC 9207's).
type answer struct {
	provider string
	state    string
	code     string
	err      string
	issuer   string
	browser  string // the browser's token
}

// arrival is how a flow ends: one of the first three, or a place to go.
type arrival struct {
	tokens   *account.Tokens
	identity *Identity
	mailbox  *Mailbox
	goTo     string
}

// body is the document that the flow ends with.
func (a arrival) body() any {
	switch {
	case a.tokens != nil:
		return a.tokens
	case a.identity != nil:
		return a.identity
	default:
		return a.mailbox
	}
}

// arrive ends a flow. A refusal of a flow that has a page to return to becomes a parameter of that page: whoever pressed Cancel at the
// provider is back where they came from.
func (s *Service) arrive(ctx context.Context, a answer) (arrival, error) {
	f, err := s.take(ctx, a.state, a.browser)
	if err != nil {
		return arrival{}, err
	}
	if f.provider != a.provider || f.purpose == purposeExchange {
		return arrival{}, errNoFlow
	}
	end, err := s.finish(ctx, a, f)
	if r := refused(err); r != nil && f.returnTo != "" {
		s.report(ctx, f.provider, r)
		return arrival{goTo: withQuery(f.returnTo, "error", r.code)}, nil
	}
	return end, err
}

func (s *Service) finish(ctx context.Context, a answer, f flow) (arrival, error) {
	if f.purpose == purposeConnect {
		if err := checkAnswer(a); err != nil {
			return arrival{}, err
		}
		mailbox, err := s.connect(ctx, a.code, f)
		return f.end(arrival{mailbox: &mailbox}, "connected"), err
	}
	p, known := s.providers[f.provider]
	if !known {
		return arrival{}, errNoProvider
	}
	if err := p.checkIssuer(ctx, a.issuer); err != nil {
		return arrival{}, err
	}
	if err := checkAnswer(a); err != nil {
		return arrival{}, err
	}
	person, err := p.redeem(ctx, a.code, f.secrets)
	if err != nil {
		return arrival{}, err
	}
	if f.purpose == purposeLink {
		identity, err := s.link(ctx, person, f)
		return f.end(arrival{identity: &identity}, "linked"), err
	}
	return s.logIn(ctx, person, f, a.browser)
}

// end is the arrival, or the page that it is told to.
func (f flow) end(a arrival, parameter string) arrival {
	if f.returnTo != "" {
		return arrival{goTo: withQuery(f.returnTo, parameter, f.provider)}
	}
	return a
}

// logIn opens a session, or sends the browser on with a code that is good for one: tokens do not stand in URLs, which logs and histories
// keep.
func (s *Service) logIn(ctx context.Context, p person, f flow, browser string) (arrival, error) {
	userID, err := s.user(ctx, p)
	if err != nil {
		return arrival{}, err
	}
	if f.returnTo != "" {
		code, err := s.begin(ctx, flow{provider: f.provider, purpose: purposeExchange, userID: userID}, browser, codeLifetime)
		return arrival{goTo: withQuery(f.returnTo, "code", code)}, err
	}
	tokens, err := s.config.Accounts.OpenSession(ctx, userID, f.provider)
	return arrival{tokens: &tokens}, err
}

// exchangeCode opens the session that a code is good for.
func (s *Service) exchangeCode(ctx context.Context, code, browser string) (account.Tokens, error) {
	f, err := s.take(ctx, code, browser)
	if err != nil {
		return account.Tokens{}, err
	}
	if f.purpose != purposeExchange {
		return account.Tokens{}, errNoFlow
	}
	return s.config.Accounts.OpenSession(ctx, f.userID, f.provider)
}

// checkIssuer refuses an answer of another provider than the one that was asked: the mix-up attack of RFC 9207.
func (p *provider) checkIssuer(ctx context.Context, issuer string) error {
	if issuer == "" {
		d, err := p.discover(ctx)
		if err != nil || !d.tellsItsName {
			return err
		}
	}
	if issuer != p.Issuer {
		return refuse(http.StatusBadRequest, "invalid_request", "the answer does not come from the provider that was asked")
	}
	return nil
}

// checkAnswer refuses an answer without a code. What the provider says beside the error's code stays out: it is a stranger's text.
func checkAnswer(a answer) error {
	switch {
	case a.err == "access_denied":
		return refuse(http.StatusForbidden, "access_denied", "the provider says that access was denied; nothing was changed")
	case a.err != "":
		return refuse(http.StatusBadRequest, errorCode(a.err), "the provider refused with the error "+errorCode(a.err)+"; nothing was changed")
	case a.code == "":
		return refuse(http.StatusBadRequest, "invalid_request", "the provider's answer has neither a code nor an error")
	}
	return nil
}
