package classify

import (
	_ "embed"
	"sync"

	"github.com/smart-assistant/platform/service/mail/classify/weights"
)

// The weights are learned from the corpora by the training program, which also tries them.
//
//go:generate go run ./train
//go:embed weights.bin
var weightsFile []byte

// theWeights are read once: the file is part of the program, so a mistake in it is one in the program.
var theWeights = sync.OnceValue(func() *weights.Table {
	table, err := weights.Read(weightsFile)
	if err != nil {
		panic(err)
	}
	if len(table.Dense) != RuleFeatures {
		panic("the weights are of another version of the rules; run go generate")
	}
	return table
})

// reading is all that was found in a message.
type reading struct {
	passages []passage
	evidence evidence
	byRules  kind
	rules    [RuleFeatures]float32
	features []feature
}

func read(m Message) *reading {
	lex := theLexicon()
	r := &reading{passages: []passage{
		readPassage(clip(m.Subject, maxSubject), inSubject, lex.vocabulary),
		readPassage(clip(m.Text, maxHead), inBody, lex.vocabulary),
	}}
	if len(m.Text) > maxHead {
		r.passages = append(r.passages, readPassage(clip(m.Text[maxHead:], -maxTail), inFooter, lex.vocabulary))
	}
	r.evidence.sender = readSender(m.FromAddress)
	for _, p := range r.passages {
		r.evidence.read(lex, p)
	}
	r.applyRules(m)
	x := extractor{features: make([]feature, 0, 256+2*len(r.passages[1].folded))}
	for i, p := range r.passages {
		x.passage = int16(i)
		x.readPassage(p, r.evidence.fresh < fewWords)
	}
	x.envelope(m, r.evidence.sender)
	r.features = x.features
	return r
}

// What the rules think is scaled to be about as large as the other features, so that neither is learned at the other's cost.
const (
	highestTotal = 15
	totalScale   = 0.07
	scoreScale   = 0.7
)

func (r *reading) applyRules(m Message) {
	totals := r.evidence.weigh(m)
	best, score := decide(totals)
	for k, total := range totals {
		r.rules[k] = min(total, highestTotal) * totalScale
	}
	r.byRules = best
	r.rules[categories+best] = score * scoreScale
}

// decide applies the weights.
func (r *reading) decide() (kind, float64, *weights.Sums) {
	sums := theWeights().Sums()
	for _, f := range r.features {
		sums.Add(f.key)
	}
	best := application
	p := sums.Probabilities(r.rules[:])
	for k := range categories {
		if p[k] > p[best] {
			best = k
		}
	}
	return best, p[best], sums
}
