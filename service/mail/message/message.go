// Package message reads mail as it is found in the wild: one message (RFC 5322, RFC 2045 to 2049), and files full of them (mbox, Maildir
// in a tar).
//
// It owns the decoding of headers, charsets, transfer encodings and HTML into plain text that a database takes and a person reads. It is
// tolerant: a broken header line loses that line, a broken part that part, and never the message. Nothing in a message makes it use more
// memory than a small multiple of the message. It keeps nothing and fetches nothing.
package message

import (
	"bufio"
	"bytes"
	"errors"
	"strings"
	"time"

	"github.com/emersion/go-message"
	"github.com/emersion/go-message/mail"
	"github.com/emersion/go-message/textproto"
)

// What is read of one message; the rest is left out.
const (
	MaxText     = 1 << 20   // bytes of the text
	maxSource   = 2 << 20   // bytes of all texts as they came
	maxHeader   = 256 << 10 // bytes of a message's or a part's header
	maxParts    = 250
	maxDepth    = 12
	maxSubject  = 1000 // bytes
	maxNames    = 2000 // bytes of names and addresses
	maxFileName = 255  // bytes
)

// Address is who sent a message. Address is in lower case; either may be empty.
type Address struct{ Name, Address string }

// Message is what a message says. All strings are valid UTF-8 without NUL.
type Message struct {
	ID         string // Message-ID without its angle brackets
	From       Address
	Recipients string // of To and Cc, for people to read
	Subject    string
	Date       time.Time // when it was sent, as far as that can be believed
	Text       string    // plain text, or HTML made plain

	// Original is the text before HTML was made plain. It is the same in every version of this package, which Text is not.
	Original    string
	Attachments []Attachment
	Calendar    bool // there is a text/calendar part: an invitation
	header      message.Header
}

// Attachment is a part that is not the text.
type Attachment struct {
	Name        string // without folders; may be empty
	ContentType string // lower case, without parameters
	Content     []byte
}

// ErrNoHeader is what has not one header field: no mail.
var ErrNoHeader = errors.New("it has no header: this is no mail")

// Parse reads a message. With a date that is missing or cannot be true (before 1970, or a day after arrived) the newest Received line
// counts, then arrived. Parse fails with ErrNoHeader alone, and returns what there is nevertheless.
func Parse(raw []byte, arrived time.Time) (*Message, error) {
	header, body := split(bytes.TrimLeft(raw, "\r\n"))
	m := &Message{header: header}
	m.ID = truncate(strings.Trim(m.Header("Message-Id"), "<> "), maxSubject)
	m.From = sender(header)
	m.Recipients = recipients(header)
	m.Subject = truncate(m.Header("Subject"), maxSubject)
	m.Date = date(header, arrived)

	if header.Len() == 0 {
		body = raw
	}
	r := reader{message: m, left: maxSource}
	content := r.part(header, body, 0)
	m.Text, m.Original = truncate(tidy(content.text), MaxText), truncate(content.original, MaxText)
	if header.Len() == 0 {
		return m, ErrNoHeader
	}
	return m, nil
}

// Header returns a header field, decoded (RFC 2047), its white space collapsed; "" when there is none.
func (m *Message) Header(name string) string { return text(m.header, name) }

func text(header message.Header, name string) string {
	value, err := header.Text(name)
	if err != nil {
		value = header.Get(name)
	}
	return collapse(decode([]byte(value), "", "text/plain"))
}

// split parts a header from its body. Lines that are no header are left out, where go-message would refuse the whole.
func split(raw []byte) (message.Header, []byte) {
	var kept []byte
	body := raw
	for len(body) > 0 {
		line, rest := cutLine(body)
		body = rest
		trimmed := bytes.TrimRight(line, "\r\n")
		if len(trimmed) == 0 {
			break
		}
		folded := trimmed[0] == ' ' || trimmed[0] == '\t'
		if len(kept)+len(trimmed) < maxHeader && (folded && len(kept) > 0 || isField(trimmed)) {
			kept = append(append(kept, trimmed...), '\r', '\n')
		}
	}
	parsed, err := textproto.ReadHeader(bufio.NewReader(bytes.NewReader(append(kept, '\r', '\n'))))
	if err != nil {
		return message.Header{}, body
	}
	return message.Header{Header: parsed}, body
}

func cutLine(text []byte) (line, rest []byte) {
	if end := bytes.IndexByte(text, '\n'); end >= 0 {
		return text[:end+1], text[end+1:]
	}
	return text, nil
}

// isField says whether a line begins with a field's name and a colon (RFC 5322, section 2.2). Space before the colon is obsolete, and
// still sent.
func isField(line []byte) bool {
	name, _, found := bytes.Cut(line, []byte(":"))
	name = bytes.TrimRight(name, " \t")
	return found && len(name) > 0 && bytes.IndexFunc(name, func(c rune) bool { return c <= ' ' || c > '~' }) < 0
}

// sender is the author, or whoever else says that it comes from them.
func sender(header message.Header) Address {
	for _, field := range []string{"From", "Sender", "Reply-To", "Return-Path"} {
		for _, address := range addresses(header, field) {
			if address.Address != "" || address.Name != "" {
				return address
			}
		}
	}
	return Address{}
}

func recipients(header message.Header) string {
	var list []string
	for _, field := range []string{"To", "Cc"} {
		for _, a := range addresses(header, field) {
			switch {
			case a.Name != "" && a.Address != "":
				list = append(list, a.Name+" <"+a.Address+">")
			default:
				list = append(list, a.Name+a.Address)
			}
		}
	}
	return truncate(strings.Join(list, ", "), maxNames)
}

// addresses reads an address field. One that breaks the rules is searched for the last thing with an @ in it.
func addresses(header message.Header, field string) []Address {
	if !header.Has(field) {
		return nil
	}
	h := mail.Header{Header: header}
	if list, err := h.AddressList(field); err == nil {
		found := make([]Address, 0, len(list))
		for _, a := range list {
			found = append(found, address(a.Name, a.Address))
		}
		return found
	}
	value := text(header, field)
	if open := strings.LastIndexByte(value, '<'); open >= 0 {
		inside, _, _ := strings.Cut(value[open+1:], ">")
		return []Address{address(value[:open], inside)}
	}
	for word := range strings.FieldsFuncSeq(value, func(c rune) bool { return c == ' ' || c == ',' || c == ';' }) {
		if strings.Contains(word, "@") {
			return []Address{address("", word)}
		}
	}
	return []Address{address(value, "")}
}

func address(name, addr string) Address {
	name = strings.Trim(collapse(decode([]byte(name), "", "text/plain")), `"' `)
	addr = strings.ToLower(collapse(decode([]byte(addr), "", "text/plain")))
	return Address{truncate(name, maxNames), truncate(addr, maxNames)}
}

// date believes the sender when it can.
func date(header message.Header, arrived time.Time) time.Time {
	credible := func(value string) (time.Time, bool) {
		at, ok := parseDate(value)
		return at, ok && at.Unix() > 0 && !at.After(arrived.Add(24*time.Hour))
	}
	if at, ok := credible(header.Get("Date")); ok {
		return at
	}
	for received := header.FieldsByKey("Received"); received.Next(); { // the newest stands first
		if at, ok := credible(received.Value()[strings.LastIndexByte(received.Value(), ';')+1:]); ok {
			return at
		}
	}
	return arrived.UTC()
}

// parseDate reads a date of RFC 5322, section 3.3, or one of the ways in which it is often got wrong.
func parseDate(value string) (time.Time, bool) {
	value = collapse(value)
	h := mail.Header{}
	h.Set("Date", value)
	if at, err := h.Date(); err == nil && !at.IsZero() {
		return at.UTC(), true
	}
	value, _, _ = strings.Cut(value, " (")
	for _, layout := range []string{
		time.RFC3339, "2006-01-02 15:04:05 -0700", "2006-01-02 15:04:05", time.ANSIC, time.UnixDate, time.RFC850,
		"Mon, 2 Jan 2006 15:04:05", "2 Jan 2006 15:04:05", "Mon, 2 Jan 2006 15:04:05 GMT-0700", "Mon 2 Jan 2006 15:04:05 -0700", "Mon Jan 2 15:04:05 2006 -0700",
	} {
		if at, err := time.Parse(layout, value); err == nil {
			return at.UTC(), true
		}
	}
	return time.Time{}, false
}
