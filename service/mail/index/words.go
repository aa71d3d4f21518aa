package index

import (
	"iter"
	"strings"
	"unicode"

	"github.com/kljensen/snowball/english"
	"golang.org/x/text/unicode/norm"
)

const maxWord = 64 // characters; what is longer is no word

// words yields the words of a text in lower case and compatibility form (Unicode, annex 15): runs of letters, marks and digits. An
// apostrophe inside a word is left out, and a plus or sharp sign at its end belongs to it, as in C++ and C#.
func words(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		var word []rune
		end := func() bool {
			whole := word
			word = word[:0]
			return len(whole) == 0 || yield(string(whole))
		}
		for _, c := range strings.ToLower(norm.NFKC.String(text)) {
			switch {
			case unicode.IsLetter(c), unicode.IsDigit(c), unicode.IsMark(c), (c == '+' || c == '#') && len(word) > 0:
				if len(word) < maxWord {
					word = append(word, c)
				}
			case (c == '\'' || c == '’') && len(word) > 0:
			default:
				if !end() {
					return
				}
			}
		}
		end()
	}
}

// forms are what a word is indexed by: its stem, and the word itself where that is another.
func forms(word string) []string {
	stem := english.Stem(word, false)
	if stem == word {
		return []string{word}
	}
	return []string{stem, word}
}
