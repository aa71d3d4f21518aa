package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sony/gobreaker/v2"
)

const (
	maxAnswer  = 32 << 20 // bytes of a whole answer; 64 vectors of 4096 numbers are 6 MB
	maxRefusal = 64 << 10 // bytes that are read of an answer which says no

	firstWait = 250 * time.Millisecond // before the retry, where the server does not say
	longWait  = 3 * time.Second        // a server that wants to be left alone for longer is not asked again
)

// newBreaker opens after five failures in a row; after a rest one request tries whether the server is back.
func newBreaker(rest time.Duration) *gobreaker.TwoStepCircuitBreaker[struct{}] {
	return gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name: "llm", Timeout: rest,
		ReadyToTrip: func(counts gobreaker.Counts) bool { return counts.ConsecutiveFailures >= 5 },
		// A refusal is an answer, and so is "too many requests". Who goes before the answer, or has less time for it than the time-out, says
		// nothing about the server.
		IsSuccessful: func(err error) bool {
			var refused *RefusedError
			var busy *busyError
			return err == nil || errors.As(err, &refused) || errors.As(err, &busy) && busy.status == http.StatusTooManyRequests
		},
		IsExcluded: func(err error) bool { return errors.Is(err, errGone) || errors.Is(err, errImpatient) },
	})
}

var (
	errSlow = errors.New("it did not answer in time")
	errGone = errors.New("whoever asked is gone")

	errImpatient = errors.New("it did not answer in the time that was left")
)

// busyError is an answer that says to come back later.
type busyError struct {
	status int
	after  time.Duration
}

func (e *busyError) Error() string {
	return fmt.Sprintf("it answered %d %s", e.status, http.StatusText(e.status))
}

// attempt is one question, from the breaker's leave to the end of the answer.
type attempt struct {
	client    *Client
	operation string
	asker     context.Context // the caller's, to tell its end from the time-out's
	ctx       context.Context // of the request
	cancel    context.CancelCauseFunc
	timer     *time.Timer
	began     time.Time
	report    func(error)
}

// begin asks the breaker and starts the clock. Every attempt has an end.
func (c *Client) begin(ctx context.Context, operation string, timeout time.Duration) (*attempt, error) {
	report, err := c.breaker.Allow()
	if err != nil {
		c.metrics.done(operation, "breaker", 0)
		return nil, fmt.Errorf("%w: it failed several times and is left alone for a while", ErrUnavailable)
	}
	a := &attempt{client: c, operation: operation, asker: ctx, began: time.Now(), report: report}
	a.ctx, a.cancel = context.WithCancelCause(ctx)
	a.timer = time.AfterFunc(timeout, func() { a.cancel(errSlow) })
	return a, nil
}

// end tells the breaker and the metrics how it went and turns an error into what callers know.
func (a *attempt) end(err error) error {
	if err != nil {
		switch {
		case errors.Is(a.asker.Err(), context.Canceled):
			err = fmt.Errorf("%w: %w", errGone, context.Canceled)
		case a.asker.Err() != nil: // a deadline of the caller's that is shorter than the time-out
			err = fmt.Errorf("%w: %w", errImpatient, a.asker.Err())
		case a.ctx.Err() != nil:
			err = context.Cause(a.ctx)
		}
	}
	a.timer.Stop()
	a.cancel(nil)
	a.report(err)
	var refused *RefusedError
	result := "ok"
	switch {
	case err == nil:
	case errors.As(err, &refused):
		result = "refused"
		err = refused
	case errors.Is(err, errGone):
		result = "cancelled"
		err = fmt.Errorf("ask the language model: %w", err)
	default:
		result = "unavailable"
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	a.client.metrics.done(a.operation, result, time.Since(a.began))
	return err
}

// post sends the request, a second time where the first was not served, and returns an answer of status 200.
func (a *attempt) post(path string, body any) (*http.Response, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("write the request: %w", err)
	}
	response, err := a.try(path, text)
	var busy *busyError
	wait := firstWait
	switch {
	case errors.As(err, &busy) && busy.after <= longWait:
		wait = busy.after
	case errors.Is(err, syscall.ECONNREFUSED):
	default:
		return response, err
	}
	select {
	case <-time.After(wait):
		return a.try(path, text)
	case <-a.ctx.Done():
		return nil, a.ctx.Err()
	}
}

func (a *attempt) try(path string, body []byte) (*http.Response, error) {
	config := a.client.config
	request, err := http.NewRequestWithContext(a.ctx, http.MethodPost, config.URL+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("write the request: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json, text/event-stream")
	if config.Key != "" {
		request.Header.Set("Authorization", "Bearer "+config.Key)
	}
	response, err := config.HTTP.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	defer response.Body.Close()
	return nil, a.refusal(response)
}

// refusal reads what an answer other than 200 says.
func (a *attempt) refusal(response *http.Response) error {
	switch status := response.StatusCode; {
	case status == http.StatusTooManyRequests || status == http.StatusBadGateway || status == http.StatusServiceUnavailable:
		return &busyError{status, retryAfter(response.Header.Get("Retry-After"))}
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return &RefusedError{Status: status} // servers repeat parts of the key
	case status >= 400 && status < 500:
		return &RefusedError{Status: status, Message: a.message(response.Body)}
	default:
		return fmt.Errorf("it answered %d %s", status, http.StatusText(status))
	}
}

// message reads {"error": {"message": …}} or {"error": …}.
func (a *attempt) message(body io.Reader) string {
	var answer struct{ Error json.RawMessage }
	if json.NewDecoder(io.LimitReader(body, maxRefusal)).Decode(&answer) != nil {
		return ""
	}
	var text string
	if json.Unmarshal(answer.Error, &text) != nil {
		var inner struct{ Message string }
		if json.Unmarshal(answer.Error, &inner) != nil {
			return ""
		}
		text = inner.Message
	}
	if key := a.client.config.Key; key != "" {
		text = strings.ReplaceAll(text, key, "…")
	}
	return shorten(text, 300)
}

// shorten cuts a text after so many characters.
func shorten(text string, most int) string {
	text = strings.ToValidUTF8(text, "")
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}

// retryAfter reads RFC 9110, section 10.2.3, in seconds; a date is longer than anybody waits here.
func retryAfter(header string) time.Duration {
	if header == "" {
		return firstWait
	}
	seconds, err := strconv.ParseFloat(strings.TrimSpace(header), 64) // some servers give fractions
	if err != nil || !(seconds >= 0 && seconds < 1e6) {
		return longWait + 1
	}
	return time.Duration(seconds * float64(time.Second))
}

// limitedReader fails at its limit, where io.LimitReader would pretend an end.
type limitedReader struct {
	io.Reader
	left int64
}

var errTooLong = errors.New("its answer is too long")

func (r *limitedReader) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, errTooLong
	}
	n, err := r.Reader.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	return n, err
}
