package mail_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/service/mail"
	"github.com/smart-assistant/platform/service/mail/maildb"
	"github.com/smart-assistant/platform/service/upstream"
)

func hexOf(text string) string { return hex.EncodeToString([]byte(text)) }

// testSearch: what a query finds.
func testSearch(t *testing.T, w *world) {
	user := w.user(t)
	w.add(t, user,
		letter(1, "Ann Lee <jobs@acme.example>", "Interview", "We invite you to interviews with the head of data engineering."),
		letter(2, "Bob <bob@globex.example>", "Your offer", "Attached is the offer. Acme pays less. Grüße, Bob"),
		letter(3, "News <news@weekly.example>", "Weekly", "Ten interview questions. C++ and C# jobs. Engineering data, head first."),
		letter(4, "Carl <carl@initech.example>", "Re: offer", "I interviewed them; don't worry."),
	)
	for q, want := range map[string]string{
		"interview":               "Re: offer, Weekly, Interview",
		"INTERVIEWING":            "Re: offer, Weekly, Interview",
		"interview data":          "Weekly, Interview",
		`"data engineering"`:      "Interview",
		`"engineering data"`:      "Weekly",
		`"head of data"`:          "Interview",
		`"interviews"`:            "Interview",
		"interview -newsletter":   "Re: offer, Weekly, Interview",
		"interview -questions":    "Re: offer, Interview",
		`interview -"head first"`: "Re: offer, Interview",
		"from:acme":               "Interview",
		"acme":                    "Your offer, Interview",
		"from:jobs@acme.example":  "Interview",
		"from:ann from:lee":       "Interview",
		"subject:offer":           "Re: offer, Your offer",
		"subject:offer from:bob":  "Your offer",
		"subject:interview":       "Interview",
		"grüsse":                  "",
		"GRÜßE":                   "Your offer",
		"c++":                     "Weekly",
		"don’t":                   "Re: offer",
		`"lee interview"`:         "", // name and subject are apart
		"nothing":                 "",
	} {
		if got := get[list](t, w, user, "/api/v1/emails/search?q="+url.QueryEscape(q)).subjects(); got != want {
			t.Errorf("%s: %q, want %q", q, got, want)
		}
	}
	first := get[list](t, w, user, "/api/v1/emails/search?q=interview&limit=2")
	if rest := get[list](t, w, user, "/api/v1/emails/search?q=interview&limit=2&cursor="+first.NextCursor); first.subjects() != "Re: offer, Weekly" || rest.subjects() != "Interview" || rest.NextCursor != "" {
		t.Errorf("pages: %s; %s", first.subjects(), rest.subjects())
	}
	if got := get[list](t, w, user, "/api/v1/emails/search?q=interview&until=2026-03-03T00:00:00Z").subjects(); got != "Interview" {
		t.Errorf("until: %s", got)
	}
}

// testSimilar: the nearest meaning comes first, and a message is not like itself.
func testSimilar(t *testing.T, w *world) {
	user := w.user(t)
	w.add(t, user,
		letter(1, "a@acme.example", "Next steps", "We would like to invite you to an interview with our team on Monday."),
		letter(2, "b@globex.example", "Invoice 17", "Please find your invoice for the payment of March attached."),
		letter(3, "c@initech.example", "Phone call", "Can we schedule a phone screen with the hiring manager?"),
	)
	found := get[list](t, w, user, "/api/v1/emails/similar?limit=2&text="+url.QueryEscape("invitation to an interview call"))
	if len(found.Items) != 2 || strings.Contains(found.subjects(), "Invoice") || found.Items[0].Similarity < found.Items[1].Similarity || found.Items[0].Similarity <= 0 {
		t.Errorf("%+v", found.Items)
	}
	all := get[list](t, w, user, "/api/v1/emails").Items
	if like := get[list](t, w, user, "/api/v1/emails/"+all[0].ID+"/similar"); like.subjects() != "Next steps, Invoice 17" {
		t.Errorf("like %s: %s", all[0].Subject, like.subjects())
	}
}

func alike(t *testing.T, w *world, user, text string) mail.Alike {
	t.Helper()
	return get[mail.Alike](t, w, user, "/api/v1/emails/similar?text="+url.QueryEscape(text))
}

// testSimilarIsBounded: a text is compared with the newest messages alone, and the answer says so.
func testSimilarIsBounded(t *testing.T, w *world) {
	user := w.user(t)
	w.add(t, user, letter(3, "a@x", "Old", "an interview"), letter(5, "a@x", "New", "an invoice"), letter(4, "a@x", "Older", "an invoice of old"))
	w.service.CompareWith(3)
	if found := alike(t, w, user, "an interview"); !found.Complete || len(found.Items) != 3 {
		t.Errorf("three of three: %+v", found)
	}
	w.service.CompareWith(2)
	if found := alike(t, w, user, "an interview"); found.Complete || len(found.Items) != 2 || found.Items[0].Subject == "Old" || found.Items[1].Subject == "Old" {
		t.Errorf("two of three: %+v", found)
	}
}

// testSimilarInTurns: a user compares once at a time and a replica for two at most, and the pool keeps connections for others.
func testSimilarInTurns(t *testing.T, w *world) {
	var users []string
	for range 3 {
		users = append(users, w.user(t))
		w.add(t, users[len(users)-1], letter(1, "a@x", "One", "an interview"))
	}
	tx, err := w.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "LOCK TABLE embeddings IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	const path = "/api/v1/emails/similar?text=interview"
	for i, user := range users[:2] {
		all.Go(func() {
			if answer := w.call(t, user, http.MethodGet, path, nil); answer.Code != http.StatusOK {
				t.Errorf("%d %s", answer.Code, answer.Body)
			}
		})
		for waiting := 0; waiting <= i; { // until it waits for the table
			if err := tx.QueryRow(t.Context(), "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'embeddings'::regclass").Scan(&waiting); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, test := range []struct{ user, says string }{{users[0], "of yours"}, {users[2], "too many"}} {
		answer := w.call(t, test.user, http.MethodGet, path, nil)
		if answer.Code != http.StatusServiceUnavailable || answer.Header().Get("Retry-After") == "" || !strings.Contains(answer.Body.String(), test.says) {
			t.Errorf("%s: %d %s", test.says, answer.Code, answer.Body)
		}
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	if found := alike(t, w, users[2], "interview"); len(found.Items) != 1 {
		t.Errorf("afterwards: %+v", found)
	}
}

// testEmbeddedByAModel: where a language model makes vectors, search goes by them, and by the built-in ones while it does not answer.
func testEmbeddedByAModel(t *testing.T, w *world) {
	up := true
	server := httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		var in struct{ Input []string }
		if err := json.NewDecoder(request.Body).Decode(&in); err != nil || !up {
			http.Error(answer, `{"error":{"message":"no"}}`, http.StatusServiceUnavailable)
			return
		}
		type item struct {
			Index     int       `json:"index"`
			Embedding []float32 `json:"embedding"`
		}
		out := struct {
			Data []item `json:"data"`
		}{}
		for i, text := range in.Input { // a model that knows animals
			vector := []float32{0.1, 0.1, 0.1}
			for n, animals := range [][]string{{"cat", "kitten"}, {"dog", "puppy"}} {
				for _, animal := range animals {
					if strings.Contains(text, animal) {
						vector[n] += 5
					}
				}
			}
			out.Data = append(out.Data, item{i, vector})
		}
		_ = json.NewEncoder(answer).Encode(out)
	}))
	defer server.Close()
	client, err := upstream.New(upstream.Config{URL: server.URL, Key: "k", Model: "m", EmbeddingModel: "animals", HTTP: server.Client()})
	if err != nil {
		t.Fatal(err)
	}
	user := w.user(t)
	w = newWorld(t, w.url, func(c *mail.Config) { c.Upstream = client })
	w.add(t, user, letter(1, "a@x", "One", "a kitten"), letter(2, "b@x", "Two", "a puppy"))
	var ids []string
	for _, item := range get[list](t, w, user, "/api/v1/emails").Items {
		ids = append(ids, item.ID)
	}
	for range 2 { // the second time there is nothing to do
		if err := w.service.Embed(t.Context(), user, ids); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.count(t, "SELECT count(*) FROM embeddings WHERE model = 'animals'"); n != 2 {
		t.Errorf("%d vectors", n)
	}
	if found := get[list](t, w, user, "/api/v1/emails/similar?text=cat"); found.subjects() != "One, Two" {
		t.Errorf("by the model: %s", found.subjects())
	}
	if !alike(t, w, user, "cat").Complete {
		t.Error("all was compared, and is said not to be")
	}
	w.add(t, user, letter(3, "c@x", "Three", "a cat that the model has not read"))
	if found := alike(t, w, user, "cat"); found.Complete || len(found.Items) != 2 {
		t.Errorf("while the model has not read all: %+v", found)
	}
	w.service.CompareWith(1)
	if found := alike(t, w, user, "a kitten"); found.Complete || len(found.Items) != 0 {
		t.Errorf("of the newest message: %+v", found)
	}
	w.service.CompareWith(100)
	if _, err := w.pool.Exec(t.Context(), "DELETE FROM emails WHERE subject = 'Three'"); err != nil {
		t.Fatal(err)
	}
	up = false
	if found := get[list](t, w, user, "/api/v1/emails/similar?text=puppy"); found.subjects() != "Two, One" {
		t.Errorf("by the built-in vectors: %s", found.subjects())
	}
}

// testSearchIsPlannedAnew: the server keeps no plan of a search, which would serve rare and common words alike after the fifth.
func testSearchIsPlannedAnew(t *testing.T, w *world) {
	for want, planned := range []func(maildb.DBTX) maildb.DBTX{maildb.Planned, func(db maildb.DBTX) maildb.DBTX { return db }} {
		conn, err := pgx.ConnectConfig(t.Context(), w.pool.Config().ConnConfig)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.WithoutCancel(t.Context()))
		for range 6 {
			_, err := maildb.New(planned(conn)).SearchEmails(t.Context(), maildb.SearchEmailsParams{UserID: uuid.NewString(), Query: "'word'", BeforeID: uuid.NewString(), Most: 1})
			if err != nil {
				t.Fatal(err)
			}
		}
		var kept int
		const count = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%SearchEmails%'"
		if err := conn.QueryRow(t.Context(), count, pgx.QueryExecModeSimpleProtocol).Scan(&kept); err != nil || kept != want {
			t.Errorf("%d are kept, want %d: %v", kept, want, err)
		}
	}
}

// testQueriesUseIndexes: with tens of thousands of messages of forty users, no query of a user's mail reads the whole table.
func testQueriesUseIndexes(t *testing.T, w *world) {
	user := w.user(t)
	_, err := w.pool.Exec(t.Context(), `
		INSERT INTO users (email, password_hash, created_at) SELECT 'u' || n || '@example.org', '', now() FROM generate_series(1, 39) n;
		INSERT INTO emails (id, user_id, fingerprint, received_at, size, category, score, reason, classifier, snippet, body, search, created_at)
		SELECT gen_random_uuid(), u.id, decode(md5(u.id || ' ' || n) || md5(n || ''), 'hex'), now() - n * interval '1 minute', 1000,
			(ARRAY['application', 'interview', 'offer', 'rejection', 'newsletter', 'other'])[1 + n % 6], 0.5, '', 1, '', '',
			(substr(md5(u.id || ' ' || n % 500), 1, 13) || ':1')::tsvector, now()
		FROM users u, generate_series(1, 1000) n;
		INSERT INTO embeddings (item_id, model, user_id, kind, vector, created_at) SELECT id, 'hash-256-v1', user_id, 'email', '{1,0}', now() FROM emails;`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.pool.Exec(t.Context(), "ANALYZE"); err != nil {
		t.Fatal(err)
	}
	for name, query := range map[string]struct {
		sql   string
		index string
	}{
		"list":        {"SELECT id FROM emails WHERE user_id = '%s' AND received_at >= '0001-01-01' AND (received_at, id) < ('9999-01-01', '00000000-0000-0000-0000-000000000000') ORDER BY received_at DESC, id DESC LIMIT 51", "emails_received_idx"},
		"category":    {"SELECT id FROM emails WHERE user_id = '%s' AND category = 'offer' AND received_at >= '0001-01-01' AND (received_at, id) < ('9999-01-01', '00000000-0000-0000-0000-000000000000') ORDER BY received_at DESC, id DESC LIMIT 51", "emails_category_idx"},
		"search":      {"SELECT id FROM emails WHERE user_id = '%s' AND search @@ 'abcdefabcdefa & !ffffffffffff0'::tsquery AND received_at >= '0001-01-01' ORDER BY received_at DESC, id DESC LIMIT 51", "emails_search_idx"},
		"fingerprint": {"SELECT id FROM emails WHERE user_id = '%s' AND fingerprint = ANY (ARRAY[decode(repeat('00', 32), 'hex')])", "emails_user_id_fingerprint_key"},
		"outdated":    {"SELECT id FROM emails WHERE '%s' <> '' AND classifier > 0 AND classifier < 1 ORDER BY classifier, id LIMIT 100 FOR UPDATE SKIP LOCKED", "emails_classifier_idx"},
		"vectors":     {"SELECT m.item_id, m.vector FROM (SELECT id FROM emails WHERE user_id = '%[1]s' ORDER BY received_at DESC, id DESC LIMIT 20000) e JOIN embeddings m ON m.item_id = e.id AND m.model = 'hash-256-v1' WHERE m.user_id = '%[1]s' AND m.kind = 'email' AND cardinality(m.vector) = 2", "emails_"},
	} {
		var plan []byte
		if err := w.pool.QueryRow(t.Context(), "EXPLAIN (FORMAT JSON) "+fmt.Sprintf(query.sql, user)).Scan(&plan); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(plan), query.index) || strings.Contains(string(plan), `"Seq Scan"`) {
			t.Errorf("%s: %s", name, plan)
		}
	}
	if _, _, err := w.service.Search(context.Background(), user, "word", mail.Filter{}, page(10)); err != nil {
		t.Error(err)
	}
}
