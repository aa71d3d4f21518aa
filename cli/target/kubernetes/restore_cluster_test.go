//go:build cluster

package kubernetes

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/smart-assistant/platform/cli/backup" //nolint:depguard // what package command joins is joined by hand here
	"github.com/smart-assistant/platform/cli/objectstore"
	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/cli/target/targettest"
	"github.com/smart-assistant/platform/test/cluster/images"
)

// assistctlDigest is the image of this very source.
var assistctlDigest = sync.OnceValues(func() (string, error) {
	binary := filepath.Join(lab.dir, "assistctl")
	build := exec.Command("go", "build", "-trimpath", "-o", binary, "./cli/assistctl")
	build.Dir, build.Env = lab.repository, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build assistctl: %w\n%s", err, out)
	}
	i, err := images.Program(lab.repository, lab.dir, "assistctl", "v1", binary)
	if err != nil {
		return "", err
	}
	containerd := images.Containerd{Socket: lab.socket}
	return i.Digest, containerd.Load(context.Background(), i)
})

// site is an environment with a release, rows in its database, and an operator's key.
type site struct {
	*testing.T
	*Environment
	deployment target.Deployment
	backups    *backup.Repository
	keys       *backup.Keys
}

const noteRows = 20000

func newSite(t *testing.T) *site {
	t.Helper()
	digest, err := assistctlDigest()
	if err != nil {
		t.Fatal(err)
	}
	s := &site{T: t, Environment: newEnvironment(t, func(*Config) {})}
	s.deployment = target.Deployment{
		Build: targettest.V1, Fence: 1, Images: map[string]string{serviceImage: "sha256:" + targettest.V1.SHA256, "assistctl": digest},
	}
	if err := s.Deploy(t.Context(), s.deployment, nil); err != nil {
		t.Fatal(err)
	}
	access, err := s.Store(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	store, err := objectstore.OpenS3(t.Context(), access)
	if err != nil {
		t.Fatal(err)
	}
	operator, _, err := backup.LoadOperator(filepath.Join(t.TempDir(), "operator.agekey"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s.keys = &backup.Keys{Store: store, Environment: s.Environment.Name(), Operator: operator, Now: time.Now}
	s.backups = &backup.Repository{Store: store, Environment: s.Environment.Name(), Now: time.Now, Opener: s.keys}
	for range 2 { // the second time it is there
		if _, err := backup.EnsureWriter(t.Context(), s.Writer(), s.keys, rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	s.sql("drop table if exists notes", fmt.Sprintf("create table notes as select n, repeat('x', 500) as text from generate_series(1, %d) n", noteRows))
	return s
}

func (s *site) sql(statements ...string) {
	s.Helper()
	config, err := s.Database(s.Context(), ServiceRole)
	if err != nil {
		s.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(s.Context(), config)
	if err != nil {
		s.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, statement := range statements {
		if _, err := conn.Exec(s.Context(), statement); err != nil {
			s.Fatal(err)
		}
	}
}

// rows are those that the service would see.
func (s *site) rows() (n int) {
	s.Helper()
	config, err := s.Database(s.Context(), ServiceRole)
	if err != nil {
		s.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(s.Context(), config)
	if err != nil {
		s.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(s.Context(), "select count(*) from notes").Scan(&n); err != nil {
		s.Fatal(err)
	}
	return n
}

// place is the site as a restore sees it.
type place struct {
	*Environment
	deployment target.Deployment
}

func (p place) Start(ctx context.Context) error { return p.StartWith(ctx, p.deployment) }

func (p place) Unpack(ctx context.Context, q backup.UnpackRequest, progress func(int64)) (string, backup.Unpacked, error) {
	var found backup.Unpacked
	dir, err := p.Environment.Unpack(ctx, q, progress, &found)
	return dir, found, err
}

// look is the check of a restored database.
func (s *site) look(ctx context.Context, at string) (string, error) {
	conn, err := s.Connect(ctx, strings.Replace(at, "/postgres?", "/assistant?", 1))
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	n := 0
	err = conn.QueryRow(ctx, "select count(*) from notes").Scan(&n)
	return fmt.Sprint(n), err
}

var errDied = errors.New("killed")

// journal dies at a step: before it, or after it and before that is recorded.
type journal struct {
	done  map[string]json.RawMessage
	dieAt string
	late  bool
	kill  context.CancelFunc
}

func (j *journal) die() error {
	j.kill() // so that nothing is put in order
	return errDied
}

func (j *journal) Step(ctx context.Context, name string, do func(context.Context) (any, error)) (json.RawMessage, error) {
	if result, done := j.done[name]; done {
		return result, nil
	}
	if j.dieAt == name && !j.late {
		return nil, j.die()
	}
	result, err := do(ctx)
	if err != nil {
		return nil, err
	}
	if j.dieAt == name {
		return nil, j.die()
	}
	recorded, err := json.Marshal(result)
	if j.done == nil {
		j.done = map[string]json.RawMessage{}
	}
	j.done[name] = recorded
	return recorded, err
}

// steps are the times at which a restore's steps ended.
type steps struct {
	t     *testing.T
	began time.Time
	bytes int64
}

func (s *steps) StepStarted(string)                             {}
func (s *steps) StepProgress(_ string, done, _ int64, _ string) { s.bytes = max(s.bytes, done) }
func (s *steps) StepDone(name, detail string) {
	s.t.Logf("%6.1fs %s  %s", time.Since(s.began).Seconds(), name, detail)
}

func (s *steps) StepFailed(name string, err error) {
	s.t.Logf("%6.1fs %s failed: %v", time.Since(s.began).Seconds(), name, err)
}

// A backup is taken by a Job, the data damaged, and a restore brings it back, whoever dies in between: what follows asks the cluster.
func TestRestoreOnTheCluster(t *testing.T) {
	s := newSite(t)
	ctx := t.Context()
	var taken, again backup.Backup
	seen := int64(0)
	for _, into := range []*backup.Backup{&taken, &again} {
		err := s.RunBackup(ctx, backup.TakeOptions{Kind: backup.PreDeploy, Key: "promotion-7", Run: 7, Release: "v1"}, "promotion-7", func(done, _ int64) { seen = max(seen, done) }, into)
		if err != nil {
			t.Fatal(err)
		}
	}
	if taken.ID == "" || taken.ID != again.ID || taken.Run != 7 || seen < 1<<20 {
		t.Errorf("took %+v and %+v, progress %d", taken, again, seen)
	}
	for i, died := range []journal{{}, {dieAt: "fetch", late: true}, {dieAt: "stop", late: true}, {dieAt: "swap", late: true}, {dieAt: "start", late: true}} {
		t.Run(strings.TrimSpace(fmt.Sprintf("%s late %v", died.dieAt, died.late)), func(t *testing.T) { s.restore(t, taken.ID, died, i) })
	}
	all, err := s.Asides(ctx)
	if err != nil || len(all) != 5 {
		t.Errorf("aside are %+v, %v", all, err)
	}
	for _, a := range all {
		if err := s.DropAside(ctx, a.Name); err != nil || a.Bytes < 1<<20 {
			t.Errorf("%+v: %v", a, err)
		}
	}
	if all, err := s.Asides(ctx); err != nil || len(all) != 0 {
		t.Errorf("aside are %+v, %v", all, err)
	}
	if err := s.RunJob(ctx, "backup"); err != nil {
		t.Error(err)
	}
	if n := s.rows(); n != noteRows {
		t.Errorf("%d rows", n)
	}
}

func (s *site) restore(t *testing.T, id string, died journal, round int) {
	ctx := t.Context()
	s.sql(fmt.Sprintf("delete from notes where n > %d", round))
	other := func() place { // another process: it knows nothing but the configuration
		e, err := Open(s.config)
		if err != nil {
			t.Fatal(err)
		}
		return place{e, s.deployment}
	}
	plan, err := s.backups.PlanRestore(ctx, id, other(), backup.RestoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	shown := &steps{t: t, began: time.Now()}
	living, kill := context.WithCancel(ctx)
	defer kill()
	died.kill = kill
	_, err = s.backups.Restore(living, plan, other(), &died, s.look, shown)
	if died.dieAt == "" && err != nil || died.dieAt != "" && !errors.Is(err, errDied) {
		t.Fatal(err)
	}
	if died.dieAt == "swap" {
		s.paused(t)
	}
	if err != nil {
		restored, err := s.backups.Restore(ctx, plan, other(), &journal{done: died.done}, s.look, shown)
		if err != nil || restored.Check != fmt.Sprint(noteRows) {
			t.Fatalf("%+v, %v", restored, err)
		}
	}
	if n := s.rows(); n != noteRows || shown.bytes < 1<<20 {
		t.Errorf("%d rows, progress %d", n, shown.bytes)
	}
	status, err := s.Status(ctx)
	if err != nil || !status.Settled(targettest.V1) || status.Paused != "" || !status.Database.Reachable {
		t.Errorf("%+v, %v", status, err)
	}
	c, err := s.reach(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.pod(ctx, restoreName); !apierrors.IsNotFound(err) {
		t.Errorf("the restore pod is left: %v", err)
	}
}

// paused looks at an environment in the middle of a restore.
func (s *site) paused(t *testing.T) {
	t.Helper()
	status, err := s.Status(t.Context())
	if err != nil || !status.Up || status.Paused == "" || status.Ready != 0 {
		t.Errorf("%+v, %v", status, err)
	}
	client, err := s.Entrance(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Get(status.URL + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("the entrance answers %s", answer.Status)
	}
}
