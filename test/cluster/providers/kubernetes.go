package providers

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/blang/semver"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil/rpcerror"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc/codes"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	helmRelease = tokens.Type("kubernetes:helm.sh/v3:Release")
	autonamed   = "pulumi.com/autonamed"
)

// kubernetes is the stand-in of pulumi-kubernetes.
type kubernetes struct {
	plugin.UnimplementedProvider
	options Options
	log     *logger
}

func newKubernetes(options Options, log *logger) *kubernetes {
	return &kubernetes{options: options, log: log}
}

func (k *kubernetes) Handshake(context.Context, plugin.ProviderHandshakeRequest) (*plugin.ProviderHandshakeResponse, error) {
	return &plugin.ProviderHandshakeResponse{AcceptSecrets: true, AcceptResources: true, AcceptOutputs: false}, nil
}

func (k *kubernetes) GetPluginInfo(context.Context) (plugin.PluginInfo, error) {
	return plugin.PluginInfo{Version: &semver.Version{Major: 4, Minor: 30}}, nil
}

func (k *kubernetes) SignalCancellation(ctx context.Context) error {
	sessionOf(ctx).cancel()
	return nil
}

func (k *kubernetes) CheckConfig(_ context.Context, r plugin.CheckConfigRequest) (plugin.CheckConfigResponse, error) {
	return plugin.CheckConfigResponse{Properties: r.News}, nil
}

func (k *kubernetes) DiffConfig(_ context.Context, r plugin.DiffConfigRequest) (plugin.DiffConfigResponse, error) {
	return inputDiff(r.OldInputs, r.NewInputs, func(path string) bool { return path == "clusterIdentifier" }), nil
}

func (k *kubernetes) Configure(ctx context.Context, r plugin.ConfigureRequest) (plugin.ConfigureResponse, error) {
	c, err := connect(r.Inputs, k.options.Kubeconfig)
	if err != nil {
		return plugin.ConfigureResponse{}, err
	}
	s := sessionOf(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cluster = c
	return plugin.ConfigureResponse{}, nil
}

func clusterOf(ctx context.Context) (*cluster, error) {
	s := sessionOf(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cluster == nil {
		return nil, errors.New("the kubernetes stand-in was asked before it was configured")
	}
	return s.cluster, nil
}

// Check fills in what the real provider fills in: a name made of the resource's, and the namespace.
func (k *kubernetes) Check(ctx context.Context, r plugin.CheckRequest) (plugin.CheckResponse, error) {
	if r.Type == helmRelease {
		return checkRelease(r), nil
	}
	c, err := clusterOf(ctx)
	if err != nil {
		return plugin.CheckResponse{}, err
	}
	kind, err := kindOf(r.Type)
	if err != nil {
		return plugin.CheckResponse{}, err
	}
	inputs := r.News.Copy()
	for key, want := range map[resource.PropertyKey]string{"apiVersion": kind.GroupVersion().String(), "kind": kind.Kind} {
		if v := plain(inputs[key]); v.IsString() && v.StringValue() != want {
			return plugin.CheckResponse{Failures: []plugin.CheckFailure{{Property: key, Reason: fmt.Sprintf("is %q, and %s has %q", v.StringValue(), r.Type, want)}}}, nil
		}
		inputs[key] = resource.NewProperty(want)
	}
	if inputs["metadata"].IsComputed() {
		return plugin.CheckResponse{Properties: inputs}, nil
	}
	metadata := resource.PropertyMap{}
	if v := plain(inputs["metadata"]); v.IsObject() {
		metadata = v.ObjectValue()
	}
	if !metadata.HasValue("name") {
		if err := nameIt(metadata, r); err != nil {
			return plugin.CheckResponse{}, err
		}
	}
	inNamespace, err := c.namespaced(kind)
	if err != nil {
		return plugin.CheckResponse{}, err
	}
	if inNamespace && !metadata.HasValue("namespace") {
		metadata["namespace"] = resource.NewProperty(c.namespace)
	}
	inputs["metadata"] = markSecret(resource.NewProperty(metadata), r.News["metadata"])
	return plugin.CheckResponse{Properties: inputs}, nil
}

// nameIt gives an object without a name the one that it had, or a new one that tells it from a predecessor that is still there.
func nameIt(metadata resource.PropertyMap, r plugin.CheckRequest) error {
	annotations := resource.PropertyMap{}
	if v := plain(metadata["annotations"]); v.IsObject() {
		annotations = v.ObjectValue()
	}
	annotations[autonamed] = resource.NewProperty("true")
	metadata["annotations"] = resource.NewProperty(annotations)
	if old := objectOf(r.Olds); old.GetName() != "" && old.GetAnnotations()[autonamed] == "true" {
		metadata["name"] = resource.NewProperty(old.GetName())
		return nil
	}
	name, err := resource.NewUniqueName(r.RandomSeed, r.Name+"-", 8, 253, nil)
	if err != nil {
		return fmt.Errorf("naming %s: %w", r.URN, err)
	}
	metadata["name"] = resource.NewProperty(name)
	return nil
}

func (k *kubernetes) Diff(ctx context.Context, r plugin.DiffRequest) (plugin.DiffResponse, error) {
	if r.Type == helmRelease {
		return inputDiff(r.OldInputs, r.NewInputs, func(path string) bool { return path == "name" || path == "namespace" }), nil
	}
	c, err := clusterOf(ctx)
	if err != nil {
		return plugin.DiffResponse{}, err
	}
	kind, err := kindOf(r.Type)
	if err != nil {
		return plugin.DiffResponse{}, err
	}
	before, after := objectOf(r.OldInputs), objectOf(r.NewInputs)
	diff := inputDiff(r.OldInputs, r.NewInputs, func(path string) bool { return c.replaces(kind.GroupKind(), before, path) })
	// Two objects of one name cannot be there at a time.
	diff.DeleteBeforeReplace = replacing(diff) && after.GetAnnotations()[autonamed] != "true" &&
		before.GetName() == after.GetName() && before.GetNamespace() == after.GetNamespace()
	return diff, nil
}

func (k *kubernetes) Create(ctx context.Context, r plugin.CreateRequest) (plugin.CreateResponse, error) {
	if r.Type == helmRelease {
		return k.createRelease(r), nil
	}
	c, err := clusterOf(ctx)
	if err != nil {
		return plugin.CreateResponse{}, err
	}
	ctx, stop := sessionOf(ctx).untilCancelled(ctx)
	defer stop()
	o := objectOf(r.Properties)
	manager := managerName(o)
	if r.Preview {
		if r.Properties.ContainsUnknowns() {
			return plugin.CreateResponse{Properties: r.Properties}, nil
		}
		live, err := c.create(ctx, o, manager, true)
		if notYetThere(err) {
			return plugin.CreateResponse{Properties: r.Properties}, nil
		}
		if err != nil {
			return plugin.CreateResponse{}, err
		}
		return plugin.CreateResponse{Properties: stateOf(live, r.Properties, manager)}, nil
	}
	live, err := c.create(ctx, o, manager, false)
	if err != nil {
		return plugin.CreateResponse{}, err
	}
	id := resource.ID(idOf(live.GetNamespace(), live.GetName()))
	k.log.printf("kubernetes: created %s %s", live.GetKind(), id)
	live, err = c.wait(ctx, live, k.patience(live, r.Timeout))
	state := stateOf(live, r.Properties, manager)
	if err != nil {
		return plugin.CreateResponse{}, initError(id, state, r.Properties, err)
	}
	return plugin.CreateResponse{ID: id, Properties: state, Status: resource.StatusOK}, nil
}

func (k *kubernetes) Update(ctx context.Context, r plugin.UpdateRequest) (plugin.UpdateResponse, error) {
	if r.Type == helmRelease {
		return k.updateRelease(r), nil
	}
	c, err := clusterOf(ctx)
	if err != nil {
		return plugin.UpdateResponse{}, err
	}
	ctx, stop := sessionOf(ctx).untilCancelled(ctx)
	defer stop()
	o := objectOf(r.NewInputs)
	manager := managerName(o)
	if v := plain(r.OldOutputs[managerKey]); v.IsString() {
		manager = v.StringValue()
	}
	if r.Preview && r.NewInputs.ContainsUnknowns() {
		return plugin.UpdateResponse{Properties: r.NewInputs}, nil
	}
	live, err := c.apply(ctx, o, manager, r.Preview)
	if r.Preview && notYetThere(err) {
		return plugin.UpdateResponse{Properties: r.NewInputs}, nil
	}
	if err != nil {
		return plugin.UpdateResponse{}, err
	}
	if r.Preview {
		return plugin.UpdateResponse{Properties: stateOf(live, r.NewInputs, manager)}, nil
	}
	k.log.printf("kubernetes: updated %s %s", live.GetKind(), r.ID)
	live, err = c.wait(ctx, live, k.patience(live, r.Timeout))
	state := stateOf(live, r.NewInputs, manager)
	if err != nil {
		return plugin.UpdateResponse{}, initError(r.ID, state, r.NewInputs, err)
	}
	return plugin.UpdateResponse{Properties: state, Status: resource.StatusOK}, nil
}

func (k *kubernetes) Read(ctx context.Context, r plugin.ReadRequest) (plugin.ReadResponse, error) {
	if r.Type == helmRelease {
		return plugin.ReadResponse{ReadResult: plugin.ReadResult{ID: r.ID, Inputs: r.Inputs, Outputs: r.State}}, nil
	}
	c, err := clusterOf(ctx)
	if err != nil {
		return plugin.ReadResponse{}, err
	}
	kind, err := kindOf(r.Type)
	if err != nil {
		return plugin.ReadResponse{}, err
	}
	namespace, name := splitID(r.ID)
	live, err := c.get(ctx, kind, namespace, name)
	if apierrors.IsNotFound(err) || meta.IsNoMatchError(errors.Unwrap(err)) {
		return plugin.ReadResponse{}, nil
	}
	if err != nil {
		return plugin.ReadResponse{}, err
	}
	manager := ""
	if v := plain(r.State[managerKey]); v.IsString() {
		manager = v.StringValue()
	}
	return plugin.ReadResponse{ReadResult: plugin.ReadResult{
		ID: r.ID, Inputs: liveInputs(live, r.Inputs), Outputs: stateOf(live, r.Inputs, manager),
	}, Status: resource.StatusOK}, nil
}

// Delete returns when the object is gone, and so are those that it owns.
func (k *kubernetes) Delete(ctx context.Context, r plugin.DeleteRequest) (plugin.DeleteResponse, error) {
	if r.Type == helmRelease {
		return plugin.DeleteResponse{Status: resource.StatusOK}, nil
	}
	c, err := clusterOf(ctx)
	if err != nil {
		return plugin.DeleteResponse{}, err
	}
	kind, err := kindOf(r.Type)
	if err != nil {
		return plugin.DeleteResponse{}, err
	}
	ctx, stop := sessionOf(ctx).untilCancelled(ctx)
	defer stop()
	namespace, name := splitID(r.ID)
	client, err := c.client(kind, namespace)
	if meta.IsNoMatchError(errors.Unwrap(err)) {
		return plugin.DeleteResponse{Status: resource.StatusOK}, nil
	}
	if err != nil {
		return plugin.DeleteResponse{}, err
	}
	policy := metav1.DeletePropagationForeground
	o := objectOf(r.Outputs)
	if said := o.GetAnnotations()["pulumi.com/deletionPropagationPolicy"]; said != "" {
		policy = metav1.DeletionPropagation(strings.ToUpper(said[:1]) + said[1:])
	}
	if err := client.Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil && !apierrors.IsNotFound(err) {
		return plugin.DeleteResponse{}, fmt.Errorf("deleting %s %s: %w", kind.Kind, r.ID, err)
	}
	k.log.printf("kubernetes: deleting %s %s", kind.Kind, r.ID)
	if skipped(o) {
		return plugin.DeleteResponse{Status: resource.StatusOK}, nil
	}
	if err := c.waitGone(ctx, kind, namespace, name, k.patience(o, r.Timeout)); err != nil {
		return plugin.DeleteResponse{}, err
	}
	return plugin.DeleteResponse{Status: resource.StatusOK}, nil
}

func (k *kubernetes) Invoke(_ context.Context, r plugin.InvokeRequest) (plugin.InvokeResponse, error) {
	return plugin.InvokeResponse{}, fmt.Errorf("the kubernetes stand-in knows no function %s", r.Tok)
}

// notYetThere: a preview cannot ask the server about an object whose namespace or definition the same stack is about to make.
func notYetThere(err error) bool {
	return apierrors.IsNotFound(err) || meta.IsNoMatchError(errors.Unwrap(err))
}

// managerName is the field manager of one resource, so that two resources that claim one field are told apart.
func managerName(o *unstructured.Unstructured) string {
	if name := o.GetAnnotations()["pulumi.com/patchFieldManager"]; name != "" {
		return name
	}
	var b [4]byte
	_, _ = rand.Read(b[:])
	return "pulumi-kubernetes-" + hex.EncodeToString(b[:])
}

// initError says that an object is there and did not become ready. The engine keeps it in the state and tries again next time.
func initError(id resource.ID, state, inputs resource.PropertyMap, reason error) error {
	options := plugin.MarshalOptions{KeepUnknowns: true, KeepSecrets: true, KeepResources: true}
	properties, err := plugin.MarshalProperties(state, options)
	if err != nil {
		return errors.Join(reason, err)
	}
	in, err := plugin.MarshalProperties(inputs, options)
	if err != nil {
		return errors.Join(reason, err)
	}
	return rpcerror.WithDetails(rpcerror.New(codes.Unknown, reason.Error()), &pulumirpc.ErrorResourceInitFailed{
		Id: string(id), Properties: properties, Inputs: in, Reasons: strings.Split(reason.Error(), "\n"),
	})
}

// patience is how long to wait for an object: the resource's customTimeouts, its annotation, the stand-in's option, ten minutes.
func (k *kubernetes) patience(o *unstructured.Unstructured, seconds float64) time.Duration {
	if seconds > 0 {
		return time.Duration(seconds * float64(time.Second))
	}
	if d, err := time.ParseDuration(o.GetAnnotations()["pulumi.com/timeoutSeconds"] + "s"); err == nil {
		return d
	}
	if k.options.Wait > 0 {
		return k.options.Wait
	}
	return 10 * time.Minute
}
