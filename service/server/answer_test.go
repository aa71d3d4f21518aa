package server

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/smart-assistant/platform/service/api"
	"github.com/smart-assistant/platform/service/mail"
)

// FuzzPage: a page of messages is the bytes that encoding/json makes of it, or an error where that has one.
func FuzzPage(f *testing.F) {
	f.Add("plain", "", "a\xffb\u2028\u2029<>&\"\\/\n\x00\x7f\x1f\u00e9\U0001F4EE", float32(0.1), 1.5e-9, int64(1_790_000_000_123_456_789), 3)
	f.Add("", "next", "ends in half a letter \xe2\x80", float32(1), 0.0, int64(-62135596800), -1)
	f.Fuzz(func(t *testing.T, id, next, text string, score float32, similarity float64, nanoseconds int64, attachments int) {
		one := mail.Summary{
			ID: id, FromName: text, FromAddress: id, Subject: text, ReceivedAt: time.Unix(0, nanoseconds).UTC(), Category: mail.Category(id),
			Score: score, Reason: id, Snippet: text, Attachments: attachments, Similarity: similarity,
		}
		for _, page := range []api.List[mail.Summary]{{}, {Items: []mail.Summary{}}, {Items: []mail.Summary{one, {}, one}, NextCursor: next}} {
			var got, want bytes.Buffer
			encoder := json.NewEncoder(&want)
			encoder.SetEscapeHTML(false)
			failed, late := encode(&got, page), encoder.Encode(page)
			if (failed != nil) != (late != nil) {
				t.Fatalf("error %v, encoding/json's %v", failed, late)
			}
			if late == nil && got.String() != want.String() {
				t.Fatalf("got\n%s\nwant\n%s", got.String(), want.String())
			}
		}
	})
}
