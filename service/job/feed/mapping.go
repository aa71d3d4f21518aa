package feed

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Mapping says where in an API's answer the postings are and what of a posting is what. A value is a path of names, and of numbers
// for places in arrays, joined by dots: "company.name". A path through an array goes through all of it, and the texts are joined. A
// value that begins with = is itself the text: "=Example Ltd".
type Mapping struct {
	Items       string `json:"items" maxLength:"200" doc:"Path to the array of postings; empty when the answer is that array" example:"jobs"`
	ID          string `json:"id,omitempty" maxLength:"200" doc:"Path in a posting to its identifier" example:"id"`
	Title       string `json:"title,omitempty" maxLength:"200" doc:"Path to the title; the one that is required" example:"title"`
	Company     string `json:"company,omitempty" maxLength:"200" doc:"Path to the employer's name, or = and the name" example:"company.name"`
	Location    string `json:"location,omitempty" maxLength:"200" doc:"Path to the place" example:"location.name"`
	URL         string `json:"url,omitempty" maxLength:"200" doc:"Path to the link" example:"absolute_url"`
	PublishedAt string `json:"published_at,omitempty" maxLength:"200" doc:"Path to the time of publication: RFC 3339, a date, or seconds or milliseconds since 1970" example:"published_at"`
	Summary     string `json:"summary,omitempty" maxLength:"200" doc:"Path to the description, text or HTML" example:"description"`
}

// Check says what is wrong with a mapping, as a FormatError.
func (m Mapping) Check() error {
	if m.Title == "" {
		return &FormatError{"the mapping has no title"}
	}
	for _, value := range reflect.ValueOf(m).Fields() {
		path := value.String()
		if strings.ContainsRune(path, 0) {
			return &FormatError{"the mapping has a NUL character in it"}
		}
		if strings.HasPrefix(path, "=") || path == "" {
			continue
		}
		if parts := strings.Split(path, "."); len(path) > 200 || len(parts) > 10 {
			return &FormatError{fmt.Sprintf("the mapping's path %.50q is longer than 10 names or 200 bytes", path)}
		}
	}
	return nil
}

func readAPI(mapping Mapping, base *url.URL, body []byte) (Document, error) {
	var answer any
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(&answer); err != nil {
		return Document{}, &FormatError{"the answer is not valid JSON"}
	}
	if mapping == (Mapping{}) {
		guessed, ok := guess(base, answer)
		if !ok {
			return Document{}, &FormatError{"the answer is JSON, and no postings were recognised in it; say with a mapping where they are"}
		}
		mapping = guessed
	}
	if err := mapping.Check(); err != nil {
		return Document{}, err
	}
	items, ok := walk(answer, path(mapping.Items)).([]any)
	if !ok {
		return Document{}, &FormatError{fmt.Sprintf("the answer has no array at %q, where the mapping says that postings are", mapping.Items)}
	}
	document := Document{Kind: API, Mapping: mapping}
	for _, item := range items[:min(len(items), MaxItems)] {
		if posting, ok := mapping.item(base, item); ok {
			document.Items = append(document.Items, posting)
		}
	}
	if len(items) > 0 && len(document.Items) == 0 {
		return Document{}, &FormatError{fmt.Sprintf("no posting has a title at %q, where the mapping says that it is", mapping.Title)}
	}
	return document, nil
}

func (m Mapping) item(base *url.URL, posting any) (Item, bool) {
	get := func(path string) string { return lookup(posting, path) }
	item := Item{
		ID: identifier(get(m.ID)), Title: HTMLText(get(m.Title), maxTitle), Company: HTMLText(get(m.Company), maxCompany),
		Location: HTMLText(get(m.Location), maxLocation), URL: Link(base, get(m.URL)),
		Summary: HTMLText(get(m.Summary), maxSummary), PublishedAt: parseTime(get(m.PublishedAt)),
	}
	return item, item.Title != ""
}

func lookup(value any, at string) string {
	if literal, is := strings.CutPrefix(at, "="); is {
		return literal
	}
	if at == "" {
		return ""
	}
	return text(walk(value, path(at)))
}

func path(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ".")
}

// walk follows a path. Where an array stands and no number follows, it goes through each element.
func walk(value any, path []string) any {
	for i, name := range path {
		switch v := value.(type) {
		case map[string]any:
			value = v[name]
		case []any:
			if n, err := strconv.Atoi(name); err == nil {
				if n < 0 || n >= len(v) {
					return nil
				}
				value = v[n]
				continue
			}
			var found []any
			for _, element := range v[:min(len(v), 20)] {
				if got := walk(element, path[i:]); got != nil {
					found = append(found, got)
				}
			}
			return found
		default:
			return nil
		}
	}
	return value
}

// text writes a JSON value as text: those of an array joined by commas, nothing for an object.
func text(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case []any:
		var parts []string
		for _, element := range v[:min(len(v), 20)] {
			if part := text(element); part != "" {
				parts = append(parts, part)
			}
		}
		return strings.Join(parts, ", ")
	default:
		return ""
	}
}

// parseTime reads the times that job APIs write; the zero time when it is none of them.
func parseTime(text string) time.Time {
	text = strings.TrimSpace(text)
	if number, err := strconv.ParseFloat(text, 64); err == nil {
		switch {
		case number >= 1e8 && number < 1e11: // seconds, from 1973 on
			return sane(time.Unix(int64(number), 0))
		case number >= 1e11 && number < 1e14:
			return sane(time.UnixMilli(int64(number)))
		}
		return time.Time{}
	}
	for _, layout := range []string{
		time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05", time.DateTime, time.DateOnly, time.RFC1123Z, time.RFC1123,
		"2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05 UTC", "January 2, 2006",
	} {
		if t, err := time.Parse(layout, text); err == nil {
			return sane(t)
		}
	}
	return time.Time{}
}
