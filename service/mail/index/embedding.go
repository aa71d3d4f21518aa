package index

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"strings"
)

// Model names the vectors that Embed makes. It changes with them.
const Model = "hash-256-v1"

const (
	dimensions    = 256
	maxEmbedWords = 2000 // of a text: its beginning says what it is about
)

// What the features of a text count, before their number is damped.
const (
	wordWeight    = 1.0
	conceptWeight = 1.5
	pairWeight    = 0.4
	pieceWeight   = 0.15
	commonWeight  = 0.3 // of words that are in almost every mail about work
)

// Embed makes a vector of length 1 that stands for a text: words, pairs of words, pieces of words and a few notions of this domain, each
// added to or taken from two places that its HMAC says (feature hashing, Weinberger et al. 2009). The cosine of two vectors is high for
// texts that share them. It is made without a model and knows no meaning beyond that.
func (x *Index) Embed(text string) []float32 {
	counts := map[string]float64{}
	before, n := "", 0
	for word := range words(text) {
		if n++; n > maxEmbedWords {
			break
		}
		if stopWords[word] {
			continue
		}
		stem := forms(word)[0]
		counts["w "+stem]++
		if concept := concepts[stem]; concept != "" {
			counts["c "+concept]++
		}
		if before != "" {
			counts["p "+before+" "+stem]++
		}
		before = stem
		padded := []rune("^" + stem + "$")
		for i := range len(padded) - 2 {
			counts["t "+string(padded[i:i+3])]++
		}
	}
	sum := make([]float64, dimensions)
	for _, feature := range slices.Sorted(maps.Keys(counts)) { // in one order, so that sums are the same each time
		amount := weight(feature) * (1 + math.Log(counts[feature]))
		hashed := x.feature(feature)
		for range 2 {
			place := hashed % dimensions
			if hashed>>8&1 == 0 {
				sum[place] += amount
			} else {
				sum[place] -= amount
			}
			hashed >>= 16
		}
	}
	return unit(sum)
}

func (x *Index) feature(name string) uint64 {
	x.features.Reset()
	_, _ = x.features.Write([]byte(name)) // never fails
	return binary.BigEndian.Uint64(x.features.Sum(nil))
}

func weight(feature string) float64 {
	switch feature[0] {
	case 'c':
		return conceptWeight
	case 'p':
		return pairWeight
	case 't':
		return pieceWeight
	}
	if common[feature[2:]] {
		return commonWeight
	}
	return wordWeight
}

// unit scales a vector to length 1. One without direction stays zero.
func unit(sum []float64) []float32 {
	square := 0.0
	for _, v := range sum {
		square += v * v
	}
	vector := make([]float32, len(sum))
	if square == 0 {
		return vector
	}
	for i, v := range sum {
		vector[i] = float32(v / math.Sqrt(square))
	}
	return vector
}

// common are stems that say little here.
var common = set("thank dear regard best kind hello hi team compani email mail pleas may also one us new inform contact look forward http https www com")

// concepts lead from a stem to what it is about.
var concepts = func() map[string]string {
	of := map[string]string{}
	for _, line := range []string{
		"interview: screen call phone onsite video meet conversation gespräch vorstellungsgespräch kennenlernen",
		"offer: contract salary compensation package bonus angebot vertrag gehalt",
		"rejection: unfortunately regret unsuccessful reject declined decline absage leider",
		"application: apply applied applicant candidate resume cv bewerbung lebenslauf",
		"job: position role vacancy opening opportunity stelle hiring career",
		"developer: engineer programmer developing software coding entwickler backend frontend",
		"newsletter: digest unsubscribe subscription alert weekly",
		"schedule: calendar slot appointment availability date time termin reschedule",
		"remote: homeoffice distributed hybrid",
		"invoice: bill payment receipt refund rechnung zahlung",
		"travel: flight trip hotel booking ticket train reise flug",
		"test: challenge assignment task assessment exercise",
	} {
		name, members, _ := strings.Cut(line, ": ")
		for word := range words(name + " " + members) {
			of[forms(word)[0]] = name
		}
	}
	return of
}()

func set(list string) map[string]bool {
	members := map[string]bool{}
	for member := range strings.FieldsSeq(list) {
		members[member] = true
	}
	return members
}
