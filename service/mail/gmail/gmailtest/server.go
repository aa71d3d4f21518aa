// Package gmailtest is a stand-in for Gmail's API and Google's tokens, for tests: with history that ends, refresh tokens that rotate,
// and faults.
package gmailtest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"
)

// Address is whose mailbox it is.
const Address = "ada@gmail.example"

// Server holds one mailbox. Its fields are set before the first request, its methods are safe at any time.
type Server struct {
	URL      string
	PageSize int  // of lists; default 500
	Padded   bool // whether raw messages come with padding
	// Fault, when it returns true, has answered a request instead of the server. It must not call the server's methods.
	Fault func(w http.ResponseWriter, r *http.Request) bool
	// Before, where it is set, is called before a request is looked at. It may call the server's methods.
	Before func(r *http.Request)

	mu       sync.Mutex
	history  uint64
	oldest   uint64
	messages []message
	records  []record
	access   map[string]bool
	refresh  string
	issued   int
	revoked  []string
	asked    map[string]int
}

type message struct {
	id     string
	raw    []byte
	labels []string
	gone   bool
}

// record is one of the history: a message that came, or lost labels.
type record struct {
	at      uint64
	message int // its index
	removed []string
}

// Start starts a server that ends with the test.
func Start(t testing.TB) *Server {
	s := &Server{PageSize: 500, history: 1000, access: map[string]bool{}, asked: map[string]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /gmail/v1/users/me/profile", s.known(s.profile))
	mux.HandleFunc("GET /gmail/v1/users/me/messages", s.known(s.list))
	mux.HandleFunc("GET /gmail/v1/users/me/messages/{id}", s.known(s.get))
	mux.HandleFunc("GET /gmail/v1/users/me/history", s.known(s.changes))
	mux.HandleFunc("POST /token", s.token)
	mux.HandleFunc("POST /revoke", s.revoke)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.Before != nil {
			s.Before(r)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked[r.URL.Path]++
		if s.Fault == nil || !s.Fault(w, r) {
			mux.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// Config is a client's configuration for the server's tokens.
func (s *Server) Config() *oauth2.Config {
	return &oauth2.Config{ClientID: "client", ClientSecret: "client-secret", Endpoint: oauth2.Endpoint{TokenURL: s.URL + "/token", AuthStyle: oauth2.AuthStyleInParams}}
}

// Consent is what a user's consent brings. Tokens of an earlier one are not valid any more.
func (s *Server) Consent() *oauth2.Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.grant()
}

func (s *Server) grant() *oauth2.Token {
	s.issued++
	access := fmt.Sprintf("access-token-%d", s.issued)
	s.access = map[string]bool{access: true}
	s.refresh = fmt.Sprintf("refresh-token-%d", s.issued)
	return &oauth2.Token{AccessToken: access, RefreshToken: s.refresh, TokenType: "Bearer", Expiry: time.Now().Add(time.Hour)}
}

// Expire ends all access tokens.
func (s *Server) Expire() { s.locked(func() { s.access = map[string]bool{} }) }

// Withdraw ends all tokens, as the user does in Google's settings.
func (s *Server) Withdraw() {
	s.locked(func() { s.access, s.refresh = map[string]bool{}, "withdrawn" })
}

// Forget forgets the history until now.
func (s *Server) Forget() { s.locked(func() { s.history += 10; s.oldest = s.history }) }

// Remove removes a message for good.
func (s *Server) Remove(id string) {
	s.locked(func() {
		for i := range s.messages {
			s.messages[i].gone = s.messages[i].gone || s.messages[i].id == id
		}
	})
}

// Deliver puts a message into the mailbox.
func (s *Server) Deliver(raw []byte, labels ...string) (id string) {
	s.locked(func() {
		s.history += 7
		id = fmt.Sprintf("%016x", 0x18c0000000000000+s.history)
		s.records = append(s.records, record{at: s.history, message: len(s.messages)})
		s.messages = append(s.messages, message{id: id, raw: raw, labels: labels})
	})
	return id
}

// Move gives a message other labels.
func (s *Server) Move(id string, labels ...string) {
	s.locked(func() {
		i := slices.IndexFunc(s.messages, func(m message) bool { return m.id == id })
		removed := slices.DeleteFunc(slices.Clone(s.messages[i].labels), func(label string) bool { return slices.Contains(labels, label) })
		s.history += 7
		s.records = append(s.records, record{s.history, i, removed})
		s.messages[i].labels = labels
	})
}

// Asked counts the requests to a path.
func (s *Server) Asked(path string) (n int) {
	s.locked(func() { n = s.asked[path] })
	return n
}

// Fetched counts the requests for whole messages.
func (s *Server) Fetched() (n int) {
	s.locked(func() {
		for path, times := range s.asked {
			if strings.HasPrefix(path, "/gmail/v1/users/me/messages/") {
				n += times
			}
		}
	})
	return n
}

// Revoked lists the tokens that were revoked.
func (s *Server) Revoked() (tokens []string) {
	s.locked(func() { tokens = slices.Clone(s.revoked) })
	return tokens
}

// SetFault replaces Fault while requests come.
func (s *Server) SetFault(fault func(w http.ResponseWriter, r *http.Request) bool) {
	s.locked(func() { s.Fault = fault })
}

func (s *Server) locked(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// known lets in requests with a valid access token.
func (s *Server) known(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.access[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")] {
			Fail(w, http.StatusUnauthorized, "authError")
			return
		}
		next(w, r)
	}
}

// Fail answers as Google's APIs do.
func Fail(w http.ResponseWriter, status int, reason string) {
	answer(w, status, map[string]any{"error": map[string]any{"code": status, "message": reason, "errors": []any{map[string]any{"reason": reason}}}})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func (s *Server) profile(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]any{"emailAddress": Address, "historyId": strconv.FormatUint(s.history, 10)})
}

// list pages backwards through the messages. A page token is the number of messages that are left.
func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	left := len(s.messages)
	if token := r.FormValue("pageToken"); token != "" {
		left, _ = strconv.Atoi(token)
	}
	body := map[string]any{}
	var page []any
	for ; left > 0 && len(page) < s.PageSize; left-- {
		if m := s.messages[left-1]; !m.gone && !slices.Contains(m.labels, "SPAM") && !slices.Contains(m.labels, "TRASH") {
			page = append(page, map[string]any{"id": m.id, "threadId": m.id})
		}
	}
	if body["messages"] = page; left > 0 {
		body["nextPageToken"] = strconv.Itoa(left)
	}
	answer(w, http.StatusOK, body)
}

func (s *Server) get(w http.ResponseWriter, r *http.Request) {
	for _, m := range s.messages {
		if m.id == r.PathValue("id") && !m.gone {
			encoding := base64.RawURLEncoding
			if s.Padded {
				encoding = base64.URLEncoding
			}
			answer(w, http.StatusOK, map[string]any{"id": m.id, "labelIds": m.labels, "raw": encoding.EncodeToString(m.raw)})
			return
		}
	}
	Fail(w, http.StatusNotFound, "notFound")
}

// changes pages forwards through what came after a history id and until the first page was asked for. A page token has the last record
// before it and that end.
func (s *Server) changes(w http.ResponseWriter, r *http.Request) {
	start, err := strconv.ParseUint(r.FormValue("startHistoryId"), 10, 64)
	if err != nil || start < s.oldest {
		Fail(w, http.StatusNotFound, "notFound")
		return
	}
	end := s.history
	if token := r.FormValue("pageToken"); token != "" {
		_, _ = fmt.Sscanf(token, "%d-%d", &start, &end)
	}
	body := map[string]any{"historyId": strconv.FormatUint(s.history, 10)}
	var page []any
	for _, one := range s.records {
		kind, entry := "messageAdded", "messagesAdded"
		if one.removed != nil {
			kind, entry = "labelRemoved", "labelsRemoved"
		}
		if one.at <= start || one.at > end || !slices.Contains(r.Form["historyTypes"], kind) {
			continue
		}
		if len(page) == s.PageSize {
			body["nextPageToken"] = fmt.Sprintf("%d-%d", start, end)
			break
		}
		start = one.at
		m := s.messages[one.message]
		what := map[string]any{"message": map[string]any{"id": m.id, "threadId": m.id, "labelIds": m.labels}}
		if one.removed != nil {
			what["labelIds"] = one.removed
		}
		page = append(page, map[string]any{"id": strconv.FormatUint(one.at, 10), "messages": []any{map[string]any{"id": m.id}}, entry: []any{what}})
	}
	if len(page) > 0 {
		body["history"] = page
	}
	answer(w, http.StatusOK, body)
}

// token refreshes: the refresh token is replaced as well.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	if r.FormValue("grant_type") != "refresh_token" || r.FormValue("refresh_token") != s.refresh || r.FormValue("client_secret") != "client-secret" {
		answer(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant", "error_description": "Token has been expired or revoked."})
		return
	}
	granted := s.grant()
	answer(w, http.StatusOK, map[string]any{
		"access_token": granted.AccessToken, "refresh_token": granted.RefreshToken, "token_type": "Bearer", "expires_in": 3600,
	})
}

func (s *Server) revoke(w http.ResponseWriter, r *http.Request) {
	if token := r.PostFormValue("token"); token != s.refresh && !s.access[token] {
		answer(w, http.StatusBadRequest, map[string]any{"error": "invalid_token"})
		return
	}
	s.revoked = append(s.revoked, r.PostFormValue("token"))
	s.access, s.refresh = map[string]bool{}, "revoked"
	answer(w, http.StatusOK, map[string]any{})
}

// LoseAnswer cuts the connection instead of an answer.
func LoseAnswer(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}
