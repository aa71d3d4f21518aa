package briefing

import (
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/smart-assistant/platform/service/mail"
)

// newsOf is a week's news without a database.
func newsOf(box *mailbox, table *desk) *news {
	n := &news{since: monday.Add(-longest), until: monday, zone: time.UTC, mails: map[mail.Category][]mail.Summary{}, texts: map[string]string{}}
	for _, m := range box.mails {
		n.mails[m.Category] = append(n.mails[m.Category], m.Summary)
		n.texts[m.ID] = m.Text
	}
	n.postings, n.suggestions, n.waiting = table.postings, table.suggestions, table.applications
	return n
}

func TestSentences(t *testing.T) {
	for text, want := range map[string][]string{
		"One. Two! Three? Four … Five":                         {"One.", "Two!", "Three?", "Four …", "Five"},
		"Dr. Berg meets you at 2 p.m. on Monday. Bring ID.":    {"Dr. Berg meets you at 2 p.m. on Monday.", "Bring ID."},
		"Am 24. November um 10 Uhr, z.B. in Berlin. Bis dann.": {"Am 24. November um 10 Uhr, z.B. in Berlin.", "Bis dann."},
		"A line that\ngoes on.\n\nAnother":                     {"A line that goes on.", "Another"},
		"Hi Ada,\nwelcome back.":                               {"Hi Ada,", "welcome back."},
		"- first\n- second\n2) third":                          {"first", "second", "third"},
		"New.\n> quoted\nOn Monday, Bob wrote:\nold":           {"New."},
		"Text.\n-- \nSignature":                                {"Text."},
		"See https://evil.example/x?y=1. Then www.a.b/c done":  {"See (link).", "Then (link) done"},
		"h\u200bttps://evil.example/x":                         {"(link)"},
		"a\x00b\u202ec":                                        {"abc"},
		"":                                                     nil,
	} {
		if got := sentences(text); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzSalient(f *testing.F) {
	for _, box := range []func() (*mailbox, *desk){week, many} {
		mails, _ := box()
		for _, m := range first(mails.mails, 10) {
			f.Add(string(m.Category), m.Subject, m.Text)
		}
	}
	f.Add("interview", hostile().Subject, hostile().Text)
	f.Add("offer", "\xff", "Interview \xff\xfe on 1.1. at 10:00.\r\n.\r\n… … …")
	f.Fuzz(func(t *testing.T, category, subject, text string) {
		picked := salient(mail.Category(category), subject, text)
		if len(picked) > quoted {
			t.Errorf("%d sentences", len(picked))
		}
		for _, sentence := range picked {
			if utf8.RuneCountInString(sentence) > longestSentence+2 || !utf8.ValidString(sentence) || strings.ContainsAny(sentence, "\n\r\x00") || strings.Contains(sentence, "://") {
				t.Errorf("%q", sentence)
			}
		}
	})
}

// FuzzEscape: foreign text adds no citation, HTML or link to a briefing.
func FuzzEscape(f *testing.F) {
	for _, seed := range []string{"[1]", "<b>", "![x](y)", `\[1]`, "&lt;", "https://x.example", "**x**", "ht\u00adtps://x.y"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		shown := escape(plain(text))
		for i := 0; i < len(shown); i++ {
			if shown[i] == '\\' {
				i++ // the next one shows as itself
			} else if strings.IndexByte("`*_[]<>~|&#!", shown[i]) >= 0 {
				t.Fatalf("%q: %q at %d is Markdown", shown, shown[i], i)
			}
		}
	})
}
