package load

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"syscall"
)

// user is an account of this run.
type user struct{ email, token string }

// answer is what became of one request.
type answer struct {
	n       int
	kind    string // "" when it was answered as it should be; else what went wrong, as counted in Report.Errors
	detail  string
	version string // of the release that answered, where the request asks for it
	retries int    // attempts that the HTTP client made again by itself after a kept-alive connection had gone
}

// signUp registers the users and logs each in.
func signUp(ctx context.Context, client *http.Client, o Options) ([]user, error) {
	run := rand.Text()[:10]
	users := make([]user, o.Users)
	for i := range users {
		u := user{email: fmt.Sprintf("load-%s-%d@example.com", run, i)}
		credentials := map[string]string{"email": u.email, "password": "load " + rand.Text()}
		if err := call(ctx, client, o.URL+"/api/v1/auth/register", credentials, nil); err != nil {
			return nil, fmt.Errorf("load: register: %w", err)
		}
		var tokens struct {
			AccessToken string `json:"access_token"`
		}
		if err := call(ctx, client, o.URL+"/api/v1/auth/login", credentials, &tokens); err != nil {
			return nil, fmt.Errorf("load: log in: %w", err)
		}
		if u.token = tokens.AccessToken; u.token == "" {
			return nil, errors.New("load: log in: the answer holds no access_token")
		}
		users[i] = u
	}
	return users, nil
}

// call posts a JSON body and decodes the answer into out.
func call(ctx context.Context, client *http.Client, url string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %s: %s", url, resp.Status, shorten(answer))
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}

// ask sends request n of the mix and judges the answer: of twenty requests, sixteen read the profile, two write it
// and two ask for the version.
func ask(client *http.Client, o Options, users []user, n int) answer {
	u := users[n%len(users)]
	switch n % 20 {
	case 5, 15:
		var got struct {
			Version string `json:"version"`
		}
		a := exchange(client, n, http.MethodGet, o.URL+"/version", "", "", &got)
		if a.version = got.Version; a.kind == "" && got.Version == "" {
			a.kind, a.detail = "wrong answer", "GET /version: no version"
		}
		return a
	case 9, 19:
		return profile(client, n, http.MethodPatch, o.URL, u, `{"display_name":"Load"}`)
	default:
		return profile(client, n, http.MethodGet, o.URL, u, "")
	}
}

// profile reads or writes the user's profile; an answer about somebody else is a failure.
func profile(client *http.Client, n int, method, base string, u user, body string) answer {
	var got struct {
		Email string `json:"email"`
	}
	a := exchange(client, n, method, base+"/api/v1/me", u.token, body, &got)
	if a.kind == "" && got.Email != u.email {
		a.kind, a.detail = "wrong answer", fmt.Sprintf("%s /api/v1/me: %q instead of %q", method, got.Email, u.email)
	}
	return a
}

// exchange sends one request and decodes its answer; any status but 2xx is a failure.
func exchange(client *http.Client, n int, method, url, token, body string, out any) answer {
	attempts := 0
	// Not the run's context: a request that was sent is waited for, also when the run is told to stop.
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{GetConn: func(string) { attempts++ }})
	var reader io.Reader
	if body != "" {
		reader = bytes.NewReader([]byte(body))
	}
	fail := func(kind string, detail any) answer {
		return answer{n: n, kind: kind, detail: fmt.Sprintf("%s %s: %v", method, url, detail), retries: max(0, attempts-1)}
	}
	req, err := http.NewRequestWithContext(ctx, method, url, reader)
	if err != nil {
		return fail("request", err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
		req.GetBody = nil // a write is never sent twice behind our back
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fail(kindOf(err), errors.Unwrap(err))
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fail(kindOf(err), err)
	}
	if resp.StatusCode/100 != 2 {
		return fail(fmt.Sprintf("status %d", resp.StatusCode), shorten(text))
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fail("wrong answer", err)
	}
	return answer{n: n, retries: max(0, attempts-1)}
}

// kindOf names a transport error as the report counts it.
func kindOf(err error) string {
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed"
	}
	return "transport"
}

func shorten(text []byte) string {
	if len(text) > 200 {
		return string(text[:200]) + "…"
	}
	return string(bytes.TrimSpace(text))
}
