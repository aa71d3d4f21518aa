package briefing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"

	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/job"
	"github.com/smart-assistant/platform/service/mail"
)

const (
	// most is how many messages of a category, postings or suggestions are looked at.
	most = 200
	// mostApplications is more: those that wait are the last in the list.
	mostApplications = 1000
	// shown is how many of a kind the briefing tells about one by one.
	shown = 5
	// silence is how long an application is left in peace.
	silence = 14 * 24 * time.Hour
	// delay is how late a message may arrive here after it was received: a sync takes its time.
	delay = 48 * time.Hour
)

// news is what happened to a user in a stretch of time, and what waits for the user at its end.
type news struct {
	since, until time.Time
	zone         *time.Location
	mails        map[mail.Category][]mail.Summary // newest first
	texts        map[string]string                // of the messages that are told about, by id
	postings     []job.Posting                    // best match first
	waiting      []job.Application                // the latest to fall silent first
	suggestions  []job.Suggestion                 // newest first
}

// told are the categories whose messages are quoted, the most pressing first.
var told = []mail.Category{mail.Interview, mail.Offer, mail.Rejection, mail.Application}

// gather collects a user's news.
func (s *Service) gather(ctx context.Context, userID string, since, until time.Time) (*news, error) {
	schedule, err := s.Schedule(ctx, userID)
	if err != nil {
		return nil, err
	}
	n := &news{since: since, until: until, zone: time.UTC, mails: map[mail.Category][]mail.Summary{}, texts: map[string]string{}}
	if table, err := schedule.timetable(); err == nil {
		n.zone = table.zone
	}
	if err := s.gatherMail(ctx, userID, n); err != nil {
		return nil, err
	}
	applications, err := all(mostApplications, func(page api.Page) ([]job.Application, string, error) {
		return s.config.Jobs.Applications(ctx, userID, "", page)
	})
	if err != nil {
		return nil, fmt.Errorf("read applications: %w", err)
	}
	for _, a := range applications {
		if (a.Status == job.Applied || a.Status == job.Interview) && until.Sub(a.UpdatedAt) >= silence {
			n.waiting = append(n.waiting, a)
		}
	}
	n.postings, err = all(most, func(page api.Page) ([]job.Posting, string, error) {
		return s.config.Jobs.Postings(ctx, userID, job.PostingFilter{Since: since}, page)
	})
	if err != nil {
		return nil, fmt.Errorf("read postings: %w", err)
	}
	n.postings = slices.DeleteFunc(n.postings, func(p job.Posting) bool { return !p.FoundAt.Before(until) })
	rank(n.postings, applications)
	n.suggestions, err = all(most, func(page api.Page) ([]job.Suggestion, string, error) {
		return s.config.Jobs.Suggestions(ctx, userID, page)
	})
	if err != nil {
		return nil, fmt.Errorf("read suggestions: %w", err)
	}
	return n, nil
}

func (s *Service) gatherMail(ctx context.Context, userID string, n *news) error {
	for _, category := range slices.Concat(told, []mail.Category{mail.Other, mail.Newsletter}) {
		filter := mail.Filter{Category: category, Since: n.since.Add(-delay), Until: n.until}
		list, err := all(most, func(page api.Page) ([]mail.Summary, string, error) {
			return s.config.Mail.List(ctx, userID, filter, page)
		})
		if err != nil {
			return fmt.Errorf("list mail: %w", err)
		}
		n.mails[category] = slices.DeleteFunc(list, func(m mail.Summary) bool { return m.ReceivedAt.Before(n.since) && !stored(m.ID, n.since) })
		if !slices.Contains(told, category) {
			continue
		}
		for _, m := range first(n.mails[category], shown) {
			whole, err := s.config.Mail.Get(ctx, userID, m.ID)
			if errors.Is(err, mail.ErrNotFound) {
				continue // deleted since it was listed
			}
			if err != nil {
				return fmt.Errorf("read mail: %w", err)
			}
			n.texts[m.ID] = whole.Text
		}
	}
	return nil
}

// stored says whether a message was stored at or after a time. Its id is a UUIDv7, which tells (RFC 9562, section 5.7).
func stored(id string, since time.Time) bool {
	parsed, err := uuid.Parse(id)
	if err != nil || parsed.Version() != 7 {
		return false
	}
	return !time.Unix(parsed.Time().UnixTime()).Before(since.Truncate(time.Millisecond))
}

// all reads the pages of a list up to a number of items.
func all[T any](limit int, list func(api.Page) ([]T, string, error)) ([]T, error) {
	var items []T
	for page := (api.Page{Limit: min(limit, 200)}); ; {
		more, next, err := list(page)
		if err != nil {
			return nil, err
		}
		items = append(items, more...)
		if next == "" || len(items) >= limit {
			return first(items, limit), nil
		}
		page.Cursor = next
	}
}

func first[T any](items []T, n int) []T { return items[:min(n, len(items))] }

// rank sorts postings by how much their titles have in common with what the user is after, which the applications say. A word counts the
// more, the fewer of the postings have it. Equals stay in their order.
func rank(postings []job.Posting, applications []job.Application) {
	wanted := map[string]bool{}
	for _, a := range applications {
		if a.Status != job.Withdrawn {
			for _, word := range words(a.Title) {
				wanted[word] = true
			}
		}
	}
	frequency := map[string]int{}
	for _, p := range postings {
		for _, word := range words(p.Title) {
			frequency[word]++
		}
	}
	match := map[string]float64{}
	for _, p := range postings {
		for _, word := range words(p.Title) {
			if wanted[word] {
				match[p.ID] += 1 / float64(frequency[word])
			}
		}
	}
	slices.SortStableFunc(postings, func(a, b job.Posting) int { return cmp.Compare(match[b.ID], match[a.ID]) })
}

// words are a text's different words of two letters or more, in lower case.
func words(text string) []string {
	list := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '+' && r != '#' })
	list = slices.DeleteFunc(list, func(word string) bool { return len(word) < 2 })
	slices.Sort(list)
	return slices.Compact(list)
}
