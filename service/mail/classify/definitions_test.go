package classify_test

import (
	"testing"

	"github.com/smart-assistant/platform/service/mail/classify"
)

// The hesitations of docs/classifier.md, one by one.
func TestDefinitions(t *testing.T) {
	for name, c := range map[string]struct {
		message classify.Message
		want    string
	}{
		"a confirmation": {classify.Message{
			FromAddress: "no-reply@us.greenhouse-mail.io", Subject: "Thank you for applying to Acme",
			Text: "Hi Kim,\n\nwe received your application for Data Engineer. If your profile fits, we will invite you to an interview.",
		}, classify.Application},
		"a refusal that thanks for the application": {classify.Message{
			Subject: "Your application at Acme",
			Text:    "Thank you for applying and for the interview last week. We have decided to move forward with other candidates.",
		}, classify.Rejection},
		"a postponed interview": {classify.Message{
			Subject: "Interview on Friday",
			Text:    "Unfortunately our interviewer fell ill. Could we move the interview to Tuesday at 10:00?",
		}, classify.Interview},
		"an interview cancelled because the position is filled": {classify.Message{
			Subject: "Interview on Friday",
			Text:    "We have to cancel the interview, as the position has been filled in the meantime. We wish you all the best for your search.",
		}, classify.Rejection},
		"no offer": {classify.Message{
			Subject: "Your interview with Acme",
			Text:    "We enjoyed the interview. Unfortunately we are unable to offer you the position.",
		}, classify.Rejection},
		"an offer": {classify.Message{
			Subject: "Your offer from Acme",
			Text:    "We are delighted to offer you the position of Data Engineer. Your base salary will be 70,000 EUR. Please sign the attached contract.",
		}, classify.Offer},
		"a job alert": {classify.Message{
			FromAddress: "jobalerts-noreply@linkedin.com", Subject: "12 new jobs for data engineer in Berlin",
			Text: "Data Engineer at Acme. Actively recruiting. Apply now. See all jobs. Unsubscribe", ListUnsubscribe: "<https://linkedin.com/u>",
		}, classify.Newsletter},
		"a recruiter out of nowhere": {classify.Message{
			Subject: "Opportunity in Berlin",
			Text:    "Hi Kim, I came across your profile on LinkedIn. My client is looking for a data engineer. Would you be open to a chat?",
		}, classify.Other},
		"an application for a flat": {classify.Message{
			Subject: "Your rental application",
			Text:    "Thank you for your application for the flat in Mill Road. Unfortunately the landlord has chosen another applicant.",
		}, classify.Other},
		"a shop": {classify.Message{
			FromAddress: "news@shop.example", Subject: "Special offer: 20% off everything", Text: "Shop now. Unsubscribe here.",
			ListUnsubscribe: "<mailto:u@shop.example>",
		}, classify.Newsletter},
		"what was quoted does not count": {classify.Message{
			Subject: "Re: Thursday",
			Text:    "Sounds good, see you at the football on Thursday!\n\nOn Mon, Kim wrote:\n> We regret to inform you that your application was unsuccessful.\n",
		}, classify.Other},
		"a forward without own words": {classify.Message{
			Subject: "Fwd: Ihre Bewerbung",
			Text:    "---------- Forwarded message ---------\nFrom: HR <hr@acme.example>\n\nLeider können wir Ihre Bewerbung nicht berücksichtigen.",
		}, classify.Rejection},
		"a German invitation": {classify.Message{
			Subject: "Ihre Bewerbung als Entwicklerin",
			Text:    "Sehr geehrte Frau Kim,\n\nwir möchten Sie gerne zu einem Vorstellungsgespräch einladen.",
		}, classify.Interview},
		"nothing": {classify.Message{}, classify.Other},
	} {
		if got := classify.Classify(c.message); got.Category != c.want {
			t.Errorf("%s: %s (%.2f), want %s. %s", name, got.Category, got.Score, c.want, got.Reason)
		} else {
			t.Logf("%s: %s (%.2f). %s", name, got.Category, got.Score, got.Reason)
		}
	}
}
