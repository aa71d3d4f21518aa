package upstream

import (
	"encoding/json"
	"fmt"
	"io"
)

// ReadEvents says what a stream of server-sent events holds and how it ends.
func ReadEvents(r io.Reader) string {
	var said string
	var answer Answer
	for events := newEvents(r); ; {
		data, err := events.next()
		if err != nil {
			return said + err.Error()
		}
		said += fmt.Sprintf("%q ", data)
		var chunk Chunk
		if json.Unmarshal(data, &chunk) == nil {
			answer.Add(chunk)
		}
	}
}
