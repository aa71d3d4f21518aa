package gmail

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// RevokeURL is where consent is taken back.
const RevokeURL = "https://oauth2.googleapis.com/revoke"

// failure says what an answer means that is not 200 (https://developers.google.com/workspace/gmail/api/guides/handle-errors).
func (c *Client) failure(response *http.Response) error {
	var answer struct {
		Error struct {
			Errors []struct {
				Reason string `json:"reason"`
			} `json:"errors"`
		} `json:"error"`
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, small))
	if err != nil {
		return fmt.Errorf("read the answer %d: %w", response.StatusCode, err)
	}
	var reason string
	if json.Unmarshal(body, &answer) == nil && len(answer.Error.Errors) > 0 {
		reason = answer.Error.Errors[0].Reason
	}
	limited := strings.HasSuffix(reason, "LimitExceeded") // rate, userRate, dailyLimit, …
	switch status := response.StatusCode; {
	case status == http.StatusTooManyRequests, status == http.StatusForbidden && limited, status == http.StatusServiceUnavailable:
		return &WaitError{retryAfter(response.Header.Get("Retry-After"), c.Now())}
	case status == http.StatusUnauthorized:
		return ErrRefused
	case status == http.StatusForbidden && reason == "insufficientPermissions":
		return ErrRefused
	case status == http.StatusForbidden && reason == "accessNotConfigured":
		return ErrDisabled
	case status == http.StatusNotFound:
		return ErrNotFound
	default:
		return fmt.Errorf("Gmail answers %d (%.40q): %w", status, reason, ErrAnswer) //nolint:staticcheck // a name
	}
}

// retryAfter reads the header of RFC 9110, section 10.2.3: seconds or a date. 0 when it says nothing; a day at most.
func retryAfter(text string, now time.Time) time.Duration {
	wait := time.Duration(0)
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), 24*time.Hour)
}

// Revoke takes back the consent that a token stands for (RFC 7009). A token that is not valid any more is no error.
func Revoke(ctx context.Context, client *http.Client, address, token string) error {
	form := url.Values{"token": {token}}.Encode() // in the body: addresses are logged
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form))
	if err != nil {
		return fmt.Errorf("revoke a consent: %w", err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("revoke a consent: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, small))
	if err != nil {
		return fmt.Errorf("revoke a consent: %w", err)
	}
	var answer struct {
		Error string `json:"error"`
	}
	known := json.Unmarshal(body, &answer) == nil
	if response.StatusCode == http.StatusOK || known && response.StatusCode == http.StatusBadRequest && answer.Error == "invalid_token" {
		return nil
	}
	return fmt.Errorf("revoke a consent: the answer is %d", response.StatusCode)
}
