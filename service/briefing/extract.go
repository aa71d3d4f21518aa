package briefing

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/smart-assistant/platform/service/mail"
)

const (
	longestTitle = 120
	// cited is how many of those that are only counted are cited.
	cited = 10
)

// draft is a briefing that quotes: each statement ends with the sources that it is taken from.
type draft struct {
	text     strings.Builder
	headings []string
	sources  []Source
	facts    []string // what is known of each source, for whoever checks another text against it
	pressing []int    // the sources that no briefing may leave out
}

// extract writes a user's news as Markdown. The same news give the same text.
func extract(n *news) *draft {
	d := &draft{sources: []Source{}}
	d.printf("# Briefing of %s\n\nSince %s (%s).\n", n.date(n.until), n.minute(n.since), escape(n.zone.String()))
	for _, category := range told {
		d.messages(n, category)
	}
	d.postings(n)
	d.waiting(n)
	d.suggestions(n)
	d.rest(n)
	if len(d.sources) == 0 {
		d.printf("\nNothing new, and nothing waits for you.\n")
	}
	return d
}

var headings = map[mail.Category]string{
	mail.Interview: "Interviews", mail.Offer: "Offers", mail.Rejection: "Rejections", mail.Application: "Confirmations",
}

// messages tells the news of a category: who wrote when, and the sentences that matter.
func (d *draft) messages(n *news, category mail.Category) {
	list := n.mails[category]
	d.heading(headings[category], len(list))
	for _, m := range first(list, shown) {
		subject := title(m.Subject, "(no subject)")
		line := []string{fmt.Sprintf("**%s**: %s (%s)", escape(sender(m)), escape(subject), n.minute(m.ReceivedAt))}
		text := n.texts[m.ID]
		if text == "" {
			text = m.Snippet
		}
		for _, sentence := range salient(category, m.Subject, text) {
			line = append(line, "“"+escape(sentence)+"”")
		}
		number := d.say(strings.Join(line, " "), Source{Kind: "email", ID: m.ID, Title: subject})
		if category != mail.Application {
			d.pressing = append(d.pressing, number)
		}
	}
	d.more(list, func(m mail.Summary) Source {
		return Source{Kind: "email", ID: m.ID, Title: title(m.Subject, "(no subject)")}
	})
}

func (d *draft) postings(n *news) {
	d.heading("New postings", len(n.postings))
	for _, p := range first(n.postings, shown) {
		name := title(p.Title, "(no title)")
		line := "**" + escape(name) + "**"
		if p.Company != "" {
			line += " at " + escape(title(p.Company, ""))
		}
		if p.Location != "" {
			line += ", " + escape(title(p.Location, ""))
		}
		d.say(line, Source{Kind: "posting", ID: p.ID, Title: name})
	}
	d.moreOf(len(n.postings) - shown)
}

func (d *draft) waiting(n *news) {
	d.heading("Applications without news", len(n.waiting))
	for _, a := range first(n.waiting, shown) {
		days := int(n.until.Sub(a.UpdatedAt).Hours() / 24)
		d.say(fmt.Sprintf("**%s**: %s, and nothing new for %d days", escape(role(a.Title, a.Company)), a.Status, days),
			Source{Kind: "application", ID: a.ID, Title: role(a.Title, a.Company)})
	}
	d.moreOf(len(n.waiting) - shown)
}

func (d *draft) suggestions(n *news) {
	d.heading("Suggestions that wait for you", len(n.suggestions))
	for _, g := range first(n.suggestions, shown) {
		name := role(g.Title, g.Company)
		what := "move to"
		if g.ApplicationID == "" {
			what = "add as"
		}
		line := fmt.Sprintf("**%s**: %s %s?", escape(name), what, g.ToStatus)
		if reason := title(g.Reason, ""); reason != "" {
			line += " " + escape(reason)
		}
		d.say(line, Source{Kind: "suggestion", ID: g.ID, Title: name})
	}
	d.moreOf(len(n.suggestions) - shown)
}

// rest counts what is not about applications.
func (d *draft) rest(n *news) {
	other, newsletters := n.mails[mail.Other], n.mails[mail.Newsletter]
	d.heading("Other mail", len(other)+len(newsletters))
	for _, kind := range []struct {
		list      []mail.Summary
		one, many string
	}{{other, "other message", "other messages"}, {newsletters, "newsletter or alert", "newsletters and alerts"}} {
		if len(kind.list) == 0 {
			continue
		}
		var names []string
		var sources []Source
		for _, m := range first(kind.list, 3) {
			names = append(names, escape(sender(m))+", "+escape(title(m.Subject, "(no subject)")))
			sources = append(sources, Source{Kind: "email", ID: m.ID, Title: title(m.Subject, "(no subject)")})
		}
		d.say(counted(len(kind.list), kind.one, kind.many)+", the latest: "+strings.Join(names, "; "), sources...)
	}
}

// opening is what stands above the first section.
func (d *draft) opening() string {
	opening, _, _ := strings.Cut(d.text.String(), "\n##")
	return strings.TrimRight(opening, "\n") + "\n"
}

// heading begins a section that has something in it.
func (d *draft) heading(name string, count int) {
	if count > 0 {
		d.headings = append(d.headings, "## "+name)
		d.printf("\n## %s\n\n", name)
	}
}

// say adds a statement with its sources and returns the first one's number.
func (d *draft) say(statement string, sources ...Source) int {
	number := len(d.sources) + 1
	d.printf("- %s", statement)
	for _, source := range sources {
		source.Number = len(d.sources) + 1
		d.sources = append(d.sources, source)
		d.facts = append(d.facts, statement)
		d.printf(" [%d]", source.Number)
	}
	d.printf("\n")
	return number
}

// more says how many messages there are beside those that were told about, and cites the first of them.
func (d *draft) more(list []mail.Summary, source func(mail.Summary) Source) {
	if len(list) <= shown {
		return
	}
	var sources []Source
	for _, m := range first(list[shown:], cited) {
		sources = append(sources, source(m))
	}
	d.say(counted(len(list)-shown, "more", "more"), sources...)
}

func (d *draft) moreOf(count int) {
	if count > 0 {
		d.printf("- %s\n", counted(count, "more", "more"))
	}
}

func (d *draft) printf(format string, values ...any) { fmt.Fprintf(&d.text, format, values...) }

// counted says a number of things. Lists are read up to a limit, so that a high number is the least that there are.
func counted(n int, one, many string) string {
	switch {
	case n == 1:
		return "1 " + one
	case n >= most-shown:
		return "At least " + strconv.Itoa(n) + " " + many
	}
	return strconv.Itoa(n) + " " + many
}

func sender(m mail.Summary) string {
	return title(cmp.Or(m.FromName, m.FromAddress), "(unknown sender)")
}

// role names a job.
func role(name, company string) string {
	parts := slices.DeleteFunc([]string{title(name, ""), title(company, "")}, func(s string) bool { return s == "" })
	return cmp.Or(strings.Join(parts, " at "), "(no title)")
}

// title is foreign text as a short line.
func title(text, empty string) string { return cmp.Or(shorten(plain(text), longestTitle), empty) }

func (n *news) date(at time.Time) string { return at.In(n.zone).Format("Monday, 2 January 2006") }

func (n *news) minute(at time.Time) string { return at.In(n.zone).Format("2 January 2006, 15:04") }

var markdown = strings.NewReplacer(
	`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", `\<`, ">", `\>`, "~", `\~`, "|", `\|`, "&", `\&`, "#", `\#`, "!", `\!`, "$", `\$`,
)

// escape makes text that shows as itself in Markdown (CommonMark 0.31.2, section 2.4): no emphasis, link, picture, citation or HTML.
func escape(text string) string { return markdown.Replace(text) }
