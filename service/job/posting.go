package job

import (
	"context"
	"time"

	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/job/jobdb"
)

// Posting is a job that somebody offers.
type Posting struct {
	ID          string    `json:"id" format:"uuid"`
	Title       string    `json:"title"`
	Company     string    `json:"company"`
	Location    string    `json:"location"`
	URL         string    `json:"url"`
	Summary     string    `json:"summary"`
	PublishedAt time.Time `json:"published_at"`
	FoundAt     time.Time `json:"found_at"`
	Hidden      bool      `json:"hidden"`
}

// PostingFilter narrows a list of postings. Zero fields do not.
type PostingFilter struct {
	Query  string    // words, as PostgreSQL's websearch_to_tsquery reads them
	Since  time.Time // found at or after
	Hidden bool      // those that the user hid, instead of the others
}

// Postings returns a user's postings, newest first, and the cursor of the next page. With Since alone, newest is found last;
// otherwise it is published last.
func (s *Service) Postings(ctx context.Context, userID string, filter PostingFilter, page api.Page) ([]Posting, string, error) {
	if err := checkText("q", filter.Query, 500); err != nil {
		return nil, "", err
	}
	from, err := begin(page)
	if err != nil {
		return nil, "", err
	}
	byFound := filter.Query == "" && !filter.Since.IsZero()
	var postings []Posting
	switch {
	case filter.Query != "":
		postings, err = postingsOf(s.db.SearchPostings(ctx, jobdb.SearchPostingsParams{
			UserID: userID, Query: filter.Query, Since: filter.Since, Hidden: filter.Hidden,
			BeforeAt: from.At, BeforeID: from.ID.String(), Most: most(page),
		}))
	case byFound:
		postings, err = postingsOf(s.db.PostingsFound(ctx, jobdb.PostingsFoundParams{
			UserID: userID, Since: filter.Since, Hidden: filter.Hidden, BeforeAt: from.At, BeforeID: from.ID.String(), Most: most(page),
		}))
	default:
		postings, err = postingsOf(s.db.Postings(ctx, jobdb.PostingsParams{
			UserID: userID, Hidden: filter.Hidden, BeforeAt: from.At, BeforeID: from.ID.String(), Most: most(page),
		}))
	}
	if err != nil {
		return nil, "", kept(err, "list postings of "+userID)
	}
	return finish(postings, page, func(p Posting) (time.Time, string) {
		if byFound {
			return p.FoundAt, p.ID
		}
		return p.PublishedAt, p.ID
	})
}

// Posting returns one posting.
func (s *Service) Posting(ctx context.Context, userID, id string) (Posting, error) {
	row, err := s.db.Posting(ctx, jobdb.PostingParams{ID: id, UserID: userID})
	if err != nil {
		return Posting{}, kept(err, "read posting "+id)
	}
	return postingOf(row), nil
}

// Hide takes a posting out of the list, or puts it back.
func (s *Service) Hide(ctx context.Context, userID, id string, hidden bool) (Posting, error) {
	now := s.config.Now()
	row, err := s.db.HidePosting(ctx, jobdb.HidePostingParams{ID: id, UserID: userID, Hidden: hidden, Now: &now})
	if err != nil {
		return Posting{}, kept(err, "hide posting "+id)
	}
	return postingOf(jobdb.PostingRow(row)), nil
}

// postingRow is what the queries of postings return, under names of their own.
type postingRow interface {
	jobdb.PostingsRow | jobdb.PostingsFoundRow | jobdb.SearchPostingsRow
}

func postingsOf[Row postingRow](rows []Row, err error) ([]Posting, error) {
	postings := make([]Posting, 0, len(rows))
	for _, row := range rows {
		postings = append(postings, postingOf(jobdb.PostingRow(row)))
	}
	return postings, err
}

func postingOf(row jobdb.PostingRow) Posting {
	return Posting{
		ID: row.ID, Title: row.Title, Company: row.Company, Location: row.Location, URL: row.Url, Summary: row.Summary,
		PublishedAt: row.PublishedAt, FoundAt: row.FoundAt, Hidden: row.HiddenAt != nil,
	}
}
