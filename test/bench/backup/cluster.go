package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/smart-assistant/platform/cli/postgres"
)

// cluster is a PostgreSQL server with the data to be backed up. Unlike those of the local target it has a unix socket, which
// pgBackRest needs.
type cluster struct {
	postgres.Binaries
	owner *postgres.Owner
	dir   string
	data  string
	port  int
	bytes int64 // of the database
}

func startCluster(ctx context.Context, dir string, gigabytes float64) (*cluster, error) {
	binaries, err := postgres.Find("")
	if err != nil {
		return nil, err
	}
	owner, err := postgres.ServerOwner()
	if err != nil {
		return nil, err
	}
	c := &cluster{Binaries: binaries, owner: owner, dir: dir, data: filepath.Join(dir, "data")}
	if c.port, err = freePort(); err != nil {
		return nil, err
	}
	if err := c.makeDir(dir); err != nil {
		return nil, err
	}
	if _, err := c.run(ctx, c.Path("initdb"), "-D", c.data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums", "-N"); err != nil {
		return nil, err
	}
	settings := fmt.Sprintf(`
port = %d
listen_addresses = '127.0.0.1'
unix_socket_directories = '%s'
shared_buffers = '256MB'
max_wal_size = '8GB'
wal_level = replica
archive_mode = on
archive_command = '/bin/true'
autovacuum = off
`, c.port, dir)
	if err := appendTo(filepath.Join(c.data, "postgresql.conf"), settings); err != nil {
		return nil, err
	}
	if err := c.start(ctx); err != nil {
		return nil, err
	}
	if err := c.fill(ctx, gigabytes); err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}

// fill makes accounts as pgbench does, but with a filler that is not blank: 32 hexadecimal digits and 52 spaces in 84 characters, so
// that it compresses about five times, as tables of text and numbers do.
func (c *cluster) fill(ctx context.Context, gigabytes float64) error {
	rows := int64(gigabytes * 1e9 / 160)
	log.Printf("making %d rows", rows)
	statements := []string{
		fmt.Sprintf(`create table accounts as select i as aid, (i %% 100)::int as bid, (random() * 1e6)::int as abalance,
			rpad(md5(i::text), 84) as filler from generate_series(1, %d::bigint) i`, rows),
		`alter table accounts add primary key (aid)`, `vacuum (freeze, analyze) accounts`, `checkpoint`,
	}
	for _, s := range statements {
		if _, err := c.sql(ctx, s); err != nil {
			return err
		}
	}
	out, err := c.sql(ctx, `select sum(pg_database_size(oid)) from pg_database`)
	if err != nil {
		return err
	}
	c.bytes, err = strconv.ParseInt(out, 10, 64)
	return err
}

func (c *cluster) sql(ctx context.Context, statement string) (string, error) {
	return c.run(ctx, "psql", "-h", c.dir, "-p", strconv.Itoa(c.port), "-U", "postgres", "-X", "-A", "-t", "-c", statement, "postgres")
}

func (c *cluster) url() string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres", c.port)
}

func (c *cluster) start(ctx context.Context) error {
	_, err := c.run(ctx, c.Path("pg_ctl"), "-D", c.data, "-l", filepath.Join(c.dir, "log"), "-w", "-t", "300", "start")
	return err
}

func (c *cluster) stop() {
	if _, err := c.run(context.Background(), c.Path("pg_ctl"), "-D", c.data, "-m", "fast", "-w", "stop"); err != nil {
		log.Print(err)
	}
}

// run runs a program as the database's user and returns what it prints.
func (c *cluster) run(ctx context.Context, program string, args ...string) (string, error) {
	out, err := os.CreateTemp("", "bench-output-")
	if err != nil {
		return "", err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	cmd := c.owner.Command(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = out, out // a file, as a server that is started keeps it open
	failed := cmd.Run()
	said, err := io.ReadAll(io.NewSectionReader(out, 0, 1<<20))
	if failed != nil {
		return "", fmt.Errorf("%s: %w: %s", filepath.Base(program), failed, said)
	}
	return strings.TrimSpace(string(said)), err
}

// makeDir makes a folder that belongs to the database's user.
func (c *cluster) makeDir(dir string) error {
	return errors.Join(os.Mkdir(dir, 0o700), c.owner.Chown(dir))
}

// floors measures pg_basebackup to nowhere: what the server needs to send the data, as it is and compressed as assistctl asks for it.
func floors(ctx context.Context, c *cluster, results *results) error {
	for name, flags := range map[string][]string{
		"pg_basebackup to /dev/null":                nil,
		"pg_basebackup to /dev/null, server zstd:1": {"--compress=server-zstd:level=1,workers=2", "--no-manifest"},
	} {
		args := append([]string{"-d", c.url(), "-Ft", "-X", "fetch", "-D", "-", "--checkpoint=fast", "--no-sync"}, flags...)
		cmd := c.owner.Command(ctx, c.Path("pg_basebackup"), args...)
		cmd.Stderr = os.Stderr
		f, err := timed(cmd)
		if err != nil {
			return err
		}
		results.add(name, "backup", f)
	}
	return nil
}

// timed runs a program. Its memory is that of its largest process.
func timed(cmd *exec.Cmd) (figures, error) {
	started := time.Now()
	if err := cmd.Run(); err != nil {
		return figures{}, fmt.Errorf("%s: %w", filepath.Base(cmd.Path), err)
	}
	return figures{seconds: time.Since(started).Seconds(), memory: maxRSS(cmd.ProcessState)}, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
