package classify

import "strings"

// Domains by what they send; subdomains are included. Applicant tracking systems send what a selection process has to say. Job boards
// send alerts, and confirmations too. Notifiers tell their users about their own things, mostly with the header fields of a list.
var senderDomains = func() map[string]senderKind {
	domains := map[string]senderKind{}
	for kind, list := range map[senderKind]string{
		tracker: `greenhouse.io greenhouse-mail.io lever.co ashbyhq.com workable.com workablemail.com smartrecruiters.com
			myworkday.com myworkdayjobs.com workday.com icims.com jobvite.com bamboohr.com recruitee.com personio.de personio.com
			teamtailor.com teamtailor-mail.com taleo.net successfactors.com successfactors.eu breezy.hr breezyhr.com jazz.co
			applytojob.com softgarden.io softgarden.de rexx-systems.com umantis.com d-vinci.de concludis.de onlyfy.jobs prescreen.io
			haufe-umantis.com dvinci-easy.com join.com homerun.co pinpointhq.com comeet.co comeet-notifications.com avature.net
			brassring.com ultipro.com paylocity.com rippling.com jobscore.com hire.trakstar.com goodtime.io eightfold.ai phenompeople.com
			welcomekit.co flatchr.io talentlyft.com bullhornmail.com gem.com cornerstoneondemand.com`,
		tester: `codility.com hackerrank.com hackerrankforwork.com codesignal.com coderbyte.com testgorilla.com hirevue.com
			pymetrics.com karat.io karat.com coderpad.io shl.com modernhire.com sparkhire.com willo.video devskiller.com`,
		board: `linkedin.com indeed.com indeedemail.com stepstone.de stepstone.com xing.com glassdoor.com monster.com monster.de
			ziprecruiter.com totaljobs.com reed.co.uk infojobs.net apec.fr welcometothejungle.com hellowork.com wellfound.com
			angel.co dice.com careerbuilder.com jobleads.com kimeta.de stellenanzeigen.de arbeitsagentur.de otta.com adzuna.com
			jooble.org talent.com jobs.ch jobrapido.com neuvoo.com get-in-it.de absolventa.de jobware.de cv-library.co.uk`,
		notifier: `github.com gitlab.com bitbucket.org atlassian.com atlassian.net slack.com trello.com asana.com notion.so
			facebookmail.com instagram.com x.com twitter.com paypal.com paypal.de stripe.com dhl.de dpd.de ups.com
			accounts.google.com docs.google.com calendar-notification@google.com microsoft.com apple.com sentry.io circleci.com
			whatsapp.com dropbox.com zoom.us uber.com airbnb.com booking.com`,
		bulk: `substack.com mailchimpapp.net beehiiv.com medium.com quora.com meetup.com eventbrite.com mailchi.mp ghost.io
			convertkit.com buttondown.email groupon.com producthunt.com pinterest.com`,
	} {
		for domain := range strings.FieldsSeq(list) {
			domains[domain] = kind
		}
	}
	return domains
}()

type senderKind uint8

const (
	stranger senderKind = iota
	tracker
	tester
	board
	notifier
	bulk
)

// sender is what an address tells.
type sender struct {
	kind   senderKind
	domain string // the one that is known
	// What the part before the @, or the domain's first label, says: jobs@, newsletter@, noreply@.
	hiring, mailing, alerts, machine bool
}

const maxAddress = 320 // RFC 5321 allows 64 + 1 + 255 bytes

func readSender(address string) sender {
	address = strings.ToLower(strings.Trim(clip(address, maxAddress), " <>"))
	local, domain, _ := strings.Cut(address, "@")
	var s sender
	for rest := domain; strings.Contains(rest, "."); _, rest, _ = strings.Cut(rest, ".") {
		if kind, known := senderDomains[rest]; known {
			s.kind, s.domain = kind, rest
			break
		}
	}
	labels := strings.FieldsFunc(local, func(r rune) bool { return r == '.' || r == '-' || r == '_' || r == '+' })
	if label, rest, found := strings.Cut(domain, "."); found && strings.Contains(rest, ".") {
		labels = append(labels, strings.Split(label, "-")...)
	}
	for _, label := range labels {
		switch label {
		case "jobs", "careers", "career", "karriere", "recruiting", "recruitment", "recruiter", "talent", "hr", "hiring", "bewerbung", "bewerbungen",
			"personal", "people", "recrutement", "candidature", "rrhh", "seleccion", "talentacquisition", "humanresources", "candidates", "applicants", "apply", "applications", "ausbildung":
			s.hiring = true
		case "newsletter", "newsletters", "news", "marketing", "digest", "offers", "deals", "promo", "promotions", "mailing", "weekly", "daily", "angebote", "shop", "events", "campaign", "campaigns", "e", "em", "mailer", "editor", "redaktion", "podcast":
			s.mailing = true
		case "alert", "alerts", "jobalert", "jobalerts", "jobalarm", "jobagent", "jobmail", "recommendations", "alerte", "alertas":
			s.alerts = true
		case "noreply", "no", "donotreply", "notification", "notifications", "automated", "mailer-daemon", "billing", "support", "security", "service", "account", "accounts", "invoice", "rechnung", "order", "orders":
			s.machine = true
		}
	}
	return s
}
