package main

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"time"

	"filippo.io/age"

	"github.com/smart-assistant/platform/cli/backup"
	"github.com/smart-assistant/platform/cli/objectstore"
)

// assistctl runs this repository's backup code, each time in a process of its own, so that its memory is known.
type assistctl struct {
	s3      *s3Server
	job     job
	profile string
	dir     string
	id      string // of the latest backup
}

// child is the first argument of such a process, the job the second.
const child = "child"

type job struct {
	Endpoint, Database, Identity string
	Seed                         []byte
	Compression                  string
	ID, Dir, Profile             string // to restore
	Out                          string
}

type outcome struct {
	ID     string
	Stored int64
}

func newAssistctl(s3 *s3Server, db *cluster, dir string, o options) (*assistctl, error) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, err
	}
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	return &assistctl{s3: s3, dir: dir, profile: o.profile, job: job{
		Endpoint: "https://" + s3.address(), Database: db.url(), Identity: identity.String(), Seed: private.Seed(), Compression: o.compression,
		Out: filepath.Join(dir, "outcome"),
	}}, nil
}

func (a *assistctl) name() string { return "assistctl" }

func (a *assistctl) backup(ctx context.Context) (figures, error) {
	f, out, err := a.run(ctx, a.job, "take.prof")
	a.id, f.stored = out.ID, out.Stored
	return f, err
}

func (a *assistctl) restore(ctx context.Context, dir string) (figures, error) {
	j := a.job
	j.ID, j.Dir = a.id, dir
	f, _, err := a.run(ctx, j, "restore.prof")
	return f, err
}

func (a *assistctl) run(ctx context.Context, j job, profile string) (figures, outcome, error) {
	if a.profile != "" {
		j.Profile = filepath.Join(a.profile, profile)
	}
	text, err := json.Marshal(j)
	if err != nil {
		return figures{}, outcome{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return figures{}, outcome{}, err
	}
	cmd := exec.CommandContext(ctx, self, child, string(text))
	cmd.Stderr = os.Stderr
	f, err := timed(cmd)
	if err != nil {
		return f, outcome{}, err
	}
	text, err = os.ReadFile(j.Out)
	var out outcome
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	return f, out, err
}

// runChild takes a backup, or restores the one that the job names.
func runChild(ctx context.Context, text string) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	if j.Profile != "" {
		f, err := os.Create(j.Profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	store, err := objectstore.OpenS3(ctx, objectstore.S3Config{Endpoint: j.Endpoint, Bucket: bucket, AccessKey: accessKey, SecretKey: secretKey})
	if err != nil {
		return err
	}
	identity, err := age.ParseX25519Identity(j.Identity)
	if err != nil {
		return err
	}
	signer := ed25519.NewKeyFromSeed(j.Seed)
	r := &backup.Repository{
		Store: store, Environment: "bench", Now: time.Now,
		Sealer: &backup.Sealer{Epoch: 1, Recipient: identity.Recipient(), Signer: signer},
		Opener: opener{identity, signer.Public().(ed25519.PublicKey)},
	}
	var out outcome
	if j.Dir == "" {
		b, err := r.Take(ctx, j.Database, backup.TakeOptions{Kind: backup.Manual, Compression: backup.Compression(j.Compression)}, silent{})
		if err != nil {
			return err
		}
		out = outcome{b.ID, b.StoredBytes}
	} else if _, err := r.Unpack(ctx, j.ID, j.Dir, func(int64) {}); err != nil {
		return err
	}
	text2, err := json.Marshal(out)
	if err != nil {
		return err
	}
	return os.WriteFile(j.Out, text2, 0o600)
}

type opener struct {
	identity age.Identity
	writer   ed25519.PublicKey
}

func (o opener) Open(_ context.Context, epoch int) (age.Identity, []ed25519.PublicKey, error) {
	if epoch != 1 {
		return nil, nil, fmt.Errorf("no epoch %d", epoch)
	}
	return o.identity, []ed25519.PublicKey{o.writer}, nil
}

type silent struct{}

func (silent) StepStarted(string)                        {}
func (silent) StepProgress(string, int64, int64, string) {}
func (silent) StepDone(string, string)                   {}
func (silent) StepFailed(string, error)                  {}
