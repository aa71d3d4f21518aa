package feed

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"strings"
	"unicode"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// HTMLText is the text of a piece of HTML, which may be plain text as well, or HTML that was escaped once too often. Lines are kept
// where HTML breaks them. At most limit characters.
func HTMLText(source string, limit int) string {
	if !strings.Contains(source, "<") && strings.Contains(source, "&lt;") {
		source = html.UnescapeString(source)
	}
	if !strings.ContainsAny(source, "<&") {
		return plain(source, limit)
	}
	var text strings.Builder
	tokens := html.NewTokenizer(strings.NewReader(source))
	for skip := atom.Atom(0); ; {
		switch kind := tokens.Next(); kind {
		case html.ErrorToken:
			return plain(text.String(), limit)
		case html.TextToken:
			if skip == 0 {
				text.Write(tokens.Text())
			}
		case html.StartTagToken, html.EndTagToken, html.SelfClosingTagToken:
			name, _ := tokens.TagName()
			tag := atom.Lookup(name)
			switch {
			case kind == html.EndTagToken && tag == skip:
				skip = 0
			case kind == html.StartTagToken && skip == 0 && hidden[tag]:
				skip = tag
			case breaks[tag]:
				text.WriteByte('\n')
			}
		}
	}
}

var (
	hidden = map[atom.Atom]bool{atom.Script: true, atom.Style: true, atom.Template: true, atom.Noscript: true, atom.Title: true}
	breaks = map[atom.Atom]bool{
		atom.Br: true, atom.P: true, atom.Div: true, atom.Li: true, atom.Ul: true, atom.Ol: true, atom.Tr: true, atom.Table: true,
		atom.H1: true, atom.H2: true, atom.H3: true, atom.H4: true, atom.H5: true, atom.H6: true, atom.Section: true, atom.Hr: true,
	}
)

// plain is text that the database and a terminal take: valid UTF-8 without control characters, white space collapsed, one line
// break kept where there are some.
func plain(text string, limit int) string {
	var b strings.Builder
	space := ' '
	pending := false
	for _, r := range strings.ToValidUTF8(text, "") {
		switch {
		case unicode.IsSpace(r):
			if !pending {
				space = ' '
			}
			pending = true
			if r == '\n' {
				space = '\n'
			}
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\ufeff':
		default:
			if pending && b.Len() > 0 {
				b.WriteRune(space)
			}
			pending = false
			b.WriteRune(r)
		}
	}
	return clip(b.String(), limit)
}

// clip shortens a text to a number of characters and drops what a text column refuses.
func clip(text string, limit int) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, ""), "\x00", "")
	count := 0
	for i := range text {
		if count == limit {
			return strings.TrimSpace(text[:i])
		}
		count++
	}
	return text
}

// identifier is a source's own name of a posting. A long one is replaced by its hash: long names often differ at their ends only.
func identifier(text string) string {
	if len(text) > maxID {
		sum := sha256.Sum256([]byte(text))
		return hex.EncodeToString(sum[:])
	}
	return clip(text, maxID)
}

// feedOf is a hint at the feeds that an HTML page names as its own (<link rel=alternate>, HTML standard 4.6.7.1), or nothing.
func feedOf(base *url.URL, body []byte) string {
	tokens := html.NewTokenizer(bytes.NewReader(body))
	var page bool
	for {
		switch tokens.Next() {
		case html.ErrorToken:
			if page {
				return "; it is a web page that names no feed"
			}
			return ""
		case html.StartTagToken, html.SelfClosingTagToken:
			token := tokens.Token()
			page = page || token.DataAtom == atom.Html || token.DataAtom == atom.Body
			if token.DataAtom != atom.Link {
				continue
			}
			if link := Link(base, feedLink(token)); link != "" {
				return "; it is a web page whose feed is " + link
			}
		}
	}
}

func feedLink(token html.Token) string {
	values := map[string]string{}
	for _, a := range token.Attr {
		values[a.Key] = strings.ToLower(a.Val)
		if a.Key == "href" {
			values["href"] = a.Val
		}
	}
	switch values["type"] {
	case "application/rss+xml", "application/atom+xml", "application/feed+json":
		for rel := range strings.FieldsSeq(values["rel"]) {
			if rel == "alternate" {
				return values["href"]
			}
		}
	}
	return ""
}
