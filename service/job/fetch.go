package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/smart-assistant/platform/service/job/feed"
	"github.com/smart-assistant/platform/service/outbound"
)

// fetchTimeout is for one fetch as a whole. It is below a request's limit, since a source is fetched once while it is added.
const fetchTimeout = 10 * time.Second

// request is what to ask of a source. The validators are of the last answer (RFC 9110, section 8.8), empty the first time.
type request struct {
	kind               feed.Kind
	url                string
	mapping            feed.Mapping
	etag, lastModified string
}

// answer is what a source said.
type answer struct {
	unchanged          bool // since the validators; there is no document then
	document           feed.Document
	etag, lastModified string
}

// SourceError is a source that cannot be fetched or read. Problem is for the user and names no URL.
type SourceError struct {
	Problem    string
	RetryAfter time.Duration // that the server asks for; 0 when it does not
	Gone       bool          // for good: 410
}

func (e *SourceError) Error() string { return e.Problem }

// fetch asks a source. The error is a SourceError, or the context's.
func (s *Service) fetch(ctx context.Context, r request) (answer, error) {
	began := time.Now()
	got, err := s.get(ctx, r)
	s.metrics.seconds.Observe(time.Since(began).Seconds())
	kind, result := r.kind, "ok"
	switch {
	case err != nil:
		result = "failed"
	case got.unchanged:
		result = "unchanged"
	default:
		kind = got.document.Kind
	}
	s.metrics.fetches.WithLabelValues(string(kind), result).Inc()
	return got, err
}

func (s *Service) get(ctx context.Context, r request) (answer, error) {
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, nil)
	if err != nil {
		return answer{}, &SourceError{Problem: "the URL cannot be asked for"}
	}
	ask.Header.Set("User-Agent", "smart-assistant")
	ask.Header.Set("Accept", "application/rss+xml, application/atom+xml, application/feed+json, application/json, application/xml;q=0.9, */*;q=0.5")
	if r.etag != "" {
		ask.Header.Set("If-None-Match", r.etag)
	}
	if r.lastModified != "" {
		ask.Header.Set("If-Modified-Since", r.lastModified)
	}
	response, err := s.client.Do(ask)
	if err != nil {
		return answer{}, &SourceError{Problem: outbound.Reason(err)}
	}
	defer response.Body.Close()
	got := answer{etag: validator(response.Header.Get("ETag")), lastModified: validator(response.Header.Get("Last-Modified"))}
	if response.StatusCode == http.StatusNotModified && (r.etag != "" || r.lastModified != "") {
		got.unchanged = true
		return got, nil
	}
	if response.StatusCode != http.StatusOK {
		return answer{}, refusal(response, s.config.Now())
	}
	body, err := outbound.ReadAll(response.Body, feed.MaxBytes)
	if errors.Is(err, outbound.ErrTooLarge) {
		return answer{}, &SourceError{Problem: fmt.Sprintf("the answer is larger than %d MiB", feed.MaxBytes>>20)}
	}
	if err != nil {
		return answer{}, &SourceError{Problem: outbound.Reason(err)}
	}
	got.document, err = feed.Read(r.kind, r.mapping, response.Request.URL, body)
	if format, is := errors.AsType[*feed.FormatError](err); is {
		return answer{}, &SourceError{Problem: format.Problem}
	}
	return got, err
}

// validator keeps an ETag or a date for the next time; one that is too long to be either is dropped.
func validator(header string) string {
	if len(header) > 300 || strings.ContainsFunc(header, func(r rune) bool { return r < ' ' || r > '~' }) {
		return ""
	}
	return header
}

// refusal says what a status that is not 200 means.
func refusal(response *http.Response, now time.Time) *SourceError {
	e := &SourceError{RetryAfter: retryAfter(response.Header.Get("Retry-After"), now)}
	switch response.StatusCode {
	case http.StatusNotFound:
		e.Problem = "the server has nothing at this address (404); check the URL"
	case http.StatusGone:
		e.Problem, e.Gone = "the server says that this is gone for good (410)", true
	case http.StatusUnauthorized, http.StatusForbidden:
		e.Problem = fmt.Sprintf("the server does not let the service read this (%d); a source has to be readable without logging in", response.StatusCode)
	case http.StatusTooManyRequests:
		e.Problem = "the server asks to be left alone for a while (429)"
	default:
		e.Problem = fmt.Sprintf("the server answered with status %d", response.StatusCode)
	}
	return e
}

// retryAfter reads Retry-After (RFC 9110, section 10.2.3): seconds or a date. At most a week, so that nobody is silenced for ever.
func retryAfter(header string, now time.Time) time.Duration {
	var wait time.Duration
	if seconds, err := strconv.ParseInt(header, 10, 32); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(header); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), 7*24*time.Hour)
}

// mappingOf reads a source's mapping as the table has it.
func mappingOf(text []byte) (feed.Mapping, error) {
	var mapping feed.Mapping
	if err := json.Unmarshal(text, &mapping); err != nil {
		return mapping, fmt.Errorf("read the mapping of a job source: %w", err)
	}
	return mapping, nil
}
