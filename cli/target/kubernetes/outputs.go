package kubernetes

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/cli/target/kubernetes/outputs"
)

// cluster is an environment that was found: what its stack says, and the cluster that this names.
type cluster struct {
	out    outputs.Outputs
	client kubernetes.Interface
	rest   *rest.Config
	wayUp  string        // what to type when something is missing that the stack makes
	pull   time.Duration // Config.PullTimeout
}

func (c *cluster) namespace() string { return c.out.Namespace }

// image is the reference of an image by its digest ("sha256:…").
func (c *cluster) image(name, digest string) string {
	return c.out.Images.Registry + "/" + name + "@" + digest
}

// releaseImage is an image of the release that the stack runs, "" before the first one.
func (c *cluster) releaseImage(name string) string {
	if c.out.Release == nil || c.out.Release.Images[name] == "" {
		return ""
	}
	return c.image(name, c.out.Release.Images[name])
}

// Outputs of the stack.
const (
	environmentOutput = "environment"
	kubeconfigOutput  = "kubeconfig" // only where the stack made the cluster
)

// reach reads the stack's outputs and makes the clients. It does so once in a process: what a deployment changes is told to it (know).
func (e *Environment) reach(ctx context.Context) (*cluster, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cluster != nil {
		return e.cluster, nil
	}
	said, err := e.stackOutputs(ctx)
	if err != nil {
		return nil, err
	}
	raw, ok := said[environmentOutput]
	if !ok {
		return nil, e.down("its stack has no outputs")
	}
	out, err := outputs.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("stack %s: %w", e.config.Stack, err)
	}
	config, err := e.restConfig(ctx, out, said)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cluster of %s: %w", e.Name(), err)
	}
	e.cluster = &cluster{out: out, client: client, rest: config, wayUp: e.wayUp(), pull: e.config.PullTimeout}
	return e.cluster, nil
}

// know replaces what the stack said: a deployment has changed it.
func (e *Environment) know(release *outputs.Release) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cluster != nil {
		changed := *e.cluster
		changed.out.Release = release
		e.cluster = &changed
	}
}

// down is ErrDown with what to type.
func (e *Environment) down(why string) error {
	return fault.Code(fault.Hint(downError(e.Name(), why), e.wayUp()), fault.Unreachable)
}

func downError(name, why string) error { return fmt.Errorf("%s: %w: %s", name, target.ErrDown, why) }

func (e *Environment) wayUp() string { return "pulumi up --stack " + e.config.Stack }

// restConfig finds the cluster: the stack's own kubeconfig where it made the cluster, else the file and context that it names.
func (e *Environment) restConfig(ctx context.Context, out outputs.Outputs, said map[string]json.RawMessage) (*rest.Config, error) {
	config, err := e.loadConfig(ctx, out, said)
	if err != nil {
		return nil, fault.Hint(fmt.Errorf("cluster of %s: %w", e.Name(), err), "kubectl config get-contexts")
	}
	config.QPS, config.Burst = 50, 100
	config.UserAgent = "assistctl"
	config.WarningHandler = rest.NoWarnings{}
	return config, nil
}

func (e *Environment) loadConfig(ctx context.Context, out outputs.Outputs, said map[string]json.RawMessage) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	overrides := &clientcmd.ConfigOverrides{CurrentContext: out.Kube.Context}
	switch _, made := said[kubeconfigOutput]; {
	case e.config.Kubeconfig != "":
		rules.ExplicitPath = e.config.Kubeconfig
	case made:
		text, err := e.secretOutput(ctx, kubeconfigOutput)
		if err != nil {
			return nil, err
		}
		return clientcmd.RESTConfigFromKubeConfig([]byte(text))
	case out.Kube.Kubeconfig != "":
		rules.ExplicitPath = out.Kube.Kubeconfig
		if !filepath.IsAbs(rules.ExplicitPath) {
			rules.ExplicitPath = filepath.Join(e.config.Dir, rules.ExplicitPath)
		}
	}
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
}

// Labels of everything in an environment's namespace.
const (
	labelName      = "app.kubernetes.io/name"
	labelInstance  = "app.kubernetes.io/instance"
	labelComponent = "app.kubernetes.io/component"
	labelManagedBy = "app.kubernetes.io/managed-by"
)

// Annotations of the Deployment, of its pods, and of what a restore has stopped.
const (
	annotationRelease  = "assistant/release"
	annotationCommit   = "assistant/commit"
	annotationDigest   = "assistant/digest"
	annotationSettings = "assistant/settings"
	annotationPaused   = "assistant/paused"
	annotationReplicas = "assistant/replicas"
)

// Names of objects, which infra gives and this package relies on.
const (
	apiName      = "api"     // Deployment, Service, PodTemplate
	execTemplate = "exec"    // PodTemplate
	serviceImage = "assistd" // the container's name, and the image's
	secretName   = "assistd" // Secret with the service's own database-url, jwt-key.pem, ca.crt
)

// container returns the container of that name, or the first.
func container(spec *corev1.PodSpec, name string) *corev1.Container {
	for i := range spec.Containers {
		if spec.Containers[i].Name == name {
			return &spec.Containers[i]
		}
	}
	return &spec.Containers[0]
}
