package index_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/smart-assistant/platform/service/mail/index"
	"github.com/smart-assistant/platform/service/mail/message"
)

func newIndex(t testing.TB, key string) *index.Index {
	t.Helper()
	x, err := index.New([]byte(strings.Repeat(key, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func query(t *testing.T, x *index.Index, q string) string {
	t.Helper()
	tsquery, err := x.Query(q)
	if err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	return tsquery
}

// TestDocument: words have places, weights and stems; none of them can be read, and another user's are others.
func TestDocument(t *testing.T) {
	x := newIndex(t, "a")
	got := x.Document("Ann", "Interviews", "the interviews, the OFFER")
	interview, interviews, ann, offer := query(t, x, "interview"), query(t, x, `"interviews"`), query(t, x, "ann"), query(t, x, "offer")
	if want := ann + ":1B " + interview + ":18A,36 " + interviews + ":18A,36 " + offer + ":38"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if len(interview) != 13 || strings.Contains(got, "interview") || query(t, newIndex(t, "b"), "interview") == interview {
		t.Errorf("token %s", interview)
	}
}

// TestDocumentIsBounded: a book has no more places than a tsvector, and no more text than it can hold.
func TestDocumentIsBounded(t *testing.T) {
	x := newIndex(t, "a")
	var book strings.Builder
	for i := range 200_000 {
		book.WriteString(strings.Repeat(string(rune('a'+i%26)), 1+i%60) + string(rune('α'+i%20)) + " ")
	}
	if got := x.Document("", strings.Repeat("same ", 10_000), book.String()); len(got) > 1<<20 || strings.Contains(got, ":16384") {
		t.Errorf("%d bytes", len(got))
	}
}

// TestQuery: how queries read.
func TestQuery(t *testing.T) {
	x := newIndex(t, "a")
	w := func(word string) string { return query(t, x, `"`+word+`"`) }
	for q, want := range map[string]string{
		"Interviews":                   w("interview"),
		"ＯＦＦＥＲ":                        w("offer"),
		"offer -newsletters":           w("offer") + " & !(" + w("newslett") + ")",
		`"senior engineers"`:           "(" + w("senior") + " <1> " + w("engineers") + ")",
		`"head of data"`:               "(" + w("head") + " <2> " + w("data") + ")",
		"from:acme.example":            "(" + w("acm") + ":B <1> " + w("exampl") + ":B)",
		`SUBJECT:"your offer" c++`:     w("offer") + ":A & " + w("c++"),
		`-from:jobs "acme`:             "!(" + w("job") + ":B) & " + w("acme"),
		"the don't":                    w("dont"),
		"offer & (! | <-> ) :* '; -- ": w("offer"),
	} {
		if got := query(t, x, q); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", q, got, want)
		}
	}
	for q, want := range map[string]error{"": index.ErrNoWord, "the": index.ErrNoWord, "-offer": index.ErrNoWord, strings.Repeat("x ", 40): index.ErrTooLong} {
		if _, err := x.Query(q); !errors.Is(err, want) {
			t.Errorf("%q: %v", q, err)
		}
	}
}

// FuzzQuery: whatever a user types becomes a tsquery of tokens and operators, or an error.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{"a", `"a b" -c from:d`, `"`, "-", "from:", `subject:"`, "\x00'\\", "-\"\" ''"} {
		f.Add(seed)
	}
	x := newIndex(f, "a")
	f.Fuzz(func(t *testing.T, q string) {
		tsquery, err := x.Query(q)
		if err == nil && (tsquery == "" || strings.IndexFunc(tsquery, func(c rune) bool {
			return c > unicode.MaxASCII || !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune("()!&<>: ", c)
		}) >= 0) {
			t.Fatalf("%q: %q", q, tsquery)
		}
	})
}

// TestFingerprint: copies of a message are the same however they came, and anything that its author wrote differently makes another.
func TestFingerprint(t *testing.T) {
	x := newIndex(t, "a")
	of := func(x *index.Index, raw string) string {
		m, err := message.Parse([]byte(raw), time.Unix(1e9, 0))
		if err != nil {
			t.Fatal(err)
		}
		return string(x.Fingerprint(m))
	}
	const raw = "Message-ID: <1@a>\nFrom: Ann <a@x>\nSubject: Hi\nDate: Mon, 2 Mar 2026 09:30:00 +0000\n\nFrom me\n\nto you\n"
	first := of(x, raw)
	for name, copied := range map[string]string{
		"CRLF":           strings.ReplaceAll(raw, "\n", "\r\n"),
		"trace fields":   "Received: from b; Mon, 2 Mar 2026 09:31:00 +0000\nX-Gmail-Labels: Inbox\n" + raw,
		"quoted by mbox": strings.Replace(raw, "\nFrom me", "\n>From me", 1),
		"blank lines":    raw + "\n\n",
		"another coding": strings.Replace(strings.Replace(raw, "\nDate", "\nContent-Transfer-Encoding: quoted-printable\nDate", 1), "to you", "to=20y=\nou", 1),
	} {
		if of(x, copied) != first {
			t.Errorf("%s: another message", name)
		}
	}
	for name, other := range map[string]string{
		"text": strings.Replace(raw, "you", "him", 1), "subject": strings.Replace(raw, "Hi", "Ho", 1), "sender": strings.Replace(raw, "a@x", "b@x", 1),
		"date": strings.Replace(raw, "09:30", "09:31", 1), "id": strings.Replace(raw, "1@a", "2@a", 1),
	} {
		if of(x, other) == first {
			t.Errorf("another %s: the same message", name)
		}
	}
	if of(newIndex(t, "b"), raw) == first {
		t.Error("another user has the same fingerprint")
	}
}

// TestEmbed: texts about the same are nearer than texts about something else; vectors are the same each time, and others for each user.
func TestEmbed(t *testing.T) {
	x := newIndex(t, "a")
	cosine := func(a, b []float32) (sum float64) {
		for i := range a {
			sum += float64(a[i]) * float64(b[i])
		}
		return sum
	}
	invitation := x.Embed("We would like to invite you to an interview with our engineering team on Monday")
	for name, test := range map[string]struct{ near, far string }{
		"same words":     {"an interview with the engineering team", "your invoice for March is attached"},
		"same notion":    {"let us schedule a phone screen", "weekly newsletter: ten recipes for autumn"},
		"forms of words": {"interviews, interviewing, invited", "the flight leaves at noon"},
	} {
		if near, far := cosine(invitation, x.Embed(test.near)), cosine(invitation, x.Embed(test.far)); near <= far+0.05 {
			t.Errorf("%s: %.3f and %.3f", name, near, far)
		}
	}
	again := newIndex(t, "a").Embed("We would like to invite you to an interview with our engineering team on Monday")
	if c := cosine(invitation, again); math.Abs(c-1) > 1e-6 {
		t.Errorf("again: %v", c)
	}
	for i := range again {
		if again[i] != invitation[i] {
			t.Fatal("not the same to the last bit")
		}
	}
	if c := cosine(invitation, newIndex(t, "b").Embed("We would like to invite you to an interview with our engineering team on Monday")); math.Abs(c) > 0.4 {
		t.Errorf("another user's vector: %v", c)
	}
}
