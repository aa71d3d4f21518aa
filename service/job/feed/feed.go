// Package feed reads postings out of what a source of jobs answers: RSS, Atom, JSON Feed, and JSON APIs by a mapping.
//
// All of it is foreign bytes: what comes out is plain text of limited length, with links that lead to http or https. It fetches
// nothing and knows no database.
package feed

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/mmcdole/gofeed"
	extensions "github.com/mmcdole/gofeed/extensions"
)

// Limits of a document and of what is kept of an item, texts in characters.
const (
	MaxBytes    = 5 << 20
	MaxItems    = 2000
	maxTitle    = 300
	maxCompany  = 200
	maxLocation = 200
	maxSummary  = 4000
	maxID       = 500 // bytes
	maxName     = 200
	maxLink     = 2000
)

// Item is a posting as a source has it. Only Title is never empty.
type Item struct {
	ID          string // the source's own name of it
	Title       string
	Company     string
	Location    string
	URL         string
	Summary     string
	PublishedAt time.Time // zero when the source does not say
}

// Kind is what a document is.
type Kind string

// The kinds. Auto is for Read to find out.
const (
	Auto Kind = "auto"
	Feed Kind = "feed" // RSS, Atom or JSON Feed
	API  Kind = "api"  // any other JSON
)

// Document is what a source answered. Items are at most MaxItems, the first ones.
type Document struct {
	Kind    Kind    // Feed or API
	Name    string  // what a feed calls itself
	Mapping Mapping // that an API was read by
	Items   []Item
}

// FormatError is a document that cannot be read. Its text is for users.
type FormatError struct{ Problem string }

func (e *FormatError) Error() string { return e.Problem }

// Read reads a document that came from base. The mapping is for an API; the zero one is guessed. The error is a FormatError.
func Read(kind Kind, mapping Mapping, base *url.URL, body []byte) (Document, error) {
	body = bytes.TrimLeft(body, "\ufeff \t\r\n")
	looksJSON := len(body) > 0 && (body[0] == '{' || body[0] == '[')
	switch {
	case len(body) == 0:
		return Document{}, &FormatError{"the answer is empty"}
	case kind == API && !looksJSON:
		return Document{}, &FormatError{"the answer is not JSON" + feedOf(base, body)}
	case kind == API, kind == Auto && looksJSON && !isJSONFeed(body):
		return readAPI(mapping, base, body)
	default:
		return readFeed(base, body)
	}
}

// isJSONFeed tells a JSON Feed by its version, which is required (JSON Feed 1.1, "Top-level").
func isJSONFeed(body []byte) bool {
	var head struct {
		Version any `json:"version"`
	}
	if json.Unmarshal(body, &head) != nil {
		return false
	}
	version, _ := head.Version.(string)
	return strings.Contains(version, "jsonfeed.org")
}

func readFeed(base *url.URL, body []byte) (Document, error) {
	if body[0] == '{' && !isJSONFeed(body) {
		return Document{}, &FormatError{"the answer is JSON, but no JSON Feed; add it as an API"}
	}
	if kind := gofeed.DetectFeedType(bytes.NewReader(body)); kind == gofeed.FeedTypeUnknown {
		return Document{}, &FormatError{"the answer is not a feed (RSS, Atom or JSON Feed)" + feedOf(base, body)}
	}
	parsed, err := gofeed.NewParser().Parse(bytes.NewReader(body))
	if err != nil {
		return Document{}, &FormatError{fmt.Sprintf("the feed is damaged: %s", plain(err.Error(), 200))}
	}
	document := Document{Kind: Feed, Name: plain(parsed.Title, maxName)}
	for _, entry := range parsed.Items[:min(len(parsed.Items), MaxItems)] {
		if item, ok := itemOf(base, entry); ok {
			document.Items = append(document.Items, item)
		}
	}
	return document, nil
}

// itemOf translates an entry. Feeds have no word for employer and place: some say them in elements of their own (company, location),
// some name the employer as the author, some write "Title at Company".
func itemOf(base *url.URL, entry *gofeed.Item) (Item, bool) {
	item := Item{
		ID: identifier(entry.GUID), Title: plain(entry.Title, maxTitle), URL: Link(base, entry.Link),
		Summary:  HTMLText(cmp.Or(entry.Content, entry.Description), maxSummary),
		Company:  HTMLText(element(entry, "company", "company_name", "employer"), maxCompany),
		Location: HTMLText(element(entry, "location", "region"), maxLocation),
	}
	item.Title = HTMLText(item.Title, maxTitle)
	if item.Company == "" && len(entry.Authors) > 0 && entry.Authors[0] != nil {
		item.Company = plain(entry.Authors[0].Name, maxCompany)
	}
	if item.Company == "" {
		item.Title, item.Company = titleAtCompany(item.Title)
	}
	switch {
	case entry.PublishedParsed != nil:
		item.PublishedAt = sane(*entry.PublishedParsed)
	case entry.UpdatedParsed != nil:
		item.PublishedAt = sane(*entry.UpdatedParsed)
	}
	return item, item.Title != ""
}

// element returns the text of an entry's first element of one of the names, whatever its namespace.
func element(entry *gofeed.Item, names ...string) string {
	for _, name := range names {
		if text := entry.Custom[name]; text != "" {
			return text
		}
		for _, space := range entry.Extensions {
			if text := firstText(space[name]); text != "" {
				return text
			}
		}
	}
	return ""
}

func firstText(found []extensions.Extension) string {
	if len(found) == 0 {
		return ""
	}
	return found[0].Value
}

// titleAtCompany splits "Title at Company", where what follows "at" looks like a name.
func titleAtCompany(title string) (rest, company string) {
	for _, at := range []string{" at ", " @ ", " bei "} {
		i := strings.LastIndex(title, at)
		if i <= 0 {
			continue
		}
		name := title[i+len(at):]
		if first := []rune(name); len(first) > 0 && len(first) <= 60 && strings.ToLower(string(first[0])) != string(first[0]) {
			return strings.TrimSpace(title[:i]), strings.TrimSpace(name)
		}
	}
	return title, ""
}

// sane is a time that a posting can have been published at, or the zero time.
func sane(t time.Time) time.Time {
	if t.Year() < 1990 || t.Year() > 2200 {
		return time.Time{}
	}
	return t.UTC()
}
