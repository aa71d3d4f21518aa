package infra

import (
	"fmt"

	helmv3 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/helm/v3"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/smart-assistant/platform/infra/environment"
)

// Versions of the charts. They are raised here, in a commit of their own.
const (
	traefikChart     = "37.3.0"
	certManagerChart = "v1.19.1"
)

// Addons are what a cluster needs once, and what it does not have already.
type Addons struct {
	pulumi.ResourceState
	Releases []pulumi.Resource // what custom resources of theirs wait for
}

// NewAddons installs those that the settings say to install.
func NewAddons(ctx *pulumi.Context, s environment.Settings, opts ...pulumi.ResourceOption) (*Addons, error) {
	a := &Addons{}
	if err := ctx.RegisterComponentResource(component("Addons"), "addons", a, opts...); err != nil {
		return nil, err
	}
	if s.Addons.Ingress == environment.Install {
		if err := a.install(ctx, "traefik", "https://traefik.github.io/charts", traefikChart, s.Ingress.Namespace, traefikValues(s), pulumi.Parent(a)); err != nil {
			return nil, err
		}
	}
	if s.Addons.CertManager == environment.Install {
		values := pulumi.Map{
			"crds":     pulumi.Map{"enabled": pulumi.Bool(true), "keep": pulumi.Bool(true)},
			"replicas": pulumi.Int(2), "podDisruptionBudget": pulumi.Map{"enabled": pulumi.Bool(true)},
		}
		if err := a.install(ctx, "cert-manager", "https://charts.jetstack.io", certManagerChart, "cert-manager", values, pulumi.Parent(a)); err != nil {
			return nil, err
		}
	}
	return a, ctx.RegisterResourceOutputs(a, pulumi.Map{})
}

func (a *Addons) install(ctx *pulumi.Context, name, repository, version, namespace string, values pulumi.Map, parent pulumi.ResourceOption) error {
	release, err := helmv3.NewRelease(ctx, name, &helmv3.ReleaseArgs{
		Name: pulumi.String(name), Chart: pulumi.String(name), Version: pulumi.String(version),
		RepositoryOpts: &helmv3.RepositoryOptsArgs{Repo: pulumi.String(repository)},
		Namespace:      pulumi.String(namespace), CreateNamespace: pulumi.Bool(true),
		Atomic: pulumi.Bool(true), Timeout: pulumi.Int(600), Values: values,
	}, parent)
	if err != nil {
		return fmt.Errorf("install %s: %w", name, err)
	}
	a.Releases = append(a.Releases, release)
	return nil
}

// traefikValues are the entry points that our Ingresses name, and two replicas that drain before they end.
func traefikValues(s environment.Settings) pulumi.Map {
	return pulumi.Map{
		"deployment":          pulumi.Map{"replicas": pulumi.Int(2), "terminationGracePeriodSeconds": pulumi.Int(60)},
		"podDisruptionBudget": pulumi.Map{"enabled": pulumi.Bool(true), "maxUnavailable": pulumi.Int(1)},
		"ingressClass":        pulumi.Map{"enabled": pulumi.Bool(true), "isDefaultClass": pulumi.Bool(false), "name": pulumi.String(s.Ingress.Class)},
		"providers": pulumi.Map{
			"kubernetesCRD":     pulumi.Map{"enabled": pulumi.Bool(true)},
			"kubernetesIngress": pulumi.Map{"enabled": pulumi.Bool(true), "publishedService": pulumi.Map{"enabled": pulumi.Bool(true)}},
		},
		"resources": pulumi.Map{
			"requests": pulumi.Map{"cpu": pulumi.String("100m"), "memory": pulumi.String("128Mi")},
			"limits":   pulumi.Map{"memory": pulumi.String("512Mi")},
		},
		// The client's own address, which rate limiting counts by.
		"service":         pulumi.Map{"spec": pulumi.Map{"externalTrafficPolicy": pulumi.String("Local")}},
		"globalArguments": pulumi.Array{},
	}
}
