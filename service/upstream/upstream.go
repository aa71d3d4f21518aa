// Package upstream is a language model elsewhere: any server that speaks OpenAI's API. It is optional; whoever uses it has a way without.
//
// It owns time-outs, the one retry, the breaker that stops asking a server which fails, and the reading of streams. It keeps nothing and
// logs nothing: what is asked and answered is the user's.
//
// The server's address comes from the operator and from nobody else, so it may be a private one, which package outbound would refuse.
// In return this client connects to that host only: it follows no redirect and uses no proxy of the environment.
package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/smart-assistant/platform/service/telemetry"
)

// Config says where the model is. A Config without URL makes a client that is not configured.
type Config struct {
	URL            string // base, such as https://api.openai.com/v1
	Key            string // sent as a bearer token; "" for a server that wants none
	Model          string // for chat
	EmbeddingModel string // "" for none
	HTTP           *http.Client
	Metrics        *telemetry.Metrics
	Timeout        time.Duration // of one call, and until the first byte of a stream; default 30 s
	Idle           time.Duration // longest silence in the middle of a stream; default Timeout
	Rest           time.Duration // how long a server that failed is left alone; default 30 s
}

// Client asks the model. It is safe for concurrent use; a nil Client is one that is not configured.
type Client struct {
	config  Config
	breaker *gobreaker.TwoStepCircuitBreaker[struct{}]
	metrics *metrics
}

// New makes a client. A URL that is not http or https, or that holds a secret, is an error.
func New(config Config) (*Client, error) {
	if config.URL == "" {
		return &Client{}, nil
	}
	base, err := url.Parse(config.URL)
	if err != nil || base.Host == "" || base.Scheme != "https" && base.Scheme != "http" {
		return nil, errors.New("the language model's URL is not one with http or https, such as https://api.openai.com/v1")
	}
	if base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, errors.New("the language model's URL may have neither a user, nor a query, nor a fragment; the key has a setting of its own")
	}
	if config.Model == "" {
		return nil, errors.New("the language model has a URL and no name: say which model to ask for")
	}
	config.URL = strings.TrimRight(config.URL, "/")
	if config.Timeout == 0 {
		config.Timeout = 30 * time.Second
	}
	if config.Idle == 0 {
		config.Idle = config.Timeout
	}
	if config.Rest == 0 {
		config.Rest = 30 * time.Second
	}
	if config.HTTP == nil {
		config.HTTP = newHTTP()
	}
	c := &Client{config: config, breaker: newBreaker(config.Rest)}
	if c.metrics, err = newMetrics(config.Metrics, c.breaker); err != nil {
		return nil, err
	}
	return c, nil
}

// newHTTP has no time-out of its own, which would end streams; each call has one.
func newHTTP() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:       (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute,
			TLSHandshakeTimeout: 10 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Configured says whether there is a model to ask.
func (c *Client) Configured() bool { return c != nil && c.config.URL != "" }

// Model is the name of the model for chat, "" where there is none.
func (c *Client) Model() string {
	if !c.Configured() {
		return ""
	}
	return c.config.Model
}

// EmbeddingModel is the name of the model for embeddings, "" where there is none.
func (c *Client) EmbeddingModel() string {
	if !c.Configured() {
		return ""
	}
	return c.config.EmbeddingModel
}

// ErrUnavailable is a model that does not answer, or that the breaker keeps from being asked. The error that wraps it says why.
var ErrUnavailable = errors.New("the language model is not available")

// RefusedError is a request that the model's server understood and refused: too long a conversation, a model that it does not have, a
// key that it does not know. Asking again does not help.
type RefusedError struct {
	Status  int
	Message string // of the server; empty where it may tell of the key
}

func (e *RefusedError) Error() string {
	text := fmt.Sprintf("the language model's server refused the request (%d %s)", e.Status, http.StatusText(e.Status))
	if e.Message == "" {
		return text
	}
	return text + ": " + e.Message
}

// Complete asks for one answer to a system prompt and a user's text. ErrUnavailable, or a RefusedError.
func (c *Client) Complete(ctx context.Context, system, user string) (string, error) {
	var answer struct {
		Choices []struct{ Message Message }
	}
	request := Request{Messages: []Message{Text("system", system), Text("user", user)}}
	err := c.call(ctx, "complete", "/chat/completions", request.wire(c.Model(), false), &answer)
	if err != nil {
		return "", err
	}
	if len(answer.Choices) == 0 {
		return "", fmt.Errorf("%w: its answer has no choice", ErrUnavailable)
	}
	return answer.Choices[0].Message.String(), nil
}

// embeddingBatch is how many texts one request carries: few enough for servers that embed one after the other within the time-out.
const embeddingBatch = 64

// Embed returns a vector for each text, in their order and all of one length. ErrUnavailable, or a RefusedError.
func (c *Client) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	if c.EmbeddingModel() == "" {
		return nil, fmt.Errorf("%w: no embedding model is configured", ErrUnavailable)
	}
	vectors := make([][]float32, 0, len(texts))
	for first := 0; first < len(texts); first += embeddingBatch {
		batch := texts[first:min(first+embeddingBatch, len(texts))]
		var answer embeddings
		err := c.call(ctx, "embed", "/embeddings", map[string]any{
			"model": c.config.EmbeddingModel, "input": batch, "encoding_format": "float",
		}, &answer)
		if err != nil {
			return nil, err
		}
		found, err := answer.inOrder(len(batch))
		if err != nil {
			return nil, err
		}
		vectors = append(vectors, found...)
	}
	for _, vector := range vectors {
		if len(vector) != len(vectors[0]) {
			return nil, fmt.Errorf("%w: its vectors are of different lengths", ErrUnavailable)
		}
	}
	return vectors, nil
}

type embeddings struct {
	Data []struct {
		Index     int
		Embedding []float32
	}
}

// inOrder sorts by index, which the API does not promise to be the order of the list.
func (e embeddings) inOrder(n int) ([][]float32, error) {
	vectors := make([][]float32, n)
	for _, item := range e.Data {
		if item.Index < 0 || item.Index >= n || vectors[item.Index] != nil || len(item.Embedding) == 0 {
			return nil, fmt.Errorf("%w: its vectors do not fit the texts", ErrUnavailable)
		}
		vectors[item.Index] = item.Embedding
	}
	if len(e.Data) != n {
		return nil, fmt.Errorf("%w: it gave %d vectors for %d texts", ErrUnavailable, len(e.Data), n)
	}
	return vectors, nil
}

// call asks and reads the whole answer.
func (c *Client) call(ctx context.Context, operation, path string, body, answer any) error {
	if !c.Configured() {
		return fmt.Errorf("%w: none is configured", ErrUnavailable)
	}
	attempt, err := c.begin(ctx, operation, c.config.Timeout)
	if err != nil {
		return err
	}
	response, err := attempt.post(path, body)
	if err != nil {
		return attempt.end(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(&limitedReader{response.Body, maxAnswer}).Decode(answer); err != nil {
		return attempt.end(fmt.Errorf("read its answer: %w", err))
	}
	return attempt.end(nil)
}
