package command

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/cli/backup"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/objectstore/objectstoretest"
	"github.com/smart-assistant/platform/cli/objectstore/versitygw"
	"github.com/smart-assistant/platform/cli/postgres"
	"github.com/smart-assistant/platform/cli/postgres/postgrestest"
	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/cli/target/kubernetes/outputs"
	"github.com/smart-assistant/platform/cli/target/kubernetes/podcall"
)

// pods is an environment whose pods are processes of this machine: the configuration that a stack would mount, a database with TLS on a
// volume, and a bucket.
type pods struct {
	*testing.T
	files   string
	volume  string
	live    *postgrestest.Server
	backups *backup.Repository
	scratch int // port
}

func newPods(t *testing.T) *pods {
	t.Helper()
	dir := postgrestest.Dir(t)
	p := &pods{T: t, files: filepath.Join(dir, "etc"), volume: filepath.Join(dir, "volume"), scratch: postgrestest.FreePort(t)}
	s3 := objectstoretest.Server(t)
	store := objectstoretest.Bucket(t, s3, "backups")
	p.live = postgrestest.New(t)
	p.live.DataDir = filepath.Join(p.volume, "live")
	p.write("bucket/access-key", s3.AccessKey)
	p.write("bucket/secret-key", s3.SecretKey+"\n")
	for name, password := range map[string]string{"superuser": postgrestest.Password, "service": "today's", "backup": "copying"} {
		p.write("database/"+name+"-password", password+"\n")
	}
	p.certificate()
	out, err := json.Marshal(outputs.Outputs{
		Format: outputs.Format, Name: "prod", Namespace: "assistant-prod",
		Release:   &outputs.Release{Version: "v1.9.0"},
		Bucket:    outputs.Bucket{Kind: outputs.BucketS3, Endpoint: s3.Endpoint(), Region: versitygw.Region, Name: "backups", PathStyle: true},
		Database:  outputs.Database{Host: "localhost", Port: p.live.Port, Name: "assistant", Role: "assistd", BackupRole: "backup", Volume: p.volume, Live: p.live.DataDir},
		Retention: outputs.Retention{KeepLast: 1, PreDeployDays: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	p.write("environment.json", string(out))

	operator, _, err := backup.LoadOperator(filepath.Join(dir, "operator.agekey"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	keys := &backup.Keys{Store: store, Environment: "prod", Operator: operator, Now: time.Now}
	p.backups = &backup.Repository{Store: store, Environment: "prod", Opener: keys, Now: time.Now}
	if _, err := backup.EnsureWriter(t.Context(), backup.WriterFile(filepath.Join(p.files, "writer", "writer.json")), keys, rand.Reader); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(p.volume, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := p.live.Init(t.Context(), postgrestest.Password); err != nil {
		t.Fatal(err)
	}
	p.start()
	p.execute("postgres", "create role assistd login password 'of old'", "create role backup login replication password 'copying'", "create database assistant owner assistd")
	p.execute("assistant", "create table notes as select n, repeat('x', 100) as text from generate_series(1, 5000) n",
		"create table goose_db_version (version_id bigint, is_applied bool)", "insert into goose_db_version values (42, true)", "grant select on goose_db_version to backup")
	return p
}

func (p *pods) write(name, content string) {
	p.Helper()
	path := filepath.Join(p.files, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o600)); err != nil {
		p.Fatal(err)
	}
}

// certificate makes the database's, for the live server and for scratch servers.
func (p *pods) certificate() {
	p.Helper()
	at := func(name string) string { return filepath.Join(p.files, "database", name) }
	out, err := exec.Command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
		"-addext", "subjectAltName=DNS:localhost", "-keyout", at("tls.key"), "-out", at("tls.crt")).CombinedOutput()
	if err != nil {
		p.Fatalf("%v: %s", err, out)
	}
	owner, err := postgres.ServerOwner()
	if err != nil {
		p.Fatal(err)
	}
	content, err := os.ReadFile(at("tls.crt"))
	if err != nil {
		p.Fatal(err)
	}
	p.write("database/ca.crt", string(content))
	if err := errors.Join(owner.Chown(at("tls.key")), os.Chmod(p.files, 0o755), os.Chmod(at("tls.crt"), 0o644)); err != nil {
		p.Fatal(err)
	}
	p.live.Settings["ssl"], p.live.Settings["ssl_cert_file"], p.live.Settings["ssl_key_file"] = "on", at("tls.crt"), at("tls.key")
}

func (p *pods) start() {
	p.Helper()
	if err := p.live.Server.Start(p.Context()); err != nil {
		p.Fatal(err)
	}
}

func (p *pods) execute(database string, statements ...string) {
	p.Helper()
	conn, err := pgx.Connect(p.Context(), p.live.URL(database))
	if err != nil {
		p.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, s := range statements {
		if _, err := conn.Exec(p.Context(), s); err != nil {
			p.Fatal(err)
		}
	}
}

// rows counts the notes of the database at an address.
func rows(ctx context.Context, at string) (n int, err error) {
	u, err := url.Parse(at)
	if err != nil {
		return 0, err
	}
	u.Path = "/assistant"
	conn, err := pgx.Connect(ctx, u.String())
	if err != nil {
		return 0, err
	}
	defer conn.Close(ctx)
	return n, conn.QueryRow(ctx, "select count(*) from notes").Scan(&n)
}

// command is assistctl in a pod: it sees the pod's configuration, and neither home nor key.
func (p *pods) command(args ...string) *exec.Cmd {
	cmd := exec.Command("assistctl", append([]string{"inside", "--folder", p.files}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), postgres.BinEnv + "=" + os.Getenv(postgres.BinEnv)}
	return cmd
}

// job runs a scheduled command to its end, as its log tells it.
func (p *pods) job(result any, args ...string) error {
	p.Helper()
	out, _ := p.command(args...).CombinedOutput()
	answered, err := podcall.Listen(bytes.NewReader(out), podcall.Listener{}, result)
	if !answered {
		p.Fatalf("%v said nothing: %v\n%s", args, err, out)
	}
	return err
}

// inPod runs a verb of a restore. before sees the process once it runs.
func (p *pods) inPod(verb string, before func(cmd *exec.Cmd)) podcall.Connect {
	return func(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
		cmd := p.command(verb)
		in, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		var errOut bytes.Buffer
		cmd.Stdout, cmd.Stderr = stdout, &errOut
		if err := cmd.Start(); err != nil {
			return err
		}
		go func() {
			_, _ = io.Copy(in, stdin)
			in.Close()
		}()
		if before != nil {
			before(cmd)
		}
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("%w: %s", err, errOut.String())
		}
		return nil
	}
}

func (p *pods) call(ctx context.Context, verb string, request any, heard podcall.Listener, result any) error {
	return podcall.Call(ctx, p.inPod(verb, nil), request, heard, result)
}

// pods is a backup.Place, as kubernetes.Environment makes one of its cluster.

func (p *pods) look(ctx context.Context) (l podcall.Looked, err error) {
	return l, p.call(ctx, podcall.Look, nil, podcall.Listener{}, &l)
}

func (p *pods) SystemIdentifier(ctx context.Context) (uint64, bool, error) {
	l, err := p.look(ctx)
	return l.System, l.Exists, err
}

func (p *pods) Free(ctx context.Context) (int64, error) {
	l, err := p.look(ctx)
	return l.Free, err
}

func (p *pods) Unpack(ctx context.Context, q backup.UnpackRequest, progress func(int64)) (string, backup.Unpacked, error) {
	var done podcall.Unpacked[backup.Unpacked]
	err := p.call(ctx, podcall.Unpack, q, podcall.Listener{Progress: func(l podcall.Progress) { progress(l.Done) }}, &done)
	return done.Dir, done.Found, err
}

func (p *pods) try(dir string) podcall.TryRequest {
	return podcall.TryRequest{Dir: dir, Address: "127.0.0.1", Port: p.scratch, RootCert: filepath.Join(p.files, "database", "ca.crt")}
}

func (p *pods) Try(ctx context.Context, dir string, check func(ctx context.Context, url string) error) error {
	return p.call(ctx, podcall.Try, p.try(dir), podcall.Listener{Ready: func(ctx context.Context, said json.RawMessage) error {
		var at string
		if err := json.Unmarshal(said, &at); err != nil {
			return err
		}
		return check(ctx, at)
	}}, nil)
}

func (p *pods) Stop(ctx context.Context) error { return p.live.Stop(ctx, postgres.Fast) }

func (p *pods) Swap(ctx context.Context, dir, aside string) error {
	return p.call(ctx, podcall.Swap, podcall.SwapRequest{Dir: dir, Aside: aside, Stopped: true}, podcall.Listener{}, nil)
}
func (p *pods) Start(ctx context.Context) error { return p.live.Server.Start(ctx) }

var _ backup.Place = (*pods)(nil)

// noJournal records nothing: every step is done.
type noJournal struct{}

func (noJournal) Step(ctx context.Context, _ string, do func(context.Context) (any, error)) (json.RawMessage, error) {
	result, err := do(ctx)
	if err != nil {
		return nil, err
	}
	return json.Marshal(result)
}

// The life of a backup in a cluster: taken by a job that cannot read it, restored by a pod that is given the key for as long, what was live kept.
func TestInsidePods(t *testing.T) {
	p := newPods(t)
	ctx := t.Context()
	var scheduled, again, snapshot backup.Backup
	if err := p.job(&scheduled, "backup"); err != nil {
		t.Fatal(err)
	}
	if scheduled.Kind != backup.Scheduled || scheduled.Release != "v1.9.0" || scheduled.SchemaHead != 42 || scheduled.RawBytes < 1<<20 {
		t.Errorf("took %+v", scheduled)
	}
	options := `{"Kind":"pre-deploy","Key":"promotion-7","Run":7,"Label":"before promotion 7","Release":"v1.8.0","SchemaHead":41}`
	for _, into := range []*backup.Backup{&snapshot, &again} { // the second Job of the key finds what the first took
		if err := p.job(into, "backup", "--options", options); err != nil {
			t.Fatal(err)
		}
	}
	if snapshot.ID != again.ID || snapshot.Run != 7 || snapshot.Release != "v1.8.0" || snapshot.SchemaHead != 41 {
		t.Errorf("took %+v, and again %+v", snapshot, again)
	}
	p.execute("assistant", "delete from notes where n > 10")
	plan, err := p.backups.PlanRestore(ctx, scheduled.ID, p, backup.RestoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	seen, steps := 0, terminalSteps{}
	restored, err := p.backups.Restore(ctx, plan, p, noJournal{}, func(ctx context.Context, at string) (string, error) {
		if !strings.Contains(at, "sslmode=verify-ca") {
			t.Errorf("the scratch server is reached without TLS: %s", at)
		}
		seen, err = rows(ctx, at)
		return fmt.Sprint(seen), err
	}, steps)
	if err != nil || seen != 5000 || restored.Bytes < 1<<20 || steps["fetch"] < 1<<20 {
		t.Fatalf("restored %+v, %d rows, %v; progress %v", restored, seen, err, steps)
	}
	if n, err := rows(ctx, p.live.URL("assistant")); n != 5000 || err != nil {
		t.Errorf("live are %d rows, %v", n, err)
	}
	// The role's password is today's, though the backup is older than it.
	at, err := url.Parse(p.live.URL("assistant"))
	if err != nil {
		t.Fatal(err)
	}
	at.User = url.UserPassword("assistd", "today's")
	if conn, err := pgx.Connect(ctx, at.String()); err != nil {
		t.Errorf("the service cannot get in: %v", err)
	} else {
		conn.Close(ctx)
	}
	p.asides(plan)
	if err := p.job(nil, "prune"); err != nil {
		t.Fatal(err)
	}
	left, err := p.backups.List(ctx)
	if err != nil || len(left) != 1 || left[0].ID != snapshot.ID { // which is the last one too
		t.Errorf("left are %v, %v", left, err)
	}
}

func (p *pods) asides(plan backup.RestorePlan) {
	p.Helper()
	ctx := p.Context()
	var kept []target.Aside
	if err := p.call(ctx, podcall.Asides, nil, podcall.Listener{}, &kept); err != nil || len(kept) != 1 || kept[0].Name != plan.Aside || kept[0].Bytes < 1<<20 {
		p.Errorf("aside are %+v, %v", kept, err)
	}
	if l, err := p.look(ctx); err != nil || l.Live != plan.Folder {
		p.Errorf("live is %+v, %v", l, err)
	}
	for _, verb := range []string{podcall.Discard, podcall.Drop} { // what is live is not discarded
		if err := p.call(ctx, verb, map[string]string{podcall.Discard: plan.Folder, podcall.Drop: plan.Aside}[verb], podcall.Listener{}, nil); err != nil {
			p.Error(err)
		}
	}
	if err := p.call(ctx, podcall.Asides, nil, podcall.Listener{}, &kept); err != nil || len(kept) != 0 {
		p.Errorf("aside are %+v, %v", kept, err)
	}
	if n, err := rows(ctx, p.live.URL("assistant")); n != 5000 || err != nil {
		p.Errorf("live are %d rows, %v", n, err)
	}
}

// terminalSteps are the bytes that each step has come to.
type terminalSteps map[string]int64

func (terminalSteps) StepStarted(string)                                  {}
func (s terminalSteps) StepProgress(name string, done, _ int64, _ string) { s[name] = done }
func (terminalSteps) StepDone(string, string)                             {}
func (terminalSteps) StepFailed(string, error)                            {}

// Whether the caller goes away or the pod's process is killed: no server stays that stands in the way, and doing it again gets there.
func TestInsidePodsDie(t *testing.T) {
	p := newPods(t)
	ctx := t.Context()
	var taken backup.Backup
	if err := p.job(&taken, "backup"); err != nil {
		t.Fatal(err)
	}
	plan, err := p.backups.PlanRestore(ctx, taken.ID, p, backup.RestoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	kill := func(after time.Duration) func(cmd *exec.Cmd) {
		return func(cmd *exec.Cmd) { time.AfterFunc(after, func() { _ = cmd.Process.Kill() }) }
	}
	died := errors.New("died")
	place := &dying{pods: p}
	for _, when := range []time.Duration{50, 150, 300} {
		place.before = kill(when * time.Millisecond)
		if _, err := p.backups.Restore(ctx, plan, place, noJournal{}, func(context.Context, string) (string, error) { return "", died }, terminalSteps{}); err == nil {
			t.Fatal("a killed pod restored")
		}
	}
	place.before = nil
	dir, _, err := p.Unpack(ctx, requestOf(t, p, plan), func(int64) {})
	if err != nil {
		t.Fatal(err)
	}
	address := ""
	look := podcall.Listener{Ready: func(ctx context.Context, said json.RawMessage) error {
		return errors.Join(json.Unmarshal(said, &address), died)
	}}
	gone := func(what string) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			if _, err := rows(ctx, address); err != nil {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: the scratch server still answers", what)
			}
		}
	}
	if err := p.call(ctx, podcall.Try, p.try(dir), look, nil); !errors.Is(err, died) {
		t.Fatal(err)
	}
	gone("after an objection")

	// The caller is killed: its end of the pipe closes in the middle of the look.
	leaving, leave := context.WithCancel(ctx)
	err = p.call(leaving, podcall.Try, p.try(dir), podcall.Listener{Ready: func(ctx context.Context, _ json.RawMessage) error {
		leave()
		<-ctx.Done()
		return nil
	}}, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that left: %v", err)
	}
	gone("after its caller left")

	// The process in the pod is killed while its server runs: the server stays, until the next look ends it.
	var pod *exec.Cmd
	err = podcall.Call(ctx, p.inPod(podcall.Try, func(cmd *exec.Cmd) { pod = cmd }), p.try(dir), podcall.Listener{Ready: func(ctx context.Context, _ json.RawMessage) error {
		_ = pod.Process.Signal(syscall.SIGKILL)
		<-ctx.Done()
		return nil
	}}, nil)
	if fault.CodeOf(err) != fault.Unreachable {
		t.Errorf("a pod that was killed: %v", err)
	}
	if n, err := rows(ctx, address); n != 5000 || err != nil {
		t.Errorf("its server: %d, %v", n, err)
	}
	if err := p.call(ctx, podcall.Discard, plan.Folder, podcall.Listener{}, nil); err != nil {
		t.Fatal(err)
	}
	gone("after a discard")
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", dir, err)
	}
	if n, err := rows(ctx, p.live.URL("assistant")); n != 5000 || err != nil {
		t.Errorf("live are %d rows, %v", n, err)
	}
}

// dying is a place whose pod is killed while it unpacks.
type dying struct {
	*pods
	before func(cmd *exec.Cmd)
}

func (d *dying) Unpack(ctx context.Context, q backup.UnpackRequest, _ func(int64)) (string, backup.Unpacked, error) {
	var done podcall.Unpacked[backup.Unpacked]
	err := podcall.Call(ctx, d.inPod(podcall.Unpack, d.before), q, podcall.Listener{}, &done)
	return done.Dir, done.Found, err
}

// requestOf is the request that a restore hands to its place.
func requestOf(t *testing.T, p *pods, plan backup.RestorePlan) (q backup.UnpackRequest) {
	t.Helper()
	stolen := errors.New("stolen")
	_, err := p.backups.Restore(t.Context(), plan, thief{p, &q, stolen}, noJournal{}, nil, terminalSteps{})
	if !errors.Is(err, stolen) {
		t.Fatal(err)
	}
	return q
}

type thief struct {
	*pods
	q   *backup.UnpackRequest
	err error
}

func (s thief) Unpack(_ context.Context, q backup.UnpackRequest, _ func(int64)) (string, backup.Unpacked, error) {
	*s.q = q
	if strings.Contains(fmt.Sprintf("%v %+v %#v", q, q, q), q.Identity) {
		s.Error("a request that is printed shows its key")
	}
	return "", backup.Unpacked{}, s.err
}

// The restore pod's own process goes when it is told to, or when nobody has come for long; never while a verb is at work.
func TestInsideWait(t *testing.T) {
	p := newPods(t)
	began := time.Now()
	if out, err := p.command("wait", "--idle", "2s").CombinedOutput(); err != nil || time.Since(began) < 2*time.Second {
		t.Fatalf("after %s: %v: %s", time.Since(began), err, out)
	}
	lock, err := os.OpenFile(filepath.Join(p.volume, ".assistctl.lock"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	wait := p.command("wait", "--idle", "1s")
	if err := wait.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- wait.Wait() }()
	select {
	case err := <-ended:
		t.Fatalf("it went while a verb was at work: %v", err)
	case <-time.After(3 * time.Second):
	}
	if err := wait.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("told to end: %v", err)
	}
}

func TestInsideInstall(t *testing.T) {
	to := filepath.Join(t.TempDir(), "assistctl")
	for range 2 {
		if out, err := exec.Command("assistctl", "inside", "install", to).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if out, err := exec.Command(to, "version").CombinedOutput(); err != nil || !strings.Contains(string(out), "v0.0.0-test") {
		t.Errorf("the copy says %q, %v", out, err)
	}
}
