package corpus

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/smart-assistant/platform/service/mail/classify"
)

// Report is how the classifier did on a corpus.
type Report struct {
	Messages  int
	Accuracy  float64
	MacroF1   float64 // the mean of F1 over the categories that occur in the corpus
	Classes   []Class // in the order of classify.Categories
	Confusion [][]int // [as labelled][as classified]
	Bands     []Band
	Wrong     []Mistake
}

// Class is how one category fared. A ratio without a denominator is 0.
type Class struct {
	Category              string
	Labelled, Predicted   int
	Precision, Recall, F1 float64
}

// Band is the messages whose score is at least From and below To (1 belongs to the last), and how many of them were right.
type Band struct {
	From, To  float64
	Messages  int
	MeanScore float64
	Right     float64 // share
}

// Mistake is a message that was classified wrongly.
type Mistake struct {
	Example Example
	Result  classify.Result
}

var bandLimits = []float64{0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1}

// Measure classifies a corpus.
func Measure(examples []Example) Report {
	categories := classify.Categories()
	r := Report{Messages: len(examples), Confusion: make([][]int, len(categories))}
	for i := range r.Confusion {
		r.Confusion[i] = make([]int, len(categories))
	}
	for i := 1; i < len(bandLimits); i++ {
		r.Bands = append(r.Bands, Band{From: bandLimits[i-1], To: bandLimits[i]})
	}
	right := 0
	for _, e := range examples {
		result := classify.Classify(e.Message())
		r.Confusion[slices.Index(categories, e.Category)][slices.Index(categories, result.Category)]++
		band := &r.Bands[bandOf(float64(result.Score))]
		band.Messages++
		band.MeanScore += float64(result.Score)
		if result.Category == e.Category {
			right++
			band.Right++
		} else {
			r.Wrong = append(r.Wrong, Mistake{Example: e, Result: result})
		}
	}
	for i := range r.Bands {
		r.Bands[i].MeanScore = ratio(r.Bands[i].MeanScore, float64(r.Bands[i].Messages))
		r.Bands[i].Right = ratio(r.Bands[i].Right, float64(r.Bands[i].Messages))
	}
	r.Accuracy = ratio(float64(right), float64(len(examples)))
	r.countClasses(categories)
	return r
}

func bandOf(score float64) int {
	for i := len(bandLimits) - 2; i > 0; i-- {
		if score >= bandLimits[i] {
			return i
		}
	}
	return 0
}

func (r *Report) countClasses(categories []string) {
	var f1 float64
	present := 0
	for i, category := range categories {
		c := Class{Category: category}
		for j := range categories {
			c.Labelled += r.Confusion[i][j]
			c.Predicted += r.Confusion[j][i]
		}
		hits := float64(r.Confusion[i][i])
		c.Precision, c.Recall = ratio(hits, float64(c.Predicted)), ratio(hits, float64(c.Labelled))
		c.F1 = ratio(2*c.Precision*c.Recall, c.Precision+c.Recall)
		if c.Labelled > 0 {
			present++
			f1 += c.F1
		}
		r.Classes = append(r.Classes, c)
	}
	r.MacroF1 = ratio(f1, float64(present))
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// Write writes the report as Markdown tables, without the mistakes.
func (r Report) Write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	fmt.Fprintf(t, "%d messages: accuracy %.3f, macro F1 %.3f\n\n", r.Messages, r.Accuracy, r.MacroF1)
	fmt.Fprintf(t, "| category\t| labelled\t| classified\t| precision\t| recall\t| F1\t|\n| ---\t| ---:\t| ---:\t| ---:\t| ---:\t| ---:\t|\n")
	for _, c := range r.Classes {
		fmt.Fprintf(t, "| %s\t| %d\t| %d\t| %.3f\t| %.3f\t| %.3f\t|\n", c.Category, c.Labelled, c.Predicted, c.Precision, c.Recall, c.F1)
	}
	fmt.Fprintf(t, "\n| labelled as ↓ classified as →\t|")
	for _, c := range r.Classes {
		fmt.Fprintf(t, " %s\t|", c.Category)
	}
	fmt.Fprintf(t, "\n| ---\t|")
	for range r.Classes {
		fmt.Fprintf(t, " ---:\t|")
	}
	for i, c := range r.Classes {
		fmt.Fprintf(t, "\n| %s\t|", c.Category)
		for _, n := range r.Confusion[i] {
			fmt.Fprintf(t, " %d\t|", n)
		}
	}
	fmt.Fprintf(t, "\n\n| score\t| messages\t| mean score\t| right\t|\n| ---\t| ---:\t| ---:\t| ---:\t|\n")
	for _, b := range r.Bands {
		fmt.Fprintf(t, "| %.2f to %.2f\t| %d\t| %.3f\t| %.3f\t|\n", b.From, b.To, b.Messages, b.MeanScore, b.Right)
	}
	return t.Flush()
}
