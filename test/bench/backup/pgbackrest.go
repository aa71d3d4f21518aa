package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// pgBackRest runs as the manual recommends for speed: zstd level 1, two processes, encryption on, and, the faster of its ways to
// store many small files, bundles.
type pgBackRest struct {
	s3     *s3Server
	db     *cluster
	config string
	stored int64 // bytes of backups before the latest
}

func newPgBackRest(ctx context.Context, s3 *s3Server, db *cluster, dir string) (*pgBackRest, error) {
	if _, err := exec.LookPath("pgbackrest"); err != nil {
		return nil, fmt.Errorf("%w (apt-get install pgbackrest)", err)
	}
	work := filepath.Join(dir, "pgbackrest")
	if err := db.makeDir(work); err != nil {
		return nil, err
	}
	p := &pgBackRest{s3: s3, db: db, config: filepath.Join(work, "pgbackrest.conf")}
	text := fmt.Sprintf(`[global]
repo1-type=s3
repo1-path=/pgbackrest
repo1-s3-bucket=%s
repo1-s3-endpoint=127.0.0.1
repo1-s3-region=us-east-1
repo1-s3-uri-style=path
repo1-s3-key=%s
repo1-s3-key-secret=%s
repo1-storage-port=%d
repo1-storage-verify-tls=n
repo1-cipher-type=aes-256-cbc
repo1-cipher-pass=benchbenchbench
repo1-bundle=y
repo1-retention-full=100
compress-type=zst
compress-level=1
process-max=2
start-fast=y
log-path=%[5]s
lock-path=%[5]s
spool-path=%[5]s
log-level-console=warn
log-level-file=off

[bench]
pg1-path=%[6]s
pg1-port=%[7]d
pg1-socket-path=%[8]s
pg1-user=postgres
`, bucket, accessKey, secretKey, s3.port, work, db.data, db.port, db.dir)
	if err := os.WriteFile(p.config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	archive := fmt.Sprintf("archive_command = 'pgbackrest --config=%s --stanza=bench archive-push %%p'\n", p.config)
	if err := appendTo(filepath.Join(db.data, "postgresql.conf"), archive); err != nil {
		return nil, err
	}
	if _, err := p.run(ctx, "stanza-create"); err != nil {
		return nil, err
	}
	_, err := db.run(ctx, db.Path("pg_ctl"), "-D", db.data, "reload")
	return p, err
}

func (p *pgBackRest) name() string { return "pgBackRest" }

func (p *pgBackRest) backup(ctx context.Context) (figures, error) {
	f, err := p.run(ctx, "backup", "--type=full", "--no-expire-auto")
	if err != nil {
		return f, err
	}
	total, err := bytesBelow(filepath.Join(p.s3.root, bucket, "pgbackrest", "backup"))
	f.stored, p.stored = total-p.stored, total
	return f, err
}

func (p *pgBackRest) restore(ctx context.Context, dir string) (figures, error) {
	return p.run(ctx, "restore", "--pg1-path="+dir)
}

func (p *pgBackRest) run(ctx context.Context, command string, args ...string) (figures, error) {
	cmd := p.db.owner.Command(ctx, "pgbackrest", append([]string{"--config=" + p.config, "--stanza=bench", command}, args...)...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return timed(cmd)
}

func bytesBelow(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.Contains(path, ".sgwtmp") {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}
