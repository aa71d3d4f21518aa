package server_test

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/smart-assistant/platform/service/account"
	"github.com/smart-assistant/platform/service/server"
)

// postbox keeps the mails that are sent.
type postbox struct {
	mu    sync.Mutex
	mails []string // the recipient, the subject and the text, a line each
}

func (p *postbox) Send(_ context.Context, to, subject, text string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mails = append(p.mails, to+"\n"+subject+"\n"+text)
	return nil
}

// to returns the mails to an address so far.
func (p *postbox) to(address string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.mails), func(mail string) bool { return !strings.HasPrefix(mail, address+"\n") })
}

// next waits for the mail after n others to an address and returns the token in it.
func (p *postbox) next(t *testing.T, address string, n int) (token string) {
	t.Helper()
	eventually(t, "a mail comes", func() bool { return len(p.to(address)) > n })
	found := regexp.MustCompile(`https://api\.example\.org/account/(?:verify|reset)#token=(\S+)`).FindStringSubmatch(p.to(address)[n])
	if found == nil {
		return ""
	}
	return found[1]
}

func (w *world) startWithMail(t *testing.T, change ...func(*server.Config)) (*replica, *postbox) {
	t.Helper()
	box := &postbox{}
	return w.start(t, append(change, func(c *server.Config) { c.Mailer, c.PublicURL = box, "https://api.example.org" })...), box
}

// testMailProvesAddresses: registration, verification and a reset, each by the token of a mail that is good once.
func testMailProvesAddresses(t *testing.T, w *world) {
	r, box := w.startWithMail(t)
	ada := object{"email": "ada@example.org", "password": password}
	free := r.want(t, 201, "POST", "/api/v1/auth/register", "", ada)
	token := box.next(t, "ada@example.org", 0)
	r.want(t, 401, "POST", "/api/v1/auth/login", "", ada) // not proved yet
	r.want(t, 422, "POST", "/api/v1/auth/verify", "", object{"token": token + "x"})
	r.want(t, 422, "POST", "/api/v1/auth/password/reset", "", object{"token": token, "password": "four other words here"}) // of another purpose
	r.want(t, 204, "POST", "/api/v1/auth/verify", "", object{"token": token})
	r.want(t, 422, "POST", "/api/v1/auth/verify", "", object{"token": token})
	session := r.login(t, "ada@example.org")

	taken := r.want(t, 201, "POST", "/api/v1/auth/register", "", ada)
	if taken.text != free.text {
		t.Errorf("a taken address: %s, a free one: %s", taken.text, free.text)
	}
	if box.next(t, "ada@example.org", 1) != "" || !strings.Contains(box.to("ada@example.org")[1], "already have an account") {
		t.Errorf("the owner of a taken address gets %q", box.to("ada@example.org")[1])
	}

	r.want(t, 202, "POST", "/api/v1/auth/password/forgot", "", object{"email": "ADA@example.org"})
	reset := box.next(t, "ada@example.org", 2)
	r.want(t, 422, "POST", "/api/v1/auth/password/reset", "", object{"token": reset, "password": "iloveyou"})
	w.pass(59 * time.Minute)
	r.want(t, 204, "POST", "/api/v1/auth/password/reset", "", object{"token": reset, "password": "four other words here"})
	if box.next(t, "ada@example.org", 3) != "" || !strings.Contains(box.to("ada@example.org")[3], "password was changed") {
		t.Errorf("after a new password its owner gets %q", box.to("ada@example.org")[3])
	}
	r.want(t, 422, "POST", "/api/v1/auth/password/reset", "", object{"token": reset, "password": "four other words again"})
	r.want(t, 401, "POST", "/api/v1/auth/refresh", "", object{"refresh_token": session.RefreshToken})
	r.want(t, 401, "POST", "/api/v1/auth/login", "", ada)
	r.want(t, 200, "POST", "/api/v1/auth/login", "", object{"email": "ada@example.org", "password": "four other words here"})

	r.want(t, 202, "POST", "/api/v1/auth/password/forgot", "", object{"email": "ada@example.org"})
	late := box.next(t, "ada@example.org", 4)
	w.pass(61 * time.Minute)
	r.want(t, 422, "POST", "/api/v1/auth/password/reset", "", object{"token": late, "password": "four late words here"})
	for _, secret := range []string{token, reset, late} {
		if strings.Contains(w.log.String(), secret) {
			t.Error("the log holds a token")
		}
	}
	for _, page := range []string{"verify", "reset", "page.js"} {
		r.want(t, 200, "GET", "/account/"+page, "", nil)
	}
}

// testRegisteredBeforeMe: whoever registers somebody else's address first gets nothing confirmed by its owner, whichever of the mails the
// owner follows and whatever mail the other one asks for in between.
func testRegisteredBeforeMe(t *testing.T, w *world) {
	r, box := w.startWithMail(t)
	const address = "victim@example.org"
	first := r.want(t, 201, "POST", "/api/v1/auth/register", "", object{"email": address, "password": "a password of a stranger", "display_name": "Stranger"})
	old := box.next(t, address, 0)
	second := r.want(t, 201, "POST", "/api/v1/auth/register", "", object{"email": address, "password": password, "display_name": "Victim"})
	if first.text != second.text {
		t.Errorf("first %s, then %s", first.text, second.text)
	}
	mine := box.next(t, address, 1)
	r.want(t, 202, "POST", "/api/v1/auth/verification", "", object{"email": address})
	again := box.next(t, address, 2)
	for name, token := range map[string]string{"before": old, "mine": mine, "asked by a stranger": again} {
		if token == "" {
			t.Errorf("%s: no token in the mail", name)
		}
		r.want(t, 422, "POST", "/api/v1/auth/verify", "", object{"token": token})
	}
	for _, password := range []string{"a password of a stranger", password} {
		r.want(t, 401, "POST", "/api/v1/auth/login", "", object{"email": address, "password": password})
	}
	r.want(t, 204, "POST", "/api/v1/auth/password/reset", "", object{"token": mine, "password": password})
	r.want(t, 422, "POST", "/api/v1/auth/password/reset", "", object{"token": again, "password": password})
	r.want(t, 401, "POST", "/api/v1/auth/login", "", object{"email": address, "password": "a password of a stranger"})
	if me := r.want(t, 200, "GET", "/api/v1/me", r.login(t, address).AccessToken, nil); !strings.Contains(me.text, `"Victim"`) {
		t.Errorf("the stranger's name stays: %s", me.text)
	}
}

// testFirstProof: who proves an address for the first time is alone in the account. What a stranger made there before lets nobody in and
// fetches nothing; only the identity whose provider proved the same address stays.
func testFirstProof(t *testing.T, w *world) {
	db := connect(t, w.url)
	before := map[string]account.Tokens{}
	silent := w.start(t) // the service sends no mail at first
	for _, name := range []string{"verify", "reset"} {
		before[name] = silent.user(t, name+"@example.org")
	}
	if err := silent.stop(); err != nil {
		t.Fatal(err)
	}
	r, box := w.startWithMail(t)
	for name, prove := range map[string]func(address string){
		"verify": func(address string) {
			r.want(t, 202, "POST", "/api/v1/auth/verification", "", object{"email": address})
			r.want(t, 204, "POST", "/api/v1/auth/verify", "", object{"token": box.next(t, address, 0)})
		},
		"reset": func(address string) {
			r.want(t, 202, "POST", "/api/v1/auth/password/forgot", "", object{"email": address})
			r.want(t, 204, "POST", "/api/v1/auth/password/reset", "", object{"token": box.next(t, address, 0), "password": password})
		},
	} {
		address := name + "@example.org"
		id := r.id(t, before[name])
		exec(t, db, `INSERT INTO identities (id, issuer, subject, user_id, email, email_verified, created_at)
			SELECT gen_random_uuid(), 'https://idp.example', $2 || subject, $1, email, proved, now()
			FROM (VALUES ('stranger', 'eve@example.org', true), ('claims', $2 || '@example.org', false), ('owner', upper($2) || '@example.org', true)) AS i (subject, email, proved)`, id, name)
		exec(t, db, `INSERT INTO oauth_flows (state_hash, browser_hash, provider, purpose, user_id, secrets, created_at, expires_at)
			VALUES (sha256($2::text::bytea), sha256(''), 'idp', 'link', $1, '', now(), now() + interval '10 minutes')`, id, name)
		exec(t, db, `INSERT INTO connections (id, user_id, kind, account, next_sync_at, created_at, updated_at)
			VALUES (gen_random_uuid(), $1, 'imap', 'eve@imap.example.org:993', now() + interval '1 day', now(), now())`, id)
		prove(address)
		r.want(t, 401, "GET", "/api/v1/me", before[name].AccessToken, nil)
		r.want(t, 401, "POST", "/api/v1/auth/refresh", "", object{"refresh_token": before[name].RefreshToken})
		var identities, state string
		var flows int
		if err := db.QueryRow(t.Context(), `SELECT (SELECT string_agg(subject, ',') FROM identities WHERE user_id = u.id), c.state,
			(SELECT count(*) FROM oauth_flows WHERE user_id = u.id) FROM users u JOIN connections c ON c.user_id = u.id WHERE u.id = $1`, id).
			Scan(&identities, &state, &flows); err != nil || identities != name+"owner" || state != "paused" || flows != 0 {
			t.Errorf("%s: identities %s, connection %s, %d flows (%v)", name, identities, state, flows, err)
		}
		r.login(t, address)
	}
}

func testNoMail(t *testing.T, w *world) {
	r := w.start(t)
	for _, path := range []string{"password/forgot", "verification"} {
		if a := r.want(t, 409, "POST", "/api/v1/auth/"+path, "", object{"email": "a@example.org"}); !strings.Contains(a.text, "sends no mail") {
			t.Errorf("%s: %s", path, a.text)
		}
	}
}

// testEnumeration: neither the answers nor their times tell whether an address has an account. The times are compared by statistics, taken
// in turn so that whatever else the machine does meets both alike.
func testEnumeration(t *testing.T, w *world) {
	r, _ := w.startWithMail(t, func(c *server.Config) { c.BcryptCost = 8 }) // a hash takes some 20 ms: what is compared stands out
	const rounds = 60
	r.want(t, 201, "POST", "/api/v1/auth/register", "", object{"email": "known@example.org", "password": password})
	exec(t, connect(t, w.url), `INSERT INTO users (email, password_hash, created_at, verified_at)
		SELECT format('%s%s@example.org', path, i), password_hash, created_at, now()
		FROM users, unnest(ARRAY['login', 'register', 'password/forgot', 'verification']) AS path, generate_series(0, $1 - 1) AS i`, rounds)
	for _, test := range []struct {
		path   string
		fields object
		status int
	}{
		{"login", object{"password": "wrong password"}, 401},
		{"register", object{"password": password}, 201},
		{"password/forgot", object{}, 202},
		{"verification", object{}, 202},
	} {
		ask := func(email string) (time.Duration, string) {
			body := object{"email": email}
			maps.Copy(body, test.fields)
			began := time.Now()
			a := r.want(t, test.status, "POST", "/api/v1/auth/"+test.path, "", body)
			took := time.Since(began)
			a.Header.Del("Date")
			a.Header.Del("X-Request-Id")
			a.Header.Del("Content-Length") // of register, whose answer repeats the address
			return took, strings.ReplaceAll(a.text, email, "…") + fmt.Sprint(a.Header)
		}
		var times [2][]time.Duration
		var texts [2]string
		for i := range rounds {
			known, unknown := fmt.Sprintf("%s%d@example.org", test.path, i), fmt.Sprintf("no%s%d@example.org", test.path, i)
			for which, email := range []string{known, unknown} { // each asked once: the second wrong password, or the sixth, is no longer the first
				took, text := ask(email)
				times[which] = append(times[which], took)
				if texts[which] = text; texts[0] != texts[which] {
					t.Errorf("%s: %s answers %s, the known one %s", test.path, email, text, texts[0])
				}
			}
		}
		if share := slowerShare(times[0], times[1]); share < 0.15 || share > 0.85 {
			t.Errorf("%s: a known address takes longer than an unknown one in %.0f %% of all pairs", test.path, 100*share)
		}
		slices.Sort(times[0])
		slices.Sort(times[1])
		a, b := times[0][rounds/2], times[1][rounds/2]
		if ratio := float64(a) / float64(b); ratio < 0.5 || ratio > 2 {
			t.Errorf("%s: median %s for a known address, %s for an unknown one", test.path, a, b)
		}
		t.Logf("%s: median %s for a known address, %s for an unknown one", test.path, a, b)
	}
}

// slowerShare is the Mann-Whitney U of two samples by the number of their pairs: how often one of a is greater than one of b, a half where
// they tell nothing of each other. It looks at ranks only, so that a few requests that a busy machine held up count little. For two times
// 60 from one distribution its deviation is 0.053: the bounds of 0.15 and 0.85 are more than six of them away.
func slowerShare(a, b []time.Duration) float64 {
	u := 0.0
	for _, x := range a {
		for _, y := range b {
			switch {
			case x > y:
				u++
			case x == y:
				u += 0.5
			}
		}
	}
	return u / float64(len(a)*len(b))
}
