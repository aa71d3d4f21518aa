package classify

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What is read of a message, in bytes. What a message means is said at its beginning, how to leave a list at its end.
const (
	maxSubject = 1 << 10
	maxHead    = 24 << 10
	maxTail    = 4 << 10
)

// zone is where in a message a word stands.
type zone uint8

const (
	inSubject zone = iota
	inBody
	inQuote  // what the sender repeats of an earlier message
	inFooter // signature and legal notice
	zones
)

// word is a folded word that the lexicon knows, or unknown.
type word struct {
	id         int32 // in the lexicon's vocabulary, or unknown
	start, end int32 // bytes in the text that it was read from
	from, to   int32 // bytes in the passage's folded
	sentence   int32 // never the same in two sentences of a message
	zone       zone
}

const unknown = -1

// passage is text with its words.
type passage struct {
	text   string
	words  []word
	folded []byte // the words, folded, one after the other
}

// readPassage splits text into words. vocabulary may be nil, then all words are unknown.
func readPassage(text string, start zone, vocabulary map[string]int32) passage {
	p := passage{text: text, words: make([]word, 0, len(text)/6+1), folded: make([]byte, 0, len(text)+maxWord)}
	lines := lineReader{zone: start}
	var sentence int32
	for at := 0; at < len(text); {
		end := strings.IndexByte(text[at:], '\n')
		if end < 0 {
			end = len(text)
		} else {
			end += at
		}
		line := text[at:end]
		if lines.next(line) {
			sentence++
		}
		for i := 0; i < len(line); {
			from := len(p.folded)
			w, next := nextWord(line, i, p.folded[from:])
			if w.sentenceEnds {
				sentence++
			}
			if len(w.folded) > 0 {
				p.folded = append(p.folded, w.folded...)
				p.words = append(p.words, word{
					id: lookUp(vocabulary, w.folded), start: int32(at + w.start), end: int32(at + next), from: int32(from), to: int32(len(p.folded)),
					sentence: sentence, zone: lines.zone,
				})
			}
			i = next
		}
		at = end + 1
	}
	return p
}

// compoundHeads are the words that stand at the end of the German compounds that matter: a Doktorandenstelle is a Stelle.
var compoundHeads = []string{"stelle", "platz", "vertrag", "gespraech", "termin", "bewerbung", "unterlagen", "angebot", "position"}

// lookUp returns the number of a folded word.
func lookUp(vocabulary map[string]int32, folded []byte) int32 {
	if id, known := vocabulary[string(folded)]; known {
		return id
	}
	if len(folded) >= minCompound {
		for _, head := range compoundHeads {
			if bytes.HasSuffix(folded, []byte(head)) {
				if id, known := vocabulary[head]; known {
					return id
				}
			}
		}
	}
	return unknown
}

const minCompound = 11 // bytes

type rawWord struct {
	folded       []byte
	start        int
	sentenceEnds bool // before the word
}

// maxWord is the length in bytes after which the rest of a word is left out.
const maxWord = 48

// nextWord reads the word that begins at or after i in a line, and says where it ends. Web addresses are passed over: their words are
// not the sender's.
func nextWord(line string, i int, folded []byte) (rawWord, int) {
	w := rawWord{folded: folded, start: i}
	for i < len(line) {
		c := line[i]
		if c < utf8.RuneSelf {
			if lower := asciiLetters[c]; lower != 0 {
				if len(w.folded) == 0 {
					w.start = i
				}
				w.folded = appendBounded(w.folded, lower)
				i++
				continue
			}
			if c == '\'' && joins(line[i+1:]) && len(w.folded) > 0 {
				i++
				continue
			}
			if strings.HasPrefix(line[i:], "://") {
				w.folded = w.folded[:0]
				if space := strings.IndexAny(line[i:], " \t>)]\""); space >= 0 {
					i += space
				} else {
					i = len(line)
				}
				continue
			}
			if len(w.folded) > 0 {
				return w, i
			}
			if (c == '.' || c == '!' || c == '?' || c == '|') && (i+1 == len(line) || line[i+1] == ' ' || line[i+1] == '\r') {
				w.sentenceEnds = true
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(line[i:])
		switch {
		case r == '’' && joins(line[i+size:]) && len(w.folded) > 0:
		case r == '\u00ad' || r >= '\u200b' && r <= '\u200d' || r == '\ufeff': // invisible, and often put inside of words
		case unicode.IsLetter(r) || unicode.Is(unicode.Mn, r):
			if len(w.folded) == 0 {
				w.start = i
			}
			w.folded = appendFolded(w.folded, r)
		case len(w.folded) > 0:
			return w, i
		case r == '•' || r == '·':
			w.sentenceEnds = true
		}
		i += size
	}
	return w, i
}

// joins tells whether what follows an apostrophe belongs to the word before it, as in don't and we'll, and not in l'entretien.
func joins(rest string) bool {
	letters := 0
	for letters < len(rest) && asciiLetters[rest[letters]] != 0 {
		letters++
	}
	return letters == 1 || letters == 2
}

// asciiLetters maps letters and digits to lower case and everything else to 0.
var asciiLetters = func() (table [256]byte) {
	for c := range 128 {
		if b := byte(c); b >= 'a' && b <= 'z' || b >= '0' && b <= '9' {
			table[c] = b
		} else if b >= 'A' && b <= 'Z' {
			table[c] = b + 'a' - 'A'
		}
	}
	return table
}()

func appendBounded(folded []byte, c byte) []byte {
	if len(folded) < maxWord {
		return append(folded, c)
	}
	return folded
}

// appendFolded appends a letter in lower case without its accent. German umlauts become two letters, as they are written where a
// keyboard has none.
func appendFolded(folded []byte, r rune) []byte {
	if len(folded) >= maxWord {
		return folded
	}
	switch r = unicode.ToLower(r); r {
	case 'ä', 'æ':
		return append(folded, 'a', 'e')
	case 'ö', 'œ':
		return append(folded, 'o', 'e')
	case 'ü':
		return append(folded, 'u', 'e')
	case '\u0308': // a combining diaeresis
		return append(folded, 'e')
	case 'ß':
		return append(folded, 's', 's')
	case 'à', 'á', 'â', 'ã', 'å':
		return append(folded, 'a')
	case 'ç':
		return append(folded, 'c')
	case 'è', 'é', 'ê', 'ë':
		return append(folded, 'e')
	case 'ì', 'í', 'î', 'ï':
		return append(folded, 'i')
	case 'ñ':
		return append(folded, 'n')
	case 'ò', 'ó', 'ô', 'õ', 'ø':
		return append(folded, 'o')
	case 'ù', 'ú', 'û':
		return append(folded, 'u')
	}
	if unicode.Is(unicode.Mn, r) {
		return folded
	}
	return utf8.AppendRune(folded, r)
}

// lineReader follows the lines of a message to tell what is new from what is quoted or only a footer.
type lineReader struct {
	zone      zone
	rest      zone // where the lines without a quotation mark stand
	started   bool
	forwarded bool
	blank     bool
}

// next reads a line, sets the zone of its words and tells whether a new sentence begins with it.
func (l *lineReader) next(line string) bool {
	if !l.started {
		l.started, l.rest = true, l.zone
	}
	trimmed := strings.TrimSpace(line)
	if trimmed == "" {
		l.blank = true
		return true
	}
	afterBlank := l.blank
	l.blank = false
	if l.rest == inSubject {
		return false
	}
	if trimmed[0] == '>' {
		changed := l.zone != inQuote
		l.zone = inQuote
		if l.forwarded {
			l.zone = inBody
		}
		return changed || trimmed == ">" // a quoted blank line
	}
	before := l.zone
	switch {
	case isForward(trimmed):
		l.forwarded, l.rest = true, inBody
	case l.rest == inBody && !l.forwarded && isReplyHeader(trimmed, afterBlank):
		l.rest = inQuote
	case l.rest == inBody && (strings.TrimRight(line, "\r") == "-- " || trimmed == "--" || isLegal(trimmed)):
		l.rest = inFooter
	}
	l.zone = l.rest
	return before != l.zone || trimmed[0] == '-' || trimmed[0] == '*'
}

func isForward(line string) bool {
	return len(line) < 80 && containsAny(line, "Forwarded message", "forwarded message", "Weitergeleitete Nachricht", "Message transféré", "Mensaje reenviado")
}

// isReplyHeader recognises the line that mail programs put above a quoted message.
func isReplyHeader(line string, afterBlank bool) bool {
	if len(line) > 200 {
		return false
	}
	if strings.HasSuffix(line, ":") && containsAny(line, " wrote:", " schrieb", " a écrit", " escribió:", "geschrieben:") {
		return true
	}
	if containsAny(line, "Original Message--", "Ursprüngliche Nachricht--", "Message d'origine--", "Mensaje original--") {
		return true
	}
	return afterBlank && strings.Contains(line, "@") && hasAnyPrefix(line, "From: ", "Von: ", "De : ", "De: ")
}

func isLegal(line string) bool {
	return containsAny(line, "is confidential", "are confidential", "confidential information", "CONFIDENTIALITY", "Confidentiality", "vertrauliche Informationen",
		"nicht der richtige Adressat", "Geschäftsführer:", "Handelsregister", "Amtsgericht", "equal opportunity employer", "Equal Opportunity Employer")
}

func containsAny(s string, parts ...string) bool {
	for _, part := range parts {
		if strings.Contains(s, part) {
			return true
		}
	}
	return false
}

func hasAnyPrefix(s string, prefixes ...string) bool {
	for _, prefix := range prefixes {
		if strings.HasPrefix(s, prefix) {
			return true
		}
	}
	return false
}

// clip returns the first n bytes of a string, or the last n where n is negative, without half a rune.
func clip(s string, n int) string {
	if n < 0 {
		n = max(0, len(s)+n)
		for n < len(s) && !utf8.RuneStart(s[n]) {
			n++
		}
		return s[n:]
	}
	if n >= len(s) {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
