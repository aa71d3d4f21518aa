// Command backup measures base backups and restores to and from an S3 server on this machine, beside pgBackRest on the same server
// and pg_basebackup to /dev/null, on the same data in one run, and writes the figures into docs/benchmarks.md.
//
// It makes everything that it measures: a PostgreSQL cluster with generated data, an S3 server (versitygw) over TLS, which pgBackRest
// insists on, and a stanza. Runs are interleaved, so that what else the machine does meets all alike. It needs PostgreSQL's programs,
// pgbackrest on PATH, and about eight times the data's size in free space.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == child {
		if err := runChild(context.Background(), os.Args[2]); err != nil {
			log.Fatal(err)
		}
		return
	}
	var o options
	flag.Float64Var(&o.gigabytes, "gb", 2, "size of the database in GB")
	flag.IntVar(&o.runs, "runs", 5, "runs of each measurement")
	flag.BoolVar(&o.oursOnly, "ours", false, "measure assistctl only, and write no report")
	flag.StringVar(&o.compression, "compression", "", "who compresses: server, client, or nothing for automatic")
	flag.StringVar(&o.profile, "profile", "", "folder for CPU profiles of assistctl's runs")
	flag.StringVar(&o.dir, "dir", os.TempDir(), "folder to work in")
	flag.StringVar(&o.report, "report", "docs/benchmarks.md", "file whose section is replaced")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		log.Fatal(err)
	}
}

type options struct {
	gigabytes   float64
	runs        int
	oursOnly    bool
	compression string
	profile     string
	dir, report string
}

// run sets up, measures round by round, and reports.
func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp(o.dir, "bench-backup-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil { // the database's user passes through
		return err
	}
	s3, err := startS3(ctx, filepath.Join(dir, "s3"))
	if err != nil {
		return err
	}
	defer s3.stop()
	db, err := startCluster(ctx, filepath.Join(dir, "pg"), o.gigabytes)
	if err != nil {
		return err
	}
	defer db.stop()

	ours, err := newAssistctl(s3, db, dir, o)
	if err != nil {
		return err
	}
	contenders := []contender{ours}
	if !o.oursOnly {
		peer, err := newPgBackRest(ctx, s3, db, dir)
		if err != nil {
			return err
		}
		contenders = append(contenders, peer)
	}
	results := newResults(db)
	for round := range o.runs {
		for _, c := range contenders {
			if err := measure(ctx, c, dir, db, results); err != nil {
				return fmt.Errorf("%s, round %d: %w", c.name(), round+1, err)
			}
		}
		if !o.oursOnly {
			if err := floors(ctx, db, results); err != nil {
				return err
			}
		}
		log.Printf("round %d of %d: %s", round+1, o.runs, results.latest())
	}
	fmt.Print(results.table())
	if o.oursOnly {
		return nil
	}
	return results.write(o.report)
}

// contender is a program that backs up and restores.
type contender interface {
	name() string
	backup(ctx context.Context) (figures, error)
	restore(ctx context.Context, dir string) (figures, error)
}

// measure takes one backup and restores it into a fresh folder.
func measure(ctx context.Context, c contender, dir string, db *cluster, results *results) error {
	syscall.Sync() // what was written before is not part of what is measured
	f, err := c.backup(ctx)
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	results.add(c.name(), "backup", f)

	target := filepath.Join(dir, "restored")
	defer os.RemoveAll(target)
	if err := db.makeDir(target); err != nil {
		return err
	}
	syscall.Sync()
	if f, err = c.restore(ctx, target); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	results.add(c.name(), "restore", f)
	return nil
}
