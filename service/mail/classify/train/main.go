// Train learns the classifier's weights from the labelled corpora: first it tries the method on each corpus with weights learned from the
// others, which were written by other people, then it learns from all of them and writes weights.bin. The same corpora and code make the
// same file, byte by byte, on machines of one architecture. It runs in the classifier's folder:
//
//	go generate ./service/mail/classify
//
// It never reads the corpus that was held out.
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/smart-assistant/platform/service/mail/classify"
	"github.com/smart-assistant/platform/service/mail/classify/corpus"
	"github.com/smart-assistant/platform/service/mail/classify/weights"
)

// source is a corpus by one author.
type source struct {
	path     string
	ownRules bool // its author wrote the rules, so that they know it better than other mail; then what they think is not learned from
}

var sources = []source{
	{path: "testdata/training-a.jsonl"},
	{path: "testdata/training-b.jsonl"},
	{path: "testdata/training-c.jsonl", ownRules: true},
	{path: "testdata/tuning.jsonl", ownRules: true},
}

const output = "weights.bin"

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(w io.Writer) error {
	corpora := make([][]example, len(sources))
	for i, s := range sources {
		var err error
		if corpora[i], err = load(s); err != nil {
			return err
		}
	}
	sharpness, err := crossValidate(w, corpora)
	if err != nil {
		return err
	}
	table := learn(slices.Concat(corpora...)).quantise(sharpness)
	var file bytes.Buffer
	if err := table.Write(&file); err != nil {
		return err
	}
	if err := os.WriteFile(output, file.Bytes(), 0o644); err != nil { //nolint:gosec // a file of the repository, for all to read
		return fmt.Errorf("write weights: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s: %d features, %d bytes, sharpness %.2f\n", output, len(table.Keys), file.Len(), sharpness)
	return err
}

// example is a message of a corpus as the model sees it.
type example struct {
	keys     []uint32 // rising, each once
	rules    []float32
	category int
	ownRules bool
}

func load(s source) ([]example, error) {
	messages, err := corpus.ReadFile(s.path)
	if err != nil {
		return nil, fmt.Errorf("learn: %w", err)
	}
	categories := classify.Categories()
	examples := make([]example, len(messages))
	for i, m := range messages {
		features := classify.Extract(m.Message())
		slices.Sort(features.Keys)
		examples[i] = example{
			keys: slices.Compact(features.Keys), rules: features.Rules, category: slices.Index(categories, m.Category), ownRules: s.ownRules,
		}
	}
	return examples, nil
}

// quantise rounds the weights of features to whole numbers in a unit of their group. sharpness multiplies all weights: it makes the scores
// as certain as they are right.
func (m *model) quantise(sharpness float64) *weights.Table {
	t := &weights.Table{Keys: m.keys, Rows: make([]weights.Row, len(m.keys)), Dense: make([][weights.Categories]float32, classify.RuleFeatures)}
	var largest [weights.Groups]float64
	for i, key := range m.keys {
		for _, w := range m.weights[i] {
			g := weights.Group(key)
			largest[g] = max(largest[g], w, -w)
		}
	}
	for g := range largest {
		t.Units[g] = float32(sharpness * largest[g] / 127)
	}
	for i, key := range m.keys {
		for k, w := range m.weights[i] {
			t.Rows[i][k] = roundTo(w / largest[weights.Group(key)] * 127)
		}
	}
	for i := range t.Dense {
		for k := range t.Dense[i] {
			t.Dense[i][k] = float32(sharpness * m.weights[len(m.keys)+i][k])
		}
	}
	for k := range t.Bias {
		t.Bias[k] = float32(sharpness * biasValue * m.weights[len(m.weights)-1][k])
	}
	t.Prepare()
	return t
}
