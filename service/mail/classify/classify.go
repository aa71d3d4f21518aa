// Package classify says what a message means for somebody who looks for a job: application, interview, offer, rejection, newsletter or
// other. docs/classifier.md defines the categories.
//
// Rules and learned weights decide together. It owns the rules (phrases, senders, header fields), the features that weights are learned of
// (package train learns them, package weights applies them), and the sentence that explains a result to the user. It reads no
// MIME, keeps nothing and asks nobody: the same message has the same result on every machine.
package classify

// Version numbers the classifier. It rises with every change that can change a result, so that stored mail can be classified again.
const Version = 2

// The categories.
const (
	Application = "application"
	Interview   = "interview"
	Offer       = "offer"
	Rejection   = "rejection"
	Newsletter  = "newsletter"
	Other       = "other"
)

// Categories are all categories, in the order in which reports list them.
func Categories() []string {
	return []string{Application, Interview, Offer, Rejection, Newsletter, Other}
}

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
	Reason   string  // one sentence for the user that names the evidence, at most 300 characters of valid UTF-8
}

// Classify never fails: a message without evidence is other. It reads only the beginning and the end of a long message.
func Classify(m Message) Result {
	r := read(m)
	best, score, sums := r.decide()
	return Result{Category: kindNames[best], Score: float32(score), Reason: r.explain(best, m, sums)}
}
