package index

import (
	"errors"
	"fmt"
	"strings"
)

const maxTerms = 32

var (
	// ErrNoWord is a query without a word that has to occur. Words like "the" do not count.
	ErrNoWord = errors.New("the query needs a word that has to occur, other than words like “the”")
	// ErrTooLong is a query of too many terms.
	ErrTooLong = fmt.Errorf("the query has more than %d terms", maxTerms)
)

// Query writes a query as a tsquery. All its terms have to be met:
//
//	word            the word in any of its forms
//	"two words"     these words, as they stand, one after the other
//	-term           must not occur
//	from:term       in the sender's name or address
//	subject:term    in the subject
func (x *Index) Query(query string) (string, error) {
	var all []string
	occurs := false
	for query = strings.TrimSpace(query); query != ""; query = strings.TrimSpace(query) {
		var term term
		term, query = cutTerm(query)
		condition := x.condition(term)
		if condition == "" {
			continue
		}
		if term.absent {
			condition = "!(" + condition + ")"
		}
		occurs = occurs || !term.absent
		if all = append(all, condition); len(all) > maxTerms {
			return "", ErrTooLong
		}
	}
	if !occurs {
		return "", ErrNoWord
	}
	return strings.Join(all, " & "), nil
}

type term struct {
	text   string
	weight string // of the field that it has to stand in; "" for any
	exact  bool
	absent bool
}

// cutTerm takes the first term off a query.
func cutTerm(query string) (first term, rest string) {
	query, first.absent = strings.CutPrefix(query, "-")
	for field, weight := range map[string]rune{"from:": inSender, "subject:": inSubject} {
		if len(query) > len(field) && strings.EqualFold(query[:len(field)], field) {
			query, first.weight = query[len(field):], ":"+string(weight)
			break
		}
	}
	if inside, quoted := strings.CutPrefix(query, `"`); quoted {
		first.exact = true
		first.text, rest, _ = strings.Cut(inside, `"`)
		return first, rest
	}
	end := strings.IndexAny(query, " \t\r\n\"")
	if end < 0 {
		end = len(query)
	}
	first.text = query[:end]
	return first, query[end:]
}

// condition is a term as a tsquery: its words at the distances that they have, since words like "the" have a place and no entry.
func (x *Index) condition(t term) string {
	var phrase strings.Builder
	distance := 1
	for word := range words(t.text) {
		if stopWords[word] {
			distance++
			continue
		}
		if phrase.Len() > 0 {
			fmt.Fprintf(&phrase, " <%d> ", distance)
		}
		distance = 1
		if !t.exact {
			word = forms(word)[0]
		}
		phrase.WriteString(x.token(word) + t.weight)
	}
	if strings.Contains(phrase.String(), " ") {
		return "(" + phrase.String() + ")"
	}
	return phrase.String()
}
