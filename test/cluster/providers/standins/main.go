// Standins serves the provider stand-ins until it is interrupted. It is test code and never ships.
//
// The first line on standard output is the assignment of PULUMI_DEBUG_PROVIDERS that the engine needs:
//
//	standins >standins.env &
//	export $(cat standins.env)
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/smart-assistant/platform/test/cluster/providers"
)

func main() {
	options := providers.Options{Log: os.Stderr}
	flag.StringVar(&options.Kubeconfig, "kubeconfig", "", "use this kubeconfig whatever a stack says")
	flag.DurationVar(&options.Wait, "wait", 0, "how long to wait for a rollout where a stack does not say (default: as the real provider)")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	servers, err := providers.Start(ctx, options)
	if err != nil {
		fmt.Fprintln(os.Stderr, "standins:", err)
		stop()
		os.Exit(1)
	}
	fmt.Println("PULUMI_DEBUG_PROVIDERS=" + servers.DebugProviders())
	<-ctx.Done()
	servers.Close()
}
