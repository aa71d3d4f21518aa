package classify

import (
	"strings"
)

// Features are what the learned weights are about.
type Features struct {
	Keys  []uint32  // hashes, the group in the upper two bits; some occur several times
	Rules []float32 // what the rules think: RuleFeatures numbers
}

// RuleFeatures is the number of features that come from the rules: the total of each category, and the probability of the best.
const RuleFeatures = 2 * int(categories)

// Extract returns what Classify looks at, for the training program.
func Extract(m Message) Features {
	r := read(m)
	keys := make([]uint32, len(r.features))
	for i, f := range r.features {
		keys[i] = f.key
	}
	return Features{Keys: keys, Rules: r.rules[:]}
}

// The groups of features. Each counts the same however many of its features a message has.
const (
	ofWords uint32 = iota
	ofLetters
	ofConcepts
	ofEnvelope
)

// The kinds of features begin their hashes differently.
const (
	aWord uint32 = iota + 1
	aStem
	aPair
	aSubjectStem
	someLetters
	aConcept
	aSubjectConcept
	aConceptPair
	aMark
	aLocalPart
	aDomainLabel
	aDomainPart
)

// feature is something that a message has.
type feature struct {
	key     uint32
	passage int16
	word    int32 // where it stands, or nowhere
}

const nowhere = -1

type extractor struct {
	features []feature
	passage  int16
}

func (x *extractor) add(group, hash uint32, word int) {
	x.features = append(x.features, feature{key: group<<30 | hash>>2, passage: x.passage, word: int32(word)})
}

const (
	stemLength     = 6 // bytes
	conceptsBehind = 3 // concepts of a sentence that make a pair with a concept after them
)

// neighbours are what stands before a word in its sentence.
type neighbours struct {
	sentence int32
	zone     zone
	word     uint32
	concepts [conceptsBehind]int32
	count    int
}

// readPassage adds the features of a passage. Footers say nothing of a message's meaning, quotations only where there is little else.
func (x *extractor) readPassage(p passage, withQuotes bool) {
	before := neighbours{sentence: -1}
	for i, w := range p.words {
		if w.zone == inFooter || w.zone == inQuote && !withQuotes {
			continue
		}
		if w.sentence != before.sentence || w.zone != before.zone {
			before = neighbours{sentence: w.sentence, zone: w.zone}
		}
		folded := p.folded[w.from:w.to]
		number := isNumber(folded)
		if number {
			folded = shapes[min(len(folded), len(shapes)-1)]
		}
		hash := hashOf(0, folded)
		stem := hashOf(0, folded[:min(len(folded), stemLength)])
		x.add(ofWords, mix(aWord, hash), i)
		x.add(ofWords, mix(aStem, stem), i)
		if w.zone == inSubject {
			x.add(ofWords, mix(aSubjectStem, stem), i)
		}
		if before.word != 0 {
			x.add(ofWords, mix(mix(aPair, before.word), hash), i)
		}
		before.word = hash
		if !number {
			x.letters(folded, i)
			x.concept(folded, i, &before)
		}
	}
}

// letters adds the runs of four and five letters of a word with a space around it.
func (x *extractor) letters(folded []byte, at int) {
	var spaced [maxWord + 8]byte
	n := 1 + copy(spaced[1:len(spaced)-1], folded)
	spaced[0], spaced[n] = ' ', ' '
	n++
	for i := 0; i+4 <= n; i++ {
		four := uint32(spaced[i]) | uint32(spaced[i+1])<<8 | uint32(spaced[i+2])<<16 | uint32(spaced[i+3])<<24
		hash := mix(someLetters, four)
		x.add(ofLetters, hash, at)
		if i+5 <= n {
			x.add(ofLetters, mix(hash, uint32(spaced[i+4])), at)
		}
	}
}

// concept adds what a word means, and the pairs with what was meant shortly before it.
func (x *extractor) concept(folded []byte, at int, before *neighbours) {
	concept, known := theConcepts().find(folded)
	if !known {
		return
	}
	x.add(ofConcepts, mix(aConcept, uint32(concept)), at)
	if before.zone == inSubject {
		x.add(ofConcepts, mix(aSubjectConcept, uint32(concept)), at)
	}
	for _, earlier := range before.concepts[:min(before.count, conceptsBehind)] {
		x.add(ofConcepts, mix(mix(aConceptPair, uint32(earlier)), uint32(concept)), at)
	}
	before.concepts[before.count%conceptsBehind] = concept
	before.count++
}

// envelope adds the sender, the header fields and the message's outward form.
func (x *extractor) envelope(m Message, s sender) {
	local, domain, _ := strings.Cut(strings.ToLower(clip(m.FromAddress, maxAddress)), "@")
	for _, part := range strings.FieldsFunc(local, func(r rune) bool { return r == '.' || r == '-' || r == '_' || r == '+' }) {
		x.add(ofEnvelope, hashOf(aLocalPart, part), nowhere)
	}
	for label := range strings.SplitSeq(domain, ".") {
		x.add(ofEnvelope, hashOf(aDomainLabel, label), nowhere)
		for part := range strings.SplitSeq(label, "-") {
			x.add(ofEnvelope, hashOf(aDomainPart, part), nowhere)
		}
	}
	x.mark("unsubscribe", m.ListUnsubscribe != "")
	x.mark("list id", m.ListID != "")
	x.mark("precedence", m.Precedence != "")
	x.mark("list", m.ListUnsubscribe != "" || m.ListID != "" || m.Precedence != "")
	x.mark("automatic", m.AutoSubmitted != "")
	x.mark("calendar", m.HasCalendar)
	x.mark("hiring", s.hiring)
	x.mark("mailing", s.mailing)
	x.mark("alerts", s.alerts)
	x.mark("machine", s.machine)
	x.count("sender", int(s.kind), int(bulk)+1)

	text := clip(m.Text, maxHead)
	x.count("length", len(text)/400, 3)
	x.count("exclamations", strings.Count(text, "!"), 3)
	x.count("questions", strings.Count(text, "?"), 3)
	x.count("links", strings.Count(text, "://"), 3)
	x.mark("currency", strings.ContainsAny(text, "€£$"))
	x.mark("time", hasTime(text))
}

func (x *extractor) mark(name string, present bool) {
	if present {
		x.add(ofEnvelope, hashOf(aMark, name), nowhere)
	}
}

func (x *extractor) count(name string, n, most int) {
	x.add(ofEnvelope, mix(hashOf(aMark, name), uint32(min(n, most))), nowhere)
}

// hasTime tells whether there is something like 9:30, 9.30 or 9h30.
func hasTime(text string) bool {
	for i := 1; i+2 < len(text); i++ {
		if c := text[i]; (c == ':' || c == '.' || c == 'h') && isDigit(text[i-1]) && isDigit(text[i+1]) && isDigit(text[i+2]) {
			return true
		}
	}
	return false
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// shapes stand for numbers: what counts is how many digits they have.
var shapes = [...][]byte{nil, []byte("#"), []byte("##"), []byte("###"), []byte("####"), []byte("#####")}

func isNumber(folded []byte) bool {
	for _, c := range folded {
		if !isDigit(c) {
			return false
		}
	}
	return true
}

// mix adds a number to a hash.
func mix(hash, n uint32) uint32 {
	hash = (hash ^ n) * 0x85ebca6b
	hash ^= hash >> 15
	hash *= 0xc2b2ae35
	return hash ^ hash>>13
}

// hashOf is FNV-1a, with another beginning for each kind of feature.
func hashOf[T string | []byte](kind uint32, s T) uint32 {
	hash := uint32(2166136261) ^ kind
	for i := range len(s) {
		hash = (hash ^ uint32(s[i])) * 16777619
	}
	return mix(hash, uint32(len(s)))
}
