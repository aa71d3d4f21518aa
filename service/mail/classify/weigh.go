package classify

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

// scales are the totals by category, in units of a phrase's weight.
type scales [categories]float32

// processKinds are the categories of a selection process.
var processKinds = []kind{application, interview, offer, rejection}

// weigh sums the evidence up and lets its kinds act on one another.
func (e *evidence) weigh(m Message) scales {
	for k := range kinds {
		e.totals[k] = e.sum(k)
	}
	t := e.totals
	atWork := e.atWork(t)
	for _, k := range processKinds {
		t[k] *= atWork
	}

	// A selection process speaks of its earlier steps: a refusal thanks for the interview, an invitation for the application.
	switch {
	case t[rejection] >= 3.5:
		t[application] *= 0.3
		t[interview] *= 0.35
		t[offer] *= 0.5
	case t[offer] >= 5 && t[offer] > t[rejection]:
		t[application] *= 0.4
		t[interview] *= 0.5
	case t[interview] >= 4:
		t[application] *= 0.6
	}
	if t[interview] >= 5 && t[rejection] < 4 {
		t[rejection] *= 0.4 // "unfortunately" moves an appointment here
	}
	if t[application] >= 5 && t[rejection] < 4 && t[interview] < 4 {
		t[rejection] *= 0.6
	}
	e.weighSender(&t, m)
	return scales(t[:categories])
}

// sum adds the weights of a kind's phrases, the heaviest in full and each that follows a little less: many weak hints are no proof.
func (e *evidence) sum(k kind) float32 {
	weights := make([]float32, 0, 16)
	for _, c := range e.clues {
		if c.kind == k {
			weights = append(weights, c.weight)
		}
	}
	slices.SortFunc(weights, func(a, b float32) int { return cmp.Compare(b, a) })
	var total, share float32 = 0, 1
	for _, w := range weights {
		total += w * share
		share *= 0.75
	}
	return total
}

// atWork is what the phrases of a selection process count, by what the message is about: 1 where it is about work, little where it
// is about a flat or a loan.
func (e *evidence) atWork(t [kinds]float32) float32 {
	work, strange := t[employment], t[elsewhere]
	switch {
	case e.sender.kind == tracker || e.sender.kind == tester:
		work += 8
	case e.sender.hiring:
		work += 4
	case e.sender.kind == board:
		work += 3
	}
	strange = max(0, strange-0.35*work)
	share := float32(0.75)
	switch {
	case work >= 3:
		share = 1
	case work >= 1:
		share = 0.9
	}
	return share / (1 + strange*0.8)
}

// weighSender adds what the envelope tells.
func (e *evidence) weighSender(t *[kinds]float32, m Message) {
	s := e.sender
	process := max(t[application], t[interview], t[offer], t[rejection])
	if e.inSubject(application) >= 4 {
		t[newsletter] *= 0.4 // a board's confirmation ends with other jobs
	}
	var list float32
	if m.ListUnsubscribe != "" {
		list += 2
	}
	if m.ListID != "" {
		list += 1.5
	}
	if p := strings.ToLower(strings.TrimSpace(m.Precedence)); p == "bulk" || p == "list" || p == "junk" {
		list++
	}
	if s.mailing {
		list += 2
	}
	if s.alerts {
		list += 3
	}
	switch s.kind {
	case tracker:
		list *= 0.25
		t[application] += 1.5
	case tester:
		list *= 0.25
		t[interview] += 3
	case bulk:
		list += 3
		for _, k := range processKinds {
			t[k] *= 0.35
		}
	case notifier:
		list *= 0.3
		t[other] += 3
	case board, stranger:
	}
	if process >= 4 && t[newsletter] < 5 {
		list *= 0.4 // tracking systems of all kinds set the header fields of lists
	}
	t[newsletter] += list
	if s.machine && list < 1 {
		t[other]++
	}
	if m.HasCalendar {
		if t[interview] >= 1.5 {
			t[interview] += 2
		} else {
			t[other] += 1.5
		}
	}
	if t[newsletter] >= 6 {
		for _, k := range processKinds {
			if t[k] < 8 {
				t[k] *= 0.6
			}
		}
	}
	t[other] += 0.7 * max(0, t[elsewhere]-0.35*t[employment])
}

// The totals become probabilities by a softmax. steepness was fitted to the tuning corpus; headStart is what other has before anything
// is said, because most mail is.
const (
	steepness = 0.75
	headStart = 2
)

func decide(totals scales) (kind, float32) {
	totals[other] += headStart
	best := application
	for k := range categories {
		if totals[k] > totals[best] {
			best = k
		}
	}
	var sum float64
	for _, t := range totals {
		sum += math.Exp(steepness * float64(t-totals[best]))
	}
	return best, float32(1 / sum)
}
