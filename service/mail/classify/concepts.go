package classify

import (
	_ "embed"
	"strings"
	"sync"
)

// A line of concepts.txt is a concept: its name and the beginnings of words that mean it, in several languages. What is learned of a
// word in one language then holds in all.
//
//go:embed lexicon/concepts.txt
var conceptsFile string

type concepts struct {
	words map[string]int32 // whole words
	stems map[string]int32 // beginnings of words
}

const (
	shortestStem     = 2 // bytes
	longestStem      = 20
	shortestCompound = 10 // bytes of a word that may have a stem inside of it, as German compounds do
	shortestPart     = 5
)

var theConcepts = sync.OnceValue(func() *concepts {
	c := &concepts{words: map[string]int32{}, stems: map[string]int32{}}
	id := int32(0)
	for line := range strings.Lines(conceptsFile) {
		items := strings.Fields(line)
		if len(items) == 0 || items[0] == "#" {
			continue
		}
		id++
		for _, item := range items[1:] {
			target := c.stems
			item, whole := strings.CutSuffix(item, ".")
			if whole {
				target = c.words
			}
			if _, taken := target[item]; !taken {
				target[item] = id
			}
		}
	}
	return c
})

// find returns the concept of a folded word: of the word itself, of its longest known beginning, or of a part of a compound.
func (c *concepts) find(folded []byte) (int32, bool) {
	if id, known := c.words[string(folded)]; known {
		return id, true
	}
	if id, known := c.stem(folded, shortestStem); known {
		return id, true
	}
	if len(folded) >= shortestCompound {
		for from := 3; from+shortestPart <= len(folded); from++ {
			if id, known := c.stem(folded[from:], shortestPart); known {
				return id, true
			}
		}
	}
	return 0, false
}

func (c *concepts) stem(folded []byte, shortest int) (int32, bool) {
	for n := min(len(folded), longestStem); n >= shortest; n-- {
		if id, known := c.stems[string(folded[:n])]; known {
			return id, true
		}
	}
	return 0, false
}
