package main

import (
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"text/tabwriter"

	"github.com/smart-assistant/platform/service/mail/classify"
	"github.com/smart-assistant/platform/service/mail/classify/weights"
)

// trial is what a model that did not see a message makes of it.
type trial struct {
	totals   row
	category int
}

// crossValidate tries each corpus with what was learned from the others, and returns the sharpness that makes the scores most honest.
// A corpus whose author wrote rules too is not tried: its figures would be too good.
func crossValidate(w io.Writer, corpora [][]example) (float64, error) {
	table := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	fmt.Fprint(table, "| corpus left out\t| accuracy\t| macro F1\t|")
	for _, category := range classify.Categories() {
		fmt.Fprintf(table, " %s\t|", category)
	}
	fmt.Fprintln(table)
	var honest []trial
	var mean float64
	n := 0
	for left, s := range sources {
		if s.ownRules {
			continue
		}
		others := slices.Concat(slices.Concat(corpora[:left]...), slices.Concat(corpora[left+1:]...))
		m := learn(others)
		trials := make([]trial, len(corpora[left]))
		for i, e := range corpora[left] {
			trials[i] = trial{totals: m.input(e).totals(m.weights), category: e.category}
		}
		accuracy, f1, classes := measure(trials)
		fmt.Fprintf(table, "| %s\t| %.3f\t| %.3f\t|", filepath.Base(s.path), accuracy, f1)
		for _, c := range classes {
			fmt.Fprintf(table, " %.3f\t|", c)
		}
		fmt.Fprintln(table)
		honest = append(honest, trials...)
		mean += f1
		n++
	}
	fmt.Fprintf(table, "mean macro F1: %.4f\n", mean/float64(n))
	if err := table.Flush(); err != nil {
		return 0, fmt.Errorf("write the cross-validation: %w", err)
	}
	return sharpen(honest), nil
}

// sharpen returns the factor of all totals at which the logarithmic loss is least, in steps of a twentieth (temperature scaling).
func sharpen(trials []trial) float64 {
	best, least := 1.0, math.Inf(1)
	for i := 10; i <= 60; i++ {
		factor, loss := float64(i)/20, 0.0
		for _, t := range trials {
			scaled := t.totals
			for k := range scaled {
				scaled[k] *= factor
			}
			loss -= math.Log(weights.Softmax(scaled)[t.category])
		}
		if loss < least {
			best, least = factor, loss
		}
	}
	return best
}

func measure(trials []trial) (accuracy, macroF1 float64, f1 row) {
	var right, labelled, classified row
	for _, t := range trials {
		best := 0
		for k, total := range t.totals {
			if total > t.totals[best] {
				best = k
			}
		}
		labelled[t.category]++
		classified[best]++
		if best == t.category {
			right[best]++
		}
	}
	for k := range f1 {
		accuracy += right[k] / float64(len(trials))
		f1[k] = 2 * right[k] / max(1, labelled[k]+classified[k])
		macroF1 += f1[k] / weights.Categories
	}
	return accuracy, macroF1, f1
}
