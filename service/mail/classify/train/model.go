package main

import (
	"math"
	"slices"

	"github.com/smart-assistant/platform/service/mail/classify"
	"github.com/smart-assistant/platform/service/mail/classify/weights"
)

// Chosen by cross-validation; docs/classifier.md has the figures.
const (
	penalty    = 2e-4 // of squared weights (L2)
	leastOften = 2    // messages that a feature must be in to be learned
	rounds     = 200
	biasValue  = 0.3 // the constant feature: small, so that how often a category was in a corpus is learned with restraint
	stepSize   = 1
)

type row = [weights.Categories]float64

// model is a multinomial logistic regression. weights has a row for each of keys, for each number of the rules, and for the constant.
type model struct {
	keys    []uint32
	weights []row
}

// input is a message as a sparse vector.
type input struct {
	index    []int32
	value    []float64
	category int
}

// vocabulary returns the keys that occur in enough messages, rising.
func vocabulary(examples []example) []uint32 {
	often := map[uint32]int{}
	for _, e := range examples {
		for _, key := range e.keys {
			often[key]++
		}
	}
	var keys []uint32
	for key, n := range often {
		if n >= leastOften {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// learn minimises the mean logarithmic loss plus the penalty by Nesterov's accelerated gradient descent, from zero and in a fixed order.
func learn(examples []example) *model {
	m := &model{keys: vocabulary(examples)}
	n := len(m.keys) + classify.RuleFeatures + 1
	inputs := make([]input, len(examples))
	for i, e := range examples {
		inputs[i] = m.input(e)
		if e.ownRules {
			forgetRules(&inputs[i], len(m.keys))
		}
	}
	m.weights = make([]row, n)
	ahead, gradient := make([]row, n), make([]row, n)
	momentum := 1.0
	for range rounds {
		slope(inputs, ahead, gradient)
		next := (1 + math.Sqrt(1+4*momentum*momentum)) / 2
		push := (momentum - 1) / next
		for i := range m.weights {
			for k := range m.weights[i] {
				w := ahead[i][k] - stepSize*gradient[i][k]
				ahead[i][k] = w + push*(w-m.weights[i][k])
				m.weights[i][k] = w
			}
		}
		momentum = next
	}
	return m
}

// slope sets gradient to that of the loss at w.
func slope(inputs []input, w, gradient []row) {
	for i := range gradient {
		for k := range gradient[i] {
			gradient[i][k] = penalty * w[i][k]
		}
	}
	share := 1 / float64(len(inputs))
	for _, in := range inputs {
		p := weights.Softmax(in.totals(w))
		p[in.category]--
		for j, i := range in.index {
			for k := range p {
				gradient[i][k] += share * p[k] * in.value[j]
			}
		}
	}
}

func (in input) totals(w []row) (totals row) {
	for j, i := range in.index {
		for k := range totals {
			totals[k] += w[i][k] * in.value[j]
		}
	}
	return totals
}

// input makes the vector of a message: each group of features has length 1, the rules follow, and the constant.
func (m *model) input(e example) input {
	in := input{category: e.category}
	var counts [weights.Groups]float64
	for _, key := range e.keys {
		if i, known := slices.BinarySearch(m.keys, key); known {
			in.index = append(in.index, int32(i))
			counts[weights.Group(key)]++
		}
	}
	for _, i := range in.index {
		in.value = append(in.value, 1/math.Sqrt(counts[weights.Group(m.keys[i])]))
	}
	for i, x := range e.rules {
		in.index = append(in.index, int32(len(m.keys)+i))
		in.value = append(in.value, float64(x))
	}
	in.index = append(in.index, int32(len(m.keys)+len(e.rules)))
	in.value = append(in.value, biasValue)
	return in
}

// forgetRules removes what the rules think.
func forgetRules(in *input, keys int) {
	for j, i := range in.index {
		if int(i) >= keys && int(i) < keys+classify.RuleFeatures {
			in.value[j] = 0
		}
	}
}

func roundTo(x float64) int8 { return int8(math.Round(x)) }
