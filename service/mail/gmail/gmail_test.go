package gmail

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/smart-assistant/platform/service/mail/gmail/gmailtest"
)

func client(s *gmailtest.Server) *Client {
	return &Client{
		HTTP: http.DefaultClient, URL: s.URL, Now: time.Now, Message: 1000,
		Token: func(context.Context, string) (string, error) { return s.Consent().AccessToken, nil },
	}
}

func TestPagesOfMessages(t *testing.T) {
	s := gmailtest.Start(t)
	s.PageSize = 3
	start, err := client(s).Profile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for n := range 8 {
		want = append(want, s.Deliver(fmt.Appendf(nil, "Subject: %d\r\n\r\n", n)))
	}
	s.Deliver([]byte("Subject: spam\r\n\r\n"), "SPAM")
	c := client(s)
	var listed []string
	for page, done := "", false; !done; done = page == "" {
		ids, next, err := c.List(t.Context(), page)
		if err != nil {
			t.Fatal(err)
		}
		listed, page = append(listed, ids...), next
	}
	slices.Reverse(listed)
	if !slices.Equal(listed, want) {
		t.Errorf("listed %q, want %q", listed, want)
	}
	var added []string
	for page, done := "", false; !done; done = page == "" {
		changes, err := c.Changes(t.Context(), start.History, page)
		if err != nil {
			t.Fatal(err)
		}
		added, page = append(added, changes.Added...), changes.Next
	}
	if !slices.Equal(added, want) {
		t.Errorf("added %q, want %q", added, want)
	}
	s.Forget()
	if _, err := c.Changes(t.Context(), start.History, ""); !errors.Is(err, ErrHistory) {
		t.Errorf("changes since too long ago: %v", err)
	}
}

func TestGet(t *testing.T) {
	for _, padded := range []bool{false, true} {
		s := gmailtest.Start(t)
		s.Padded = padded
		c := client(s)
		raw := "Subject: ÿ\xff\xfe\r\n\r\nx"
		if got, err := c.Get(t.Context(), s.Deliver([]byte(raw), "INBOX")); err != nil || string(got) != raw {
			t.Errorf("padded %t: got %q, %v", padded, got, err)
		}
		if got, err := c.Get(t.Context(), s.Deliver([]byte(raw), "DRAFT")); err != nil || got != nil {
			t.Errorf("a draft: got %q, %v", got, err)
		}
		if _, err := c.Get(t.Context(), "0123"); !errors.Is(err, ErrNotFound) {
			t.Errorf("a message that is not there: %v", err)
		}
		for _, size := range []int{1001, 2 << 20} {
			if _, err := c.Get(t.Context(), s.Deliver(make([]byte, size))); !errors.Is(err, ErrTooLarge) {
				t.Errorf("a message of %d bytes: %v", size, err)
			}
		}
		s.Expire()
		if _, err := c.Profile(t.Context()); err != nil {
			t.Errorf("with an expired access token: %v", err)
		}
	}
}

func TestFailures(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		status int
		reason string
		after  string
		check  func(error) bool
	}{
		"a rate limit":                {403, "rateLimitExceeded", "", waits(0)},
		"a user's rate limit":         {403, "userRateLimitExceeded", "7", waits(7 * time.Second)},
		"too many requests":           {429, "", "Sun, 01 Mar 2026 12:02:00 GMT", waits(2 * time.Minute)},
		"a date that is over":         {429, "", "Sun, 01 Mar 2026 11:00:00 GMT", waits(0)},
		"a wait without end":          {429, "", "2000000000", waits(24 * time.Hour)},
		"a wait that is none":         {429, "", "-5", waits(0)},
		"no service":                  {503, "backendError", "60", waits(time.Minute)},
		"a consent without mail":      {403, "insufficientPermissions", "", func(err error) bool { return errors.Is(err, ErrRefused) }},
		"a refused token":             {401, "authError", "", func(err error) bool { return errors.Is(err, ErrRefused) }},
		"the API is not switched on":  {403, "accessNotConfigured", "", func(err error) bool { return errors.Is(err, ErrDisabled) && !errors.Is(err, ErrRefused) }},
		"a failure of Gmail's":        {500, "", "", func(err error) bool { return errors.Is(err, ErrAnswer) && strings.Contains(err.Error(), "500") }},
		"an answer that is not JSON":  {200, "", "", func(err error) bool { return errors.Is(err, ErrAnswer) }},
		"an answer without an answer": {204, "", "", func(err error) bool { return errors.Is(err, ErrAnswer) }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", test.after)
				if test.reason != "" {
					gmailtest.Fail(w, test.status, test.reason)
					return
				}
				w.WriteHeader(test.status)
			}))
			defer server.Close()
			c := &Client{
				HTTP: server.Client(), URL: server.URL, Message: 1000, Now: func() time.Time { return now },
				Token: func(context.Context, string) (string, error) { return "secret-token", nil },
			}
			_, err := c.Profile(t.Context())
			if !test.check(err) || strings.Contains(err.Error(), "secret-token") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func waits(want time.Duration) func(error) bool {
	return func(err error) bool {
		var wait *WaitError
		return errors.As(err, &wait) && wait.For == want
	}
}

func TestRevoke(t *testing.T) {
	s := gmailtest.Start(t)
	token := s.Consent().RefreshToken
	for _, times := range []string{"once", "twice"} {
		if err := Revoke(t.Context(), http.DefaultClient, s.URL+"/revoke", token); err != nil {
			t.Errorf("%s: %v", times, err)
		}
	}
	if got := s.Revoked(); !slices.Equal(got, []string{token}) {
		t.Errorf("revoked %q", got)
	}
	s.SetFault(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusInternalServerError)
		return true
	})
	if err := Revoke(t.Context(), http.DefaultClient, s.URL+"/revoke", token); err == nil || strings.Contains(err.Error(), token) {
		t.Errorf("while Google fails: %v", err)
	}
	s.SetFault(func(w http.ResponseWriter, _ *http.Request) bool { gmailtest.LoseAnswer(w); return true })
	if err := Revoke(t.Context(), http.DefaultClient, s.URL+"/revoke", token); err == nil || strings.Contains(err.Error(), token) {
		t.Errorf("with a lost answer: %v", err)
	}
}

// FuzzAnswers reads foreign bytes as each kind of answer.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`{"emailAddress":"a@b","historyId":"12"}`), 200, "1")
	f.Add([]byte(`{"messages":[{"id":"1"}],"nextPageToken":"x"}`), 200, "Sun, 01 Mar 2026 12:02:00 GMT")
	f.Add([]byte(`{"history":[{"messagesAdded":[{"message":{"id":"1","labelIds":["SPAM"]}}]}],"historyId":"13"}`), 200, "")
	f.Add([]byte(`{"labelIds":["INBOX"],"raw":"U3ViamVjdDogeA0KDQo="}`), 200, "")
	f.Add([]byte(`{"error":{"errors":[{"reason":"rateLimitExceeded"}]}}`), 403, "99999999999999999999")
	f.Add([]byte(`[[[[`), 404, "-1")
	f.Fuzz(func(t *testing.T, body []byte, status int, after string) {
		recorder := httptest.NewRecorder()
		recorder.Code = 200 + max(status, -status)%400
		recorder.Body.Write(body)
		c := &Client{
			URL: "http://gmail.example", Message: 1000, Now: time.Now, HTTP: &http.Client{Transport: replay{recorder, after}},
			Token: func(context.Context, string) (string, error) { return "t", nil },
		}
		if profile, err := c.Profile(t.Context()); err == nil && !number(profile.History) {
			t.Errorf("a profile without history: %q", profile)
		}
		if _, next, err := c.List(t.Context(), ""); err != nil && next != "" {
			t.Errorf("a next page %q beside %v", next, err)
		}
		if changes, err := c.Changes(t.Context(), "1", ""); err == nil && changes.Next == "" && !number(changes.History) {
			t.Errorf("the end of history without its id: %+v", changes)
		}
		if raw, err := c.Get(t.Context(), "1"); int64(len(raw)) > c.Message || err != nil && raw != nil {
			t.Errorf("%d bytes beside %v", len(raw), err)
		}
		if wait := retryAfter(after, time.Now()); wait < 0 || wait > 24*time.Hour {
			t.Errorf("a wait of %s", wait)
		}
	})
}

// replay answers each request with the same.
type replay struct {
	answer *httptest.ResponseRecorder
	after  string
}

func (r replay) RoundTrip(*http.Request) (*http.Response, error) {
	copied := httptest.NewRecorder()
	copied.Code = r.answer.Code
	copied.Body.Write(r.answer.Body.Bytes())
	response := copied.Result()
	response.Header = http.Header{"Retry-After": {r.after}}
	return response, nil
}
