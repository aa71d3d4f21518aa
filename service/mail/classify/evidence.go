package classify

import (
	"cmp"
	"slices"
)

// clue is a phrase that a message says.
type clue struct {
	kind   kind
	weight float32
	phrase int32
	zone   zone
	quote  string // as it stands in the message
}

// evidence is what speaks for each category.
type evidence struct {
	clues  []clue
	totals [kinds]float32
	sender sender
	fresh  int // words that are the sender's own
}

// zoneWeights say how much a phrase counts where it stands: for what is said about an application, and for the marks of a newsletter,
// which are at home in footers.
var (
	zoneWeights     = [zones]float32{inSubject: 1.25, inBody: 1, inQuote: 0.25, inFooter: 0.25}
	zoneWeightsList = [zones]float32{inSubject: 1.25, inBody: 1, inQuote: 0.15, inFooter: 1}
)

const (
	fewWords     = 4    // a message with fewer words of its own is about what it quotes
	quotedAlone  = 0.7  // what a quotation then counts
	hypothetical = 0.25 // what may happen counts less
	reach        = 6    // words that a negation reaches over
)

// read adds what a passage says. Of phrases that overlap only the heaviest counts: "unable to offer you the position" is no offer.
func (e *evidence) read(lex *lexicon, p passage) {
	for _, w := range p.words {
		if w.zone == inBody {
			e.fresh++
		}
	}
	hits := lex.find(p.words)
	denied, possible := marks(lex, p.words, hits)
	slices.SortStableFunc(hits, func(a, b hit) int {
		return cmp.Or(cmp.Compare(lex.phrases[b.phrase].weight, lex.phrases[a.phrase].weight), cmp.Compare(b.to-b.from, a.to-a.from), cmp.Compare(a.from, b.from),
			cmp.Compare(a.phrase, b.phrase))
	})
	taken := make([]bool, len(p.words))
	for _, h := range hits {
		k := lex.phrases[h.phrase].kind
		if k == negation || k == conditional {
			continue
		}
		first := p.words[h.from]
		weight := lex.phrases[h.phrase].weight * e.place(k, first.zone)
		if k < categories {
			if k == offer && denied[h.from] || k == interview && denied[h.from] && first.zone != inSubject {
				continue
			}
			if slices.Contains(taken[h.from:h.to], true) {
				continue
			}
			for i := h.from; i < h.to; i++ {
				taken[i] = true
			}
			if possible[h.from] && (k == interview || k == offer || k == rejection) {
				weight *= hypothetical
			}
		}
		e.add(clue{kind: k, weight: weight, phrase: h.phrase, zone: first.zone, quote: p.text[first.start:p.words[h.to-1].end]})
	}
}

func (e *evidence) place(k kind, z zone) float32 {
	switch {
	case k == newsletter:
		return zoneWeightsList[z]
	case z == inQuote && e.fresh < fewWords:
		return quotedAlone
	}
	return zoneWeights[z]
}

// marks tells for each word whether a negation comes shortly before it in its sentence, and whether its sentence is conditional.
func marks(lex *lexicon, words []word, hits []hit) (denied, possible []bool) {
	denied, possible = make([]bool, len(words)), make([]bool, len(words))
	for _, h := range hits {
		at := int(h.to) - 1
		switch lex.phrases[h.phrase].kind {
		case negation:
			for i := at + 1; i < len(words) && i <= at+reach && words[i].sentence == words[at].sentence; i++ {
				denied[i] = true
			}
		case conditional:
			for i := at; i >= 0 && i > at-maxSentence && words[i].sentence == words[at].sentence; i-- {
				possible[i] = true
			}
			for i := at; i < len(words) && i < at+maxSentence && words[i].sentence == words[at].sentence; i++ {
				possible[i] = true
			}
		}
	}
	return denied, possible
}

// maxSentence is how far a conditional reaches, in words. It bounds the work on text without full stops.
const maxSentence = 60

// add counts a phrase once, where it weighs most.
func (e *evidence) add(c clue) {
	for i, old := range e.clues {
		if old.phrase == c.phrase {
			if c.weight > old.weight {
				e.clues[i] = c
			}
			return
		}
	}
	e.clues = append(e.clues, c)
}

// inSubject is the weight of the heaviest phrase of a kind in the subject.
func (e *evidence) inSubject(k kind) (heaviest float32) {
	for _, c := range e.clues {
		if c.kind == k && c.zone == inSubject {
			heaviest = max(heaviest, c.weight)
		}
	}
	return heaviest
}
