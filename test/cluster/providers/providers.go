// Package providers holds stand-ins for the Pulumi providers kubernetes, aws, random and tls, for machines on which no plugin can be
// downloaded. It is test code: nothing of the product imports it, and it never ships.
//
// A stand-in is a gRPC server on a loopback port that the Pulumi engine attaches to when the environment says so
// (PULUMI_DEBUG_PROVIDERS). The kubernetes one talks to a real API server and behaves as the real provider does in what a stack can
// see: server-side apply, waits, replacements, names. The others reach no cloud: they check inputs against the SDK's own types and
// answer with outputs that are made up (aws) or made here (random, tls). Helm releases are kept in the state only; no chart is rendered.
//
// What the package does not own: the cluster (test/cluster/up.sh) and the environment of the commands that use it (test/cluster/harness).
package providers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
)

// maxMessage is what the engine itself allows for one message.
const maxMessage = 400 << 20

// Options says how the stand-ins behave. The zero value is good for a stack that names its own kubeconfig.
type Options struct {
	// Kubeconfig is a file that the kubernetes stand-in uses instead of whatever the stack says: for stacks whose cluster is made up.
	Kubeconfig string
	// Wait bounds the waits for a rollout where neither the resource nor an annotation says otherwise; zero means the real provider's.
	Wait time.Duration
	// Log receives a line for each change; nil means none.
	Log io.Writer
}

// Servers are the running stand-ins.
type Servers struct {
	ports   []string
	servers []*grpc.Server
}

// Start serves all stand-ins on ports of the system's choice.
func Start(ctx context.Context, options Options) (*Servers, error) {
	log := &logger{out: options.Log}
	providers := []struct {
		name     string
		provider plugin.Provider
	}{
		{"kubernetes", newKubernetes(options, log)},
		{"aws", newAWS(log)},
		{"random", newRandom(log)},
		{"tls", newTLS(log)},
	}
	s := &Servers{}
	for _, p := range providers {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("listening for the %s stand-in: %w", p.name, err)
		}
		server := grpc.NewServer(grpc.StatsHandler(sessions{}), grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage))
		pulumirpc.RegisterResourceProviderServer(server, attachable{plugin.NewProviderServer(p.provider)})
		go func() {
			if err := server.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
				log.printf("%s: %v", p.name, err)
			}
		}()
		s.ports = append(s.ports, fmt.Sprintf("%s:%d", p.name, listener.Addr().(*net.TCPAddr).Port))
		s.servers = append(s.servers, server)
	}
	return s, nil
}

// DebugProviders is the value of PULUMI_DEBUG_PROVIDERS that makes the engine use these servers.
func (s *Servers) DebugProviders() string { return strings.Join(s.ports, ",") }

// Close ends the servers and whatever they are waiting for.
func (s *Servers) Close() {
	for _, server := range s.servers {
		server.Stop()
	}
}
