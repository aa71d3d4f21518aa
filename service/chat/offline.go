package chat

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/smart-assistant/platform/service/job"
	"github.com/smart-assistant/platform/service/mail"
	"github.com/smart-assistant/platform/service/upstream"
)

// The assistant without a language model understands requests by their shape, in English and some German. What it does, it does by the
// same functions as the tools.

// answerOffline answers one request. A client's tool is asked for where the request fits it, and its result is what there is to say.
func (s *Service) answerOffline(ctx context.Context, a *answer) error {
	req := a.request
	if last := req.Messages[len(req.Messages)-1]; last.Role == "tool" {
		return s.say(ctx, a, toolResults(req))
	}
	if call, found := chooseTool(req); found && s.refusesCall(newGuard(req), call) == "" {
		if err := a.toolCalls(ctx, []upstream.ToolCall{call}); err != nil {
			return err
		}
		return a.end(ctx, "tool_calls", estimate(req, call.Function.Name+call.Function.Arguments))
	}
	text, err := s.understand(ownWords(req.said()))(ctx, UserID(ctx))
	var refused *toolError
	if err = asToolError(err); errors.As(err, &refused) {
		text, err = "That did not work: "+refused.problem+".", nil
	}
	if err != nil {
		return err
	}
	return s.say(ctx, a, text)
}

// action does what a request asks for and says it in Markdown.
type action func(ctx context.Context, userID string) (string, error)

// intent is a shape of requests. Its action gets what the parentheses of the shape hold.
type intent struct {
	shape *regexp.Regexp
	do    func(s *Service, found []string) action
}

func shape(expression string) *regexp.Regexp {
	return regexp.MustCompile(`(?is)` + strings.ReplaceAll(expression, " ", `\s+`))
}

const (
	aMail  = `(?:e-?mails?|mails?|messages?|nachrichten?)`
	anUUID = `([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})`
	status = `(interested|applied|interview|offer|accepted|rejected|withdrawn|beworben|angebot|angenommen|abgelehnt|zurückgezogen)`
)

// intents are tried in this order.
var intents = []intent{
	{shape(`^(?:help|hilfe)\b|what can you do|was kannst du`), func(*Service, []string) action { return help }},
	{shape(`\b` + aMail + `\b.*?` + anUUID), func(s *Service, f []string) action { return s.sayEmail(f[0]) }},

	{shape(`\b(?:add|create|track|record|save|log)\b.*\bapplication (?:at|with|to|for) (.+?) (?:as|for) (?:an? )?(.+)$`), add(0, 1)},
	{shape(`\b(?:add|create|track|record|save|log)\b.*\bapplication (?:as|for) (?:an? )?(.+?) (?:at|with) (.+)$`), add(1, 0)},
	{shape(`\bI(?: have|'ve)? applied (?:at|to|with) (.+?) (?:as|for) (?:an? )?(.+)$`), add(0, 1)},
	{shape(`\bbei (.+?) als (.+?) beworben`), add(0, 1)},
	{shape(`(?:füge?|lege?|trage?|neue)\b.*\bbewerbung bei (.+?) als (.+?)(?: (?:hinzu|an|ein))?$`), add(0, 1)},
	{shape(`\bbewerbung bei (.+?) als (.+?) (?:hinzufügen|anlegen|eintragen|erfassen|speichern)`), add(0, 1)},
	{shape(`^(?:please )?(?:add|create|track|record)\b.*\bapplication\b`), func(*Service, []string) action {
		return saying("Tell me where and as what: “add application at ACME as Engineer”.")
	}},
	{shape(`\b(?:mark|set|move|change|update) (?:(?:my|the) )?(?:application )?(?:(?:at|to|with|for) )?(.+?) (?:as|to) ` + status + `\b`), move},
	{shape(`\b(?:markiere?|setze?) (?:(?:meine|die) )?(?:bewerbung )?(?:bei )?(.+?) (?:als|auf) ` + status), move},

	{shape(`\b` + aMail + ` (?:about|for|from|with|on|regarding|containing|über|von|zu|nach|mit) (.+)$`), searchMail},
	{shape(`(?:\b` + status + ` )?\b(?:applications|bewerbungen)\b`), func(s *Service, f []string) action { return s.sayApplications(asStatus(f[0])) }},
	{shape(`\binterviews?\b|vorstellungsgespräch`), func(s *Service, _ []string) action { return s.sayInterviews }},
	{shape(`\boffers?\b|\bjobzusagen?\b`), func(s *Service, _ []string) action {
		return s.sayEmails(emailSearch{Category: mail.Offer}, "with offers")
	}},
	{shape(`\brejections?\b|\babsagen?\b`), func(s *Service, _ []string) action {
		return s.sayEmails(emailSearch{Category: mail.Rejection}, "with rejections")
	}},
	{shape(`\b(?:generate|write|create|make|new|fresh|schreibe?|erstelle?|neues)\b.*\bbriefing\b`), func(s *Service, _ []string) action { return s.sayBriefing(true) }},
	{shape(`\bbriefing\b|what(?:'|’)?s new|what is new|what happened|was gibt(?:'|’| e)?s neues|was ist neu|was ist passiert`), func(s *Service, _ []string) action { return s.sayBriefing(false) }},
	{shape(`\b(?:jobs?|postings?|vacanc(?:y|ies)|positions?|stellen(?:angebote)?)\b(?: (?:for|about|in|with|as|für|als|zu|mit|nach) (.+))?`), func(s *Service, f []string) action { return s.sayJobs(f[0]) }},
	{shape(`\b` + aMail + `\b|\binbox\b|\bposteingang\b`), func(s *Service, _ []string) action { return s.sayEmails(emailSearch{}, "") }},
	{shape(`^(?:please )?(?:search|find|look for|suche?|finde?)(?: (?:for|nach))? (.+)$`), searchMail},
}

func searchMail(s *Service, found []string) action {
	if found[0] == "" {
		return s.sayEmails(emailSearch{}, "")
	}
	return s.sayEmails(emailSearch{Query: found[0]}, "about “"+plain(found[0])+"”")
}

// understand finds out what a request asks for.
func (s *Service) understand(text string) action {
	text = strings.TrimSpace(text)
	for _, i := range intents {
		if match := i.shape.FindStringSubmatch(text); match != nil {
			var found []string
			for _, group := range match[1:] {
				found = append(found, strings.Trim(group, " \t\r\n.!?\"'“”„«»"))
			}
			return i.do(s, found)
		}
	}
	return saying("I did not understand that. " + abilities)
}

// abilities is what the assistant understands without a language model.
const abilities = `I can do this:

- “search mails about *tax*”, “show my latest mails”, “show mail *id*”
- “what interviews do I have”, “offers”, “rejections”
- “list my applications”, “add application at *ACME* as *Engineer*”, “mark *ACME* as interview”
- “latest jobs for *golang*”
- “what's new”, “new briefing”

Auf Deutsch auch: “suche Mails über …”, “meine Bewerbungen”, “füge eine Bewerbung bei … als … hinzu”, “was gibt's Neues”.`

func saying(text string) action {
	return func(context.Context, string) (string, error) { return text, nil }
}

func help(context.Context, string) (string, error) { return abilities, nil }

// add makes an application of the company and the title at these places.
func add(company, title int) func(*Service, []string) action {
	return func(s *Service, found []string) action {
		return func(ctx context.Context, userID string) (string, error) {
			added, err := s.addApplication(ctx, userID, job.NewApplication{Company: found[company], Title: found[title], Status: job.Applied})
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("Added: **%s** at **%s**, %s [1].\n\nSources: [1] %s", plain(added.Title), plain(added.Company), added.Status, added.Source), nil
		}
	}
}

var statuses = map[string]job.Status{
	"beworben": job.Applied, "angebot": job.Offer, "angenommen": job.Accepted, "abgelehnt": job.Rejected, "zurückgezogen": job.Withdrawn,
}

func asStatus(word string) job.Status {
	word = strings.ToLower(word)
	if to, german := statuses[word]; german {
		return to
	}
	return job.Status(word)
}

// move gives an application another status. It is found by its company, and has to be the only one there.
func move(s *Service, found []string) action {
	to := asStatus(found[1])
	return func(ctx context.Context, userID string) (string, error) {
		all, err := s.listApplications(ctx, userID, applicationSearch{Limit: 100})
		if err != nil {
			return "", err
		}
		var there []foundApplication
		for _, a := range all.Applications {
			if a.ID == found[0] || strings.Contains(strings.ToLower(a.Company), strings.ToLower(found[0])) {
				there = append(there, a)
			}
		}
		switch len(there) {
		case 0:
			return "You have no application at " + plain(found[0]) + ".", nil
		case 1:
			changed, err := s.updateApplication(ctx, userID, applicationUpdate{ID: there[0].ID, Status: &to})
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("Changed: **%s** at **%s** is %s now [1].\n\nSources: [1] %s", plain(changed.Title), plain(changed.Company), changed.Status, changed.Source), nil
		default:
			return "There are several: say its id instead of the company, as in “mark " + there[0].ID + " as " + string(to) + "”.\n\n" + applicationList(there), nil
		}
	}
}
