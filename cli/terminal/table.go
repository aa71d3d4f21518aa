package terminal

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"charm.land/lipgloss/v2"
	"charm.land/lipgloss/v2/table"
)

const (
	indent = "  "
	gap    = 3 // columns between two columns
)

// Table collects rows and prints them aligned, two spaces in, without lines: the same on a terminal and in a pipe, but for
// colours and, on a narrow terminal, wrapped cells.
type Table struct {
	headers []string
	rows    [][]string
	right   map[int]bool
}

// NewTable begins a table; an empty header leaves the column without a name, none at all leaves out the line.
func NewTable(headers ...string) *Table { return &Table{headers: headers, right: map[int]bool{}} }

// Right aligns the columns of these indices to the right, as numbers want it.
func (t *Table) Right(columns ...int) *Table {
	for _, c := range columns {
		t.right[c] = true
	}
	return t
}

// Row adds a row. Cells may be styled.
func (t *Table) Row(cells ...string) *Table {
	t.rows = append(t.rows, cells)
	return t
}

// Len is the number of rows.
func (t *Table) Len() int { return len(t.rows) }

// Table prints t to Out.
func (t *IO) Table(rows *Table) { rows.print(t.Out, t.Width()) }

// Notes prints t to Err.
func (t *IO) Notes(rows *Table) { rows.print(t.Err, t.Width()) }

func (t *Table) print(w io.Writer, width int) {
	fmt.Fprint(w, t.Render(width))
}

// Render returns the table as text of at most width columns, each line ended.
func (t *Table) Render(width int) string {
	columns := len(t.headers)
	for _, row := range t.rows {
		columns = max(columns, len(row))
	}
	if columns == 0 {
		return ""
	}
	named := strings.Join(t.headers, "") != ""
	layout := table.New().
		Border(lipgloss.Border{}).BorderTop(false).BorderBottom(false).BorderLeft(false).BorderRight(false).
		BorderHeader(false).BorderColumn(false).BorderRow(false).
		StyleFunc(func(row, column int) lipgloss.Style {
			style := lipgloss.NewStyle()
			if column < columns-1 {
				style = style.PaddingRight(gap)
			}
			if t.right[column] {
				style = style.Align(lipgloss.Right)
			}
			if row == table.HeaderRow {
				style = style.Faint(true)
			}
			return style
		})
	if named {
		layout.Headers(pad(t.headers, columns)...)
	}
	for _, row := range t.rows {
		layout.Row(pad(row, columns)...)
	}
	text := layout.String()
	if room := width - len(indent); lipgloss.Width(text) > room && room > columns*(gap+1) {
		text = layout.Width(room).Wrap(true).String()
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		b.WriteString(strings.TrimRight(indent+line, " ") + "\n")
	}
	return b.String()
}

func pad(cells []string, n int) []string {
	for len(cells) < n {
		cells = append(slices.Clip(cells), "")
	}
	return cells
}

// JSON prints v to Out, indented, for programs.
func (t *IO) JSON(v any) error {
	encoder := json.NewEncoder(t.Out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}

// Align writes rows without headers, each column as wide as its widest cell, with three spaces between two columns. Cells may be
// styled. The last cell of a row is not cut.
func Align(w io.Writer, indent string, rows [][]string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			if i < len(row)-1 { // what ends a row pushes nothing aside
				widths[i] = max(widths[i], lipgloss.Width(cell))
			}
		}
	}
	for _, row := range rows {
		var b strings.Builder
		b.WriteString(indent)
		for i, cell := range row {
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", max(widths[i]-lipgloss.Width(cell), 0)+gap))
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}
