// Package service_test runs the real service as it is run, several processes on one database, and takes away what it stands on: replicas,
// by signals that they expect and by one that they cannot, and the database. It owns no part of the product.
package service_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/smart-assistant/platform/test/builds"
	"github.com/smart-assistant/platform/test/database"
)

// world is a database with what its replicas have in common.
type world struct {
	binary string
	db     *pgxpool.Pool
	env    []string
	model  *model
}

// TestReplicas runs the tests below with one build of the program. The first has the machine to itself, since it counts failures under load.
func TestReplicas(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "assistd")
	if err := builds.Build(t.Context(), builds.Current, "v9.9.9", binary); err != nil {
		t.Fatal(err)
	}
	shared := database.Start(t)
	t.Run("RollingRestart", func(t *testing.T) { testRollingRestart(t, newWorld(t, binary, shared)) })
	for name, test := range map[string]func(*testing.T, *world){
		"BriefingsOnce": testBriefingsOnce,
		"Killed":        testKilled,
		"Drain":         testDrain,
		"Silence":       testSilence,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newWorld(t, binary, shared))
		})
	}
	t.Run("Outage", func(t *testing.T) {
		t.Parallel()
		own := database.Start(t) // which the test stops
		testOutage(t, newWorld(t, binary, own), own)
	})
}

func newWorld(t *testing.T, binary string, server *database.Server) *world {
	t.Helper()
	url := server.New(t)
	db, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	w := &world{binary: binary, db: db, model: startModel(t)}
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	w.env = []string{
		"ASSISTD_DATABASE_URL=" + url,
		"ASSISTD_JWT_KEY_FILE=" + file("jwt.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"ASSISTD_MASTER_KEY_FILE=" + file("master-key", []byte(base64.StdEncoding.EncodeToString(make([]byte, 32)))),
		"ASSISTD_LISTEN=127.0.0.1:0", "ASSISTD_METRICS_LISTEN=127.0.0.1:0", "ASSISTD_DB_CONNECTIONS=8",
		"ASSISTD_LLM_URL=" + w.model.url, "ASSISTD_LLM_MODEL=test", "ASSISTD_LLM_EMBEDDING_MODEL=test-vectors", "ASSISTD_LLM_TIMEOUT=2m",
		"ASSISTD_OUTBOUND_ALLOW=127.0.0.0/8", "ASSISTD_DRAIN_DELAY=2s",
	}
	return w
}

// replica is a running process.
type replica struct {
	url, metrics string
	process      *exec.Cmd
	exited       chan error
	log          *journal
}

// start runs a replica and waits until it is ready. The test's end ends it.
func (w *world) start(t *testing.T) *replica {
	t.Helper()
	r := &replica{process: exec.Command(w.binary, "serve"), exited: make(chan error, 1), log: &journal{listening: make(chan [2]string, 1)}} //nolint:noctx // it is ended below
	r.process.Env, r.process.Stderr = w.env, r.log
	r.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.process.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { r.exited <- r.process.Wait() }()
	t.Cleanup(func() {
		_ = r.process.Process.Kill()
		if t.Failed() {
			t.Logf("a replica's log ends with\n%s", r.log.end())
		}
	})
	select {
	case addresses := <-r.log.listening:
		r.url, r.metrics = "http://"+addresses[0], "http://"+addresses[1]
	case err := <-r.exited:
		t.Fatalf("the replica did not start: %v\n%s", err, r.log.end())
	case <-time.After(time.Minute):
		t.Fatalf("the replica does not listen\n%s", r.log.end())
	}
	eventually(t, time.Minute, "the replica is ready", func() bool {
		a, err := ask(t.Context(), "GET", r.url+"/ready", "", nil)
		return err == nil && a.status == http.StatusOK
	})
	return r
}

// stop asks the replica to end, and wants it to do so cleanly.
func (r *replica) stop(t *testing.T) {
	t.Helper()
	if err := r.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-r.exited:
		if err != nil {
			t.Errorf("after SIGTERM: %v\n%s", err, r.log.end())
		}
	case <-time.After(time.Minute):
		t.Fatalf("a minute after SIGTERM the replica still runs\n%s", r.log.end())
	}
}

// kill ends the replica as a power cut does.
func (r *replica) kill(t *testing.T) {
	t.Helper()
	if err := r.process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-r.exited
}

// journal is what a replica logs. It finds out where the replica listens.
type journal struct {
	mu        sync.Mutex
	text      bytes.Buffer
	listening chan [2]string
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for line := range bytes.Lines(p) {
		var entry struct{ API, Metrics net.TCPAddr }
		if bytes.Contains(line, []byte(`"msg":"listening"`)) && json.Unmarshal(line, &entry) == nil {
			j.listening <- [2]string{entry.API.String(), entry.Metrics.String()}
		}
	}
	return j.text.Write(p)
}

// lines are those from an offset on; the second result is the offset of what comes next.
func (j *journal) lines(from int) ([]string, int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var lines []string
	for scan := bufio.NewScanner(bytes.NewReader(j.text.Bytes()[from:])); scan.Scan(); {
		lines = append(lines, scan.Text())
	}
	return lines, j.text.Len()
}

func (j *journal) end() string {
	lines, _ := j.lines(0)
	return strings.Join(lines[max(0, len(lines)-25):], "\n")
}

// answer is a response whose body was read.
type answer struct {
	status int
	header http.Header
	text   string
	took   time.Duration
}

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: time.Minute}

// ask sends a request; body is marshalled unless it is a reader. Only a request without an answer is an error.
func ask(ctx context.Context, method, url, token string, body any) (answer, error) {
	reader, raw := body.(io.Reader)
	if !raw && body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return answer{}, err
		}
		reader = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, url, reader)
	if err != nil {
		return answer{}, err
	}
	if !raw && body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	began := time.Now()
	response, err := client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, string(text), time.Since(began)}, err
}

// want asks and insists on the status.
func want(t *testing.T, status int, method, url, token string, body any) answer {
	t.Helper()
	a, err := ask(t.Context(), method, url, token, body)
	if err != nil {
		t.Fatal(err)
	}
	if a.status != status {
		t.Fatalf("%s %s: %d, want %d: %s", method, url, a.status, status, a.text)
	}
	return a
}

type object = map[string]any

// signUp makes a user and returns the access token.
func signUp(t *testing.T, url, email string) string {
	t.Helper()
	credentials := object{"email": email, "password": "correct horse battery"}
	want(t, http.StatusCreated, "POST", url+"/api/v1/auth/register", "", credentials)
	var tokens struct {
		AccessToken string `json:"access_token"`
	}
	a := want(t, http.StatusOK, "POST", url+"/api/v1/auth/login", "", credentials)
	if err := json.Unmarshal([]byte(a.text), &tokens); err != nil || tokens.AccessToken == "" {
		t.Fatalf("no token: %v %s", err, a.text)
	}
	return tokens.AccessToken
}

// letters is an mbox of n messages of today that no other call makes.
func letters(n int) string {
	var file strings.Builder
	for range n {
		id := rand.Text()
		fmt.Fprintf(&file, "From a@x Mon Mar  2 10:00:00 2026\nMessage-ID: <%s@test>\nFrom: Ann <ann@acme.example>\nTo: me@home.example\n"+
			"Subject: Interview %s\nDate: %s\n\nWe invite you to an interview about message %s.\n\n", id, id, time.Now().Format(time.RFC1123Z), id)
	}
	return file.String()
}

func (w *world) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := w.db.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func (w *world) count(t *testing.T, sql string, args ...any) (n int) {
	t.Helper()
	if err := w.db.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// insert puts jobs without arguments into a queue, as a periodic job is put there.
func (w *world) insert(t *testing.T, queue, kind string, n int) {
	t.Helper()
	w.exec(t, `INSERT INTO river_job (kind, queue, args) SELECT $1, $2, '{}' FROM generate_series(1, $3)`, kind, queue, n)
}

// jobs wants that all jobs of a kind come to an end, and to a good one, each in so many attempts.
func (w *world) jobs(t *testing.T, kind string, attempts int) {
	t.Helper()
	eventually(t, 2*time.Minute, "no job "+kind+" is left", func() bool {
		return w.count(t, `SELECT count(*) FROM river_job WHERE kind = $1 AND finalized_at IS NULL`, kind) == 0
	})
	rows, err := w.db.Query(t.Context(), `SELECT format('%s %s after %s attempts: %s', kind, state, attempt, errors) FROM river_job
		WHERE kind = $1 AND (state <> 'completed' OR attempt <> $2)`, kind, attempts)
	if err != nil {
		t.Fatal(err)
	}
	others, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err := errors.Join(err, rows.Err()); err != nil {
		t.Fatal(err)
	}
	for _, other := range others {
		t.Errorf("want it completed after %d: %s", attempts, other)
	}
}

// settled waits until the first replica of a world has looked for messages without vectors: those that are imported next are embedded
// because of that, and not because they were found.
func (w *world) settled(t *testing.T) {
	t.Helper()
	eventually(t, time.Minute, "messages without vectors are looked for", func() bool {
		return w.count(t, `SELECT count(*) FROM river_job WHERE kind = 'mail_embed_missing' AND state = 'completed'`) > 0
	})
}

// schedule makes users, by their addresses' beginning, whose briefings are due since the minute began.
func (w *world) schedule(t *testing.T, prefix string, n int) {
	t.Helper()
	w.exec(t, `WITH people AS (INSERT INTO users (email, password_hash, created_at)
			SELECT $1 || i || '@example.org', 'none', now() FROM generate_series(1, $2) AS i RETURNING id)
		INSERT INTO briefing_schedules (user_id, enabled, time_zone, minute, updated_at, next_at, next_for)
		SELECT id, true, 'UTC', extract(hour FROM moment) * 60 + extract(minute FROM moment), now() - interval '1 day',
		       date_trunc('minute', now()), now() - interval '1 day'
		FROM people, (SELECT now() AT TIME ZONE 'UTC' AS moment) AS clock`, prefix, n)
}

func eventually(t *testing.T, within time.Duration, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%v on, this still does not hold: %s", within, what)
		}
	}
}
