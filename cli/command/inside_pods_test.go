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
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/cli/backup"
	"github.com/smart-assistant/platform/cli/objectstore/objectstoretest"
	"github.com/smart-assistant/platform/cli/objectstore/versitygw"
	"github.com/smart-assistant/platform/cli/postgres"
	"github.com/smart-assistant/platform/cli/postgres/postgrestest"
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
