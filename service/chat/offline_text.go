package chat

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/smart-assistant/platform/service/briefing"
	"github.com/smart-assistant/platform/service/job"
	"github.com/smart-assistant/platform/service/mail"
)

var markdown = func() *strings.Replacer {
	var pairs []string
	for _, c := range "\\`*_{}[]()<>#+!|~" {
		pairs = append(pairs, string(c), `\`+string(c))
	}
	return strings.NewReplacer(pairs...)
}()

// plain is a text of strangers in one line of Markdown, as text: it makes no links, and no pictures that tell who looks.
func plain(text string) string { return markdown.Replace(strings.Join(strings.Fields(text), " ")) }

// quote is a text of strangers as a quotation.
func quote(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("> " + plain(line) + "\n")
	}
	return b.String()
}

func day(t time.Time) string { return t.Format("2 Jan 2006") }

// listing writes items with numbers, and what the numbers cite at the end.
func listing(head string, items, sources []string) string {
	var b strings.Builder
	b.WriteString(head + "\n\n")
	for i, item := range items {
		fmt.Fprintf(&b, "%d. %s [%d]\n", i+1, item, i+1)
	}
	b.WriteString("\nSources:")
	for i, source := range sources {
		fmt.Fprintf(&b, " [%d] %s", i+1, source)
	}
	return b.String()
}

func emailList(head string, found []foundEmail) string {
	var items, sources []string
	for _, m := range found {
		item := fmt.Sprintf("**%s** – %s, %s, %s", plain(m.Subject), plain(m.From), day(m.ReceivedAt), m.Category)
		if snippet, _ := cut(m.Snippet, 120); snippet != "" {
			item += ": " + plain(snippet)
		}
		items, sources = append(items, item), append(sources, m.Source)
	}
	return listing(head, items, sources)
}

// sayEmails answers with a list of mail; which says what kind it is of.
func (s *Service) sayEmails(search emailSearch, which string) action {
	return func(ctx context.Context, userID string) (string, error) {
		found, err := s.searchEmails(ctx, userID, search)
		if unaskable, is := errors.AsType[*mail.InvalidError](err); is { // people say “do I have mails about it”
			which = ""
			if found, err = s.searchEmails(ctx, userID, emailSearch{Category: search.Category}); err == nil {
				found.Note = "I could not search, because " + unaskable.Problem + "."
			}
		}
		if err != nil {
			return "", err
		}
		if len(found.Emails) == 0 {
			return strings.TrimSpace("You have no mail "+which) + ".", nil
		}
		head := strings.TrimSpace("Your newest mail " + which)
		if found.Note != "" {
			head += ": " + strings.TrimSuffix(found.Note, ".")
		}
		return emailList(head+":", found.Emails), nil
	}
}

func (s *Service) sayEmail(id string) action {
	return func(ctx context.Context, userID string) (string, error) {
		m, err := s.getEmail(ctx, userID, emailID{strings.ToLower(id)})
		if errors.Is(err, mail.ErrNotFound) {
			return "You have no mail with this id.", nil
		}
		if err != nil {
			return "", err
		}
		var b strings.Builder
		fmt.Fprintf(&b, "**%s** [1]\n\nFrom %s to %s, %s, %s.\n\n", plain(m.Subject), plain(m.From), plain(m.To), day(m.ReceivedAt), m.Category)
		b.WriteString(quote(m.Text))
		for _, name := range m.Files {
			b.WriteString("\nAttachment: " + plain(name) + "\n")
		}
		b.WriteString("\nSources: [1] " + m.Source)
		return b.String(), nil
	}
}

// sayInterviews puts together what mail says and how far applications are.
func (s *Service) sayInterviews(ctx context.Context, userID string) (string, error) {
	mails, err := s.searchEmails(ctx, userID, emailSearch{Category: mail.Interview})
	if err != nil {
		return "", err
	}
	applications, err := s.listApplications(ctx, userID, applicationSearch{Status: job.Interview})
	if err != nil {
		return "", err
	}
	var parts []string
	if len(applications.Applications) > 0 {
		parts = append(parts, "Applications that got to interviews:\n\n"+applicationList(applications.Applications))
	}
	if len(mails.Emails) > 0 {
		parts = append(parts, emailList("Mail about interviews:", mails.Emails))
	}
	if len(parts) == 0 {
		return "Neither your mail nor your applications speak of interviews.", nil
	}
	return strings.Join(parts, "\n\n"), nil
}

func applicationList(list []foundApplication) string {
	var items, sources []string
	for _, a := range list {
		items = append(items, fmt.Sprintf("**%s** at **%s**: %s, %s", plain(a.Title), plain(a.Company), a.Status, day(a.UpdatedAt)))
		sources = append(sources, a.Source)
	}
	return listing("Last changed first:", items, sources)
}

func (s *Service) sayApplications(status job.Status) action {
	return func(ctx context.Context, userID string) (string, error) {
		found, err := s.listApplications(ctx, userID, applicationSearch{Status: status, Limit: 50})
		if err != nil {
			return "", err
		}
		if len(found.Applications) == 0 {
			return "You have no applications yet. Say “add application at ACME as Engineer”.", nil
		}
		return fmt.Sprintf("Your applications (%d):\n\n", len(found.Applications)) + applicationList(found.Applications), nil
	}
}

func (s *Service) sayJobs(query string) action {
	return func(ctx context.Context, userID string) (string, error) {
		found, err := s.listJobs(ctx, userID, jobSearch{Query: query})
		if err != nil {
			return "", err
		}
		head := "The latest jobs"
		if query != "" {
			head += " for “" + plain(query) + "”"
		}
		if len(found.Jobs) == 0 {
			return head + ": none in your sources. Sources are added under /api/v1/job-sources.", nil
		}
		var items, sources []string
		for _, p := range found.Jobs {
			facts := slices.DeleteFunc([]string{plain(p.Company), plain(p.Location), day(p.PublishedAt)}, func(fact string) bool { return fact == "" })
			items = append(items, fmt.Sprintf("**%s**, %s", plain(p.Title), strings.Join(facts, ", ")))
			sources = append(sources, p.Source)
		}
		return listing(head+":", items, sources), nil
	}
}

// sayBriefing says the newest briefing, or a new one where there is none or one is asked for.
func (s *Service) sayBriefing(fresh bool) action {
	return func(ctx context.Context, userID string) (string, error) {
		if s.config.Briefings == nil {
			return "This service writes no briefings.", nil
		}
		var b shortBriefing
		err := briefing.ErrNotFound
		if !fresh {
			b, err = s.getBriefing(ctx, userID, nothing{})
		}
		if errors.Is(err, briefing.ErrNotFound) {
			b, err = s.generateBriefing(ctx, userID, nothing{})
		}
		if err != nil {
			return "", err
		}
		var text strings.Builder
		fmt.Fprintf(&text, "Briefing of %s to %s:\n\n%s\n\nSources:", day(b.Since), day(b.Until), b.Text)
		for _, source := range b.Sources {
			fmt.Fprintf(&text, " [%d] %s:%s", source.Number, source.Kind, source.ID)
		}
		return text.String() + " (" + b.Source + ")", nil
	}
}
