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

// Good marks what is as it should be. Out and Err drop this and the other marks where they do not belong.
func Good(s string) string { return green.Render(s) }

// Bad marks what is not.
func Bad(s string) string { return red.Render(s) }

// Warning marks what deserves a look.
func Warning(s string) string { return yellow.Render(s) }

// Strong marks what the eye should find first.
func Strong(s string) string { return bold.Render(s) }

// Faint marks what it may pass over.
func Faint(s string) string { return faint.Render(s) }

// Mark is a coloured ✓ or ✗.
func Mark(ok bool) string {
	if ok {
		return Good(GlyphDone)
	}
	return Bad(GlyphFailed)
}
