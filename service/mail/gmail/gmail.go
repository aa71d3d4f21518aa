// Package gmail reads messages through Gmail's API, version 1 (https://developers.google.com/workspace/gmail/api/reference/rest).
//
// It owns the requests, their limits and what their answers mean. Tokens, and what to read next, are the caller's.
package gmail

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// URL is where the API is.
const URL = "https://gmail.googleapis.com"

// Client asks for one user's mail. Token returns an access token that is not stale, which is one that was refused.
type Client struct {
	HTTP    *http.Client // its transport's and its own time-outs are the requests' only ones
	URL     string
	Token   func(ctx context.Context, stale string) (string, error)
	Now     func() time.Time
	Message int64 // most bytes of a message that Get reads

	token string
}

// What can be wrong. Other errors are failures that may pass.
var (
	ErrRefused  = errors.New("the consent is refused")
	ErrHistory  = errors.New("the history from there on is not known any more")
	ErrNotFound = errors.New("there is no such message")
	ErrTooLarge = errors.New("the message is too large")
	ErrDisabled = errors.New("the Gmail API is not switched on in the Google project")
	ErrAnswer   = errors.New("the answer is none that was asked for") // it came, and asking again may bring the same
)

// WaitError is an answer that asks for patience.
type WaitError struct{ For time.Duration } // 0 where the answer does not say how much

func (e *WaitError) Error() string { return "Gmail asks to wait " + e.For.String() }

// Profile says whose mail it is and how far its history has got.
type Profile struct {
	Address string `json:"emailAddress"`
	History string `json:"historyId"`
}

// Profile asks users.getProfile.
func (c *Client) Profile(ctx context.Context) (Profile, error) {
	var profile Profile
	err := c.get(ctx, "profile", nil, small, &profile)
	if err == nil && !number(profile.History) {
		err = errors.New("no history id in it")
	}
	if err != nil {
		return Profile{}, fmt.Errorf("ask Gmail for the profile: %w", err)
	}
	return profile, nil
}

// IDs is a page of messages, newest first. Next is "" on the last page.
type IDs struct {
	Messages []struct {
		ID string `json:"id"`
	} `json:"messages"`
	Next string `json:"nextPageToken"`
}

// List asks users.messages.list, without spam and trash.
func (c *Client) List(ctx context.Context, page string) (ids []string, next string, err error) {
	query := url.Values{"maxResults": {"500"}, "fields": {"messages/id,nextPageToken"}}
	if page != "" {
		query.Set("pageToken", page)
	}
	var found IDs
	if err := c.get(ctx, "messages", query, small, &found); err != nil {
		return nil, "", fmt.Errorf("list messages of Gmail: %w", err)
	}
	for _, message := range found.Messages {
		ids = append(ids, message.ID)
	}
	return ids, found.Next, nil
}

// Changes is a page of history: messages that came since, or back out of spam or trash. History is how far the mailbox had got when the
// page was made.
type Changes struct {
	Added   []string
	History string
	Next    string
}

// history is the answer of users.history.list, as far as it matters.
type history struct {
	History []struct {
		Added []struct {
			Message struct {
				ID     string   `json:"id"`
				Labels []string `json:"labelIds"`
			} `json:"message"`
		} `json:"messagesAdded"`
		Removed []struct {
			Message struct {
				ID     string   `json:"id"`
				Labels []string `json:"labelIds"`
			} `json:"message"`
			Labels []string `json:"labelIds"`
		} `json:"labelsRemoved"`
	} `json:"history"`
	ID   string `json:"historyId"`
	Next string `json:"nextPageToken"`
}

// Changes asks users.history.list for the messages that were added after a history id, or lost a label that kept them away. ErrHistory when that is too long ago: Gmail keeps
// a week or so.
func (c *Client) Changes(ctx context.Context, since, page string) (Changes, error) {
	query := url.Values{"startHistoryId": {since}, "historyTypes": {"messageAdded", "labelRemoved"}, "maxResults": {"500"}}
	if page != "" {
		query.Set("pageToken", page)
	}
	var answer history
	err := c.get(ctx, "history", query, 16*small, &answer)
	if errors.Is(err, ErrNotFound) {
		err = ErrHistory
	}
	if err == nil && !number(answer.ID) {
		err = errors.New("no history id in it")
	}
	if err != nil {
		return Changes{}, fmt.Errorf("ask Gmail for changes: %w", err)
	}
	changes := Changes{History: answer.ID, Next: answer.Next}
	add := func(id string, labels []string) {
		if kept(labels) && !slices.Contains(changes.Added, id) {
			changes.Added = append(changes.Added, id)
		}
	}
	for _, record := range answer.History {
		for _, added := range record.Added {
			add(added.Message.ID, added.Message.Labels)
		}
		for _, removed := range record.Removed {
			if !kept(removed.Labels) {
				add(removed.Message.ID, removed.Message.Labels)
			}
		}
	}
	return changes, nil
}

// kept says whether a message with these labels is mail that its owner reads.
func kept(labels []string) bool {
	return !slices.ContainsFunc(labels, func(label string) bool {
		return label == "DRAFT" || label == "SPAM" || label == "TRASH" || label == "CHAT"
	})
}

// Get asks users.messages.get for a whole message (RFC 5322). Raw is nil for a draft, spam, trash or chat. ErrNotFound when it is gone
// meanwhile, ErrTooLarge above the client's limit, ErrAnswer when Gmail answers and does not hand it out.
func (c *Client) Get(ctx context.Context, id string) (raw []byte, err error) {
	var message struct {
		Labels []string `json:"labelIds"`
		Raw    string   `json:"raw"`
	}
	limit := int64(base64.RawURLEncoding.EncodedLen(int(c.Message))) + small
	err = c.get(ctx, "messages/"+url.PathEscape(id), url.Values{"format": {"raw"}, "fields": {"labelIds,raw"}}, limit, &message)
	if err == nil && kept(message.Labels) {
		raw, err = decode(message.Raw)
	}
	if err == nil && int64(len(raw)) > c.Message {
		err = ErrTooLarge
	}
	if err != nil {
		return nil, fmt.Errorf("read a message of Gmail: %w", err)
	}
	return raw, nil
}

// decode reads base64url (RFC 4648, section 5), padded or not.
func decode(text string) ([]byte, error) {
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return nil, fmt.Errorf("decode the raw message: %w: %w", ErrAnswer, err)
	}
	if len(raw) == 0 {
		return nil, fmt.Errorf("decode the raw message: it is empty: %w", ErrAnswer)
	}
	return raw, nil
}

// number says whether a text is a history id.
func number(text string) bool {
	_, err := strconv.ParseUint(text, 10, 64)
	return err == nil
}

const small = 1 << 20 // bytes of an answer without messages

// get asks for a resource of the user's. An access token that is refused is replaced once.
func (c *Client) get(ctx context.Context, resource string, query url.Values, limit int64, into any) error {
	if c.token == "" {
		token, err := c.Token(ctx, "")
		if err != nil {
			return err
		}
		c.token = token
	}
	err := c.ask(ctx, resource, query, limit, into)
	if !errors.Is(err, ErrRefused) {
		return err
	}
	token, err := c.Token(ctx, c.token)
	if err != nil {
		return err
	}
	c.token = token
	return c.ask(ctx, resource, query, limit, into)
}

func (c *Client) ask(ctx context.Context, resource string, query url.Values, limit int64, into any) error {
	address := c.URL + "/gmail/v1/users/me/" + resource + "?" + query.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+c.token)
	response, err := c.HTTP.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return c.failure(response)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if int64(len(body)) > limit {
		return ErrTooLarge
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("read the answer: %w: %w", ErrAnswer, err)
	}
	return nil
}
