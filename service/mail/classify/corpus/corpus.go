// Package corpus reads labelled messages and measures the classifier on them. docs/classifier.md describes the format.
package corpus

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/smart-assistant/platform/service/mail/classify"
)

// Example is one line of a corpus: a message and the category that a person gave it.
type Example struct {
	ID              string `json:"id"`
	Category        string `json:"category"`
	FromName        string `json:"from_name,omitempty"`
	FromAddress     string `json:"from_address,omitempty"`
	Subject         string `json:"subject,omitempty"`
	Text            string `json:"text,omitempty"`
	ListUnsubscribe string `json:"list_unsubscribe,omitempty"`
	ListID          string `json:"list_id,omitempty"`
	Precedence      string `json:"precedence,omitempty"`
	AutoSubmitted   string `json:"auto_submitted,omitempty"`
	HasCalendar     bool   `json:"has_calendar,omitempty"`
	Language        string `json:"language,omitempty"` // ISO 639-1
	Note            string `json:"note,omitempty"`     // why it is hard, for people
}

// Message is what the classifier sees of an example.
func (e Example) Message() classify.Message {
	return classify.Message{
		FromName: e.FromName, FromAddress: e.FromAddress, Subject: e.Subject, Text: e.Text, ListUnsubscribe: e.ListUnsubscribe,
		ListID: e.ListID, Precedence: e.Precedence, AutoSubmitted: e.AutoSubmitted, HasCalendar: e.HasCalendar,
	}
}

// ReadFile reads a corpus. An unknown field, an unknown category and an id that occurs twice are errors that name the line.
func ReadFile(path string) ([]Example, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read corpus: %w", err)
	}
	defer file.Close()
	examples, err := Read(file)
	if err != nil {
		return nil, fmt.Errorf("read corpus %s: %w", path, err)
	}
	return examples, nil
}

const maxLine = 1 << 20 // bytes

// Read reads a corpus: JSON Lines, empty lines are passed over.
func Read(r io.Reader) ([]Example, error) {
	var examples []Example
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	seen := map[string]bool{}
	for n := 1; lines.Scan(); n++ {
		if len(lines.Bytes()) == 0 {
			continue
		}
		var e Example
		if err := unmarshalStrict(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if !slices.Contains(classify.Categories(), e.Category) {
			return nil, fmt.Errorf("line %d: %q is no category; those are %v", n, e.Category, classify.Categories())
		}
		if e.ID == "" || seen[e.ID] {
			return nil, fmt.Errorf("line %d: the id %q is empty or was there before", n, e.ID)
		}
		seen[e.ID] = true
		examples = append(examples, e)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("after line %d: %w", len(examples), err)
	}
	return examples, nil
}

func unmarshalStrict(line []byte, e *Example) error {
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	return decoder.Decode(e)
}
