package terminal

import "charm.land/lipgloss/v2"

// The glyphs in front of what went well, went wrong, deserves a look, is under way or was left out.
const (
	GlyphDone    = "✓"
	GlyphFailed  = "✗"
	GlyphWarning = "!"
	GlyphSkipped = "–"
)

// The sixteen colours that every terminal has, in the user's own palette.
var (
	green  = lipgloss.NewStyle().Foreground(lipgloss.Green)
	red    = lipgloss.NewStyle().Foreground(lipgloss.Red)
	yellow = lipgloss.NewStyle().Foreground(lipgloss.Yellow)
	cyan   = lipgloss.NewStyle().Foreground(lipgloss.Cyan)
	bold   = lipgloss.NewStyle().Bold(true)
	faint  = lipgloss.NewStyle().Faint(true)
)

// Good, Bad, Warning, Strong and Faint mark text. Out and Err drop the marks where they do not belong.
func Good(s string) string    { return green.Render(s) }
func Bad(s string) string     { return red.Render(s) }
func Warning(s string) string { return yellow.Render(s) }
func Strong(s string) string  { return bold.Render(s) }
func Faint(s string) string   { return faint.Render(s) }

// Mark is a coloured ✓ or ✗.
func Mark(ok bool) string {
	if ok {
		return Good(GlyphDone)
	}
	return Bad(GlyphFailed)
}
