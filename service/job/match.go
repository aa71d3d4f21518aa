package job

import (
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/publicsuffix"

	"github.com/smart-assistant/platform/service/job/jobdb"
	"github.com/smart-assistant/platform/service/mail"
)

// sender is what a mail's header says about who wrote, as far as matching needs it.
type sender struct {
	domain         string // registered domain, empty where it is not the employer's own
	name, subject  string // as words
	company, title string // guessed, for a new application
}

// others are domains that employers' mail comes from and that are nobody's own: applicant tracking systems, job boards, free mail.
var others = map[string]bool{
	"greenhouse.io": true, "greenhouse-mail.io": true, "lever.co": true, "ashbyhq.com": true, "myworkday.com": true, "workday.com": true,
	"personio.de": true, "personio.com": true, "smartrecruiters.com": true, "teamtailor.com": true, "teamtailor-mail.com": true,
	"recruitee.com": true, "join.com": true, "softgarden.io": true, "softgarden.de": true, "workable.com": true, "workablemail.com": true,
	"icims.com": true, "successfactors.com": true, "successfactors.eu": true, "breezy.hr": true, "jobvite.com": true, "bamboohr.com": true,
	"rexx-systems.com": true, "d.vinci.de": true, "linkedin.com": true, "indeed.com": true, "indeedemail.com": true, "stepstone.de": true,
	"xing.com": true, "gmail.com": true, "googlemail.com": true, "outlook.com": true, "hotmail.com": true, "yahoo.com": true,
	"icloud.com": true, "gmx.de": true, "gmx.net": true, "web.de": true, "proton.me": true, "protonmail.com": true,
}

func readSender(email mail.Summary) sender {
	from := sender{name: words(email.FromName), subject: words(email.Subject)}
	if _, host, ok := strings.Cut(email.FromAddress, "@"); ok {
		from.domain = registered(host)
	}
	from.company, from.title = guessNew(email, from.domain)
	return from
}

// registered is the domain that somebody registered a host under, unless it is one of others.
func registered(host string) string {
	domain, err := publicsuffix.EffectiveTLDPlusOne(strings.ToLower(strings.TrimSuffix(host, ".")))
	if err != nil || others[domain] {
		return ""
	}
	return domain
}

// label is what a domain's owner calls itself in it: "example" of example.co.uk.
func label(domain string) string {
	name, _, _ := strings.Cut(domain, ".")
	return name
}

// bestMatch returns the application that a mail is most likely about, and why; nil when nothing speaks for any. An open application
// goes before one that ended, and of equals the one that changed last.
func bestMatch(from sender, applications []jobdb.ApplicationsToMatchRow) (best *jobdb.ApplicationsToMatchRow, evidence string) {
	var highest float64
	for i := range applications {
		a := &applications[i]
		score, why := likeness(from, a)
		if score > 0 && rank[Status(a.Status)] < rank[Accepted] {
			score += 10
		}
		if score > highest {
			best, highest, evidence = a, score, why
		}
	}
	return best, evidence
}

// likeness says how much speaks for an application: the company has to be recognised, or the whole title; words of the title then
// tell applications at one company apart.
func likeness(from sender, a *jobdb.ApplicationsToMatchRow) (score float64, why string) {
	company, title := companyName(a.Company), plainTitle(a.Title)
	joined := strings.ReplaceAll(company, " ", "")
	overlap := share(title, from.subject)
	switch {
	case from.domain != "" && strings.ReplaceAll(label(from.domain), "-", "") == joined,
		from.domain != "" && linkDomain(a.Url) == from.domain:
		return 3 + overlap, "it comes from the company's own domain"
	case utf8.RuneCountInString(joined) >= 3 && within(company, from.name):
		return 3 + overlap, "the sender's name is the company's"
	case utf8.RuneCountInString(joined) >= 3 && within(company, from.subject):
		return 2 + overlap, "the subject names the company"
	case strings.Contains(title, " ") && within(title, from.subject):
		return 1, "the subject names the position"
	}
	return 0, ""
}

func linkDomain(link string) string {
	u, err := url.Parse(link)
	if err != nil || u.Hostname() == "" {
		return ""
	}
	return registered(u.Hostname())
}

// within says whether words stand in a text, whole and together.
func within(phrase, text string) bool {
	return phrase != "" && strings.Contains(" "+text+" ", " "+phrase+" ")
}

// share is how many of a title's words a text has, from 0 to 1.
func share(title, text string) float64 {
	all := strings.Fields(title)
	if len(all) == 0 {
		return 0
	}
	found := 0
	for _, word := range all {
		if within(word, text) {
			found++
		}
	}
	return float64(found) / float64(len(all))
}

var (
	// positionAt reads "application for <title> at <company>", in English and German.
	positionAt = regexp.MustCompile(`(?i)(?:application|applying|applied|bewerbung)\s+(?:for|as|als|auf|to|um)\s+(?:(?:the|our|die|den|an?)\s+)?(?:(?:position|role|stelle|job)\s+(?:of|as|als|for)?\s*)?(.{2,120}?)\s+(?:at|with|bei)\s+(.{2,80})$`)
	companyAt  = regexp.MustCompile(`(?i)(?:application\s+(?:to|at|with)|applying\s+(?:to|at|with)|applied\s+(?:to|at)|bewerbung\s+bei|interest\s+in)\s+(.{2,80})$`)
	ending     = regexp.MustCompile(`\s*(?:[!?|–—,;:(].*|\.(?:\s.*)?$|\s-\s.*|\s(?:is|was|has|have|will|ist|wurde|wird|hat)\s.*)$`)
	// desk is what a sender adds to the company's name.
	desk = regexp.MustCompile(`(?i)\b(?:recruiting|recruitment|recruiter|careers?|karriere|talent(?:\s+acquisition)?|hiring|people|human resources|personalabteilung|hr|jobs?|bewerbung(?:en)?|no-?reply|noreply|notifications?|team|via\s+.*|from|at|the)\b`)
)

// guessNew guesses company and title of an application that is not known yet: from the subject, the sender's name, the domain.
func guessNew(email mail.Summary, domain string) (company, title string) {
	subject := strings.Join(strings.Fields(email.Subject), " ")
	if found := positionAt.FindStringSubmatch(subject); found != nil {
		return tidy(found[2], 200), tidy(found[1], 300)
	}
	if found := companyAt.FindStringSubmatch(subject); found != nil {
		return tidy(found[1], 200), ""
	}
	name := strings.TrimFunc(strings.Join(strings.Fields(desk.ReplaceAllString(email.FromName, " ")), " "), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
	if name != "" && !strings.Contains(name, "@") {
		return tidy(name, 200), ""
	}
	first, size := utf8.DecodeRuneInString(label(domain))
	if size == 0 {
		return "", ""
	}
	return string(unicode.ToUpper(first)) + label(domain)[size:], ""
}

// tidy cuts what follows a name in a subject, and what a table's column does not take.
func tidy(name string, limit int) string {
	name = strings.Trim(ending.ReplaceAllString(name, ""), ` "'“”„.`)
	name = strings.ReplaceAll(strings.ToValidUTF8(name, ""), "\x00", "")
	if runes := []rune(name); len(runes) > limit {
		name = string(runes[:limit])
	}
	return name
}
