// Command service measures the service on a mailbox of a million messages, beside PocketBase on the same data and beside the bare query
// as the limit, and writes the figures into docs/benchmarks.md. Before it measures it looks at the plan of each query of the service.
//
// It makes everything that it measures: a PostgreSQL cluster, a replica (assistd, a process of its own), and a PocketBase. Runs are
// interleaved, so that what else the machine does meets all alike. It needs PostgreSQL's programs, bin/assistd, bin/pocketbase and some
// 8 GB of free space.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	var o options
	flag.IntVar(&o.mails, "mails", 1_000_000, "messages of the user who is measured")
	flag.IntVar(&o.users, "users", 50, "other users with 1,000 messages each")
	flag.IntVar(&o.rows, "rows", 200_000, "rows of each other table, for the plans")
	flag.IntVar(&o.rounds, "rounds", 3, "runs of each measurement")
	flag.DurationVar(&o.span, "span", 8*time.Second, "length of each, after a second to warm up")
	flag.IntVar(&o.workers, "workers", 16, "connections that ask at once")
	flag.IntVar(&o.pool, "pool", 8, "database connections of the service, and of the bare query")
	flag.IntVar(&o.idle, "connections", 1000, "open connections while the service's memory is looked at")
	flag.StringVar(&o.only, "only", "", "measure this alone (login, refresh, list, search, chat), and write no report")
	flag.BoolVar(&o.oursOnly, "ours", false, "measure without PocketBase, and write no report")
	flag.StringVar(&o.profile, "profile", "", "folder for CPU profiles of the service")
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
	mails, users, rows    int
	rounds, workers, pool int
	idle                  int
	span                  time.Duration
	only                  string
	oursOnly              bool
	profile, dir, report  string
}

// run sets up, looks at plans, measures round by round, and reports.
func run(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp(o.dir, "bench-service-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil { // the database's user passes through
		return err
	}
	db, err := startCluster(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.stop()) }()
	seeded := make(chan error, 1)
	go func() { seeded <- seedPocketBase(ctx, dir, o) }()
	service, err := startAssistd(ctx, dir, db, o)
	if err := errors.Join(err, <-seeded); err != nil {
		return err
	}
	defer func() { service.stop() }()
	plans, err := checkPlans(ctx, db.url)
	if err != nil {
		return err
	}
	log.Print(plans.summary(), "\n", strings.Join(plans.failures, "\n"))

	contenders := service.contenders(o)
	if !o.oursOnly {
		peer, err := startPocketBase(ctx, dir)
		if err != nil {
			return err
		}
		defer peer.stop()
		contenders = append(contenders, peer.contenders()...)
	}
	bare, err := newBare(ctx, db, service, o)
	if err != nil {
		return err
	}
	defer bare.close()
	contenders = append(contenders, bare.contenders()...)

	results := &results{options: o, db: db, plans: plans}
	if err := results.measureAll(ctx, contenders); err != nil {
		return err
	}
	if results.crowd, err = crowd(ctx, service, o.idle); err != nil {
		return err
	}
	fmt.Print(results.table(), results.crowd.text())
	if o.only == "" && !o.oursOnly {
		err = results.write(o.report)
	}
	return errors.Join(err, plans.err())
}
