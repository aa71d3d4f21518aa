// Command load sends a constant rate of requests to a service on this machine until it is told to stop (SIGINT or
// SIGTERM) or its time is over, and prints what it measured. It exits 1 when a request failed, 2 when it could not start.
//
//	go run ./test/load/cmd/load -url http://127.0.0.1:8080 -rate 200 -for 1m
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/smart-assistant/platform/test/load"
)

func main() {
	var o load.Options
	flag.StringVar(&o.URL, "url", "", "address of the API; a loopback address")
	flag.IntVar(&o.Rate, "rate", 200, "requests per second")
	flag.IntVar(&o.Users, "users", 4, "accounts to register and to ask as")
	flag.DurationVar(&o.Duration, "for", 10*time.Minute, "end after this time")
	asJSON := flag.Bool("json", false, "print the report as JSON")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := run(ctx, o, *asJSON)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

func run(ctx context.Context, o load.Options, asJSON bool) (int, error) {
	// Signing up takes a moment; a signal then ends it with an error, later it ends the load with a report.
	runner, err := load.Start(ctx, o)
	if err != nil {
		return 2, err
	}
	fmt.Fprintf(os.Stderr, "sending %d requests/s to %s\n", o.Rate, o.URL)
	<-runner.Done()
	report := runner.Stop()
	if asJSON {
		if err := json.NewEncoder(os.Stdout).Encode(report); err != nil {
			return 2, err
		}
	} else {
		fmt.Println(report)
	}
	if report.Failed > 0 {
		return 1, nil
	}
	return 0, nil
}
