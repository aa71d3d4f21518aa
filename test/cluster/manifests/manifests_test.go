//go:build cluster

// Package manifests asks a real API server about every object of every environment, as the stacks declare it: schema, defaults,
// admission and the restricted Pod Security standard, all by server-side dry run. Nothing but empty namespaces is made.
//
// It does not own the objects (infra) nor how they are captured (test/graph). `make test-cluster` runs it.
package manifests

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

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

	"github.com/smart-assistant/platform/test/graph"
)

var (
	namespaces = schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}
	accounts   = schema.GroupVersionKind{Version: "v1", Kind: "ServiceAccount"}
	pods       = schema.GroupVersionKind{Version: "v1", Kind: "Pod"}
)

// templates is where each kind of workload keeps its pod.
var templates = map[string][]string{
	"Deployment": {"spec", "template"}, "StatefulSet": {"spec", "template"}, "DaemonSet": {"spec", "template"},
	"Job": {"spec", "template"}, "CronJob": {"spec", "jobTemplate", "spec", "template"}, "PodTemplate": {"template"},
}

func TestEveryManifestIsAccepted(t *testing.T) {
	s := connect(t)
	for _, variant := range graph.Variants() {
		t.Run(variant.Name, func(t *testing.T) {
			objects, err := graph.Objects(variant.Name)
			if err != nil {
				t.Fatal(err)
			}
			world := s.settle(t, variant.Name, objects)
			checked, pods := 0, 0
			for _, object := range world.objects {
				name := object.GetKind() + " " + object.GetName()
				if err := s.apply(t.Context(), object); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				checked++
				// Of a workload, admission looks at the pods only when they come.
				if pod := podOf(object); pod != nil {
					if err := s.create(t.Context(), pod); err != nil {
						t.Errorf("the pod of %s: %v", name, err)
					}
					pods++
				}
			}
			spoiled := podOf(world.find(t, "StatefulSet", "postgres"))
			set(t, spoiled, true, "spec", "hostNetwork")
			if err := s.create(t.Context(), spoiled); err == nil || !strings.Contains(err.Error(), "violates PodSecurity") {
				t.Errorf("the namespace does not enforce the restricted standard: %v", err)
			}
			t.Logf("%d objects and %d pods", checked, pods)
			if checked < 30 || pods < 6 {
				t.Errorf("%d objects and %d pods are not all that an environment has", checked, pods)
			}
		})
	}
}

// TestTheServerRefuses proves that the test above can fail: the same server does not take what is misspelled or not restricted.
func TestTheServerRefuses(t *testing.T) {
	s := connect(t)
	objects, err := graph.Objects("dev")
	if err != nil {
		t.Fatal(err)
	}
	world := s.settle(t, "refusals", objects)
	workload := world.find(t, "StatefulSet", "postgres")
	for name, c := range map[string]struct {
		spoil func(pod *unstructured.Unstructured)
		want  string
	}{
		"a misspelled field": {func(pod *unstructured.Unstructured) {
			set(t, pod, true, "spec", "hostIpc")
		}, "unknown field"},
		"the host's network": {func(pod *unstructured.Unstructured) {
			set(t, pod, true, "spec", "hostNetwork")
		}, "violates PodSecurity"},
		"root": {func(pod *unstructured.Unstructured) {
			set(t, pod, false, "spec", "securityContext", "runAsNonRoot")
		}, "violates PodSecurity"},
		"no account": {func(pod *unstructured.Unstructured) {
			set(t, pod, "nobody", "spec", "serviceAccountName")
		}, "serviceaccount"},
	} {
		t.Run(name, func(t *testing.T) {
			pod := podOf(workload)
			c.spoil(pod)
			if err := s.create(t.Context(), pod); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the server said %v; it should speak of %q", err, c.want)
			}
		})
	}
	t.Run("a misspelled field of a workload", func(t *testing.T) {
		spoiled := workload.DeepCopy()
		set(t, spoiled, "x", "spec", "serviceNam")
		if err := s.apply(t.Context(), spoiled); err == nil || !strings.Contains(err.Error(), "serviceNam") {
			t.Errorf("the server said %v", err)
		}
	})
}

func set(t *testing.T, o *unstructured.Unstructured, value any, field ...string) {
	t.Helper()
	if err := unstructured.SetNestedField(o.Object, value, field...); err != nil {
		t.Fatal(err)
	}
}

// server is the API server of the test cluster.
type server struct {
	client dynamic.Interface
	mapper meta.RESTMapper
}

func connect(t *testing.T) *server {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatalf("KUBECONFIG leads to no cluster (make test-cluster): %v", err)
	}
	config.QPS, config.Burst = 100, 200
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	known, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return &server{client, restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(known))}
}

func (s *server) resource(kind schema.GroupVersionKind, namespace string) (dynamic.ResourceInterface, error) {
	m, err := s.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, fmt.Errorf("the server knows no %s: %w", kind, err)
	}
	if m.Scope.Name() == meta.RESTScopeNameNamespace {
		return s.client.Resource(m.Resource).Namespace(namespace), nil
	}
	return s.client.Resource(m.Resource), nil
}

// apply is a server-side apply that changes nothing. Fields that the schema does not know are refused.
func (s *server) apply(ctx context.Context, o *unstructured.Unstructured) error {
	client, err := s.resource(o.GroupVersionKind(), o.GetNamespace())
	if err != nil {
		return err
	}
	body, err := json.Marshal(o.Object)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	force := true
	_, err = client.Patch(ctx, o.GetName(), types.ApplyPatchType, body, metav1.PatchOptions{
		DryRun: []string{metav1.DryRunAll}, FieldManager: "manifests-test", Force: &force, FieldValidation: metav1.FieldValidationStrict,
	})
	return err
}

func (s *server) create(ctx context.Context, o *unstructured.Unstructured) error {
	client, err := s.resource(o.GroupVersionKind(), o.GetNamespace())
	if err != nil {
		return err
	}
	_, err = client.Create(ctx, o, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict})
	return err
}

// settled is an environment whose namespaces and accounts are really there, under names of this test.
type settled struct {
	objects []*unstructured.Unstructured
}

func (w settled) find(t *testing.T, kind, name string) *unstructured.Unstructured {
	t.Helper()
	for _, o := range w.objects {
		if o.GetKind() == kind && o.GetName() == name {
			return o
		}
	}
	t.Fatalf("the environment has no %s %s", kind, name)
	return nil
}

// settle makes what a dry run needs to find: the namespaces, with the labels that they have in the environment, and the accounts in
// them. The namespaces have other names, for the environment itself may be up.
func (s *server) settle(t *testing.T, variant string, all []map[string]any) settled {
	t.Helper()
	renamed := map[string]string{}
	var w settled
	for _, object := range all {
		o := &unstructured.Unstructured{Object: integers(object).(map[string]any)}
		if o.GroupVersionKind() == namespaces {
			renamed[o.GetName()] = fmt.Sprintf("manifests-%d-%s-%d", os.Getpid(), variant, len(renamed))
			o.SetName(renamed[o.GetName()])
			s.make(t, o)
			t.Cleanup(func() { s.remove(t, o) })
		}
		w.objects = append(w.objects, o)
	}
	for _, o := range w.objects {
		if o.GetNamespace() == "" {
			continue
		}
		name, ok := renamed[o.GetNamespace()]
		if !ok {
			t.Fatalf("%s %s is in namespace %s, which the environment does not make", o.GetKind(), o.GetName(), o.GetNamespace())
		}
		o.SetNamespace(name)
		if o.GroupVersionKind() == accounts {
			s.make(t, o)
		}
	}
	return w
}

func (s *server) make(t *testing.T, o *unstructured.Unstructured) {
	t.Helper()
	client, err := s.resource(o.GroupVersionKind(), o.GetNamespace())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Create(t.Context(), o.DeepCopy(), metav1.CreateOptions{}); err != nil {
		t.Fatalf("making %s %s: %v", o.GetKind(), o.GetName(), err)
	}
}

func (s *server) remove(t *testing.T, namespace *unstructured.Unstructured) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client, err := s.resource(namespaces, "")
	if err != nil {
		t.Error(err)
		return
	}
	if err := client.Delete(ctx, namespace.GetName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		t.Errorf("deleting namespace %s: %v", namespace.GetName(), err)
	}
}

// podOf is the pod that a workload would make, nil for what is no workload.
func podOf(o *unstructured.Unstructured) *unstructured.Unstructured {
	where, ok := templates[o.GetKind()]
	if !ok {
		return nil
	}
	template, ok, err := unstructured.NestedMap(o.Object, where...)
	if err != nil || !ok {
		return nil
	}
	pod := &unstructured.Unstructured{Object: template}
	pod.SetGroupVersionKind(pods)
	pod.SetNamespace(o.GetNamespace())
	pod.SetName(strings.ToLower(o.GetKind()) + "-" + o.GetName())
	if o.GetKind() == "StatefulSet" { // its claims become volumes
		claims, _, _ := unstructured.NestedSlice(o.Object, "spec", "volumeClaimTemplates")
		volumes, _, _ := unstructured.NestedSlice(pod.Object, "spec", "volumes")
		for _, c := range claims {
			claim, _ := c.(map[string]any)
			name, _, _ := unstructured.NestedString(claim, "metadata", "name")
			volumes = append(volumes, map[string]any{"name": name, "persistentVolumeClaim": map[string]any{"claimName": name + "-" + o.GetName() + "-0"}})
		}
		_ = unstructured.SetNestedSlice(pod.Object, volumes, "spec", "volumes")
	}
	return pod
}

// integers: the graph's numbers are all floats, and a Kubernetes object has none.
func integers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, item := range v {
			if item != nil {
				out[k] = integers(item)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = integers(item)
		}
		return out
	case float64:
		if v == float64(int64(v)) {
			return int64(v)
		}
	}
	return v
}
