package graph

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	rpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Run describes one run of a program.
type Run struct {
	Stack   string
	Config  map[string]string // with the project's prefix, as Pulumi hands it over
	Secrets []string          // the keys of Config whose values are secret
	Last    map[string]any    // outputs of the stack's last update, which the program may read from a reference to itself
}

// Project is the name of the Pulumi project.
const Project = "smart-assistant"

// Capture runs a program and returns what it declared.
func Capture(run Run, program pulumi.RunFunc) (*Graph, error) {
	m := &monitor{run: run, byURN: map[string]*Resource{}, outputs: map[string]any{}}
	for _, key := range run.Secrets {
		m.know(run.Config[key])
	}
	addr, stop, err := m.serve()
	if err != nil {
		return nil, fmt.Errorf("start a resource monitor: %w", err)
	}
	defer stop()

	err = pulumi.RunErr(program, func(info *pulumi.RunInfo) {
		info.Project, info.Stack = Project, run.Stack
		info.Config, info.ConfigSecretKeys = run.Config, run.Secrets
		info.MonitorAddr, info.EngineAddr = addr, addr
		info.Parallel = 1 // the order of registration is that of the program
	})
	if err != nil {
		return nil, fmt.Errorf("run the program of stack %s: %w", run.Stack, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.errors) > 0 {
		return nil, fmt.Errorf("run the program of stack %s: it logged: %w", run.Stack, errors.Join(m.errors...))
	}
	g := &Graph{Environment: run.Stack, Outputs: m.outputs, Warnings: m.warnings, Known: m.known}
	for _, urn := range slices.Sorted(maps.Keys(m.byURN)) {
		g.Resources = append(g.Resources, m.byURN[urn])
	}
	return g, nil
}

// monitor answers the program in place of Pulumi's engine and its providers.
type monitor struct {
	rpc.UnimplementedResourceMonitorServer
	rpc.UnimplementedEngineServer
	run Run

	mu       sync.Mutex
	root     string
	byURN    map[string]*Resource
	outputs  map[string]any
	known    []string
	warnings []string
	errors   []error
}

func (m *monitor) serve() (addr string, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(64 << 20))
	rpc.RegisterResourceMonitorServer(server, m)
	rpc.RegisterEngineServer(server, m)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener) // ends with Stop; what fails before fails the program's calls
	}()
	return listener.Addr().String(), func() { server.Stop(); <-done }, nil
}

// know remembers a secret value: the texts in it when it is JSON, its lines when it is PEM. Short ones would be found everywhere by
// chance, and so are not looked for.
func (m *monitor) know(value string) {
	var opened any
	if strings.HasPrefix(value, "{") && parseJSON(value, &opened) {
		walk(opened, "", false, func(path string, leaf any, _ bool) {
			// Access keys are the public half of a pair.
			if text, ok := leaf.(string); ok && slices.Contains(secretWords, strings.ToLower(path[strings.LastIndex(path, ".")+1:])) {
				m.know(text)
			}
		})
		return
	}
	for line := range strings.SplitSeq(value, "\n") {
		if len(line) >= 8 && !strings.HasPrefix(line, "-----") {
			m.known = append(m.known, line)
		}
	}
}

// secretWords are the members of sections that are secret. A section is encrypted as a whole, but not all of it is secret.
var secretWords = []string{"secretkey", "jwtkey", "masterkey", "databasepassword", "backuppassword", "superuserpassword", "cachepassword", "token"}

func (m *monitor) urn(parent, typ, name string) string {
	types := typ
	if parent != "" {
		parts := strings.Split(parent, "::")
		if q := parts[2]; q != "pulumi:pulumi:Stack" {
			types = q + "$" + typ
		}
	}
	return fmt.Sprintf("urn:pulumi:%s::%s::%s::%s", m.run.Stack, Project, types, name)
}

func (m *monitor) SupportsFeature(_ context.Context, in *rpc.SupportsFeatureRequest) (*rpc.SupportsFeatureResponse, error) {
	return &rpc.SupportsFeatureResponse{HasSupport: in.GetId() != "outputValues"}, nil
}

func (m *monitor) RegisterResource(_ context.Context, in *rpc.RegisterResourceRequest) (*rpc.RegisterResourceResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()

	inputs, err := fromWire(in.GetObject())
	if err != nil {
		return nil, fmt.Errorf("read the inputs of %s %s: %w", in.GetType(), in.GetName(), err)
	}
	parent := in.GetParent()
	if parent == "" && in.GetType() != "pulumi:pulumi:Stack" {
		parent = m.root
	}
	r := &Resource{
		URN: m.urn(parent, in.GetType(), in.GetName()), Type: in.GetType(), Name: in.GetName(), Parent: parent, Custom: in.GetCustom(),
		Inputs: inputs, DependsOn: in.GetDependencies(), Provider: in.GetProvider(), IgnoreChanges: in.GetIgnoreChanges(),
		DeletedWith: in.GetDeletedWith(), Import: in.GetImportId(), SecretOutputs: in.GetAdditionalSecretOutputs(),
	}
	if in.GetType() == "pulumi:pulumi:Stack" {
		m.root = r.URN
		return &rpc.RegisterResourceResponse{Urn: r.URN}, nil
	}
	if _, twice := m.byURN[r.URN]; twice {
		return nil, fmt.Errorf("two resources have the URN %s", r.URN)
	}
	// As in the engine, a resource that says nothing inherits from its parent.
	above := m.byURN[parent]
	r.Protect = inherit(in.Protect, above != nil && above.Protect)
	r.RetainOnDelete = inherit(in.RetainOnDelete, above != nil && above.RetainOnDelete)
	m.byURN[r.URN] = r
	if !r.Custom {
		return &rpc.RegisterResourceResponse{Urn: r.URN, Object: in.GetObject()}, nil
	}
	id, outputs := m.create(r)
	object, err := toWire(outputs)
	if err != nil {
		return nil, fmt.Errorf("answer for %s: %w", r, err)
	}
	return &rpc.RegisterResourceResponse{Urn: r.URN, Id: id, Object: object}, nil
}

func inherit(own *bool, above bool) bool {
	if own != nil {
		return *own
	}
	return above
}

func (m *monitor) ReadResource(_ context.Context, in *rpc.ReadResourceRequest) (*rpc.ReadResourceResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	inputs, err := fromWire(in.GetProperties())
	if err != nil {
		return nil, err
	}
	parent := in.GetParent()
	if parent == "" {
		parent = m.root
	}
	r := &Resource{
		URN: m.urn(parent, in.GetType(), in.GetName()), Type: in.GetType(), Name: in.GetName(), Parent: parent,
		Custom: true, Read: true, Inputs: inputs, Provider: in.GetProvider(),
	}
	m.byURN[r.URN] = r
	outputs := maps.Clone(inputs)
	if r.Type == "pulumi:pulumi:StackReference" {
		last := m.run.Last
		if last == nil {
			last = map[string]any{}
		}
		outputs["name"], outputs["outputs"], outputs["secretOutputNames"] = in.GetId(), last, []any{}
	} else {
		_, outputs = m.create(r)
	}
	object, err := toWire(outputs)
	if err != nil {
		return nil, fmt.Errorf("answer for %s: %w", r, err)
	}
	return &rpc.ReadResourceResponse{Urn: r.URN, Properties: object}, nil
}

func (m *monitor) RegisterResourceOutputs(_ context.Context, in *rpc.RegisterResourceOutputsRequest) (*emptypb.Empty, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	outputs, err := fromWire(in.GetOutputs())
	if err != nil {
		return nil, err
	}
	if in.GetUrn() == m.root {
		m.outputs = outputs
	}
	return &emptypb.Empty{}, nil
}

func (m *monitor) Invoke(_ context.Context, in *rpc.ResourceInvokeRequest) (*rpc.InvokeResponse, error) {
	args, err := fromWire(in.GetArgs())
	if err != nil {
		return nil, err
	}
	answer, err := answer(in.GetTok(), args)
	if err != nil {
		return nil, err
	}
	object, err := toWire(answer)
	if err != nil {
		return nil, fmt.Errorf("answer %s: %w", in.GetTok(), err)
	}
	return &rpc.InvokeResponse{Return: object}, nil
}

func (m *monitor) RegisterPackage(context.Context, *rpc.RegisterPackageRequest) (*rpc.RegisterPackageResponse, error) {
	return &rpc.RegisterPackageResponse{Ref: "package"}, nil
}

func (m *monitor) SignalAndWaitForShutdown(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (m *monitor) Log(_ context.Context, in *rpc.LogRequest) (*emptypb.Empty, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch in.GetSeverity() {
	case rpc.LogSeverity_WARNING:
		m.warnings = append(m.warnings, in.GetMessage())
	case rpc.LogSeverity_ERROR:
		m.errors = append(m.errors, errors.New(in.GetMessage()))
	case rpc.LogSeverity_DEBUG, rpc.LogSeverity_INFO:
	}
	return &emptypb.Empty{}, nil
}

func (m *monitor) GetRootResource(context.Context, *rpc.GetRootResourceRequest) (*rpc.GetRootResourceResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &rpc.GetRootResourceResponse{Urn: m.root}, nil
}

func (m *monitor) SetRootResource(context.Context, *rpc.SetRootResourceRequest) (*rpc.SetRootResourceResponse, error) {
	return &rpc.SetRootResourceResponse{}, nil
}

func (m *monitor) RequirePulumiVersion(context.Context, *rpc.RequirePulumiVersionRequest) (*rpc.RequirePulumiVersionResponse, error) {
	return &rpc.RequirePulumiVersionResponse{}, nil
}
