// Command pack makes the images of assistd and assistctl: it lets Docker build them where a Docker engine answers, and packs the same
// content itself elsewhere. `make images` runs it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/smart-assistant/platform/images"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("pack", flag.ContinueOnError)
	o := images.Options{Source: ".", Say: func(format string, a ...any) { fmt.Printf(format+"\n", a...) }}
	flags.StringVar(&o.Out, "out", "dist/images", "`folder` for the archives and images.json")
	flags.StringVar(&o.Version, "version", "dev", "what the programs call themselves")
	flags.StringVar(&o.Commit, "commit", "", "the `commit` that they are built from (default: what git says)")
	flags.StringVar(&o.Registry, "registry", "", "push to this `registry`, as in registry.example.com/assistant")
	platform := flags.String("platform", "linux/"+runtime.GOARCH, "of the cluster's nodes")
	builder := flags.String("builder", "auto", "docker, pack, or auto: Docker where it answers")
	rootfs := flags.String("rootfs", "", "write what an image needs beside its program into this `folder`, and nothing else")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *rootfs != "" {
		return images.WriteBase(*rootfs)
	}
	p, err := v1.ParsePlatform(*platform)
	if err != nil {
		return fmt.Errorf("-platform: %w", err)
	}
	o.Platform = *p
	if o.Commit == "" {
		o.Commit = gitCommit(ctx)
	}
	switch *builder {
	case "docker", "pack":
		o.Docker = *builder == "docker"
	case "auto":
		o.Docker = images.DockerAnswers(ctx)
	default:
		return fmt.Errorf("-builder %s: want docker, pack or auto", *builder)
	}
	_, err = images.Build(ctx, o)
	return err
}

// gitCommit names the work tree's commit as `assistctl release create` does; -dirty says that it was changed since.
func gitCommit(ctx context.Context) string {
	commit, err := exec.CommandContext(ctx, "git", "rev-parse", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	name := strings.TrimSpace(string(commit))
	if changes, err := exec.CommandContext(ctx, "git", "status", "--porcelain", "--untracked-files=no").Output(); err != nil || len(changes) > 0 {
		name += "-dirty"
	}
	return name
}
