package providers

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc/stats"
	"google.golang.org/protobuf/types/known/emptypb"
)

// session is one connection of an engine. The engine opens a connection for each provider resource of a stack, so two stacks, or two
// providers of one stack, have configurations of their own although they share the port.
type session struct {
	cancelled context.Context
	cancel    context.CancelFunc

	mu      sync.Mutex
	cluster *cluster             // of the kubernetes stand-in
	config  resource.PropertyMap // of the others
}

type sessionKey struct{}

// sessions gives each connection its session.
type sessions struct{}

func (sessions) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	cancelled, cancel := context.WithCancel(ctx)
	return context.WithValue(ctx, sessionKey{}, &session{cancelled: cancelled, cancel: cancel})
}

func (sessions) HandleConn(ctx context.Context, s stats.ConnStats) {
	if _, ended := s.(*stats.ConnEnd); ended {
		sessionOf(ctx).cancel()
	}
}

func (sessions) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }
func (sessions) HandleRPC(context.Context, stats.RPCStats)                       {}

func sessionOf(ctx context.Context) *session { return ctx.Value(sessionKey{}).(*session) }

// untilCancelled is ctx, and ends too when the engine says that the user wants out.
func (s *session) untilCancelled(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.cancelled, cancel)
	return ctx, func() { stop(); cancel() }
}

// attachable answers the engine's Attach, which the SDK's server knows only for plugins that are processes of their own.
type attachable struct {
	pulumirpc.ResourceProviderServer
}

func (attachable) Attach(context.Context, *pulumirpc.PluginAttach) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

// Diff says that its details are details; the SDK's server leaves that out, and the engine then shows none.
func (a attachable) Diff(ctx context.Context, r *pulumirpc.DiffRequest) (*pulumirpc.DiffResponse, error) {
	diff, err := a.ResourceProviderServer.Diff(ctx, r)
	if diff != nil {
		diff.HasDetailedDiff = len(diff.DetailedDiff) > 0
	}
	return diff, err
}

// logger writes whole lines for several servers.
type logger struct {
	mu  sync.Mutex
	out io.Writer
}

func (l *logger) printf(format string, args ...any) {
	if l.out == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.out, format+"\n", args...)
}
