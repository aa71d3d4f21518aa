package mail_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/smart-assistant/platform/service/mail"
)

func testListAndRead(t *testing.T, w *world) {
	user := w.user(t)
	w.add(t, user, letters(7)...)
	first := get[list](t, w, user, "/api/v1/emails?limit=3")
	if first.subjects() != "Number 6, Number 5, Number 4" || first.NextCursor == "" {
		t.Fatalf("%s %q", first.subjects(), first.NextCursor)
	}
	second := get[list](t, w, user, "/api/v1/emails?limit=3&cursor="+first.NextCursor)
	third := get[list](t, w, user, "/api/v1/emails?limit=3&cursor="+second.NextCursor)
	if second.subjects()+third.subjects() != "Number 3, Number 2, Number 1"+"Number 0" || third.NextCursor != "" {
		t.Errorf("%s; %s %q", second.subjects(), third.subjects(), third.NextCursor)
	}
	path := "/api/v1/emails/" + first.Items[0].ID
	email := get[mail.Email](t, w, user, path)
	if email.Text != "This is message number 6 of the pile." || email.Snippet != email.Text || email.FromName != "Ann" || email.FromAddress != "ann@acme.example" ||
		email.Recipients != "me@home.example" || email.Files == nil || email.Category != mail.Other && email.Category == "" {
		t.Errorf("%+v", email)
	}
	tag := w.call(t, user, http.MethodGet, path, nil).Header().Get("ETag")
	if answer := w.call(t, user, http.MethodGet, path, nil, "If-None-Match", `"x", W/`+tag); answer.Code != http.StatusNotModified || answer.Header().Get("ETag") != tag || answer.Body.Len() > 0 {
		t.Errorf("ETag %s: %d %q %s", tag, answer.Code, answer.Header(), answer.Body)
	}
}

func testFilters(t *testing.T, w *world) {
	user := w.user(t)
	w.add(t, user, letters(9)...)
	if _, err := w.pool.Exec(t.Context(), "UPDATE emails SET category = 'offer' WHERE subject IN ('Number 2', 'Number 7')"); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{
		"category=offer":                                        "Number 7, Number 2",
		"since=2026-03-08T09:30:00Z":                            "Number 8, Number 7",
		"until=2026-03-02T09:30:00Z":                            "Number 0",
		"since=2026-03-03T00:00:00Z&until=2026-03-04T00:00:00Z": "Number 2",
		"category=offer&since=2026-03-05T00:00:00Z":             "Number 7",
		"category=newsletter":                                   "",
	} {
		if got := get[list](t, w, user, "/api/v1/emails?"+query).subjects(); got != want {
			t.Errorf("%s: %s", query, got)
		}
	}
	page := get[list](t, w, user, "/api/v1/emails?limit=1&category=offer")
	if next := get[list](t, w, user, "/api/v1/emails?limit=1&category=offer&cursor="+page.NextCursor); next.subjects() != "Number 2" || next.NextCursor != "" {
		t.Errorf("next page: %+v", next)
	}
}

// testBadInput: what cannot be answered is the caller's problem, never ours.
func testBadInput(t *testing.T, w *world) {
	user, none := w.user(t), "0190a000-0000-7000-8000-000000000000"
	for _, test := range []struct {
		method, path, body string
		want               int
	}{
		{"GET", "/api/v1/emails?limit=0", "", 422},
		{"GET", "/api/v1/emails?category=spam", "", 422},
		{"GET", "/api/v1/emails?since=yesterday", "", 422},
		{"GET", "/api/v1/emails?cursor=%00", "", 422},
		{"GET", "/api/v1/emails?cursor=eyJhdCI6IjIwMjYtMDEtMDFUMDA6MDA6MDBaIiwiaWQiOiJ4In0", "", 422},
		{"GET", "/api/v1/emails/" + none, "", 404},
		{"GET", "/api/v1/emails/1", "", 422},
		{"GET", "/api/v1/emails/" + none + "/similar", "", 404},
		{"GET", "/api/v1/emails/" + none + "/attachments/" + none, "", 404},
		{"DELETE", "/api/v1/emails/" + none, "", 404},
		{"PATCH", "/api/v1/emails/" + none, `{"category":"offer"}`, 404},
		{"PATCH", "/api/v1/emails/" + none, `{"category":"spam"}`, 422},
		{"GET", "/api/v1/emails/search", "", 422},
		{"GET", "/api/v1/emails/search?q=-x", "", 422},
		{"GET", "/api/v1/emails/search?q=%27%00%5C", "", 422},
		{"GET", "/api/v1/emails/similar?text=...", "", 422},
		{"GET", "/api/v1/emails/similar?text=x&limit=1000", "", 422},
		{"POST", "/api/v1/mail-imports", "", 422},
		{"POST", "/api/v1/mail-imports", "%PDF-1.7\n", 422},
	} {
		answer := w.call(t, user, test.method, test.path, strings.NewReader(test.body), "Content-Type", "application/json")
		if answer.Code != test.want || !strings.HasPrefix(answer.Header().Get("Content-Type"), "application/problem+json") {
			t.Errorf("%s %s: %d %s", test.method, test.path, answer.Code, answer.Body)
		}
	}
}

const withFiles = `Message-ID: <files@test>
From: Ann <ann@acme.example>
Subject: Files
Date: Mon, 2 Mar 2026 09:30:00 +0000
Content-Type: multipart/mixed; boundary=b

--b

see the secretfiles
--b
Content-Type: text/html; name="page \"Grüße\".html"
Content-Transfer-Encoding: base64

PHNjcmlwdD5zZWNyZXRjb250ZW50PC9zY3JpcHQ+
--b
Content-Type: application/pdf; name=offer.pdf

%PDF
--b--
`

func testAttachments(t *testing.T, w *world) {
	user := w.user(t)
	w.add(t, user, withFiles)
	page := get[list](t, w, user, "/api/v1/emails")
	email := get[mail.Email](t, w, user, "/api/v1/emails/"+page.Items[0].ID)
	if page.Items[0].Attachments != 2 || len(email.Files) != 2 || email.Files[0].Name != `page "Grüße".html` || email.Files[1].Name != "offer.pdf" || email.Files[1].Size != 4 {
		t.Fatalf("%+v", email)
	}
	for i, want := range []struct{ kind, disposition, content string }{
		{"application/octet-stream", "attachment; filename*=utf-8''page%20%22Gr%C3%BC%C3%9Fe%22.html", "<script>secretcontent</script>"},
		{"application/pdf", "attachment; filename=offer.pdf", "%PDF"},
	} {
		answer := w.call(t, user, http.MethodGet, "/api/v1/emails/"+email.ID+"/attachments/"+email.Files[i].ID, nil)
		header := answer.Header()
		if answer.Code != 200 || header.Get("Content-Type") != want.kind || header.Get("Content-Disposition") != want.disposition ||
			header.Get("X-Content-Type-Options") != "nosniff" || answer.Body.String() != want.content {
			t.Errorf("%d %v %s", answer.Code, header, answer.Body)
		}
	}
}

func testCorrectAndDelete(t *testing.T, w *world) {
	user := w.user(t)
	w.add(t, user, withFiles)
	path := "/api/v1/emails/" + get[list](t, w, user, "/api/v1/emails").Items[0].ID
	before := w.call(t, user, http.MethodGet, path, nil).Header().Get("ETag")
	answer := w.call(t, user, http.MethodPatch, path, strings.NewReader(`{"category":"offer"}`), "Content-Type", "application/json")
	var email mail.Email
	if err := json.Unmarshal(answer.Body.Bytes(), &email); err != nil || email.Category != mail.Offer || email.Score != 1 || email.Reason != "you said so" || answer.Header().Get("ETag") == before {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
	if n := w.count(t, "SELECT classifier FROM emails"); n != 0 {
		t.Errorf("classifier %d", n)
	}
	if answer := w.call(t, user, http.MethodDelete, path, nil); answer.Code != http.StatusNoContent {
		t.Errorf("delete: %d %s", answer.Code, answer.Body)
	}
	if answer := w.call(t, user, http.MethodDelete, path, nil); answer.Code != http.StatusNotFound {
		t.Errorf("delete again: %d", answer.Code)
	}
	if n := w.count(t, "SELECT (SELECT count(*) FROM emails) + (SELECT count(*) FROM attachments) + (SELECT count(*) FROM embeddings)"); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

// testTenants: the same mail of two users is two rows, and nobody sees, finds, changes or deletes the other's.
func testTenants(t *testing.T, w *world) {
	ann, bob := w.user(t), w.user(t)
	w.add(t, ann, withFiles)
	w.add(t, bob, withFiles)
	of := func(user string) mail.Email {
		page := get[list](t, w, user, "/api/v1/emails")
		if len(page.Items) != 1 || len(get[list](t, w, user, "/api/v1/emails/search?q=secretfiles").Items) != 1 || len(get[list](t, w, user, "/api/v1/emails/similar?text=files").Items) != 1 {
			t.Fatalf("%+v", page)
		}
		return get[mail.Email](t, w, user, "/api/v1/emails/"+page.Items[0].ID)
	}
	his, hers := of(bob), of(ann)
	if his.ID == hers.ID || w.count(t, "SELECT count(DISTINCT fingerprint) + count(DISTINCT search) FROM emails") != 4 {
		t.Error("the same rows, fingerprints or words")
	}
	for _, request := range [][2]string{
		{"GET", ""}, {"GET", "/similar"}, {"GET", "/attachments/" + his.Files[0].ID}, {"PATCH", ""}, {"DELETE", ""},
	} {
		if answer := w.call(t, ann, request[0], "/api/v1/emails/"+his.ID+request[1], strings.NewReader(`{"category":"offer"}`), "Content-Type", "application/json"); answer.Code != http.StatusNotFound {
			t.Errorf("%v: %d %s", request, answer.Code, answer.Body)
		}
	}
	if answer := w.call(t, ann, "GET", "/api/v1/emails/"+hers.ID+"/attachments/"+his.Files[0].ID, nil); answer.Code != http.StatusNotFound {
		t.Errorf("his file of her mail: %d", answer.Code)
	}
	if again := of(bob); again.Category != his.Category {
		t.Error("his mail was changed")
	}
}

// testSealed: a dump of the database holds no word of texts, files and their names.
func testSealed(t *testing.T, w *world) {
	user := w.user(t)
	w.add(t, user, withFiles, letter(3, "a@x", "Clear", "the plainsecret stands at the beginning"))
	dump, err := exec.CommandContext(t.Context(), "pg_dump", "--dbname", w.url).Output()
	if os.IsNotExist(err) || err != nil {
		t.Fatalf("pg_dump: %v", err)
	}
	for _, secret := range []string{"secretfiles", "secretcontent", "plainsecret", "offer.pdf", "page"} {
		hexed := strings.ToLower(strings.ReplaceAll(url.QueryEscape(secret), "%", ""))
		if bytes.Contains(dump, []byte(secret)) || bytes.Contains(dump, []byte(hexOf(secret))) {
			t.Errorf("the dump holds %s (%s)", secret, hexed)
		}
	}
	if !bytes.Contains(dump, []byte("Clear")) {
		t.Error("the dump does not hold what is in the clear: is it one?")
	}
}

func testExport(t *testing.T, w *world) {
	user, other := w.user(t), w.user(t)
	w.add(t, user, append(letters(45), withFiles)...)
	w.add(t, other, letters(2)...)
	sections := map[string]int{}
	var content string
	err := w.service.Export(t.Context(), user, func(section string, item any) error {
		sections[section]++
		text, err := json.Marshal(item)
		if section == "attachments" {
			content += string(text)
		}
		return err
	})
	if err != nil || sections["emails"] != 46 || sections["attachments"] != 2 || !strings.Contains(content, "JVBERg==") {
		t.Errorf("%v %v %s", err, sections, content)
	}
}
