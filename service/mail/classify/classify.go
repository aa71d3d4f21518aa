// Package classify says what a message means for somebody who looks for a job: application, interview, offer, rejection, newsletter or
// other. docs/classifier.md defines the categories.
//
// It owns the evidence (phrases, senders, headers), its weights and the sentence that explains a result to the user. It reads no MIME,
// keeps nothing and asks nobody: the same message has the same result on every machine.
package classify

// Version numbers the classifier. It rises with every change that can change a result, so that stored mail can be classified again.
const Version = 1

// The categories.
const (
	Application = "application"
	Interview   = "interview"
	Offer       = "offer"
	Rejection   = "rejection"
	Newsletter  = "newsletter"
	Other       = "other"
)

// Message is what the classifier looks at. All fields may be empty; none needs to be valid UTF-8.
type Message struct {
	FromName    string
	FromAddress string
	Subject     string
	Text        string // the body as plain text

	ListUnsubscribe string // header fields, as they stand (RFC 2369, RFC 2919, RFC 3834)
	ListID          string
	Precedence      string
	AutoSubmitted   string
	HasCalendar     bool // there is a text/calendar part
}

// Result is what the classifier thinks of a message.
type Result struct {
	Category string
	Score    float32 // the probability that the category is right, 0 to 1
	Reason   string  // one sentence for the user that names the evidence, at most 300 characters
}

// Classify never fails: a message without evidence is other.
func Classify(_ Message) Result {
	return Result{Category: Other, Score: 0.5, Reason: "Nothing in it tells of an application."}
}
