package infra

import (
	"fmt"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/smart-assistant/platform/infra/environment"
)

// Namespace is the environment's own, in which nothing runs that the restricted Pod Security standard refuses.
type Namespace struct {
	pulumi.ResourceState
	Name pulumi.StringOutput
}

// NewNamespace makes it. It is kept with everything in it when the settings say protect.
func NewNamespace(ctx *pulumi.Context, s environment.Settings, opts ...pulumi.ResourceOption) (*Namespace, error) {
	n := &Namespace{}
	if err := ctx.RegisterComponentResource(component("Namespace"), "namespace", n, opts...); err != nil {
		return nil, err
	}
	l := labels(s, "namespace")
	for _, mode := range []string{"enforce", "audit", "warn"} {
		l["pod-security.kubernetes.io/"+mode] = pulumi.String("restricted")
		l["pod-security.kubernetes.io/"+mode+"-version"] = pulumi.String("latest")
	}
	made, err := corev1.NewNamespace(ctx, "namespace", &corev1.NamespaceArgs{
		Metadata: &metav1.ObjectMetaArgs{Name: pulumi.String(s.Namespace), Labels: l},
	}, guarded(s.Protect, pulumi.Parent(n))...)
	if err != nil {
		return nil, fmt.Errorf("make the namespace: %w", err)
	}
	n.Name = made.Metadata.Name().Elem()
	return n, ctx.RegisterResourceOutputs(n, pulumi.Map{"name": n.Name})
}
