package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// client is one keep-alive connection. It is leaner than net/http's, since it shares the machine with the servers.
type client struct {
	conn net.Conn
	in   *bufio.Reader
	body bytes.Buffer
}

func dial(ctx context.Context, address string) (*client, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &client{conn: conn, in: bufio.NewReaderSize(conn, 32<<10)}, nil
}

func (c *client) close() { _ = c.conn.Close() }

// request writes a request once, for many times.
func request(method, path, token string, body any) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\n", method, path)
	if token != "" {
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", token)
	}
	if body == nil {
		b.WriteString("\r\n")
		return b.Bytes()
	}
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // maps of text
	}
	fmt.Fprintf(&b, "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
	return b.Bytes()
}

// do sends a request and returns the answer's body, which is good until the next call, and the time to its first byte.
func (c *client) do(request []byte) (body []byte, first time.Duration, err error) {
	began := time.Now()
	if _, err := c.conn.Write(request); err != nil {
		return nil, 0, err
	}
	answer, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return nil, 0, fmt.Errorf("read an answer: %w", err)
	}
	defer answer.Body.Close()
	c.body.Reset()
	var one [1]byte
	if _, err := io.ReadFull(answer.Body, one[:]); err != nil {
		return nil, 0, fmt.Errorf("read an answer: %w", err)
	}
	first = time.Since(began)
	c.body.WriteByte(one[0])
	if _, err := c.body.ReadFrom(answer.Body); err != nil {
		return nil, 0, fmt.Errorf("read an answer: %w", err)
	}
	if answer.StatusCode >= http.StatusBadRequest {
		return nil, 0, fmt.Errorf("%s: %.300s", answer.Status, c.body.Bytes())
	}
	return c.body.Bytes(), first, nil
}

// ask sends one request on a connection of its own and reads the answer as JSON.
func ask(ctx context.Context, address string, request []byte, into any) error {
	c, err := dial(ctx, address)
	if err != nil {
		return err
	}
	defer c.close()
	body, _, err := c.do(request)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}
