package server_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	osexec "os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"

	"github.com/smart-assistant/platform/cli/postgres"
	"github.com/smart-assistant/platform/service/account"
	"github.com/smart-assistant/platform/service/server"
)

// secrets are what must be nowhere in clear, by what they are.
type secrets map[string]string

// seeded are those that are known before anything happens.
var seeded = secrets{
	"password": "a first pass phrase", "wrong password": "a pass phrase that is wrong", "new password": "a second pass phrase",
	"mail": "xylophonically", "mail's file": "zymurgistically", "file's name": "quadrilaterally",
	"notes": "vibraphonically", "note": "counterclockwisely", "said to the assistant": "hydroponically", "idempotent body": "kaleidoscopically",
	"IMAP password": "imap-password-oranges", "Gmail's access token": "gmail-access-token-pears", "Gmail's refresh token": "gmail-refresh-token-plums",
	"code of the consent": "consent-code-quinces", "Gmail's client secret": "client-secret-medlars",
	"chat key": "connection-key-0123456789-apricots", "chat user key": "user-token-key-0123456789-damsons",
}

// testSecretsStaySecret: after a life with all that a user does, on two replicas, neither a dump of the database nor a log has a secret.
func testSecretsStaySecret(t *testing.T, w *world) {
	google := consent(t)
	box := &postbox{}
	config := func(c *server.Config) {
		allowLoopback(c)
		c.Mailer, c.PublicURL = box, "https://api.example.org"
		c.ChatKey, c.ChatUserKey = seeded["chat key"], seeded["chat user key"]
		c.GmailURL = google.URL
		c.Gmail = &oauth2.Config{ClientID: "assistd", ClientSecret: seeded["Gmail's client secret"], Endpoint: oauth2.Endpoint{
			AuthURL: google.URL + "/authorize", TokenURL: google.URL + "/token", AuthStyle: oauth2.AuthStyleInParams,
		}}
	}
	one, two := w.start(t, config), w.start(t, config)
	key, err := w.key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	all := maps.Clone(seeded)
	all["master key"], all["signing key"] = strings.Repeat("\x07", 32), string(key)

	token := signUp(t, one, two, box, all)
	keepThings(t, one, two, token, all)
	converse(t, one, two, token, all)
	connectGmail(t, one, two, token, all)
	db := connect(t, w.url)
	eventually(t, "background work is done", func() (done bool) {
		w.one(t, db, &done, "SELECT NOT EXISTS (SELECT FROM river_job WHERE finalized_at IS NULL AND state IN ('available', 'running'))")
		return done
	})
	for where, text := range map[string]string{"the dump": w.dump(t), "a replica's log": w.log.String(), "PostgreSQL's log": w.databaseLog(t)} {
		for _, name := range all.in(text) {
			t.Errorf("%s has the %s", where, name)
		}
	}

	exec(t, db, "UPDATE profiles SET about = $1", "it is "+all["mail"])
	exec(t, db, "UPDATE applications SET notes = $1", []byte(all["notes"]))
	exec(t, db, "UPDATE sessions SET user_agent = $1", base64.StdEncoding.EncodeToString([]byte("x"+all["password"]+"y")))
	if found := all.in(w.dump(t)); !slices.Equal(found, []string{"mail", "notes", "password"}) {
		t.Errorf("planted secrets: only %q are found", found)
	}
}

// signUp registers, proves the address, logs in wrongly and rightly, refreshes and resets the password.
func signUp(t *testing.T, one, two *replica, box *postbox, all secrets) (token string) {
	t.Helper()
	const ada = "ada@example.org"
	one.want(t, 201, "POST", "/api/v1/auth/register", "", object{"email": ada, "password": all["password"]})
	all["verification"] = box.next(t, ada, 0)
	one.want(t, 422, "POST", "/api/v1/auth/verify", "", object{"token": all["wrong password"]})
	two.want(t, 204, "POST", "/api/v1/auth/verify", "", object{"token": all["verification"]})
	one.want(t, 401, "POST", "/api/v1/auth/login", "", object{"email": ada, "password": all["wrong password"]})
	one.want(t, 422, "POST", "/api/v1/auth/login", "", object{"email": ada, "passwort": all["password"]})
	var first, second, third account.Tokens
	one.want(t, 200, "POST", "/api/v1/auth/login", "", object{"email": ada, "password": all["password"]}).decode(t, &first)
	two.want(t, 200, "POST", "/api/v1/auth/refresh", "", object{"refresh_token": first.RefreshToken}).decode(t, &second)
	one.want(t, 202, "POST", "/api/v1/auth/password/forgot", "", object{"email": ada})
	all["reset"] = box.next(t, ada, 1)
	two.want(t, 204, "POST", "/api/v1/auth/password/reset", "", object{"token": all["reset"], "password": all["new password"]})
	two.want(t, 401, "POST", "/api/v1/auth/refresh", "", object{"refresh_token": second.RefreshToken})
	two.want(t, 200, "POST", "/api/v1/auth/login", "", object{"email": ada, "password": all["new password"]}).decode(t, &third)
	for i, tokens := range []account.Tokens{first, second, third} {
		all[fmt.Sprintf("access token %d", i)], all[fmt.Sprintf("refresh token %d", i)] = tokens.AccessToken, tokens.RefreshToken
	}
	return third.AccessToken
}

// keepThings imports and searches mail, keeps applications and notes, and has a briefing written.
func keepThings(t *testing.T, one, two *replica, token string, all secrets) {
	t.Helper()
	mail := letter("Recruiting <jobs@acme.example>", "Invitation to an interview", "We would like to invite you to an interview, "+all["mail"]+", on Monday at ten.")
	mail = strings.Replace(mail, "notes of Invitation to an interview.txt", all["file's name"]+".txt", 1)
	mail = strings.Replace(mail, "The file says: ", "The file says: "+all["mail's file"], 1)
	one.want(t, 200, "POST", "/api/v1/mail-imports", token, mail)
	if found := two.want(t, 200, "GET", "/api/v1/emails/search?q="+all["mail"], token, nil); !strings.Contains(found.text, "Invitation") {
		t.Errorf("the mail is not found: %s", found.text)
	}
	two.want(t, 200, "GET", "/api/v1/emails/similar?text="+all["mail"], token, nil)
	var application struct{ ID string }
	for _, r := range []*replica{one, two} { // the second is answered from what was kept of the first
		a, err := try(t.Context(), "POST", r.url+"/api/v1/applications", token, object{"company": "Acme", "notes": all["idempotent body"]},
			func(r *http.Request) { r.Header.Set("Idempotency-Key", "one") })
		if err != nil || a.StatusCode != http.StatusCreated {
			t.Fatalf("%v %v", a.Response, err)
		}
		a.decode(t, &application)
	}
	one.want(t, 200, "PATCH", "/api/v1/applications/"+application.ID, token, object{"notes": all["notes"], "note": all["note"]})
	two.want(t, 422, "PATCH", "/api/v1/applications/"+application.ID, token, object{"notes": []string{all["notes"]}})
	two.want(t, 201, "POST", "/api/v1/applications/"+application.ID+"/notes", token, object{"note": all["note"]})
	if b := one.want(t, 201, "POST", "/api/v1/briefings", token, nil); !strings.Contains(b.text, "nterview") {
		t.Errorf("the briefing says nothing of the mail: %s", b.text)
	}
	one.want(t, 200, "GET", "/api/v1/me/export", token, nil)

	imap := httptest.NewTLSServer(http.NotFoundHandler()) // of an authority that nobody knows
	defer imap.Close()
	port := json.Number(imap.URL[strings.LastIndexByte(imap.URL, ':')+1:])
	one.want(t, 422, "POST", "/api/v1/connections/imap", token, object{
		"host": "127.0.0.1", "port": port, "security": "tls", "username": "ada", "password": all["IMAP password"],
	})
}

// converse talks to the assistant, as a user and as Open WebUI does for one.
func converse(t *testing.T, one, two *replica, token string, all secrets) {
	t.Helper()
	said := object{"model": "smart-assistant", "messages": []object{{"role": "user", "content": "Search my mail for " + all["said to the assistant"]}}}
	one.want(t, 200, "POST", "/v1/chat/completions", token, said)
	now := time.Now()
	user, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": "7", "email": "ada@example.org", "iss": "open-webui", "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	}).SignedString([]byte(all["chat user key"]))
	if err != nil {
		t.Fatal(err)
	}
	all["user token"] = user
	for _, header := range []string{user, user + "x"} {
		a, err := try(t.Context(), "POST", two.url+"/v1/chat/completions", all["chat key"], said, func(r *http.Request) { r.Header.Set("X-OpenWebUI-User-Jwt", header) })
		if good := header == user; err != nil || (a.StatusCode == http.StatusOK) != good {
			t.Errorf("Open WebUI (a good token: %v) gets %v %v %s", good, a.Response, err, a.text)
		}
	}
	two.want(t, 200, "POST", "/tools/search_emails", token, object{"query": all["mail"]})
	two.want(t, 422, "POST", "/tools/search_emails", token, object{"query": []string{all["mail"]}})
}

// consent is Google, as far as it gives tokens and says whose mailbox it is.
func consent(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/authorize":
			query := url.Values{"code": {seeded["code of the consent"]}, "state": {r.FormValue("state")}}
			http.Redirect(w, r, r.FormValue("redirect_uri")+"?"+query.Encode(), http.StatusSeeOther)
		case "/token":
			fmt.Fprintf(w, `{"access_token": %q, "refresh_token": %q, "token_type": "Bearer", "expires_in": 3600, "scope": "https://www.googleapis.com/auth/gmail.readonly"}`,
				seeded["Gmail's access token"], seeded["Gmail's refresh token"])
		case "/gmail/v1/users/me/profile":
			fmt.Fprint(w, `{"emailAddress": "ada@gmail.example", "historyId": "1"}`)
		default:
			fmt.Fprint(w, `{}`)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// connectGmail goes to the consent on one replica and comes back to the other.
func connectGmail(t *testing.T, one, two *replica, token string, all secrets) {
	t.Helper()
	var begun struct{ URL string }
	begin := one.want(t, 200, "POST", "/api/v1/connections/gmail", token, object{})
	begin.decode(t, &begun)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, begun.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	sent, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	sent.Body.Close()
	back, err := sent.Location()
	if err != nil {
		t.Fatal(err)
	}
	cookie := begin.Cookies()[0]
	all["state of the consent"], all["browser's cookie"] = back.Query().Get("state"), cookie.Value
	a, err := try(t.Context(), "GET", two.url+back.RequestURI(), "", nil, func(r *http.Request) { r.AddCookie(cookie) })
	if err != nil || a.StatusCode != http.StatusOK || !strings.Contains(a.text, "ada@gmail.example") {
		t.Fatalf("%v %v %s", a.Response, err, a.text)
	}
}

// dump is all of the database, as pg_dump writes it.
func (w *world) dump(t *testing.T) string {
	t.Helper()
	binaries, err := postgres.Find("")
	if err != nil {
		t.Fatal(err)
	}
	out, err := osexec.CommandContext(t.Context(), binaries.Path("pg_dump"), "--dbname="+w.url).Output() //nolint:gosec // PostgreSQL's own program
	if err != nil || !strings.Contains(string(out), "ada@example.org") {
		t.Fatalf("pg_dump: %v, %d bytes", err, len(out))
	}
	return string(out)
}

func (w *world) databaseLog(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(w.postgres.Log)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// in names the secrets that a text has, in whatever form.
func (s secrets) in(text string) (found []string) {
	for _, name := range slices.Sorted(maps.Keys(s)) {
		if s[name] == "" || slices.ContainsFunc(forms(s[name]), func(form string) bool { return strings.Contains(text, form) }) {
			found = append(found, name)
		}
	}
	return found
}

// forms are ways to write a secret: itself, percent-encoded, in hexadecimal, and in base64 wherever it stands in what is encoded.
func forms(secret string) []string {
	code := hex.EncodeToString([]byte(secret))
	all := []string{secret, url.QueryEscape(secret), url.PathEscape(secret), code, strings.ToUpper(code)}
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 {
			text := encoding.EncodeToString(append(make([]byte, before), secret...))
			all = append(all, text[(before*8+5)/6:(before+len(secret))*8/6]) // the characters that hold bits of nothing else
		}
	}
	return all
}
