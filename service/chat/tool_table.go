package chat

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/briefing"
	"github.com/smart-assistant/platform/service/job"
	"github.com/smart-assistant/platform/service/mail"
)

// toolTable is every tool, defined once.
func (s *Service) toolTable() []tool {
	table := []tool{
		define(tool{
			name: "search_emails", strangers: true, summary: "Search the user's mail",
			description: "Searches the user's own mail by words, kind and time, newest first. Without a query it lists the newest. Each result has a source to cite and an id for get_email.",
		}, s.searchEmails),
		define(tool{
			name: "get_email", strangers: true, summary: "Read one e-mail",
			description: "Returns one e-mail of the user by the id that search_emails gave, with its text, which is cut when it is long.",
		}, s.getEmail),
		define(tool{
			name: "list_jobs", strangers: true, summary: "List job postings",
			description: "Lists job postings from the user's own sources, newest first, optionally only those with certain words.",
		}, s.listJobs),
		define(tool{
			name: "list_applications", summary: "List the user's job applications",
			description: "Lists the user's own job applications, last changed first, optionally only those of one status.",
		}, s.listApplications),
		define(tool{
			name: "add_application", writes: true, summary: "Add a job application",
			description: "Adds a job application to the user's list. Only when the user asks for it.",
		}, s.addApplication),
		define(tool{
			name: "update_application", writes: true, summary: "Change a job application",
			description: "Changes the status or notes of one of the user's job applications, by the id that list_applications gave. Only when the user asks for it.",
		}, s.updateApplication),
	}
	if s.config.Briefings == nil {
		return table
	}
	return append(table,
		define(tool{
			name: "get_briefing", strangers: true, summary: "Read the newest briefing",
			description: "Returns the user's newest briefing: what happened in mail, postings and applications, with sources.",
		}, s.getBriefing),
		define(tool{
			name: "generate_briefing", writes: true, strangers: true, summary: "Write a briefing now",
			description: "Writes a new briefing about what happened since the last one. Only when the user asks for one.",
		}, s.generateBriefing),
	)
}

const (
	fewItems    = 10
	longestText = 6000 // characters of a mail or a briefing: an answer is read by people and by models with short memories
)

func orFew(limit int) int {
	if limit == 0 {
		return fewItems
	}
	return limit
}

// cut shortens a text at a number of characters.
func cut(text string, most int) (short string, isCut bool) {
	if runes := []rune(text); len(runes) > most {
		return strings.TrimSpace(string(runes[:most])) + " …", true
	}
	return text, false
}

type emailSearch struct {
	Query    string        `json:"query,omitempty" maxLength:"500" doc:"Words that all have to occur; \"quoted words\" stand together, -word must not occur"`
	Category mail.Category `json:"category,omitempty" enum:"application,interview,offer,rejection,newsletter,other" doc:"Only mail of this kind"`
	Since    string        `json:"since,omitempty" format:"date" doc:"Only mail received on this day or later, as 2026-01-31"`
	Limit    int           `json:"limit,omitempty" minimum:"1" maximum:"50" doc:"Most results; 10 when absent"`
}

type foundEmail struct {
	Source     string        `json:"source" doc:"To cite"`
	ID         string        `json:"id" format:"uuid"`
	From       string        `json:"from"`
	Subject    string        `json:"subject"`
	ReceivedAt time.Time     `json:"received_at"`
	Category   mail.Category `json:"category" enum:"application,interview,offer,rejection,newsletter,other"`
	Snippet    string        `json:"snippet"`
}

type foundEmails struct {
	Emails []foundEmail `json:"emails"`
	Note   string       `json:"note,omitempty" doc:"How the result is to be understood"`
}

func asFound(m mail.Summary) foundEmail {
	from := m.FromAddress
	if m.FromName != "" {
		from = m.FromName + " <" + m.FromAddress + ">"
	}
	snippet, _ := cut(m.Snippet, 200)
	return foundEmail{"email:" + m.ID, m.ID, from, m.Subject, m.ReceivedAt, m.Category, snippet}
}

// searchEmails falls back from words to meaning: what people ask for is seldom what the sender wrote.
func (s *Service) searchEmails(ctx context.Context, userID string, in emailSearch) (found foundEmails, err error) {
	filter := mail.Filter{Category: in.Category}
	if in.Since != "" {
		if filter.Since, err = time.Parse(time.DateOnly, in.Since); err != nil {
			return foundEmails{}, &toolError{422, "since is not a day as 2026-01-31"}
		}
	}
	page := api.Page{Limit: orFew(in.Limit)}
	query := strings.TrimSpace(in.Query)
	var list []mail.Summary
	if query == "" {
		list, _, err = s.config.Mail.List(ctx, userID, filter, page)
	} else {
		list, _, err = s.config.Mail.Search(ctx, userID, query, filter, page)
	}
	if err == nil && len(list) == 0 && query != "" && filter == (mail.Filter{}) {
		found.Note = "No mail holds these words; these are nearest in meaning."
		var alike mail.Alike
		alike, err = s.config.Mail.Similar(ctx, userID, query, min(page.Limit, 5))
		if _, meansNothing := errors.AsType[*mail.InvalidError](err); meansNothing || errors.Is(err, mail.ErrTwice) || errors.Is(err, mail.ErrBusy) {
			err = nil
		}
		list = alike.Items
	}
	if err != nil {
		return foundEmails{}, err
	}
	if len(list) == 0 {
		found.Note = "No mail was found."
	}
	found.Emails = make([]foundEmail, 0, len(list))
	for _, m := range list {
		found.Emails = append(found.Emails, asFound(m))
	}
	return found, nil
}

type emailID struct {
	ID string `json:"id" format:"uuid" doc:"Of the e-mail, from search_emails"`
}

type wholeEmail struct {
	foundEmail
	To    string   `json:"to"`
	Text  string   `json:"text"`
	IsCut bool     `json:"is_cut" doc:"The text goes on"`
	Files []string `json:"files" doc:"Names of attachments"`
}

func (s *Service) getEmail(ctx context.Context, userID string, in emailID) (wholeEmail, error) {
	m, err := s.config.Mail.Get(ctx, userID, in.ID)
	if err != nil {
		return wholeEmail{}, err
	}
	whole := wholeEmail{foundEmail: asFound(m.Summary), To: m.Recipients, Files: []string{}}
	whole.Text, whole.IsCut = cut(m.Text, longestText)
	for _, file := range m.Files {
		whole.Files = append(whole.Files, file.Name)
	}
	return whole, nil
}

type jobSearch struct {
	Query string `json:"query,omitempty" maxLength:"500" doc:"Words that the posting has to hold"`
	Limit int    `json:"limit,omitempty" minimum:"1" maximum:"50" doc:"Most results; 10 when absent"`
}

type foundJob struct {
	Source      string    `json:"source" doc:"To cite"`
	ID          string    `json:"id" format:"uuid"`
	Title       string    `json:"title"`
	Company     string    `json:"company"`
	Location    string    `json:"location"`
	URL         string    `json:"url"`
	PublishedAt time.Time `json:"published_at"`
	Summary     string    `json:"summary"`
}

type foundJobs struct {
	Jobs []foundJob `json:"jobs"`
}

func (s *Service) listJobs(ctx context.Context, userID string, in jobSearch) (foundJobs, error) {
	list, _, err := s.config.Jobs.Postings(ctx, userID, job.PostingFilter{Query: strings.TrimSpace(in.Query)}, api.Page{Limit: orFew(in.Limit)})
	if err != nil {
		return foundJobs{}, err
	}
	found := foundJobs{make([]foundJob, 0, len(list))}
	for _, p := range list {
		summary, _ := cut(p.Summary, 300)
		found.Jobs = append(found.Jobs, foundJob{"job:" + p.ID, p.ID, p.Title, p.Company, p.Location, p.URL, p.PublishedAt, summary})
	}
	return found, nil
}

type applicationSearch struct {
	Status job.Status `json:"status,omitempty" enum:"interested,applied,interview,offer,accepted,rejected,withdrawn" doc:"Only those that got so far"`
	Limit  int        `json:"limit,omitempty" minimum:"1" maximum:"100" doc:"Most results; 10 when absent"`
}

type foundApplication struct {
	Source    string     `json:"source" doc:"To cite"`
	ID        string     `json:"id" format:"uuid"`
	Company   string     `json:"company"`
	Title     string     `json:"title"`
	Status    job.Status `json:"status" enum:"interested,applied,interview,offer,accepted,rejected,withdrawn"`
	URL       string     `json:"url,omitempty"`
	Notes     string     `json:"notes,omitempty"`
	UpdatedAt time.Time  `json:"updated_at"`
}

type foundApplications struct {
	Applications []foundApplication `json:"applications"`
}

func asFoundApplication(a job.Application) foundApplication {
	notes, _ := cut(a.Notes, 300)
	return foundApplication{"application:" + a.ID, a.ID, a.Company, a.Title, a.Status, a.URL, notes, a.UpdatedAt}
}

func (s *Service) listApplications(ctx context.Context, userID string, in applicationSearch) (foundApplications, error) {
	list, _, err := s.config.Jobs.Applications(ctx, userID, in.Status, api.Page{Limit: orFew(in.Limit)})
	if err != nil {
		return foundApplications{}, err
	}
	found := foundApplications{make([]foundApplication, 0, len(list))}
	for _, a := range list {
		found.Applications = append(found.Applications, asFoundApplication(a))
	}
	return found, nil
}

// again is how long an application that is added a second time is taken for the first one: models call twice, and Open WebUI sends no
// idempotency key.
const again = time.Minute

func (s *Service) addApplication(ctx context.Context, userID string, in job.NewApplication) (foundApplication, error) {
	newest, _, err := s.config.Jobs.Applications(ctx, userID, "", api.Page{Limit: fewItems})
	if err != nil {
		return foundApplication{}, err
	}
	for _, a := range newest {
		if s.config.Now().Sub(a.CreatedAt) < again && isSame(a, in) {
			return asFoundApplication(a), nil
		}
	}
	added, err := s.config.Jobs.Add(ctx, userID, in)
	return asFoundApplication(added), err
}

// isSame says whether an application is what somebody asks to add.
func isSame(a job.Application, in job.NewApplication) bool {
	if in.PostingID != "" {
		return in.PostingID == a.PostingID
	}
	return strings.EqualFold(strings.TrimSpace(in.Company), a.Company) && strings.EqualFold(strings.TrimSpace(in.Title), a.Title) &&
		cmp.Or(in.Status, job.Applied) == a.Status && (in.URL == "" || in.URL == a.URL)
}

type applicationUpdate struct {
	ID     string      `json:"id" format:"uuid" doc:"Of the application, from list_applications"`
	Status *job.Status `json:"status,omitempty" enum:"interested,applied,interview,offer,accepted,rejected,withdrawn"`
	Notes  *string     `json:"notes,omitempty" maxLength:"10000" doc:"Replaces the notes"`
	Note   *string     `json:"note,omitempty" maxLength:"2000" doc:"Said about this change, in the history"`
}

func (s *Service) updateApplication(ctx context.Context, userID string, in applicationUpdate) (foundApplication, error) {
	changed, err := s.config.Jobs.Update(ctx, userID, in.ID, 0, job.ApplicationChange{Status: in.Status, Notes: in.Notes, Note: in.Note})
	return asFoundApplication(changed), err
}

type nothing struct{}

type shortBriefing struct {
	Source  string            `json:"source" doc:"To cite"`
	Since   time.Time         `json:"since"`
	Until   time.Time         `json:"until"`
	Text    string            `json:"text" doc:"Markdown; [1] cites the first of sources"`
	Sources []briefing.Source `json:"sources"`
}

func asShortBriefing(b briefing.Briefing) shortBriefing {
	short := shortBriefing{Source: "briefing:" + b.ID, Since: b.Since, Until: b.Until, Sources: b.Sources}
	if short.Sources == nil {
		short.Sources = []briefing.Source{}
	}
	short.Text, _ = cut(b.Text, longestText)
	return short
}

func (s *Service) getBriefing(ctx context.Context, userID string, _ nothing) (shortBriefing, error) {
	b, err := s.config.Briefings.Latest(ctx, userID)
	return asShortBriefing(b), err
}

func (s *Service) generateBriefing(ctx context.Context, userID string, _ nothing) (shortBriefing, error) {
	b, err := s.config.Briefings.Generate(ctx, userID)
	return asShortBriefing(b), err
}
