package classify

import (
	"slices"
	"strings"
	"unicode"
)

const maxQuote = 70 // runes

// explain names the evidence for a category in a sentence.
func (e *evidence) explain(best kind, m Message) string {
	var parts []string
	if quotes := e.quotes(best); len(quotes) > 0 {
		parts = append(parts, "says "+strings.Join(quotes, " and "))
	}
	switch {
	case best == newsletter && m.ListUnsubscribe != "":
		parts = append(parts, "can be unsubscribed from")
	case best == newsletter && m.ListID != "":
		parts = append(parts, "was sent to a mailing list")
	case best == interview && m.HasCalendar:
		parts = append(parts, "comes with a calendar entry")
	}
	if e.sender.domain != "" && (best < newsletter && (e.sender.kind == tracker || e.sender.kind == tester || e.sender.kind == board) ||
		best == newsletter && (e.sender.kind == board || e.sender.kind == bulk) || best == other && e.sender.kind == notifier) {
		parts = append(parts, "sent by "+e.sender.domain)
	}
	if len(parts) == 0 {
		if best == newsletter {
			return "It looks like mail that goes to many."
		}
		return "Nothing in it speaks of an application or of a mailing to many."
	}
	sentence := strings.Join(parts, "; ") + "."
	return strings.ToUpper(sentence[:1]) + sentence[1:]
}

// quotes are the two heaviest phrases of a kind, in the message's own words.
func (e *evidence) quotes(k kind) []string {
	var clues []clue
	for _, c := range e.clues {
		if c.kind == k && c.weight >= 0.5 {
			clues = append(clues, c)
		}
	}
	slices.SortStableFunc(clues, func(a, b clue) int {
		switch {
		case a.weight > b.weight:
			return -1
		case a.weight < b.weight:
			return 1
		}
		return 0
	})
	if len(clues) > 2 {
		clues = clues[:2]
	}
	quotes := make([]string, len(clues))
	for i, c := range clues {
		quotes[i] = "“" + tidy(c.quote) + "”"
	}
	return quotes
}

// tidy makes a quotation fit into a sentence: one line of printable characters, not too long.
func tidy(quote string) string {
	quote = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(clip(quote, 8*maxQuote), ""))
	quote = strings.Join(strings.Fields(quote), " ")
	if runes := []rune(quote); len(runes) > maxQuote {
		quote = strings.TrimSpace(string(runes[:maxQuote-1])) + "…"
	}
	return quote
}
