package message

import (
	"regexp"
	"strings"
	"unicode"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// plain makes readable text of HTML: what a person would see, without scripts, styles and what the sender hides. Nothing is fetched.
func plain(source string) string {
	root, err := html.Parse(strings.NewReader(source))
	if err != nil {
		return bare(source)
	}
	w := writer{}
	w.node(root, false)
	return w.text.String()
}

// bare is the text of HTML that is nested too deep to be understood.
func bare(source string) string {
	var text strings.Builder
	tokens := html.NewTokenizer(strings.NewReader(source))
	for {
		switch tokens.Next() {
		case html.ErrorToken:
			return text.String()
		case html.TextToken:
			text.Write(tokens.Text())
			text.WriteByte(' ')
		default:
		}
	}
}

// writer collects text; breaks are written before the next word, so that many of them are one.
type writer struct {
	text   strings.Builder
	lines  int // breaks to write
	space  bool
	bullet bool // was written: its item stands beside it
}

// node writes a node. The parser bounds the depth.
func (w *writer) node(n *html.Node, kept bool) {
	switch {
	case n.Type == html.TextNode && kept:
		w.preformatted(n.Data)
		return
	case n.Type == html.TextNode:
		w.words(n.Data)
		return
	case n.Type == html.ElementNode && unseen(n):
		return
	}
	breaks := 0
	if n.Type == html.ElementNode {
		breaks = lineBreaks[n.DataAtom]
		switch n.DataAtom {
		case atom.Br:
			w.lines++
		case atom.Li:
			w.lines = max(w.lines, 1)
			w.words("- ")
			w.bullet, breaks = true, 1
		case atom.Td, atom.Th:
			w.space = true
		case atom.Img:
			w.words(attribute(n, "alt"))
		case atom.Pre, atom.Textarea:
			kept = true
		}
	}
	if !w.bullet {
		w.lines = max(w.lines, breaks)
	}
	for child := n.FirstChild; child != nil; child = child.NextSibling {
		w.node(child, kept)
	}
	w.lines = max(w.lines, breaks)
}

// lineBreaks is how many line breaks stand before and after an element, at least.
var lineBreaks = map[atom.Atom]int{
	atom.P: 2, atom.H1: 2, atom.H2: 2, atom.H3: 2, atom.H4: 2, atom.H5: 2, atom.H6: 2, atom.Blockquote: 2, atom.Ul: 2, atom.Ol: 2, atom.Table: 2,
	atom.Pre: 2, atom.Hr: 2, atom.Dl: 2, atom.Div: 1, atom.Tr: 1, atom.Section: 1, atom.Article: 1, atom.Header: 1, atom.Footer: 1, atom.Center: 1,
	atom.Dt: 1, atom.Dd: 1, atom.Address: 1, atom.Main: 1, atom.Aside: 1, atom.Nav: 1, atom.Form: 1, atom.Fieldset: 1, atom.Figure: 1, atom.Caption: 1,
}

// hidden is style that keeps something from being seen: senders write it into the mail's first lines, for previews and filters.
var hidden = regexp.MustCompile(`(?i)(display\s*:\s*none|visibility\s*:\s*hidden|mso-hide\s*:\s*all|(font-size|max-height|opacity)\s*:\s*0(\.0+)?(px|pt|em|%)?\s*(!important)?\s*(;|$))`)

func unseen(n *html.Node) bool {
	switch n.DataAtom {
	case atom.Script, atom.Style, atom.Head, atom.Template, atom.Noscript, atom.Iframe, atom.Object, atom.Svg, atom.Select, atom.Audio, atom.Video, atom.Canvas:
		return true
	case atom.Img: // a pixel tells the sender that it was read, and the reader nothing
		return attribute(n, "width") == "1" || attribute(n, "height") == "1" || attribute(n, "width") == "0" || attribute(n, "height") == "0"
	}
	for _, a := range n.Attr {
		if a.Key == "hidden" || a.Key == "style" && hidden.MatchString(a.Val) {
			return true
		}
	}
	return false
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return strings.TrimSpace(a.Val)
		}
	}
	return ""
}

// words writes text as HTML shows it: white space is one space.
func (w *writer) words(text string) {
	text = strings.Map(visible, text)
	words := strings.Fields(text)
	if len(words) == 0 {
		w.space = w.space || text != ""
		return
	}
	w.space = w.space || strings.TrimLeftFunc(text, unicode.IsSpace) != text
	for number, word := range words {
		w.space = w.space || number > 0
		w.gap()
		w.text.WriteString(word)
	}
	w.space = strings.TrimRightFunc(text, unicode.IsSpace) != text
}

// gap writes what is between two words.
func (w *writer) gap() {
	switch {
	case w.text.Len() == 0:
	case w.lines > 0 && !w.bullet:
		w.text.WriteString("\n\n"[:min(w.lines, 2)])
	case w.space || w.lines > 0:
		w.text.WriteByte(' ')
	}
	w.lines, w.space, w.bullet = 0, false, false
}

func (w *writer) preformatted(text string) {
	w.gap()
	w.text.WriteString(strings.Map(visible, text))
}

// visible leaves out characters without width, which fill up previews.
func visible(c rune) rune {
	switch c {
	case '\u00AD', '\u034F', '\u200B', '\u200C', '\u200D', '\u200E', '\u200F', '\u2060', '\uFEFF':
		return -1
	}
	return c
}
