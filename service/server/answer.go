package server

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	segment "github.com/segmentio/encoding/json"

	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/mail"
)

// answer notes what goes to the client, and sends the header with the body's first byte instead of before it: by then whoever has the
// whole body can have said its length. Without one net/http cuts it into chunks, which is a write and a read more for each page of a list. (chi's WrapResponseWriter
// hands the header on at once.)
type answer struct {
	http.ResponseWriter
	status int // 0 until it is known
	bytes  int
	sent   bool
}

func (a *answer) WriteHeader(status int) {
	if status < http.StatusOK { // informational: more follows
		a.ResponseWriter.WriteHeader(status)
		return
	}
	if a.status == 0 {
		a.status = status
	}
}

func (a *answer) Write(p []byte) (int, error) {
	a.send()
	n, err := a.ResponseWriter.Write(p)
	a.bytes += n
	return n, err
}

// FlushError is what http.ResponseController asks for.
func (a *answer) FlushError() error {
	a.send()
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// Unwrap leads http.ResponseController to the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// send is also for the end, after which a body no longer comes.
func (a *answer) send() {
	if a.sent {
		return
	}
	a.sent = true
	if a.status == 0 {
		a.status = http.StatusOK
	}
	a.ResponseWriter.WriteHeader(a.status)
}

// bodies are buffers to use again. A large one is left to the garbage collector.
var bodies sync.Pool

const keepBody = 64 << 10

// wholeJSON is huma's format for JSON, and says how long the body is.
var wholeJSON = huma.Format{
	Marshal: func(w io.Writer, v any) error {
		body, has := bodies.Get().(*bytes.Buffer)
		if !has {
			body = new(bytes.Buffer)
		}
		defer func() {
			if body.Cap() <= keepBody {
				body.Reset()
				bodies.Put(body)
			}
		}()
		if err := encode(body, v); err != nil {
			return err
		}
		if to, isAnswer := w.(*answer); isAnswer && !to.sent {
			to.Header().Set("Content-Length", strconv.Itoa(body.Len()))
		}
		_, err := w.Write(body.Bytes())
		return err
	},
	Unmarshal: json.Unmarshal,
}

// encode writes pages of messages, which are most of what is read, in a third of encoding/json's time and with the same bytes
// (FuzzPage). All else stays with encoding/json, which knows durations and tags that the other writes otherwise.
func encode(body *bytes.Buffer, v any) error {
	if page, is := v.(api.List[mail.Summary]); is {
		encoder := segment.NewEncoder(body)
		encoder.SetEscapeHTML(false)
		return encoder.Encode(page)
	}
	encoder := json.NewEncoder(body)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}
