package feed

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Where common job boards put things, the likelier first: Greenhouse's board API (jobs, absolute_url, content), Lever's postings (an
// array, text, hostedUrl, categories), Ashby's job board (jobs, jobUrl), Remote OK (an array, position), Arbeitnow (data,
// company_name), Remotive (jobs, candidate_required_location), The Muse (results, refs), SmartRecruiters (content, name).
var (
	arrays     = []string{"jobs", "data", "results", "items", "postings", "positions", "vacancies", "offers", "jobPostings", "content", "hits"}
	titles     = []string{"title", "position", "jobTitle", "job_title", "text", "name"}
	companies  = []string{"company.name", "company_name", "companyName", "company.display_name", "company", "organization.name", "organization", "employer.name", "employer"}
	locations  = []string{"location.name", "categories.location", "candidate_required_location", "location.display_name", "location.city", "location", "jobGeo", "locations.name", "locations", "city"}
	links      = []string{"absolute_url", "hostedUrl", "jobUrl", "url", "link", "refs.landing_page", "redirect_url", "ref", "applyUrl", "apply_url"}
	ids        = []string{"id", "slug", "uuid", "guid", "jobId"}
	times      = []string{"first_published", "published_at", "publishedAt", "publication_date", "releasedDate", "createdAt", "created_at", "created", "pubDate", "date", "epoch", "updated_at"}
	summaries  = []string{"descriptionPlain", "content", "contents", "description", "jobDescription", "excerpt", "jobExcerpt", "summary"}
	boardOfURL = regexp.MustCompile(`/(?:boards|postings|job-board|companies)/([A-Za-z0-9_.-]+)`)
)

// guess looks at an answer and says how to read it; false when nothing looks like postings.
func guess(base *url.URL, answer any) (Mapping, bool) {
	at, items := findArray(answer)
	items = items[:min(len(items), 20)]
	m := Mapping{
		Items: at, ID: first(items, ids), Title: first(items, titles), Company: first(items, companies),
		Location: first(items, locations), URL: first(items, links), PublishedAt: first(items, times), Summary: first(items, summaries),
	}
	if m.Company == "" && base != nil {
		if board := boardOfURL.FindStringSubmatch(base.Path); board != nil {
			m.Company = "=" + board[1]
		}
	}
	return m, m.Title != "" && (m.URL != "" || m.ID != "")
}

// findArray returns the array that holds the postings: the answer itself, one with a common name, or the longest of objects.
func findArray(answer any) (at string, items []any) {
	switch v := answer.(type) {
	case []any:
		return "", v
	case map[string]any:
		for _, name := range arrays {
			if list, is := v[name].([]any); is {
				return name, list
			}
		}
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			if list, is := v[name].([]any); is && len(list) > len(items) && !strings.Contains(name, ".") {
				at, items = name, list
			}
		}
	}
	return at, items
}

// first returns the first path at which some item has a text.
func first(items []any, paths []string) string {
	for _, path := range paths {
		if slices.ContainsFunc(items, func(item any) bool { return lookup(item, path) != "" }) {
			return path
		}
	}
	return ""
}
