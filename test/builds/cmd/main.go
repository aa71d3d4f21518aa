// Command cmd builds a variant of assistd:
//
//	go run ./test/builds/cmd -variant v1 -version v1.0.0 -o /tmp/assistd-v1
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"github.com/smart-assistant/platform/test/builds"
)

func main() {
	variant := flag.String("variant", builds.Current, "one of "+strings.Join(builds.Variants(), ", "))
	version := flag.String("version", "dev", "version that the build says it is")
	out := flag.String("o", "assistd", "file to write")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := builds.Build(ctx, *variant, *version, *out); err != nil {
		fmt.Fprintln(os.Stderr, err)
		stop()
		os.Exit(1) //nolint:gocritic // stop has run
	}
}
