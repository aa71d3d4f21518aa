// Command stacks is the Pulumi program: it reads a stack's settings, declares the platform and exports what assistctl needs to know.
//
// It owns what is between Pulumi and the components: the configuration as Pulumi passes it, the guard of the release (release.go) and the
// check that the program was built from the sources beside it. What an environment consists of is in infra.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/smart-assistant/platform/infra"
	"github.com/smart-assistant/platform/infra/environment"
	"github.com/smart-assistant/platform/stacks/sources/hash"
)

// Set by the linker (-X main.sources=…): the hash of the sources from which this program was built.
var sources string

// namespace of our keys in the configuration.
const namespace = "smart-assistant:"

func main() {
	if err := current("."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	pulumi.Run(deploy)
}

func deploy(ctx *pulumi.Context) error {
	settings, err := configuration(ctx.Stack(), os.Getenv(pulumi.EnvConfig), os.Getenv(pulumi.EnvConfigSecretKeys))
	if err != nil {
		return err
	}
	if settings.Release, err = release(ctx, settings.Release); err != nil {
		return err
	}
	platform, err := infra.Deploy(ctx, settings)
	if err != nil {
		return err
	}
	ctx.Export("environment", platform.Environment)
	if platform.MadeCluster {
		ctx.Export("kubeconfig", pulumi.ToSecret(platform.Kubeconfig))
	}
	return nil
}

// current refuses to run when the program is not the one that the sources below root would make. Pulumi runs what `make stacks` built,
// so that a preview compiles nothing; it must not run what somebody has changed since.
func current(root string) error {
	if _, err := os.Stat(filepath.Join(root, "stacks", "main.go")); err != nil {
		return nil //nolint:nilerr // no sources beside it: there is nothing that it could be behind
	}
	want, err := hash.Sources(os.DirFS(root))
	if err != nil {
		return fmt.Errorf("compare the program with its sources: %w", err)
	}
	if sources != want {
		return fmt.Errorf("bin/stacks was built from other sources than those in stacks/ and infra/: run `make stacks`")
	}
	return nil
}

// configuration reads the stack's settings from what Pulumi passes to a program: all keys with their namespace, and the names of those
// that it keeps encrypted, both as JSON.
func configuration(stack, values, secret string) (environment.Settings, error) {
	var all map[string]string
	if values != "" {
		if err := json.Unmarshal([]byte(values), &all); err != nil {
			return environment.Settings{}, fmt.Errorf("read the configuration of %s: %w", stack, err)
		}
	}
	var encrypted []string
	if secret != "" {
		if err := json.Unmarshal([]byte(secret), &encrypted); err != nil {
			return environment.Settings{}, fmt.Errorf("read the names of the secrets of %s: %w", stack, err)
		}
	}
	ours := map[string]string{}
	for key, value := range all {
		if name, ok := strings.CutPrefix(key, namespace); ok {
			ours[name] = value
		}
	}
	for i, key := range encrypted {
		encrypted[i] = strings.TrimPrefix(key, namespace)
	}
	return environment.Parse(stack, ours, encrypted)
}
