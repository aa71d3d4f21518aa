package message

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// clean leaves text that PostgreSQL takes and that shows what it says: valid UTF-8, line breaks as \n, no control characters.
func clean(text string) string {
	text = strings.ToValidUTF8(strings.ReplaceAll(text, "\r\n", "\n"), "\uFFFD")
	return strings.Map(func(c rune) rune {
		switch {
		case c == '\r':
			return '\n'
		case c != '\n' && c != '\t' && unicode.IsControl(c):
			return -1
		}
		return c
	}, text)
}

// collapse makes one line with single spaces.
func collapse(text string) string { return strings.Join(strings.Fields(text), " ") }

// tidy takes off what is at the ends of lines, and more than one empty line.
func tidy(text string) string {
	var tidied strings.Builder
	tidied.Grow(len(text))
	empty := 0
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimRightFunc(line, unicode.IsSpace)
		if line == "" {
			empty++
			continue
		}
		if tidied.Len() > 0 {
			tidied.WriteString("\n\n"[:1+min(empty, 1)])
		}
		empty = 0
		tidied.WriteString(line)
	}
	return tidied.String()
}

// truncate cuts text to a number of bytes, between two characters.
func truncate(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}
