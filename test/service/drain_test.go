package service_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// testDrain tells a replica to stop while it streams an answer and reads an import. Both come to their end, and then the replica does.
func testDrain(t *testing.T, w *world) {
	r := w.start(t)
	token := signUp(t, r.url, "drain@example.org")
	w.model.set(300*time.Millisecond, false)
	body, err := json.Marshal(object{"model": "test", "stream": true, "messages": []object{{"role": "user", "content": "Tell me something."}}})
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+token)
	stream, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	lines := bufio.NewScanner(stream.Body)
	if !lines.Scan() {
		t.Fatalf("the stream does not begin: %s %v", stream.Status, lines.Err())
	}

	const batches = 4 // an import commits a hundred messages at a time
	mailbox, sending := io.Pipe()
	type result struct {
		answer
		err error
	}
	imported := make(chan result, 1)
	go func() {
		a, err := ask(t.Context(), "POST", r.url+"/api/v1/mail-imports", token, mailbox)
		imported <- result{a, err}
	}()
	send := func(batches int) {
		if _, err := io.WriteString(sending, letters(100*batches)); err != nil {
			t.Error(err)
		}
	}
	send(2)
	eventually(t, time.Minute, "the import is under way", func() bool { return w.count(t, `SELECT count(*) FROM emails`) > 0 })

	began := time.Now()
	if err := r.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "nobody listens any more", func() bool {
		_, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(r.url + "/health") //nolint:bodyclose,noctx // an error is what is waited for
		return err != nil
	})
	send(batches - 2)
	_ = sending.Close()
	if got := <-imported; got.err != nil || got.status != http.StatusOK || !strings.Contains(got.text, fmt.Sprintf(`"imported":%d,`, 100*batches)) {
		t.Errorf("the import: %v %d %s", got.err, got.status, got.text)
	}
	words, done := 0, false
	for lines.Scan() {
		words += strings.Count(lines.Text(), "word")
		done = done || lines.Text() == "data: [DONE]"
	}
	if words != chunks-1 && words != chunks || !done || lines.Err() != nil {
		t.Errorf("the stream: %d words of %d, at its end %v, %v", words, chunks, done, lines.Err())
	}
	select {
	case err := <-r.exited:
		if err != nil {
			t.Errorf("it ended with %v\n%s", err, r.log.end())
		}
	case <-time.After(time.Minute):
		t.Errorf("%v after SIGTERM it still runs", time.Since(began))
	}
	if n := w.count(t, `SELECT count(*) FROM emails`); n != 100*batches {
		t.Errorf("%d messages are kept, want %d", n, 100*batches)
	}
}
