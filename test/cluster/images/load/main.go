// Command load makes the test images of the servers and loads them, and those that `make images` left, into a cluster's containerd.
// It prints the references that pods name them by.
//
//	go run ./test/cluster/images/load -socket …/containerd.sock [-servers=false] [-product dist/images]
package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/smart-assistant/platform/test/cluster/images"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	containerd := images.Containerd{}
	flag.StringVar(&containerd.Socket, "socket", "", "containerd's `socket`; without it the images are only made")
	repository := flag.String("repository", ".", "the repository's `folder`")
	folder := flag.String("folder", "bin/images", "`folder` for the servers' archives")
	servers := flag.Bool("servers", true, "make and load postgres, valkey and versitygw")
	product := flag.String("product", "", "load what `make images` has left in this `folder`")
	flag.Parse()

	all := map[string]images.Image{}
	if *product != "" {
		made, _, err := images.FromRecord(*product)
		if err != nil {
			return err
		}
		maps.Copy(all, made)
	}
	if *servers {
		made, err := images.Servers(ctx, *repository, *folder)
		if err != nil {
			return err
		}
		maps.Copy(all, made)
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if containerd.Socket != "" {
			if err := containerd.Load(ctx, all[name]); err != nil {
				return err
			}
		}
		fmt.Println(all[name].Reference())
	}
	return nil
}
