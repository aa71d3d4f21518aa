package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/smart-assistant/platform/service/encryption"
)

// Who is measured.
const (
	email    = "bench@example.org"
	password = "a long enough passphrase"
	pageSize = 50
	topics   = 1000
	topic    = "topic123" // is in one subject of a thousand, as the others are
)

// assistd is one replica of the service with its user.
type assistd struct {
	*process
	keyring *encryption.Keyring
	userID  string
	token   string // of the latest log-in
	issued  time.Time
}

// startAssistd fills the database while no replica runs, so that the memory of the one which is measured holds nothing of it.
func startAssistd(ctx context.Context, dir string, db *cluster, o options) (*assistd, error) {
	environment, keyring, err := settings(dir, db, o)
	if err != nil {
		return nil, err
	}
	a := &assistd{keyring: keyring}
	if err := a.serve(ctx, dir, environment); err != nil {
		return nil, err
	}
	err = a.register(ctx)
	a.stop()
	if err != nil {
		return nil, err
	}
	if err := fill(ctx, db, a, o); err != nil {
		return nil, err
	}
	return a, a.serve(ctx, dir, environment)
}

// settings writes keys and returns the environment of replicas: the defaults but for limits that a benchmark would meet.
func settings(dir string, db *cluster, o options) ([]string, *encryption.Keyring, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	var random [32]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, nil, err
	}
	master := []byte(base64.StdEncoding.EncodeToString(random[:]))
	keyring, err := encryption.Parse(master, rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	signing, sealing := filepath.Join(dir, "jwt.pem"), filepath.Join(dir, "master.key")
	if err := os.WriteFile(signing, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return nil, nil, err
	}
	if err := os.WriteFile(sealing, master, 0o600); err != nil {
		return nil, nil, err
	}
	return []string{
		"ASSISTD_DATABASE_URL=" + db.url, "ASSISTD_JWT_KEY_FILE=" + signing, "ASSISTD_MASTER_KEY_FILE=" + sealing,
		fmt.Sprintf("ASSISTD_DB_CONNECTIONS=%d", o.pool), "ASSISTD_RATE_PER_USER=1000000", "ASSISTD_DRAIN_DELAY=100ms",
	}, keyring, nil
}

func (a *assistd) serve(ctx context.Context, dir string, environment []string) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	metrics, err := freePort()
	if err != nil {
		return err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	private := fmt.Sprintf("127.0.0.1:%d", metrics)
	a.process, err = start(ctx, address, filepath.Join(dir, "assistd.log"),
		append(environment, "ASSISTD_LISTEN="+address, "ASSISTD_METRICS_LISTEN="+private), "bin/assistd", "serve")
	if err == nil {
		a.pprof = "http://" + private + "/debug/pprof/profile"
	}
	return err
}

// register makes the user and, by a search, the key of the user's index.
func (a *assistd) register(ctx context.Context) error {
	var made struct{ ID string }
	err := ask(ctx, a.address, request("POST", "/api/v1/auth/register", "", map[string]string{"email": email, "password": password}), &made)
	if err != nil {
		return fmt.Errorf("register: %w", err)
	}
	a.userID = made.ID
	_, token, err := a.login(ctx)
	if err != nil {
		return err
	}
	var found struct{ Items []any }
	return ask(ctx, a.address, request("GET", "/api/v1/emails/search?q="+topic, token, nil), &found)
}

type tokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

func loginRequest() []byte {
	return request("POST", "/api/v1/auth/login", "", map[string]string{"email": email, "password": password})
}

func (a *assistd) login(ctx context.Context) (refresh, access string, err error) {
	var t tokens
	if err := ask(ctx, a.address, loginRequest(), &t); err != nil {
		return "", "", fmt.Errorf("log in: %w", err)
	}
	return t.Refresh, t.Access, nil
}

// access is an access token that is good for a while yet: they end after some minutes.
func (a *assistd) access(ctx context.Context) (string, error) {
	if time.Since(a.issued) < time.Minute {
		return a.token, nil
	}
	_, token, err := a.login(ctx)
	a.token, a.issued = token, time.Now()
	return token, err
}

const serviceName = "service"

func (a *assistd) contenders(o options) []contender {
	get := func(path string, most int) opener {
		return repeated(a.address, holds(`"subject"`, most), func(ctx context.Context) ([]byte, error) {
			token, err := a.access(ctx)
			return request("GET", path, token, nil), err
		})
	}
	found := min(pageSize, o.mails/topics)
	return []contender{
		{"login", serviceName, a.process, repeated(a.address, holds("access_token", 1), func(context.Context) ([]byte, error) { return loginRequest(), nil })},
		{"refresh", serviceName, a.process, a.refreshes},
		{"list", serviceName, a.process, get(fmt.Sprintf("/api/v1/emails?limit=%d", pageSize), pageSize)},
		{"search", serviceName, a.process, get(fmt.Sprintf("/api/v1/emails/search?q=%s&limit=%d", topic, pageSize), found)},
		{"chat stream", serviceName, a.process, repeated(a.address, holds("[DONE]", 1), a.question)},
	}
}

// question asks the assistant, which answers without a language model: it searches, and says what it found.
func (a *assistd) question(ctx context.Context) ([]byte, error) {
	token, err := a.access(ctx)
	return request("POST", "/v1/chat/completions", token, map[string]any{
		"model": "smart-assistant", "stream": true, "messages": []map[string]string{{"role": "user", "content": "Which emails are about " + topic + "?"}},
	}), err
}

// refreshes gives each worker a session of its own, whose token each refresh replaces.
func (a *assistd) refreshes(ctx context.Context, _ int) (func() (time.Duration, error), func(), error) {
	var t tokens
	var err error
	if t.Refresh, _, err = a.login(ctx); err != nil {
		return nil, nil, err
	}
	c, err := dial(ctx, a.address)
	if err != nil {
		return nil, nil, err
	}
	return func() (time.Duration, error) {
		body, first, err := c.do(request("POST", "/api/v1/auth/refresh", "", map[string]string{"refresh_token": t.Refresh}))
		if err != nil {
			return 0, err
		}
		return first, json.Unmarshal(body, &t)
	}, c.close, nil
}

// opener prepares a worker, see contender.
type opener = func(ctx context.Context, worker int) (do func() (time.Duration, error), end func(), err error)

// holds checks an answer: it has the text so many times.
func holds(text string, times int) func([]byte) error {
	return func(body []byte) error {
		if n := bytes.Count(body, []byte(text)); n != times {
			return fmt.Errorf("the answer has %s %d times and not %d: %.300s", text, n, times, body)
		}
		return nil
	}
}

// repeated sends the same request again and again, and looks closely at the first answer.
func repeated(address string, check func(body []byte) error, write func(context.Context) ([]byte, error)) opener {
	return func(ctx context.Context, _ int) (func() (time.Duration, error), func(), error) {
		text, err := write(ctx)
		if err != nil {
			return nil, nil, err
		}
		c, err := dial(ctx, address)
		if err != nil {
			return nil, nil, err
		}
		body, _, err := c.do(text)
		if err == nil {
			err = check(body)
		}
		if err != nil {
			c.close()
			return nil, nil, err
		}
		return func() (time.Duration, error) {
			_, first, err := c.do(text)
			return first, err
		}, c.close, nil
	}
}
