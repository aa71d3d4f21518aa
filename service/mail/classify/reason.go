package classify

import (
	"slices"
	"strings"
	"unicode"

	"github.com/smart-assistant/platform/service/mail/classify/weights"
)

const maxQuote = 70 // runes

// explain names the evidence for a category in a sentence.
func (r *reading) explain(best kind, m Message, sums *weights.Sums) string {
	var parts []string
	e := &r.evidence
	quotes := e.quotes(best)
	if len(quotes) == 0 && best != r.byRules {
		quotes = r.strongestWords(best, sums)
	}
	if len(quotes) > 0 {
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
		return withoutEvidence[best]
	}
	sentence := strings.Join(parts, "; ") + "."
	return strings.ToUpper(sentence[:1]) + sentence[1:]
}

var withoutEvidence = [categories]string{
	application: "It looks like news of an application.",
	interview:   "It looks like the arrangement of an interview.",
	offer:       "It looks like an offer.",
	rejection:   "It looks like a refusal.",
	newsletter:  "It looks like mail that goes to many.",
	other:       "Nothing in it speaks of an application or of a mailing to many.",
}

const longestQuote = 6 // words

// strongestWords is the run of words that speaks most for a category by the learned weights, or nothing.
func (r *reading) strongestWords(best kind, sums *weights.Sums) []string {
	var strength [2][]float64
	for i := range strength {
		strength[i] = make([]float64, len(r.passages[i].words))
	}
	for _, f := range r.features {
		if f.word != nowhere && int(f.passage) < len(strength) {
			strength[f.passage][f.word] += sums.Strength(f.key, int(best))
		}
	}
	var strongest float64
	var quote string
	for i, p := range r.passages[:len(strength)] {
		for from := range p.words {
			var sum float64
			for to := from; to < len(p.words) && to < from+longestQuote && together(p.words[from], p.words[to]); to++ {
				if sum += strength[i][to]; sum > strongest {
					strongest = sum
					quote = p.text[p.words[from].start:p.words[to].end]
				}
			}
		}
	}
	if quote = tidy(quote); quote == "" {
		return nil
	}
	return []string{"“" + quote + "”"}
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
