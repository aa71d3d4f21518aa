package schema

import (
	"strings"
)

// statement is one SQL statement as its significant tokens: comments are gone, keywords and unquoted identifiers are in
// upper case, a quoted identifier keeps its quotes, a literal is shortened to its first character (' or $).
type statement struct {
	tokens []string
	bodies []string // what dollar-quoted strings hold: the code of DO blocks and functions
}

// starts says whether the statement's tokens begin with these words.
func (s statement) starts(words ...string) bool {
	return len(s.tokens) >= len(words) && s.find(0, words...) == 0
}

// has says whether the words stand one after another somewhere in the statement.
func (s statement) has(words ...string) bool { return s.find(0, words...) >= 0 }

// find returns where the words stand one after another, at or after from, or -1.
func (s statement) find(from int, words ...string) int {
next:
	for i := from; i+len(words) <= len(s.tokens); i++ {
		for j, word := range words {
			if s.tokens[i+j] != word {
				continue next
			}
		}
		return i
	}
	return -1
}

// name reads the (perhaps qualified) identifier at i, folded as PostgreSQL folds it.
func (s statement) name(i int) string {
	var parts []string
	for i < len(s.tokens) {
		parts = append(parts, fold(s.tokens[i]))
		if i+1 >= len(s.tokens) || s.tokens[i+1] != "." {
			break
		}
		i += 2
	}
	return strings.Join(parts, ".")
}

func fold(identifier string) string {
	if quoted, isQuoted := strings.CutPrefix(identifier, `"`); isQuoted {
		return strings.ReplaceAll(strings.TrimSuffix(quoted, `"`), `""`, `"`)
	}
	return strings.ToLower(identifier)
}

func (s statement) String() string { return strings.Join(s.tokens, " ") }

// sections splits a goose file into its upward and its downward part.
func sections(file string) (up, down string) {
	var text [2]strings.Builder
	at := -1
	for line := range strings.Lines(file) {
		switch annotation(line) {
		case "Up":
			at = 0
		case "Down":
			at = 1
		}
		if at >= 0 {
			text[at].WriteString(line)
		}
	}
	return text[0].String(), text[1].String()
}

// annotation returns what stands after -- +goose on a line, or "".
func annotation(line string) string {
	comment, isComment := strings.CutPrefix(strings.TrimSpace(line), "--")
	if !isComment {
		return ""
	}
	text, _ := strings.CutPrefix(strings.TrimSpace(comment), "+goose ")
	if text == strings.TrimSpace(comment) {
		return ""
	}
	return strings.TrimSpace(text)
}

// statements reads SQL by the lexical rules of PostgreSQL's manual, chapter 4.1: nested comments, doubled quotes, escape
// strings, dollar quotes. Text that ends within a quote ends the statement: the server will refuse it, not we.
func statements(sql string) []statement {
	var all []statement
	var current statement
	for len(sql) > 0 {
		token, body, rest := next(sql)
		sql = rest
		switch {
		case token == "":
		case token == ";":
			all, current = appendStatement(all, current), statement{}
		default:
			current.tokens = append(current.tokens, token)
			if token == "$" {
				current.bodies = append(current.bodies, body)
			}
		}
	}
	return appendStatement(all, current)
}

func appendStatement(all []statement, s statement) []statement {
	if len(s.tokens) == 0 {
		return all
	}
	return append(all, s)
}

// next takes one token off sql. White space and comments give the empty token.
func next(sql string) (token, body, rest string) {
	switch c := sql[0]; {
	case strings.HasPrefix(sql, "--"):
		_, rest, _ = strings.Cut(sql, "\n")
		return "", "", rest
	case strings.HasPrefix(sql, "/*"):
		return "", "", sql[commentEnd(sql):]
	case c == '\'':
		return "'", "", sql[quoteEnd(sql, '\'', false):]
	case (c == 'E' || c == 'e') && strings.HasPrefix(sql[1:], "'"):
		return "'", "", sql[1+quoteEnd(sql[1:], '\'', true):]
	case c == '"':
		end := quoteEnd(sql, '"', false)
		return sql[:end], "", sql[end:]
	case c == '$':
		return dollar(sql)
	case isWord(c):
		end := 1
		for end < len(sql) && (isWord(sql[end]) || sql[end] == '$') {
			end++
		}
		return strings.ToUpper(sql[:end]), "", sql[end:]
	case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v':
		return "", "", sql[1:]
	default:
		return sql[:1], "", sql[1:]
	}
}

func isWord(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 0x80
}

func commentEnd(sql string) int {
	depth := 0
	for i := 0; i+1 < len(sql); i++ {
		switch sql[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
			if depth == 0 {
				return i + 1
			}
		}
	}
	return len(sql)
}

func quoteEnd(sql string, quote byte, escapes bool) int {
	for i := 1; i < len(sql); i++ {
		switch {
		case escapes && sql[i] == '\\':
			i++
		case sql[i] == quote && i+1 < len(sql) && sql[i+1] == quote:
			i++
		case sql[i] == quote:
			return i + 1
		}
	}
	return len(sql)
}

func dollar(sql string) (token, body, rest string) {
	end := 1
	for end < len(sql) && isWord(sql[end]) {
		end++
	}
	if end == len(sql) || sql[end] != '$' || end > 1 && sql[1] >= '0' && sql[1] <= '9' {
		return "$", "", sql[end:] // a parameter, which no migration has
	}
	tag := sql[:end+1]
	body, rest, _ = strings.Cut(sql[len(tag):], tag)
	return "$", body, rest
}

// Indexes names the indexes that a concurrent migration makes, as PostgreSQL folds them and without their schema.
func (m Migration) Indexes() []string {
	up, _ := sections(m.SQL)
	var names []string
	for _, s := range statements(up) {
		at := s.find(0, "INDEX", "CONCURRENTLY", "IF", "NOT", "EXISTS")
		if at < 0 || !s.starts("CREATE") {
			continue
		}
		name := s.name(at + 5)
		names = append(names, name[strings.LastIndexByte(name, '.')+1:])
	}
	return names
}
