package index

import (
	"crypto/sha256"
	"encoding/binary"
	"regexp"
	"strings"

	"github.com/smart-assistant/platform/service/mail/message"
)

// quotedFrom is how an mbox may have changed a line.
var quotedFrom = regexp.MustCompile(`(?m)^>+From `)

// Fingerprint tells copies of a message, whichever way they came: what its author wrote (Message-ID, Date, From, Subject, text) and
// nothing that a transport adds or changes, such as trace fields, line breaks and the quoting of an mbox. A message without Message-ID is
// told by its attachments as well.
//
// A change of what goes in makes every stored message a stranger to its copies.
func (x *Index) Fingerprint(m *message.Message) []byte {
	mac := x.fingerprints
	mac.Reset()
	add := func(part []byte) {
		_, _ = mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part)))) // never fails, nor does the next
		_, _ = mac.Write(part)
	}
	text := strings.Join(strings.Fields(quotedFrom.ReplaceAllString(m.Original, "From ")), " ")
	for _, part := range []string{m.ID, m.Header("Date"), m.From.Name, m.From.Address, m.Subject, text} {
		add([]byte(part))
	}
	if m.ID == "" {
		for _, a := range m.Attachments {
			sum := sha256.Sum256(a.Content)
			add([]byte(a.Name))
			add(sum[:])
		}
	}
	return mac.Sum(nil)
}
