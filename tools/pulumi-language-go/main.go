// Pulumi-language-go is a language host for Pulumi programs in Go that are built already: it runs what Pulumi.yaml names as
// runtime.options.binary. It compiles nothing and asks for no plugins.
//
// The CLI comes with a host of its own; where Pulumi is installed, that one is used. The last one that the Go module proxy serves
// is so old that this CLI cannot tell it about runtime.options, and it lets `go list` rewrite go.mod before each preview.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/constant"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	"github.com/pulumi/pulumi/sdk/v3/go/common/version"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "pulumi-language-go:", err)
		os.Exit(1)
	}
}

// serve answers the engine whose address is the argument, until that engine is gone.
func serve() error {
	if len(os.Args) != 2 {
		return errors.New("the engine starts this with its address; people do not")
	}
	engine := os.Args[1]
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	gone := make(chan bool)
	if err := rpcutil.Healthcheck(ctx, engine, 5*time.Second, func() { close(gone) }); err != nil {
		return fmt.Errorf("reaching the engine at %s: %w", engine, err)
	}
	handle, err := rpcutil.ServeWithOptions(rpcutil.ServeOptions{
		Cancel: gone,
		Init: func(s *grpc.Server) error {
			pulumirpc.RegisterLanguageRuntimeServer(s, &host{engine: engine})
			return nil
		},
	})
	if err != nil {
		return err
	}
	fmt.Println(handle.Port) // what the engine waits for
	return <-handle.Done
}

type host struct {
	pulumirpc.UnimplementedLanguageRuntimeServer
	engine string
}

func (*host) Handshake(context.Context, *pulumirpc.LanguageHandshakeRequest) (*pulumirpc.LanguageHandshakeResponse, error) {
	return &pulumirpc.LanguageHandshakeResponse{}, nil
}

func (*host) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: version.Version}, nil
}

func (*host) GetRequiredPackages(context.Context, *pulumirpc.GetRequiredPackagesRequest) (*pulumirpc.GetRequiredPackagesResponse, error) {
	return &pulumirpc.GetRequiredPackagesResponse{}, nil
}

func (*host) GetRequiredPlugins(context.Context, *pulumirpc.GetRequiredPluginsRequest) (*pulumirpc.GetRequiredPluginsResponse, error) {
	return &pulumirpc.GetRequiredPluginsResponse{}, nil
}

func (*host) GetProgramDependencies(context.Context, *pulumirpc.GetProgramDependenciesRequest) (*pulumirpc.GetProgramDependenciesResponse, error) {
	return &pulumirpc.GetProgramDependenciesResponse{}, nil
}

func (*host) About(context.Context, *pulumirpc.AboutRequest) (*pulumirpc.AboutResponse, error) {
	return &pulumirpc.AboutResponse{Version: version.Version}, nil
}

func (*host) InstallDependencies(*pulumirpc.InstallDependenciesRequest, grpc.ServerStreamingServer[pulumirpc.InstallDependenciesResponse]) error {
	return nil
}

func (*host) Cancel(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

// Run runs the program to its end. What it prints goes where the engine reads the host's own output.
func (h *host) Run(ctx context.Context, r *pulumirpc.RunRequest) (*pulumirpc.RunResponse, error) {
	binary, err := find(r.GetInfo())
	if err != nil {
		return &pulumirpc.RunResponse{Error: err.Error()}, nil
	}
	env, err := h.environment(r)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, binary)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = r.GetPwd(), env, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return &pulumirpc.RunResponse{}, nil
	case errors.As(err, &exit) && exit.ExitCode() == constant.ExitStatusLoggedError:
		return &pulumirpc.RunResponse{Bail: true}, nil // the program has said why
	case errors.As(err, &exit):
		return &pulumirpc.RunResponse{Error: fmt.Sprintf("%s ended with %s", binary, exit.ProcessState)}, nil
	}
	return &pulumirpc.RunResponse{Error: fmt.Sprintf("starting the program: %v", err)}, nil
}

// find looks for the program where the real host does: from the program's folder, from the project's, on the PATH.
func find(info *pulumirpc.ProgramInfo) (string, error) {
	name := info.GetOptions().GetFields()["binary"].GetStringValue()
	if name == "" {
		return "", errors.New("Pulumi.yaml names no runtime.options.binary, and this language host runs nothing else")
	}
	for _, dir := range []string{info.GetProgramDirectory(), info.GetRootDirectory()} {
		path := name
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, name)
		}
		if i, err := os.Stat(path); err == nil && !i.IsDir() && i.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	return "", fmt.Errorf("there is no program %s, which Pulumi.yaml names as runtime.options.binary: build it first", name)
}

// environment is how the SDK in the program learns what to do.
func (h *host) environment(r *pulumirpc.RunRequest) ([]string, error) {
	values := map[string]any{pulumi.EnvConfig: r.GetConfig(), pulumi.EnvConfigSecretKeys: r.GetConfigSecretKeys()}
	env := append(os.Environ(),
		pulumi.EnvOrganization+"="+r.GetOrganization(),
		pulumi.EnvProject+"="+r.GetProject(),
		pulumi.EnvStack+"="+r.GetStack(),
		fmt.Sprintf("%s=%t", pulumi.EnvDryRun, r.GetDryRun()),
		fmt.Sprintf("%s=%d", pulumi.EnvParallel, r.GetParallel()),
		pulumi.EnvMonitor+"="+r.GetMonitorAddress(),
		pulumi.EnvEngine+"="+h.engine)
	for name, v := range values {
		text, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("encoding the configuration for the program: %w", err)
		}
		env = append(env, name+"="+string(text))
	}
	return env, nil
}
