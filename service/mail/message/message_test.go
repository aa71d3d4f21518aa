package message_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/smart-assistant/platform/service/mail/message"
)

var arrived = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func lines(l ...string) string { return strings.Join(l, "\r\n") }

func parse(t *testing.T, raw string) *message.Message {
	t.Helper()
	m, err := message.Parse([]byte(raw), arrived)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestHeaders: names, subjects and dates as they are written in the world, right and wrong.
func TestHeaders(t *testing.T) {
	sent := time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		raw  string
		want message.Message
	}{
		"plain": {
			lines("From: Ann Lee <Ann@Acme.Example>", "To: me@home.example, Bob <bob@home.example>", "Cc: c@home.example", "Subject: Hello", "Message-ID: <1@acme>", "Date: Mon, 2 Mar 2026 10:30:00 +0100", "", "x"),
			message.Message{ID: "1@acme", From: message.Address{Name: "Ann Lee", Address: "ann@acme.example"}, Recipients: "me@home.example, Bob <bob@home.example>, c@home.example", Subject: "Hello", Date: sent},
		},
		"encoded words, folded": {
			lines("From: =?iso-8859-1?q?J=F6rg_M=FCller?= <j@x.example>", "Subject: =?utf-8?B?R3LDvMOfZQ==?=", " =?utf-8?q?_aus_K=C3=B6ln?=", "Date: 2026-03-02 09:30:00 +0000", "", ""),
			message.Message{From: message.Address{Name: "Jörg Müller", Address: "j@x.example"}, Subject: "Grüße aus Köln", Date: sent},
		},
		"raw Latin-1, spaces before colons, a line that is none": {
			"From : M\xfcller <m@x.example>\nthis is no header\nSubject: Gr\xfc\xdfe\nDate: Mon, 02 Mar 2026 09:30:00 GMT (nobody knows)\n\nx",
			message.Message{From: message.Address{Name: "Müller", Address: "m@x.example"}, Subject: "Grüße", Date: sent},
		},
		"an address that breaks the rules": {
			lines("From: Jobs, Inc. @ Acme <jobs@acme.example", "Subject: x", "Date: Mon, 2 Mar 2026 09:30:00 +0000", "", ""),
			message.Message{From: message.Address{Name: "Jobs, Inc. @ Acme", Address: "jobs@acme.example"}, Subject: "x", Date: sent},
		},
		"no From, no Date": {
			lines("Sender: s@x.example", "Received: from a by b; Mon, 2 Mar 2026 09:30:00 +0000", "Received: from c by a; Sun, 1 Mar 2026 09:30:00 +0000", "", ""),
			message.Message{From: message.Address{Address: "s@x.example"}, Date: sent},
		},
		"a date that is not to be believed": {
			lines("From: s@x.example", "Date: Tue, 1 Jan 2036 00:00:00 +0000", "", ""),
			message.Message{From: message.Address{Address: "s@x.example"}, Date: arrived},
		},
		"NUL and controls": {
			"From: a\x00b@x.example\nSubject: one\x00\x07two\n\nx",
			message.Message{From: message.Address{Address: "ab@x.example"}, Subject: "onetwo", Date: arrived},
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := parse(t, test.raw)
			if m.ID != test.want.ID || m.From != test.want.From || m.Recipients != test.want.Recipients || m.Subject != test.want.Subject || !m.Date.Equal(test.want.Date) {
				t.Errorf("got  %q %q %q %q %s\nwant %q %q %q %q %s", m.ID, m.From, m.Recipients, m.Subject, m.Date,
					test.want.ID, test.want.From, test.want.Recipients, test.want.Subject, test.want.Date)
			}
		})
	}
}

// TestText: what a person reads of a message, however it is built.
func TestText(t *testing.T) {
	const from = "From: a@x.example\r\n"
	for name, test := range map[string]struct{ raw, want string }{
		"plain":            {from + "\r\none\r\n\r\n\r\n\r\ntwo  \r\n", "one\n\ntwo"},
		"quoted-printable": {from + "Content-Type: text/plain; charset=iso-8859-15\r\nContent-Transfer-Encoding: Quoted-Printable\r\n\r\nna=EFve =\r\n10=A4 a=b", "naïve 10€ a=b"},
		"base64":           {from + "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nR3LDvMOf\r\nZQ==\r\n", "Grüße"},
		"broken base64":    {from + "Content-Transfer-Encoding: base64\r\n\r\naGVsbG8gd29ybGQ=!!!", "hello world"},
		"unknown charset":  {from + "Content-Type: text/plain; charset=klingon\r\n\r\nna\xefve", "naïve"},
		"wrong charset":    {from + "Content-Type: text/plain; charset=utf-8\r\n\r\nna\xefve", "naïve"},
		"iso-2022-jp":      {from + "Content-Type: text/plain; charset=iso-2022-jp\r\n\r\n\x1b$B$3$s$K$A$O\x1b(B", "こんにちは"},
		"NUL":              {from + "\r\na\x00b", "ab"},
		"HTML": {
			from + "Content-Type: text/html\r\n\r\n<head><title>no</title><style>p{}</style></head><div style=\"display: none\">preview</div><span hidden>no</span><p>Dear&nbsp;Ann,</p><p>we <b>in</b>vite<br>you:<ul><li>Monday<li><p>Tuesday</p></ul><script>alert(1)</script><img src=x width=1 height=1 alt=pixel><img alt=\"Acme logo\"><table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>",
			"Dear Ann,\n\nwe invite\nyou:\n\n- Monday\n- Tuesday\n\nAcme logo\n\na b\nc",
		},
		"HTML with the charset in it": {from + "Content-Type: text/html\r\n\r\n<meta charset=iso-8859-2><p>\xb3\xf3d\xbc</p>", "łódź"},
		"alternative": {
			from + "Content-Type: multipart/alternative; boundary=b\r\n\r\npreamble\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>rich</p>\r\n--b\r\nContent-Type: text/plain\r\n\r\nplain\r\n--b--\r\nepilogue",
			"plain",
		},
		"alternative with an empty plain part": {
			from + "Content-Type: multipart/alternative; boundary=\"b b\"\r\n\r\n--b b\r\n\r\n \r\n--b b\r\nContent-Type: text/html\r\n\r\n<p>rich</p>\r\n--b b--",
			"rich",
		},
		"mixed, nested, without an end": {
			from + "Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/alternative; boundary=oi\r\n\r\n--oi\r\n\r\nplain\r\n--oi\r\nContent-Type: text/html\r\n\r\nrich\r\n--oi--\r\n--o\r\nbroken header line\r\n\r\nfooter",
			"plain\n\nfooter",
		},
		"a boundary that is never there": {from + "Content-Type: multipart/mixed; boundary=q\r\n\r\ntext", ""},
		"no boundary":                    {from + "Content-Type: multipart/mixed\r\n\r\ntext", "text"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := parse(t, test.raw).Text; got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestAttachments: names without folders, contents byte by byte, invitations seen.
func TestAttachments(t *testing.T) {
	m := parse(t, lines("From: a@x.example", "Content-Type: multipart/mixed; boundary=b", "", "--b", "", "see the file", "--b",
		`Content-Type: application/pdf; name="=?utf-8?q?Lebensl=C3=A4ufe.pdf?="`, "Content-Transfer-Encoding: base64", "", "JVBERg==", "--b",
		"Content-Type: text/csv; charset=iso-8859-1", `Content-Disposition: attachment; filename*=utf-8''..%2F..%2Fetc%2Fn%C3%A4men.csv`, "", "\xe4;1", "--b",
		"Content-Type: text/calendar; method=REQUEST", "", "BEGIN:VCALENDAR", "--b", "Content-Type: message/rfc822", "", "Subject: inner", "", "inside", "--b--", ""))
	want := []message.Attachment{
		{Name: "Lebensläufe.pdf", ContentType: "application/pdf", Content: []byte("%PDF")},
		{Name: "nämen.csv", ContentType: "text/csv", Content: []byte("\xe4;1")},
		{ContentType: "text/calendar", Content: []byte("BEGIN:VCALENDAR")},
		{ContentType: "message/rfc822", Content: []byte("Subject: inner\r\n\r\ninside")},
	}
	if m.Text != "see the file" || !m.Calendar || len(m.Attachments) != len(want) {
		t.Fatalf("text %q, calendar %t, %d attachments", m.Text, m.Calendar, len(m.Attachments))
	}
	for i, a := range m.Attachments {
		if a.Name != want[i].Name || a.ContentType != want[i].ContentType || string(a.Content) != string(want[i].Content) {
			t.Errorf("attachment %d: %q %q %q", i, a.Name, a.ContentType, a.Content)
		}
	}
}

// TestLimits: messages that are made to hurt are read in bounded time and memory.
func TestLimits(t *testing.T) {
	deep := "From: a@x\r\n"
	for range 5000 {
		deep += "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
	}
	for name, raw := range map[string]string{
		"parts":  "From: a@x\nContent-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("--b\n\nx\n", 100_000),
		"depth":  deep,
		"header": "From: a@x\n" + strings.Repeat("X: y\n", 1_000_000) + "\nx",
		"folded": "From: a@x\n" + strings.Repeat(" y\n", 1_000_000) + "\nx",
		"html":   "From: a@x\nContent-Type: text/html\n\n" + strings.Repeat("<div>x", 100_000),
		"text":   "From: a@x\n\n" + strings.Repeat("äöü", 1_000_000),
	} {
		t.Run(name, func(t *testing.T) {
			m := parse(t, raw)
			if len(m.Text) > message.MaxText || len(m.Attachments) > 250 || !utf8.ValidString(m.Text) {
				t.Errorf("%d bytes of text, %d attachments", len(m.Text), len(m.Attachments))
			}
		})
	}
}

// FuzzMessage: whatever the bytes are, reading ends and gives strings that a database takes.
func FuzzMessage(f *testing.F) {
	for _, seed := range []string{
		"From: a@x\n\nhello", "", "\n\n", "Subject: =?utf-8?q?=00?=\n\n",
		"From: a@x\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b\nContent-Type: text/html; charset=utf-16\n\n<p>\xff\xfe\n--b--",
		"From: a@x\nContent-Type: text/html\nContent-Transfer-Encoding: base64\n\nPGRpdj48cHJlPiA8YnI+PC9wcmU+PC9kaXY+",
		"Content-Type: text/plain; charset=utf-7\nContent-Transfer-Encoding: quoted-printable\nDate: x\nReceived: ;\n\n=",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, _ := message.Parse(raw, arrived)
		texts := []string{m.ID, m.From.Name, m.From.Address, m.Recipients, m.Subject, m.Text, m.Original, m.Header("List-Id")}
		for _, a := range m.Attachments {
			texts = append(texts, a.Name, a.ContentType)
		}
		for _, text := range texts {
			if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
				t.Fatalf("%q is no text", text)
			}
		}
		if m.Date.Unix() < 0 || m.Date.After(arrived.Add(24*time.Hour)) {
			t.Fatalf("date %s", m.Date)
		}
	})
}

// TestManyTexts: however many parts hold HTML, no more of it is looked at than of one.
func TestManyTexts(t *testing.T) {
	var raw strings.Builder
	raw.WriteString("From: a@x\nContent-Type: multipart/alternative; boundary=b\n\n")
	part := "--b\nContent-Type: text/html\n\n" + strings.Repeat("<b></b>", 100_000) + "%d<p>\n"
	for i := range 8 {
		fmt.Fprintf(&raw, part, i)
	}
	m, err := message.Parse([]byte(raw.String()+"--b--\n"), time.Now())
	if err != nil || m.Text != "0" {
		t.Fatalf("%q %v", m.Text, err)
	}
	mixed := strings.Replace(raw.String(), "alternative", "mixed", 1)
	if m, err = message.Parse([]byte(mixed+"--b--\n"), time.Now()); err != nil || m.Text != "0\n\n1" {
		t.Fatalf("%q %v", m.Text, err)
	}
}
