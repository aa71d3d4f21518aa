package classify

import (
	"embed"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// The lexicon is one file a kind: a line is a weight and a phrase. In a phrase a|b is either word, a? may be missing, and .. stands for
// at most four words of the same sentence.
//
//go:embed lexicon/*.txt
var lexiconFiles embed.FS

// kind is what a phrase is evidence of. The first six are the categories.
type kind uint8

const (
	application kind = iota
	interview
	offer
	rejection
	newsletter
	other
	employment  // the message is about work
	elsewhere   // it is about another kind of application: a flat, a visa, a loan
	negation    // the words that follow are denied
	conditional // the sentence says what may happen
	kinds
	categories = employment
)

var kindNames = [kinds]string{Application, Interview, Offer, Rejection, Newsletter, Other, "employment", "elsewhere", "negation", "conditional"}

const maxGap = 4

// phrase is a line of the lexicon.
type phrase struct {
	kind   kind
	weight float32
}

// node is a state of the trie of all phrases.
type node struct {
	next    map[int32]*node
	gap     *node
	phrases []int32 // that end here
}

type lexicon struct {
	vocabulary map[string]int32
	phrases    []phrase
	root       node
}

// theLexicon is read once: the files are part of the program, so a mistake in them is one in the program.
var theLexicon = sync.OnceValue(func() *lexicon {
	lex := &lexicon{vocabulary: map[string]int32{}}
	for k := range kinds {
		file := "lexicon/" + kindNames[k] + ".txt"
		text, err := lexiconFiles.ReadFile(file)
		if err != nil {
			panic(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
				continue
			}
			if err := lex.add(k, line); err != nil {
				panic(fmt.Sprintf("%s:%d: %v", file, i+1, err))
			}
		}
	}
	return lex
})

// add reads one line.
func (lex *lexicon) add(k kind, line string) error {
	number, text, found := strings.Cut(line, " ")
	weight, err := strconv.ParseFloat(number, 32)
	if err != nil || !found {
		return fmt.Errorf("%q is no weight and phrase", line)
	}
	id := int32(len(lex.phrases))
	lex.phrases = append(lex.phrases, phrase{kind: k, weight: float32(weight)})
	ends := []*node{&lex.root}
	for item := range strings.FieldsSeq(text) {
		ends = lex.extend(ends, item)
	}
	for _, end := range ends {
		if end == &lex.root {
			return fmt.Errorf("%q matches nothing at all", line)
		}
		end.phrases = append(end.phrases, id)
	}
	return nil
}

// extend makes the nodes that an item of a phrase leads to.
func (lex *lexicon) extend(from []*node, item string) []*node {
	var to []*node
	if item == ".." {
		for _, n := range from {
			if n.gap == nil {
				n.gap = &node{}
			}
			to = append(to, n.gap)
		}
		return to
	}
	item, optional := strings.CutSuffix(item, "?")
	if optional {
		to = append(to, from...)
	}
	for alternative := range strings.SplitSeq(item, "|") {
		for _, n := range from {
			to = append(to, lex.child(n, alternative))
		}
	}
	return to
}

// child walks from a node over the words of a text, which are several where it has a hyphen or an apostrophe.
func (lex *lexicon) child(n *node, text string) *node {
	for i := 0; i < len(text); {
		w, next := nextWord(text, i, nil)
		i = next
		if len(w.folded) == 0 {
			continue
		}
		id, known := lex.vocabulary[string(w.folded)]
		if !known {
			id = int32(len(lex.vocabulary))
			lex.vocabulary[string(w.folded)] = id
		}
		if n.next == nil {
			n.next = map[int32]*node{}
		}
		if n.next[id] == nil {
			n.next[id] = &node{}
		}
		n = n.next[id]
	}
	return n
}

// hit is a phrase found in words[from:to].
type hit struct {
	phrase   int32
	from, to int32
}

// find returns all phrases in the words. A phrase has few gaps and each is short, so the work is linear in the number of words.
func (lex *lexicon) find(words []word) []hit {
	var hits []hit
	for i, w := range words {
		if w.id == unknown {
			continue
		}
		if first := lex.root.next[w.id]; first != nil {
			hits = first.walk(words, i, i+1, hits)
		}
	}
	return hits
}

// walk adds the phrases that begin at from and go on from the word at.
func (n *node) walk(words []word, from, at int, hits []hit) []hit {
	for _, p := range n.phrases {
		hits = append(hits, hit{phrase: p, from: int32(from), to: int32(at)})
	}
	if at < len(words) && words[at].id != unknown && together(words[from], words[at]) {
		if next := n.next[words[at].id]; next != nil {
			hits = next.walk(words, from, at+1, hits)
		}
	}
	if n.gap == nil {
		return hits
	}
	for skip := 0; skip <= maxGap && at+skip < len(words) && together(words[from], words[at+skip]); skip++ {
		if id := words[at+skip].id; id != unknown {
			if next := n.gap.next[id]; next != nil {
				hits = next.walk(words, from, at+skip+1, hits)
			}
		}
	}
	return hits
}

// together tells whether a phrase may reach over both words.
func together(a, b word) bool { return a.sentence == b.sentence && a.zone == b.zone }
