// Command demo is the product's story, told by doing it: three environments side by side on this machine, a release taken
// through all of them, a broken one stopped by itself, and production's data damaged and restored.
//
//	make demo
//
// Nothing in it is mocked: PostgreSQL, an S3 server and the service are real processes, and every line that begins with
// a tick is something that was measured. It works in a temporary folder with ports of its own and removes both.
// story.go is what happens, in order; stage.go is how commands are run, things measured and the stage cleared.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := perform(ctx, story)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "\ndemo failed: %v\n", err)
		os.Exit(1)
	}
}
