// Package smoke is a build's own short test of a running service, from outside and through whatever stands in front of it.
//
// It makes a user of its own, does what users do, and deletes the user. Each request is made over a fresh connection, so
// that a proxy spreads them over its replicas: a replica that answers from its own memory instead of the database is found
// by what another one wrote. It checks what its build has, and nothing of later builds.
package smoke

import (
	"bytes"
	"context"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Config says what to test and how thoroughly.
type Config struct {
	URL     string        // of the service or of the proxy in front of it, without a path
	Reads   int           // how often a value is read back after each write; default 12
	Version string        // when set, every replica that answers has to be this version
	Timeout time.Duration // of one request; default 15 s
	Rand    io.Reader
	Now     func() time.Time
	Report  func(Result) // told each check as it ends; may be nil
}

// Result is one check. Its JSON form is a line of `assistd smoke --json`.
type Result struct {
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Millis int64  `json:"ms"`
	Detail string `json:"detail,omitempty"`
}

// String is the check as a line for people.
func (r Result) String() string {
	if !r.OK {
		return fmt.Sprintf("✗ %s: %s", r.Check, r.Detail)
	}
	return strings.TrimRight(fmt.Sprintf("✓ %-9s %5d ms  %s", r.Check, r.Millis, r.Detail), " ")
}

// visitor is the throwaway user and what is known of it so far.
type visitor struct {
	config   Config
	base     *url.URL
	email    string
	password string
	tokens   struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	registered bool
	seen       map[string]int // answers by replica
}

type check struct {
	name string
	do   func(context.Context, *visitor) (detail string, err error)
}

// Run makes the checks in order and stops at the first that fails, which is its error. The user is deleted either way.
func Run(ctx context.Context, config Config) error {
	v, err := newVisitor(config)
	if err != nil {
		return err
	}
	checks := []check{
		{"ready", ready},
		{"version", version},
		{"register", register},
		{"login", login},
		{"profile", profile},
		{"refresh", refresh},
		{"mail", mail},
	}
	checks = append(checks, partChecks()...)

	var failed error
	for _, c := range checks {
		if failed = v.perform(ctx, c); failed != nil {
			break
		}
	}
	if !v.registered {
		return failed
	}
	// A failed check leaves no user behind either, even when it failed because time was up.
	cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), v.config.Timeout)
	defer cancel()
	return errors.Join(failed, v.perform(cleanup, check{"delete", remove}))
}

func newVisitor(config Config) (*visitor, error) {
	base, err := url.Parse(strings.TrimSuffix(config.URL, "/"))
	if err != nil || base.Host == "" {
		return nil, fmt.Errorf("%q is not a URL with a host", config.URL)
	}
	if config.Reads <= 0 {
		config.Reads = 12
	}
	if config.Timeout <= 0 {
		config.Timeout = 15 * time.Second
	}
	var random [20]byte
	if _, err := io.ReadFull(config.Rand, random[:]); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	name := strings.ToLower(base32.StdEncoding.EncodeToString(random[:]))
	return &visitor{
		config: config, base: base, seen: map[string]int{},
		email: "smoke-" + name[:12] + "@smoke.invalid", password: name[12:],
	}, nil
}

func (v *visitor) perform(ctx context.Context, c check) error {
	began := v.config.Now()
	detail, err := c.do(ctx, v)
	result := Result{Check: c.name, OK: err == nil, Millis: v.config.Now().Sub(began).Milliseconds(), Detail: detail}
	if err != nil {
		result.Detail = err.Error()
		err = fmt.Errorf("smoke: %s: %w", c.name, err)
	}
	if v.config.Report != nil {
		v.config.Report(result)
	}
	return err
}

// call sends one request over a connection of its own, with in as JSON or, where it is text, as a message, and wants this status. It reads
// the answer into out where given.
func (v *visitor) call(ctx context.Context, method, path string, in any, status int, out any) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, v.config.Timeout)
	defer cancel()
	body, kind, err := content(in)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	request, err := http.NewRequestWithContext(ctx, method, v.base.String()+path, body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	if v.tokens.Access != "" {
		request.Header.Set("Authorization", "Bearer "+v.tokens.Access)
	}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err // names method and URL already
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	}
	v.seen[replica(response.Header)]++
	if response.StatusCode != status {
		return response.Header, fmt.Errorf("%s %s: %s from %s, want %d: %.200s",
			method, path, response.Status, replica(response.Header), status, bytes.TrimSpace(answer))
	}
	if out != nil {
		if err := json.Unmarshal(answer, out); err != nil {
			return response.Header, fmt.Errorf("%s %s: answer from %s: %w", method, path, replica(response.Header), err)
		}
	}
	return response.Header, nil
}

// content is the body of a request and its media type.
func content(in any) (body io.Reader, kind string, err error) {
	switch in := in.(type) {
	case nil:
		return nil, "", nil
	case string:
		return strings.NewReader(in), "message/rfc822", nil
	default:
		text, err := json.Marshal(in)
		return bytes.NewReader(text), "application/json", err
	}
}

// replica names who answered, as far as it says.
func replica(header http.Header) string {
	if name := header.Get("X-Replica"); name != "" {
		return "replica " + name
	}
	return "the service"
}
