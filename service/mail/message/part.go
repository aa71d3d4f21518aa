package message

import (
	"bytes"
	"io"
	"mime"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-message"
	"github.com/emersion/go-message/charset"
	"github.com/emersion/go-message/mail"
	htmlcharset "golang.org/x/net/html/charset"
)

// reader walks a message's parts and adds what is no text to the message.
type reader struct {
	message *Message
	parts   int
	left    int64 // bytes of text that are still looked at: HTML costs time, whichever part it is in
}

// content is what a part has to say.
type content struct {
	text, original string
	rich           bool // it was HTML
}

// part reads a part and those inside it.
func (r *reader) part(header message.Header, body []byte, depth int) content {
	r.parts++
	if r.parts > maxParts {
		return content{}
	}
	kind, params := contentType(header)
	if strings.HasPrefix(kind, "multipart/") && params["boundary"] != "" && depth < maxDepth {
		var inside []content
		for section := range sections(body, params["boundary"]) {
			header, body := split(section)
			inside = append(inside, r.part(header, body, depth+1))
			if r.parts > maxParts {
				break
			}
		}
		if kind == "multipart/alternative" {
			return choose(inside)
		}
		return join(inside)
	}
	disposition, _, _ := strings.Cut(header.Get("Content-Disposition"), ";")
	attached := strings.EqualFold(strings.TrimSpace(disposition), "attachment")
	name := fileName(header)
	if attached || name != "" || kind != "text/plain" && kind != "text/html" && !strings.HasPrefix(kind, "multipart/") {
		r.attach(name, kind, transferred(header, body, int64(len(body))))
		return content{}
	}
	said := transferred(header, body, r.left)
	r.left -= int64(len(said))
	original := decode(said, params["charset"], kind)
	if kind == "text/html" {
		return content{plain(original), original, true}
	}
	return content{original, original, false}
}

func (r *reader) attach(name, kind string, data []byte) {
	if kind == "text/calendar" {
		r.message.Calendar = true
	}
	if len(data) > 0 || name != "" {
		r.message.Attachments = append(r.message.Attachments, Attachment{name, kind, data})
	}
}

// choose takes the plain one of several ways to say the same, or else the first that says anything.
func choose(ways []content) content {
	var best content
	for _, way := range ways {
		if strings.TrimSpace(way.text) != "" && (best.text == "" || best.rich && !way.rich) {
			best = way
		}
	}
	return best
}

// join puts the parts that follow one another together.
func join(parts []content) content {
	var all content
	for _, part := range parts {
		switch {
		case strings.TrimSpace(part.text) == "" || len(all.text) > MaxText:
		case all.text == "":
			all = part
		default:
			all = content{all.text + "\n\n" + part.text, all.original + "\n\n" + part.original, all.rich && part.rich}
		}
	}
	return all
}

// sections yields the parts of a multipart body (RFC 2046, section 5.1.1). go-message's reader ends at the first part whose header is
// malformed; here a part without a proper header is a part still, and a missing last boundary ends the last one.
func sections(body []byte, boundary string) func(yield func([]byte) bool) {
	delimiter := []byte("--" + boundary)
	return func(yield func([]byte) bool) {
		start := -1 // of the part being read: before the first delimiter is the preamble
		for position := 0; position < len(body); {
			line, _ := cutLine(body[position:])
			begin := position
			position += len(line)
			after, found := bytes.CutPrefix(line, delimiter)
			if !found {
				continue
			}
			after = bytes.TrimSpace(after)
			last := bytes.Equal(after, []byte("--"))
			if !last && len(after) > 0 { // another boundary that begins like this one
				continue
			}
			if start >= 0 && !yield(trimNewline(body[start:begin])) {
				return
			}
			if start = position; last {
				return
			}
		}
		if start >= 0 && start < len(body) {
			yield(body[start:])
		}
	}
}

// trimNewline takes off the line break that belongs to the delimiter after it.
func trimNewline(part []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(part, []byte("\n")), []byte("\r"))
}

// contentType reads the field as well as it can be read; the default is plain text (RFC 2045, section 5.2).
func contentType(header message.Header) (kind string, params map[string]string) {
	field := header.Get("Content-Type")
	kind, params, err := mime.ParseMediaType(field)
	if err != nil || kind == "" {
		kind, _, _ = strings.Cut(field, ";")
		kind = strings.ToLower(strings.TrimSpace(kind))
		params = map[string]string{}
		for parameter := range strings.SplitSeq(field, ";") {
			name, value, _ := strings.Cut(parameter, "=")
			params[strings.ToLower(strings.TrimSpace(name))] = strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	kind = truncate(decode([]byte(kind), "", "text/plain"), maxFileName)
	if strings.Count(kind, "/") != 1 || strings.HasPrefix(kind, "/") || strings.HasSuffix(kind, "/") {
		kind = "text/plain"
	}
	return kind, params
}

// fileName is what a part is called, without folders.
func fileName(header message.Header) string {
	h := mail.AttachmentHeader{Header: header}
	name, err := h.Filename()
	if err != nil && name == "" {
		return ""
	}
	name = collapse(decode([]byte(name), "", "text/plain"))
	name = name[strings.LastIndexAny(name, `/\`)+1:]
	if name == "." || name == ".." {
		return ""
	}
	return truncate(name, maxFileName)
}

// transferred undoes the transfer encoding. What cannot be decoded ends the content.
func transferred(header message.Header, body []byte, most int64) []byte {
	var bare message.Header // without the charset, which go-message would undo in attachments as well
	bare.Set("Content-Transfer-Encoding", strings.TrimSpace(header.Get("Content-Transfer-Encoding")))
	entity, _ := message.New(bare, bytes.NewReader(body)) // an unknown encoding is read as it stands
	var decoded bytes.Buffer
	decoded.Grow(int(min(most, int64(len(body)))) + bytes.MinRead) // no encoding makes it longer
	_, _ = decoded.ReadFrom(io.LimitReader(entity.Body, most))
	return decoded.Bytes()
}

// decode makes UTF-8 of text in a charset. One that is unknown or wrong is guessed (HTML Standard, section 13.2.3.2), which for text
// without a hint is Windows-1252.
func decode(data []byte, label, kind string) string {
	if label != "" && !strings.EqualFold(label, "utf-8") && !strings.EqualFold(label, "us-ascii") {
		if r, err := charset.Reader(label, bytes.NewReader(data)); err == nil {
			if converted, err := io.ReadAll(r); err == nil {
				return clean(string(converted))
			}
		}
	}
	if !mostlyUTF8(data) {
		encoding, _, _ := htmlcharset.DetermineEncoding(data, kind)
		if converted, err := encoding.NewDecoder().Bytes(data); err == nil {
			return clean(string(converted))
		}
	}
	return clean(string(data))
}

// mostlyUTF8 tells UTF-8 with a few broken characters from another charset.
func mostlyUTF8(data []byte) bool {
	if utf8.Valid(data) {
		return true
	}
	good, bad := 0, 0
	for len(data) > 0 {
		c, size := utf8.DecodeRune(data)
		data = data[size:]
		switch {
		case c == utf8.RuneError && size == 1:
			bad++
		case size > 1:
			good++
		}
	}
	return good > 4*bad
}
