package briefing

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/smart-assistant/platform/service/mail"
)

const (
	longestText     = 20_000 // bytes of a message that are looked at
	longestSentence = 280    // characters of a quotation
	quoted          = 2      // sentences of a message
	enough          = 1      // weight of a sentence that is worth a quotation
)

// salient picks the sentences of a message that say the most, in the message's order. They are quotations: nothing is put in other
// words, so nothing is made up.
func salient(category mail.Category, subject, text string) []string {
	type candidate struct {
		text  string
		place int
		score float64
	}
	var candidates []candidate
	for place, sentence := range sentences(text) {
		if score := weigh(category, subject, sentence, place); score >= enough {
			candidates = append(candidates, candidate{sentence, place, score})
		}
	}
	slices.SortStableFunc(candidates, func(a, b candidate) int { return cmp.Compare(b.score, a.score) })
	candidates = first(candidates, quoted)
	slices.SortFunc(candidates, func(a, b candidate) int { return cmp.Compare(a.place, b.place) })
	var picked []string
	for _, c := range candidates {
		if !slices.Contains(picked, c.text) {
			picked = append(picked, shorten(c.text, longestSentence))
		}
	}
	return picked
}

// What tells a sentence that matters, in English and German.
var (
	dated = cue(`\d{1,2}:\d{2}|\d{1,2} ?(am|pm|uhr)|\d{1,2}\.\d{1,2}\.(\d{2,4})?|\d{4}-\d{2}-\d{2}|\d{1,2}/\d{1,2}(/\d{2,4})?|` +
		`mon(day)?|tue(sday)?|wed(nesday)?|thu(rsday)?|fri(day)?|saturday|sunday|montag|dienstag|mittwoch|donnerstag|freitag|samstag|sonntag|` +
		`january|february|march|april|june|july|august|september|october|november|december|januar|februar|märz|mai|juni|juli|oktober|dezember|` +
		`tomorrow|today|next week|morgen|heute|nächste woche`)
	deadline = cue(`by|until|before|no later than|deadline|within|due|expires?|bis( zum)?|spätestens|frist|innerhalb`)
	action   = cue(`please|kindly|confirm|reply|respond|let us know|choose|pick|schedule|book|sign|complete|submit|send|prepare|bring|call|` +
		`bitte|bestätigen|antworten|wählen|vereinbaren|buchen|unterschreiben|ausfüllen|senden|mitbringen|melden`)
	amount  = cue(`(€|\$|£|eur|usd|chf|gbp) ?\d[\d.,]*k?|\d[\d.,]*k? ?(€|\$|£|eur|usd|chf|gbp|euro)`)
	noise   = cue(`unsubscribe|abmelden|view (this|in) |browser|privacy|datenschutz|confidential|vertraulich|do not reply|not reply to this|no-?reply|nicht antworten|copyright|all rights reserved|follow us|terms of`)
	evident = map[mail.Category]*regexp.Regexp{
		mail.Interview: cue(`interviews?|invit(e|ed|ation)|meet(ing)?|video|call|on-?site|availab(le|ility)|slots?|conversation|` +
			`(vorstellungs|bewerbungs)?gespräch|einladung|einladen|laden|kennenlernen|kennenzulernen|termin`),
		mail.Offer: cue(`offer|salary|compensation|contract|start(ing)? date|pleased|congratulations|bonus|equity|` +
			`angebot|gehalt|vertrag|arbeitsvertrag|zusage|freuen|glückwunsch`),
		mail.Rejection: cue(`unfortunately|regret|not (to )?(move|moving|proceed|be)|other candidates?|another candidate|decided|will not|position has been filled|` +
			`leider|absage|andere|entschieden|nicht berücksichtigen|bedauern`),
		mail.Application: cue(`received|application|applying|applied|review|get back|next steps?|hear from us|` +
			`eingegangen|eingang|erhalten|bewerbung|prüfen|melden uns`),
	}
)

// cue finds whole words.
func cue(alternatives string) *regexp.Regexp {
	return regexp.MustCompile(`(?i)(?:^|[^\pL\d])(?:` + alternatives + `)(?:$|[^\pL\d])`)
}

// weigh says how much a sentence matters.
func weigh(category mail.Category, subject, sentence string, place int) float64 {
	count := len(strings.Fields(sentence))
	if count < 4 || noise.MatchString(sentence) {
		return 0
	}
	score := 1 / (2 + float64(place)) // what matters comes early
	if evidence := evident[category]; evidence != nil {
		score += 1.5 * float64(min(2, len(evidence.FindAllStringIndex(sentence, 3))))
	}
	for _, c := range []struct {
		cue    *regexp.Regexp
		weight float64
	}{{dated, 2}, {deadline, 0.75}, {action, 0.75}, {amount, 1.5}} {
		if c.cue.MatchString(sentence) {
			score += c.weight
		}
	}
	in := words(sentence)
	for _, word := range words(subject) {
		if _, found := slices.BinarySearch(in, word); found && len(word) > 3 {
			score += 0.2
		}
	}
	if count > 45 {
		score /= 2
	}
	return score
}

var (
	reply     = regexp.MustCompile(`(?i)^(on .{6,120} wrote:|am .{6,120} schrieb.{0,80}:|-{2,} ?(original message|ursprüngliche nachricht|forwarded message).*)$`)
	address   = regexp.MustCompile(`(?i)(?:\b[a-z][a-z0-9+.-]*://|\bwww\.|\b(?:mailto|javascript|data):)[^\s<>"']*[^\s<>"'.,;:!?)]`)
	bullet    = regexp.MustCompile(`^(?:[-*•–]|\d{1,2}[.)])\s+`)
	shortened = regexp.MustCompile(`(?i)(?:^|[\s(])(?:mr|mrs|ms|dr|prof|st|no|nr|e\.g|i\.e|z\.b|bzw|ca|inc|ltd|vs|approx|str|tel|jan|feb|mar|apr|jun|jul|aug|sept?|oct|okt|nov|dec|dez|\pL|\d{1,2})\.$`)
)

// sentences splits a message's own words: no reply's quotation, no signature, no addresses of pages.
func sentences(text string) []string {
	if len(text) > longestText {
		text = strings.ToValidUTF8(text[:longestText], "")
	}
	var list []string
	for _, paragraph := range paragraphs(text) {
		list = append(list, split(paragraph)...)
	}
	return list
}

// paragraphs joins lines that belong together.
func paragraphs(text string) []string {
	var list, lines []string
	end := func() {
		if len(lines) > 0 {
			list, lines = append(list, strings.Join(lines, " ")), nil
		}
	}
	for line := range strings.Lines(text) {
		if strings.TrimRight(line, "\r\n") == "-- " { // the signature's mark (RFC 3676, section 4.3)
			break
		}
		line = plain(line)
		if reply.MatchString(line) {
			break
		}
		switch {
		case strings.HasPrefix(line, ">"):
		case line == "":
			end()
		case bullet.MatchString(line):
			end()
			lines = append(lines, bullet.ReplaceAllString(line, ""))
		default:
			lines = append(lines, line)
			if strings.HasSuffix(line, ",") && len(strings.Fields(line)) < 5 { // a salutation
				end()
			}
		}
	}
	end()
	return list
}

// split cuts a paragraph after . ! ? … where a new sentence seems to begin.
func split(paragraph string) []string {
	var list []string
	start := 0
	for i, r := range paragraph {
		after := i + utf8.RuneLen(r)
		if !strings.ContainsRune(".!?…", r) || after >= len(paragraph) || paragraph[after] != ' ' {
			continue
		}
		next, _ := utf8.DecodeRuneInString(paragraph[after+1:])
		if unicode.IsLower(next) || r == '.' && shortened.MatchString(paragraph[start:after]) {
			continue
		}
		list, start = append(list, strings.TrimSpace(paragraph[start:after])), after
	}
	if rest := strings.TrimSpace(paragraph[start:]); rest != "" {
		list = append(list, rest)
	}
	return list
}

// plain is foreign text as one line that shows what it says: without addresses of pages, control characters and those that turn the
// direction of writing.
func plain(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == utf8.RuneError:
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	return address.ReplaceAllString(strings.Join(strings.Fields(text), " "), "(link)")
}

// shorten cuts a text at a word's end.
func shorten(text string, limit int) string {
	if utf8.RuneCountInString(text) <= limit {
		return text
	}
	cut := string([]rune(text)[:limit])
	if space := strings.LastIndexByte(cut, ' '); space > len(cut)/2 {
		cut = cut[:space]
	}
	return strings.TrimRight(cut, " ,;:.") + " …"
}
