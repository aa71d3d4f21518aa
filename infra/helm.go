package infra

import (
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/utilities"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// helmChart is one that is installed as a Helm release.
type helmChart struct {
	name, repository, version string
	namespace                 pulumi.StringInput
	createNamespace           bool
	timeout                   int // seconds
	values                    pulumi.Map
}

// helmRelease is the resource kubernetes:helm.sh/v3:Release. It is registered here and not by the SDK's package helm/v3, which links every
// group of the Kubernetes API and so makes the program's first build several times as long.
type helmRelease struct {
	pulumi.CustomResourceState
}

func installChart(ctx *pulumi.Context, c helmChart, opts ...pulumi.ResourceOption) (*helmRelease, error) {
	release := &helmRelease{}
	err := ctx.RegisterResource("kubernetes:helm.sh/v3:Release", c.name, kubernetes.UntypedArgs{
		"name":            pulumi.String(c.name),
		"chart":           pulumi.String(c.name),
		"version":         pulumi.String(c.version),
		"repositoryOpts":  pulumi.Map{"repo": pulumi.String(c.repository)},
		"namespace":       c.namespace,
		"createNamespace": pulumi.Bool(c.createNamespace),
		"atomic":          pulumi.Bool(true), // a failed installation is taken back
		"timeout":         pulumi.Int(c.timeout),
		"values":          c.values,
		"compat":          pulumi.String("true"), // what the SDK's constructor says
	}, release, utilities.PkgResourceDefaultOpts(opts)...)
	if err != nil {
		return nil, err
	}
	return release, nil
}
