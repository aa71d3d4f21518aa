package infra

import (
	"fmt"
	"maps"

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
		if err := a.install(ctx, helmChart{
			name: "traefik", repository: "https://traefik.github.io/charts", version: traefikChart,
			namespace: pulumi.String(s.Ingress.Namespace), values: traefikValues(s),
		}, pulumi.Parent(a)); err != nil {
			return nil, err
		}
	}
	if s.Addons.CertManager == environment.Install {
		values := pulumi.Map{
			"crds":         pulumi.Map{"enabled": pulumi.Bool(true), "keep": pulumi.Bool(true)},
			"replicaCount": pulumi.Int(2), "podDisruptionBudget": pulumi.Map{"enabled": pulumi.Bool(true)},
		}
		if err := a.install(ctx, helmChart{
			name: "cert-manager", repository: "https://charts.jetstack.io", version: certManagerChart,
			namespace: pulumi.String("cert-manager"), values: values,
		}, pulumi.Parent(a)); err != nil {
			return nil, err
		}
	}
	return a, ctx.RegisterResourceOutputs(a, pulumi.Map{})
}

func (a *Addons) install(ctx *pulumi.Context, c helmChart, parent pulumi.ResourceOption) error {
	c.createNamespace, c.timeout = true, 600
	release, err := installChart(ctx, c, parent)
	if err != nil {
		return fmt.Errorf("install %s: %w", c.name, err)
	}
	a.Releases = append(a.Releases, release)
	return nil
}

// traefikValues are the entry points that our Ingresses name, and the way to them that such a cluster has.
func traefikValues(s environment.Settings) pulumi.Map {
	values := pulumi.Map{
		"podDisruptionBudget": pulumi.Map{"enabled": pulumi.Bool(true), "maxUnavailable": pulumi.Int(1)},
		"ingressClass":        pulumi.Map{"enabled": pulumi.Bool(true), "isDefaultClass": pulumi.Bool(false), "name": pulumi.String(s.Ingress.Class)},
		"providers": pulumi.Map{
			"kubernetesCRD": pulumi.Map{"enabled": pulumi.Bool(true)},
			"kubernetesIngress": pulumi.Map{
				"enabled": pulumi.Bool(true), "publishedService": pulumi.Map{"enabled": pulumi.Bool(true)},
				"allowEmptyServices": pulumi.Bool(true), // 503 and not 404 while there is no replica, as during a restore
			},
		},
		"resources": pulumi.Map{
			"requests": pulumi.Map{"cpu": pulumi.String("100m"), "memory": pulumi.String("128Mi")},
			"limits":   pulumi.Map{"memory": pulumi.String("512Mi")},
		},
		"global": pulumi.Map{"checkNewVersion": pulumi.Bool(false), "sendAnonymousUsage": pulumi.Bool(false)},
	}
	way := onNodePorts
	if s.Cluster == environment.ClusterEKS {
		way = behindLoadBalancer
	}
	maps.Copy(values, way())
	return values
}

// uploads is how long a request may take to arrive: an import of mail has an hour of the service, whose own refusal is to come through, and Traefik
// alone gives the whole of a request a minute.
func uploads() pulumi.Map {
	return pulumi.Map{"readTimeout": pulumi.String("61m")}
}

// onNodePorts is for a cluster that somebody has: most of them, such as kind, give a Service of the type LoadBalancer no address, and Helm would wait for
// one in vain. A node has each port once, so the old replica ends before the new one starts. The namespace, which Helm makes, bears no Pod Security label
// that would forbid the ports.
func onNodePorts() pulumi.Map {
	return pulumi.Map{
		"deployment": pulumi.Map{"replicas": pulumi.Int(1)},
		"updateStrategy": pulumi.Map{
			"type": pulumi.String("RollingUpdate"), "rollingUpdate": pulumi.Map{"maxSurge": pulumi.Int(0), "maxUnavailable": pulumi.Int(1)},
		},
		"service": pulumi.Map{"type": pulumi.String("ClusterIP")},
		"ports": pulumi.Map{
			entryPointPlain:  pulumi.Map{"hostPort": pulumi.Int(80)},
			entryPointSecure: pulumi.Map{"hostPort": pulumi.Int(443), "transport": pulumi.Map{"respondingTimeouts": uploads()}},
		},
	}
}

// behindLoadBalancer is two replicas in different zones, behind a network load balancer of AWS that hands on the client's own address, by which rate
// limiting counts: so requests go to nodes with a replica and by way of no other. The balancer asks a node every ten seconds whether it has one, and
// believes the second no; therefore a replica that is to end accepts requests for 40 seconds more, and then gives those under way another 40.
func behindLoadBalancer() pulumi.Map {
	const aws = "service.beta.kubernetes.io/aws-load-balancer-"
	spread := func(key string) pulumi.Map {
		return pulumi.Map{
			"maxSkew": pulumi.Int(1), "topologyKey": pulumi.String(key), "whenUnsatisfiable": pulumi.String("ScheduleAnyway"),
			"labelSelector": pulumi.Map{"matchLabels": pulumi.Map{"app.kubernetes.io/name": pulumi.String("traefik")}},
		}
	}
	drained := pulumi.Map{"graceTimeOut": pulumi.String("40s")}
	return pulumi.Map{
		"deployment": pulumi.Map{
			"replicas": pulumi.Int(2), "terminationGracePeriodSeconds": pulumi.Int(90),
			"lifecycle": pulumi.Map{"preStop": pulumi.Map{"sleep": pulumi.Map{"seconds": pulumi.Int(40)}}},
		},
		"topologySpreadConstraints": pulumi.Array{spread("topology.kubernetes.io/zone"), spread("kubernetes.io/hostname")},
		"ports": pulumi.Map{
			entryPointPlain:  pulumi.Map{"transport": pulumi.Map{"lifeCycle": drained}},
			entryPointSecure: pulumi.Map{"transport": pulumi.Map{"lifeCycle": drained, "respondingTimeouts": uploads()}},
		},
		"service": pulumi.Map{
			"annotations": pulumi.Map{
				aws + "type": pulumi.String("nlb"),
				// A zone's address answers also while the replica of that zone is elsewhere.
				aws + "cross-zone-load-balancing-enabled": pulumi.String("true"),
			},
			"spec": pulumi.Map{"externalTrafficPolicy": pulumi.String("Local")},
		},
	}
}
