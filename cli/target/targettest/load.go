package targettest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"
)

// Load is a stream of requests, reads and writes, at 300 requests/s in all or as many as the machine allows.
type Load struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu  sync.Mutex
	sum LoadSum
}

// LoadSum is what the clients saw.
type LoadSum struct {
	Requests, Failed int
	Versions         map[string]int // answers by the version that gave them
	Errors           []string       // the first few
}

const (
	loadClients = 6
	loadPause   = 20 * time.Millisecond // of a client between two requests
)

// StartLoad begins to send requests. Reads go to /version, every third request is a write to /echo.
func StartLoad(t testing.TB, url string) *Load { return startLoad(t, url, true, direct) }

// StartReads is StartLoad with reads only.
func StartReads(t testing.TB, url string) *Load { return startLoad(t, url, false, direct) }

// direct reaches what a URL names.
func direct() *http.Transport { return &http.Transport{} }

func startLoad(t testing.TB, url string, writes bool, transport func() *http.Transport) *Load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &Load{cancel: cancel, sum: LoadSum{Versions: map[string]int{}}}
	t.Cleanup(func() { l.Stop() })
	for range loadClients {
		l.done.Go(func() { l.client(ctx, url, writes, transport()) })
	}
	return l
}

// Await waits until so many requests were answered or failed.
func (l *Load) Await(t testing.TB, requests int) {
	t.Helper()
	eventually(t, "enough requests were sent", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.sum.Requests >= requests
	})
}

// Stop ends the load, waits for the requests in flight, and returns what was seen.
func (l *Load) Stop() LoadSum {
	l.cancel()
	l.done.Wait()
	return l.sum
}

func (l *Load) client(ctx context.Context, url string, writes bool, transport *http.Transport) {
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	for n := 0; ctx.Err() == nil; n++ {
		if writes && n%3 == 2 {
			l.count(write(client, url))
		} else {
			l.count(read(client, url))
		}
		select {
		case <-ctx.Done():
		case <-time.After(loadPause):
		}
	}
}

func (l *Load) count(version string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sum.Requests++
	if err == nil {
		l.sum.Versions[version]++
		return
	}
	l.sum.Failed++
	if len(l.sum.Errors) < 5 {
		l.sum.Errors = append(l.sum.Errors, err.Error())
	}
}

func read(client *http.Client, url string) (string, error) {
	body, err := ask(client, http.MethodGet, url+"/version", nil)
	if err != nil {
		return "", err
	}
	var said map[string]string
	err = json.Unmarshal(body, &said)
	return said["version"], err
}

func write(client *http.Client, url string) (string, error) {
	sent := bytes.Repeat([]byte("write "), 500)
	body, err := ask(client, http.MethodPost, url+"/echo", sent)
	if err == nil && !bytes.Equal(body, sent) {
		err = fmt.Errorf("wrote %d bytes, %d came back", len(sent), len(body))
	}
	return "written", err
}

func ask(client *http.Client, method, url string, content []byte) ([]byte, error) {
	request, err := http.NewRequest(method, url, bytes.NewReader(content)) //nolint:noctx // the client's time limit does
	if err != nil {
		return nil, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close() //nolint:errcheck // only read
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", method, url, answer.Status, body)
	}
	return body, err
}
