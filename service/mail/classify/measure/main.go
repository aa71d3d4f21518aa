// Measure prints how the classifier does on labelled corpora: precision, recall and F1 of each category, who is taken for whom, and
// whether the scores keep their promise. -wrong lists the messages that it gets wrong.
//
//	go run ./service/mail/classify/measure service/mail/classify/testdata/heldout.jsonl
package main

import (
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/smart-assistant/platform/service/mail/classify/corpus"
)

func main() {
	wrong := flag.Bool("wrong", false, "list the messages that are classified wrongly")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: measure [-wrong] corpus.jsonl …")
		os.Exit(2)
	}
	if err := run(os.Stdout, flag.Args(), *wrong); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(w io.Writer, paths []string, wrong bool) error {
	for _, path := range paths {
		examples, err := corpus.ReadFile(path)
		if err != nil {
			return err
		}
		report := corpus.Measure(examples)
		if err := report.Write(w); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
		if !wrong {
			continue
		}
		for _, m := range report.Wrong {
			fmt.Fprintf(w, "%s: %s classified as %s (%.2f): %q. %s\n", m.Example.ID, m.Example.Category, m.Result.Category, m.Result.Score,
				m.Example.Subject, m.Result.Reason)
		}
	}
	return nil
}
