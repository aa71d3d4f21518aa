package main

import (
	"bytes"
	"math"
	"testing"

	"github.com/smart-assistant/platform/service/mail/classify"
	"github.com/smart-assistant/platform/service/mail/classify/weights"
)

// Two words that only ever stand in two categories: the model must tell them apart, the same way each time, also after it was written and read.
func TestLearnTellsApartAndIsReproducible(t *testing.T) {
	rules := make([]float32, classify.RuleFeatures)
	var examples []example
	for range 10 {
		examples = append(examples, example{keys: []uint32{7, 9}, rules: rules, category: 1}, example{keys: []uint32{8, 9}, rules: rules, category: 4})
	}
	file := func() []byte {
		var b bytes.Buffer
		if err := learn(examples).quantise(1).Write(&b); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	first := file()
	if !bytes.Equal(first, file()) {
		t.Error("the same examples made two files")
	}
	table, err := weights.Read(first)
	if err != nil {
		t.Fatal(err)
	}
	for key, category := range map[uint32]int{7: 1, 8: 4} {
		sums := table.Sums()
		sums.Add(key)
		if p := sums.Probabilities(rules); p[category] < 0.5 {
			t.Errorf("key %d: %v, want category %d", key, p, category)
		}
	}
}

func TestSharpenFindsHonestScores(t *testing.T) {
	sure := row{math.Log(9)} // 9 to 1 against each other category: 9/14
	var trials []trial
	for i := range 100 {
		trials = append(trials, trial{totals: sure, category: min(1, i/95)}) // right in 95 of 100
	}
	if got := sharpen(trials); got <= 1 {
		t.Errorf("factor %v for scores that are too modest, want more than 1", got)
	}
}
