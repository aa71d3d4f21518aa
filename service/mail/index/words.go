package index

import (
	"iter"
	"strings"
	"unicode"

	"github.com/blevesearch/snowballstem"
	"github.com/blevesearch/snowballstem/english"
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
	if stopWords[word] {
		return []string{word}
	}
	env := snowballstem.NewEnv(word)
	english.Stem(env)
	if stem := env.Current(); stem != word {
		return []string{stem, word}
	}
	return []string{word}
}

// stopWords stand in every English text and find nothing.
var stopWords = func() map[string]bool {
	set := map[string]bool{}
	for word := range strings.FieldsSeq(`
		a an the and or nor but if then than so as of at by for with from to into onto in on off out over under up down about above below
		between through during before after again once until while because against
		i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers herself
		it its itself they them their theirs themselves who whom whose which what this that these those there here
		am is are was were be been being do does did doing have has had having can could shall should will would may might must
		not no only own same too very just also all any both each few more most other some such how when where why now`) {
		set[word] = true
	}
	return set
}()
