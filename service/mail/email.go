package mail

import "time"

// Category says what a message is about.
type Category string

// The categories.
const (
	Application Category = "application" // an application arrived at an employer
	Interview   Category = "interview"   // an invitation to one, or its arrangement
	Offer       Category = "offer"
	Rejection   Category = "rejection"
	Newsletter  Category = "newsletter" // sent to many: newsletters, alerts, advertisements
	Other       Category = "other"
)

// Summary is a message in a list.
type Summary struct {
	ID          string    `json:"id" format:"uuid"`
	FromName    string    `json:"from_name"`
	FromAddress string    `json:"from_address"`
	Subject     string    `json:"subject"`
	ReceivedAt  time.Time `json:"received_at"`
	Category    Category  `json:"category" enum:"application,interview,offer,rejection,newsletter,other"`
	Score       float32   `json:"score" doc:"How sure the classifier is, 0 to 1"`
	Reason      string    `json:"reason" doc:"Why the classifier says so"`
	Snippet     string    `json:"snippet" doc:"The text's beginning"`
	Attachments int       `json:"attachments" doc:"How many files it has"`
	Similarity  float64   `json:"similarity,omitempty" doc:"In a search by meaning: the cosine of both vectors, 1 for the same text"`
}

// Email is a whole message.
type Email struct {
	Summary
	MessageID  string       `json:"message_id,omitempty"`
	Recipients string       `json:"recipients"`
	Text       string       `json:"text" doc:"The body as plain text"`
	Size       int64        `json:"size" doc:"Bytes of the message as it came"`
	Files      []Attachment `json:"files"`
}

// Attachment is a file of a message, without its content.
type Attachment struct {
	ID          string `json:"id" format:"uuid"`
	Name        string `json:"name"`
	ContentType string `json:"content_type"`
	Size        int64  `json:"size"`
}
