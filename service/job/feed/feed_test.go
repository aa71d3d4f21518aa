package feed

import (
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var base = &url.URL{Scheme: "https", Host: "jobs.example", Path: "/feeds/all"}

func TestFeeds(t *testing.T) {
	want := Item{
		ID: "7", Title: "Go developer", Company: "Example GmbH", Location: "Berlin", URL: "https://jobs.example/7",
		Summary: "Write Go.\nOften.", PublishedAt: time.Date(2026, 5, 4, 10, 0, 0, 0, time.UTC),
	}
	for name, text := range map[string]string{
		"RSS": `<rss version="2.0"><channel><title>All</title><item><guid>7</guid><title>Go developer</title><company>Example GmbH</company>
			<location>Berlin</location><link>/7</link><pubDate>Mon, 04 May 2026 12:00:00 +0200</pubDate>
			<description>&lt;p&gt;Write &lt;b&gt;Go&lt;/b&gt;.&lt;/p&gt;&lt;script&gt;x&lt;/script&gt;Often.</description></item></channel></rss>`,
		"RSS with a namespace": `<rss version="2.0" xmlns:job_listing="https://jobs.example/ns"><channel><title>All</title><item><guid>7</guid>
			<title>Go developer</title><job_listing:company>Example GmbH</job_listing:company><job_listing:location>Berlin</job_listing:location>
			<link>../7</link><pubDate>Mon, 04 May 2026 10:00:00 GMT</pubDate><description><![CDATA[<div>Write Go.</div>Often.]]></description></item></channel></rss>`,
		"Atom": `<feed xmlns="http://www.w3.org/2005/Atom"><title>All</title><entry><id>7</id><title type="html">Go developer</title>
			<author><name>Example GmbH</name></author><link href="/7"/><published>2026-05-04T10:00:00Z</published><location>Berlin</location>
			<content type="html">&lt;p&gt;Write Go.&lt;p&gt;Often.</content></entry></feed>`,
		"JSON Feed": `{"version": "https://jsonfeed.org/version/1.1", "title": "All", "items": [{"id": "7", "title": "Go developer at Example GmbH",
			"url": "https://jobs.example/7", "content_html": "<p>Write Go.</p>Often.", "date_published": "2026-05-04T10:00:00Z"}]}`,
	} {
		got, err := Read(Auto, Mapping{}, base, []byte(text))
		if err != nil || got.Kind != Feed || got.Name != "All" || len(got.Items) != 1 {
			t.Errorf("%s: %+v %v", name, got, err)
			continue
		}
		if item := got.Items[0]; item != want && (name != "JSON Feed" || item.Location != "" || item.Company != want.Company) && name != "Atom" {
			t.Errorf("%s:\n%+v, want\n%+v", name, item, want)
		}
	}
}

// The shapes of public job boards' APIs, as their documentation has them.
func TestKnownShapes(t *testing.T) {
	for _, c := range []struct{ name, url, answer, title, company, location, link string }{
		{
			"Greenhouse", "https://boards-api.greenhouse.io/v1/boards/example/jobs",
			`{"jobs": [{"id": 1, "title": "Cook", "absolute_url": "https://example.com/1", "location": {"name": "Ulm"}, "content": "&lt;p&gt;x&lt;/p&gt;", "updated_at": "2026-05-04T10:00:00-04:00"}], "meta": {"total": 1}}`,
			"Cook", "example", "Ulm", "https://example.com/1",
		},
		{
			"Lever", "https://api.lever.co/v0/postings/example?mode=json",
			`[{"id": "a", "text": "Cook", "hostedUrl": "https://jobs.lever.co/example/a", "categories": {"location": "Ulm", "team": "Kitchen"}, "createdAt": 1777888800000, "descriptionPlain": "x"}]`,
			"Cook", "example", "Ulm", "https://jobs.lever.co/example/a",
		},
		{
			"Ashby", "https://api.ashbyhq.com/posting-api/job-board/example",
			`{"apiVersion": "1", "jobs": [{"id": "a", "title": "Cook", "location": "Ulm", "jobUrl": "https://jobs.ashbyhq.com/example/a", "publishedAt": "2026-05-04T10:00:00.000+00:00"}]}`,
			"Cook", "example", "Ulm", "https://jobs.ashbyhq.com/example/a",
		},
		{
			"Remote OK", "https://remoteok.com/api",
			`[{"last_updated": 1777888800, "legal": "terms"}, {"id": "1", "position": "Cook", "company": "Example", "location": "Ulm", "url": "https://remoteok.com/1", "date": "2026-05-04T10:00:00+00:00", "description": "<p>x</p>"}]`,
			"Cook", "Example", "Ulm", "https://remoteok.com/1",
		},
		{
			"Arbeitnow", "https://www.arbeitnow.com/api/job-board-api",
			`{"data": [{"slug": "cook", "title": "Cook", "company_name": "Example", "location": "Ulm", "url": "https://www.arbeitnow.com/cook", "created_at": 1777888800}], "links": {}}`,
			"Cook", "Example", "Ulm", "https://www.arbeitnow.com/cook",
		},
		{
			"another one", "https://example.com/api",
			`{"total": 2, "stellen": [{"jobTitle": "Cook", "organization": {"name": "Example"}, "locations": [{"name": "Ulm"}, {"name": "Bonn"}], "link": "/1"}]}`,
			"Cook", "Example", "Ulm, Bonn", "https://example.com/1",
		},
	} {
		from, err := url.Parse(c.url)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Read(Auto, Mapping{}, from, []byte(c.answer))
		if err != nil || got.Kind != API || len(got.Items) != 1 {
			t.Errorf("%s: %+v %v", c.name, got, err)
			continue
		}
		item := got.Items[0]
		if item.Title != c.title || item.Company != c.company || item.Location != c.location || item.URL != c.link {
			t.Errorf("%s: %+v", c.name, item)
		}
		again, err := Read(API, got.Mapping, from, []byte(c.answer))
		if err != nil || again.Items[0] != item {
			t.Errorf("%s by the mapping that was guessed: %+v %v", c.name, again, err)
		}
	}
}

func TestTooManyItems(t *testing.T) {
	got, err := Read(Auto, Mapping{}, base, []byte(`[`+strings.Repeat(`{"id": 1, "title": "x"},`, MaxItems)+`{"id": 2, "title": "y"}]`))
	if err != nil || len(got.Items) != MaxItems {
		t.Errorf("%d items, %v", len(got.Items), err)
	}
}

func TestHTMLText(t *testing.T) {
	for source, want := range map[string]string{
		"plain & simple":                    "plain & simple",
		"a<br>b":                            "a\nb",
		"<p>a</p>\n\n<p>b</p>":              "a\nb",
		"&lt;p&gt;a &amp;amp; b&lt;/p&gt;":  "a & b",
		"a<script>alert(1)</script>b":       "ab",
		"<style>p{}</style>a":               "a",
		"a<!-- b -->c":                      "ac",
		"a\x00b\x1b[31mc\u202e":             "ab[31mc",
		"\xffa":                             "a",
		"1 < 2":                             "1 < 2",
		"<title>x</title>a<img src=x>b":     "ab",
		"  a  \t b ":                        "a b",
		"<ul><li>one</li><li>two</li></ul>": "one\ntwo",
	} {
		if got := HTMLText(source, 100); got != want {
			t.Errorf("%q: %q, want %q", source, got, want)
		}
	}
	if got := HTMLText("äöüß", 2); got != "äö" {
		t.Errorf("%q", got)
	}
}

func TestLinks(t *testing.T) {
	for reference, want := range map[string]string{
		"/a": "https://jobs.example/a", "b": "https://jobs.example/feeds/b", "//other.example/c": "https://other.example/c",
		"http://x.example": "http://x.example", "javascript:alert(1)": "", "JavaScript:alert(1)": "", "data:text/html,x": "",
		"mailto:a@b.example": "", "": "", "https://user:password@x.example/": "https://x.example/", "https://": "", "http://[": "",
		"ftp://x.example": "", "https://x.example/" + strings.Repeat("a", maxLink): "",
	} {
		if got := Link(base, reference); got != want {
			t.Errorf("%q: %q, want %q", reference, got, want)
		}
	}
	for link, want := range map[string]string{
		"HTTP://Example.COM:80/a/?utm_source=x&b=2&a=1#top": "https://example.com/a?a=1&b=2",
		"https://example.com":                               "https://example.com",
		"https://example.com/":                              "https://example.com",
		"https://example.com:8443/a?fbclid=x&UTM_Medium=y":  "https://example.com:8443/a",
		"https://example.com./a?gh_jid=4&gh_src=abc":        "https://example.com/a?gh_jid=4",
		"https://[::1]/a":                                   "https://[::1]/a",
		"javascript:alert(1)":                               "",
		"/a":                                                "",
	} {
		if got := Canonical(link); got != want {
			t.Errorf("%s: %q, want %q", link, got, want)
		}
	}
}

// check says what holds of every item, whatever the bytes it was read from.
func check(t *testing.T, items []Item) {
	t.Helper()
	for _, item := range items {
		for field, limit := range map[string]int{item.Title: maxTitle, item.Company: maxCompany, item.Location: maxLocation, item.Summary: maxSummary, item.ID: maxID, item.URL: maxLink} {
			if !utf8.ValidString(field) || strings.ContainsRune(field, 0) || utf8.RuneCountInString(field) > limit {
				t.Fatalf("%q is not a text of at most %d characters", field, limit)
			}
		}
		if item.Title == "" || item.URL != "" && !strings.HasPrefix(item.URL, "http://") && !strings.HasPrefix(item.URL, "https://") {
			t.Fatalf("%+v", item)
		}
		if y := item.PublishedAt.Year(); !item.PublishedAt.IsZero() && (y < 1990 || y > 2201) {
			t.Fatalf("published in %d", y)
		}
	}
}

func FuzzFeed(f *testing.F) {
	for _, seed := range []string{
		`<rss version="2.0"><channel><item><title>a at B</title><link>javascript:x</link></item></channel></rss>`,
		`<feed xmlns="http://www.w3.org/2005/Atom"><entry><title>a</title><link href="/b"/></entry></feed>`,
		`<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/"><item><title>a</title></item></rdf:RDF>`,
		`{"version": "https://jsonfeed.org/version/1", "items": [{"id": 1, "title": "a"}]}`, `[{"title": "a", "id": 1}]`,
		`<html><link rel="alternate" type="application/rss+xml" href="f">`, "\ufeff<rss", "{", "<", "\x00",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, kind := range []Kind{Auto, Feed, API} {
			document, err := Read(kind, Mapping{}, base, body)
			if err == nil {
				check(t, document.Items)
			} else if _, is := err.(*FormatError); !is { //nolint:errorlint // it is never wrapped
				t.Fatalf("%T: %v", err, err)
			}
		}
	})
}

func FuzzMapping(f *testing.F) {
	f.Add(`{"jobs": [{"a": {"b": ["x", {"c": 1}]}}]}`, "jobs", "a.b", "a.b.1.c")
	f.Add(`[[["x"]]]`, "", "0.0", "=y")
	f.Add(`{"": {"": []}}`, ".", ".", "-1")
	f.Fuzz(func(t *testing.T, body, items, title, link string) {
		document, err := Read(API, Mapping{Items: items, Title: title, URL: link, PublishedAt: link}, base, []byte(body))
		if err == nil {
			check(t, document.Items)
		}
	})
}

func FuzzCanonicalURL(f *testing.F) {
	for _, seed := range []string{"https://example.com/a?utm_source=b&c=d#e", "http://EXAMPLE.com:80//", "https://[::1]:443/?a=%ff", "https://x./%2f?;=&=", "javascript:x", "http://.#"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, link string) {
		once := Canonical(link)
		if once == "" {
			return
		}
		if twice := Canonical(once); twice != once {
			t.Fatalf("%q becomes %q, and that %q", link, once, twice)
		}
		_, query, _ := strings.Cut(strings.ToLower(once), "?")
		if strings.HasPrefix(query, "utm_") || strings.Contains(query, "&utm_") || !strings.HasPrefix(once, "https://") {
			t.Fatalf("%q becomes %q", link, once)
		}
	})
}
