package terminal

import (
	"fmt"
	"strings"
	"testing"
)

// screen plays what was written on a terminal, as far as the package uses one: it returns the lines that can be seen in the end, and
// whether the cursor can. Colours are dropped; anything else that is not known fails the test.
func screen(t *testing.T, written string, width int) (lines []string, cursor bool) {
	t.Helper()
	row, column, cursor := 0, 0, true
	grid := [][]rune{nil}
	put := func(r rune) {
		if column >= width {
			t.Fatalf("the line %q is longer than the terminal", string(grid[row]))
		}
		for len(grid[row]) <= column {
			grid[row] = append(grid[row], ' ')
		}
		grid[row][column] = r
		column++
	}
	text := []rune(written)
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\n':
			if row, column = row+1, 0; row == len(grid) {
				grid = append(grid, nil)
			}
		case '\r':
			column = 0
		case '\x1b':
			end := i + 2
			for end < len(text) && (text[end] < '@' || text[end] > '~') {
				end++
			}
			code := string(text[i+1 : end+1])
			i = end
			switch n := 0; {
			case strings.HasSuffix(code, "m"):
			case code == "[J":
				grid[row] = grid[row][:min(column, len(grid[row]))]
				grid = grid[:row+1]
			case code == "[?25l":
				cursor = false
			case code == "[?25h":
				cursor = true
			default:
				if _, err := fmt.Sscanf(code, "[%dA", &n); err != nil || n < 1 || n > row {
					t.Fatalf("escape sequence %q on line %d", code, row)
				}
				row -= n
			}
		default:
			put(text[i])
		}
	}
	for _, line := range grid {
		lines = append(lines, strings.TrimRight(string(line), " "))
	}
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines, cursor
}
