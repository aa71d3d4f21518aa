package providers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
)

// cluster is the API server that one provider of a stack talks to.
type cluster struct {
	namespace         string // of objects that name none
	mutableConfigMaps bool
	mutableSecrets    bool
	upsert            bool
	patchForce        bool

	objects dynamic.Interface

	mu     sync.Mutex
	mapper *restmapper.DeferredDiscoveryRESTMapper
}

// connect makes a cluster of a provider's configuration. The kubeconfig may be a path, a list of paths or the contents.
func connect(inputs resource.PropertyMap, override string) (*cluster, error) {
	text := func(key resource.PropertyKey) string {
		if v := plain(inputs[key]); v.IsString() {
			return v.StringValue()
		}
		return ""
	}
	yes := func(key resource.PropertyKey) bool {
		v := plain(inputs[key])
		return v.IsBool() && v.BoolValue() || v.IsString() && v.StringValue() == "true"
	}
	overrides := &clientcmd.ConfigOverrides{CurrentContext: text("context")}
	overrides.Context.Cluster = text("cluster")
	kubeconfig := text("kubeconfig")
	if override != "" {
		kubeconfig, overrides = override, &clientcmd.ConfigOverrides{}
	}

	var loader clientcmd.ClientConfig
	if strings.Contains(kubeconfig, "apiVersion") {
		config, err := clientcmd.Load([]byte(kubeconfig))
		if err != nil {
			return nil, fmt.Errorf("reading the kubeconfig that the provider holds: %w", err)
		}
		loader = clientcmd.NewDefaultClientConfig(*config, overrides)
	} else {
		rules := clientcmd.NewDefaultClientConfigLoadingRules()
		if kubeconfig != "" {
			if paths := filepath.SplitList(kubeconfig); len(paths) == 1 {
				rules.ExplicitPath = expandHome(kubeconfig)
			} else {
				rules.Precedence = paths
			}
		}
		loader = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides)
	}
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("configured Kubernetes cluster is unreachable: %w", err)
	}
	config.QPS, config.Burst = 100, 200
	config.UserAgent = "pulumi-kubernetes stand-in (tests)"
	c := &cluster{
		namespace:         text("namespace"),
		mutableConfigMaps: yes("enableConfigMapMutable"),
		mutableSecrets:    yes("enableSecretMutable"),
		upsert:            yes("upsertExistingObjects"),
		patchForce:        yes("enablePatchForce"),
	}
	if c.namespace == "" {
		if c.namespace, _, err = loader.Namespace(); err != nil {
			return nil, fmt.Errorf("finding the kubeconfig's namespace: %w", err)
		}
	}
	if c.objects, err = dynamic.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a discovery client: %w", err)
	}
	c.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client))
	return c, nil
}

func expandHome(path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	return path
}

// mapping finds the resource of a kind, and asks the server anew when a definition may have come since.
func (c *cluster) mapping(kind schema.GroupVersionKind) (*meta.RESTMapping, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		c.mapper.Reset()
		m, err = c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	}
	if err != nil {
		return nil, fmt.Errorf("finding the resource of %s: %w", kind, err)
	}
	return m, nil
}

func (c *cluster) client(kind schema.GroupVersionKind, namespace string) (dynamic.ResourceInterface, error) {
	m, err := c.mapping(kind)
	if err != nil {
		return nil, err
	}
	if m.Scope.Name() == meta.RESTScopeNameNamespace {
		return c.objects.Resource(m.Resource).Namespace(namespace), nil
	}
	return c.objects.Resource(m.Resource), nil
}

// namespaced says whether a kind's objects live in namespaces; a kind that the server does not know yet is taken for one that does.
func (c *cluster) namespaced(kind schema.GroupVersionKind) (bool, error) {
	m, err := c.mapping(kind)
	if meta.IsNoMatchError(errors.Unwrap(err)) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return m.Scope.Name() == meta.RESTScopeNameNamespace, nil
}

func (c *cluster) get(ctx context.Context, kind schema.GroupVersionKind, namespace, name string) (*unstructured.Unstructured, error) {
	client, err := c.client(kind, namespace)
	if err != nil {
		return nil, err
	}
	o, err := client.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading %s %s: %w", kind.Kind, idOf(namespace, name), err)
	}
	return o, nil
}

// apply is the server-side apply of one object. A conflict with another's field is an error unless the stack says patchForce.
func (c *cluster) apply(ctx context.Context, o *unstructured.Unstructured, manager string, dryRun bool) (*unstructured.Unstructured, error) {
	client, err := c.client(o.GroupVersionKind(), o.GetNamespace())
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(o.Object)
	if err != nil {
		return nil, fmt.Errorf("encoding %s %s: %w", o.GetKind(), o.GetName(), err)
	}
	force := c.patchForce || o.GetAnnotations()["pulumi.com/patchForce"] == "true"
	options := metav1.PatchOptions{FieldManager: manager, Force: &force, FieldValidation: metav1.FieldValidationStrict}
	if dryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	applied, err := client.Patch(ctx, o.GetName(), types.ApplyPatchType, body, options)
	if err != nil {
		return nil, fmt.Errorf("applying %s %s: %w", o.GetKind(), idOf(o.GetNamespace(), o.GetName()), err)
	}
	return applied, nil
}

// create is apply for an object that must not be there yet.
func (c *cluster) create(ctx context.Context, o *unstructured.Unstructured, manager string, dryRun bool) (*unstructured.Unstructured, error) {
	if !c.upsert {
		_, err := c.get(ctx, o.GroupVersionKind(), o.GetNamespace(), o.GetName())
		if err == nil {
			return nil, fmt.Errorf("resource %s %s was not successfully created: it already exists; import it, or set upsertExistingObjects",
				o.GetKind(), idOf(o.GetNamespace(), o.GetName()))
		}
		if !apierrors.IsNotFound(err) {
			return nil, err
		}
	}
	return c.apply(ctx, o, manager, dryRun)
}
