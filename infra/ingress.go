package infra

import (
	"fmt"
	"strings"

	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes"
	"github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apiextensions"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	networkingv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/networking/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/smart-assistant/platform/infra/environment"
)

const (
	ingressTLS       = "api-tls"
	redirectHTTPS    = "redirect-https"
	rateLimit        = "rate-limit"
	entryPoints      = "traefik.ingress.kubernetes.io/router.entrypoints"
	middlewareNames  = "traefik.ingress.kubernetes.io/router.middlewares"
	entryPointPlain  = "web" // as Traefik's chart calls them
	entryPointSecure = "websecure"
)

// Ingress is the way in: HTTPS with a limit on each client's requests; whoever comes by HTTP is sent there.
type Ingress struct {
	pulumi.ResourceState
	CA    pulumi.StringOutput // of the certificate, when it is not a public one; else ""
	scope Scope
}

// NewIngress makes it, after the add-ons whose custom resources it uses.
func NewIngress(ctx *pulumi.Context, scope Scope, after []pulumi.Resource, opts ...pulumi.ResourceOption) (*Ingress, error) {
	i := &Ingress{scope: scope, CA: pulumi.String(scope.Settings.TLS.CA).ToStringOutput()}
	if err := ctx.RegisterComponentResource(component("Ingress"), "ingress", i, opts...); err != nil {
		return nil, err
	}
	parent := pulumi.Composite(pulumi.Parent(i), pulumi.DependsOn(after))
	s := scope.Settings
	if err := i.middleware(ctx, redirectHTTPS, "redirectScheme", pulumi.Map{
		"scheme": pulumi.String("https"), "permanent": pulumi.Bool(true),
	}, parent); err != nil {
		return nil, err
	}
	if err := i.middleware(ctx, rateLimit, "rateLimit", pulumi.Map{
		"average": pulumi.Int(s.Ingress.Rate), "burst": pulumi.Int(s.Ingress.Burst), "period": pulumi.String("1s"),
	}, parent); err != nil {
		return nil, err
	}
	if err := i.certificate(ctx, parent); err != nil {
		return nil, fmt.Errorf("make the ingress's certificate: %w", err)
	}
	if err := scope.route(ctx, routeArgs{
		name: nameAPI, component: nameAPI, host: s.API.Host, port: "http", tls: tlsSecret(s, ingressTLS), middleware: rateLimit,
	}, parent); err != nil {
		return nil, fmt.Errorf("make the ingress: %w", err)
	}
	return i, ctx.RegisterResourceOutputs(i, pulumi.Map{})
}

func (i *Ingress) middleware(ctx *pulumi.Context, name, kind string, spec pulumi.Map, parent pulumi.ResourceOption) error {
	_, err := apiextensions.NewCustomResource(ctx, name, &apiextensions.CustomResourceArgs{
		ApiVersion: pulumi.String("traefik.io/v1alpha1"), Kind: pulumi.String("Middleware"),
		Metadata:    i.scope.meta(name, "ingress"),
		OtherFields: kubernetes.UntypedArgs{"spec": pulumi.Map{kind: spec}},
	}, parent)
	if err != nil {
		return fmt.Errorf("make the middleware %s: %w", name, err)
	}
	return nil
}

// routeArgs say which host goes to which service.
type routeArgs struct {
	name, component, host, port, tls, middleware string
}

// route makes an Ingress for HTTPS and one for HTTP that redirects.
func (s Scope) route(ctx *pulumi.Context, r routeArgs, opts ...pulumi.ResourceOption) error {
	for _, plain := range []bool{false, true} {
		name, entry, uses := r.name, entryPointSecure, r.middleware
		tls := networkingv1.IngressTLSArray{networkingv1.IngressTLSArgs{Hosts: texts(r.host), SecretName: pulumi.String(r.tls)}}
		if plain {
			name, entry, uses, tls = r.name+"-redirect", entryPointPlain, redirectHTTPS, nil
		}
		meta := s.unawaited(name, r.component)
		meta.Annotations = pulumi.StringMap{
			skipAwait: pulumi.String("true"), entryPoints: pulumi.String(entry), middlewareNames: pulumi.String(middlewares(s.Settings, uses)),
		}
		if _, err := networkingv1.NewIngress(ctx, name, &networkingv1.IngressArgs{
			Metadata: meta,
			Spec: &networkingv1.IngressSpecArgs{
				IngressClassName: pulumi.String(s.Settings.Ingress.Class), Tls: tls,
				Rules: networkingv1.IngressRuleArray{networkingv1.IngressRuleArgs{
					Host: pulumi.String(r.host),
					Http: &networkingv1.HTTPIngressRuleValueArgs{Paths: networkingv1.HTTPIngressPathArray{networkingv1.HTTPIngressPathArgs{
						Path: pulumi.String("/"), PathType: pulumi.String("Prefix"),
						Backend: &networkingv1.IngressBackendArgs{Service: &networkingv1.IngressServiceBackendArgs{
							Name: pulumi.String(r.component), Port: &networkingv1.ServiceBackendPortArgs{Name: pulumi.String(r.port)},
						}},
					}}},
				}},
			},
		}, opts...); err != nil {
			return err
		}
	}
	return nil
}

// middlewares names middlewares of the environment as Traefik's annotations do.
func middlewares(s environment.Settings, names ...string) string {
	var list []string
	for _, name := range names {
		list = append(list, fmt.Sprintf("%s-%s@kubernetescrd", s.Namespace, name))
	}
	return strings.Join(list, ",")
}

// hosts are all that the environment answers to.
func hosts(s environment.Settings) []string {
	list := []string{s.API.Host}
	if s.OpenWebUI.Enabled {
		list = append(list, s.OpenWebUI.Host)
	}
	return list
}

// tlsSecret is the Secret of the certificate: one that somebody made, or ours.
func tlsSecret(s environment.Settings, ours string) string {
	if s.TLS.From == environment.TLSSecret {
		return s.TLS.Secret
	}
	return ours
}

// certificate makes one certificate for all hosts, or sees to it that cert-manager does.
func (i *Ingress) certificate(ctx *pulumi.Context, parent pulumi.ResourceOption) error {
	s := i.scope.Settings
	switch s.TLS.From {
	case environment.TLSGenerated:
		ca, err := newAuthority(ctx, "ingress-ca", "smart-assistant "+s.Name+" ingress", []pulumi.ResourceOption{parent}, parent)
		if err != nil {
			return err
		}
		server, err := ca.issue(ctx, "ingress", hosts(s), ingressValidHours, ingressRenewHours, []pulumi.ResourceOption{parent}, parent)
		if err != nil {
			return err
		}
		i.CA = ca.Cert
		_, err = corev1.NewSecret(ctx, ingressTLS, &corev1.SecretArgs{
			Metadata: i.scope.meta(ingressTLS, "ingress"), Type: pulumi.String("kubernetes.io/tls"),
			StringData: pulumi.StringMap{"tls.crt": server.Cert, "tls.key": server.Key},
		}, parent)
		return err
	case environment.TLSCertManager:
		return i.managed(ctx, parent)
	}
	return nil
}

// managed asks cert-manager for the certificate, of an issuer that is there or of one that the environment brings along.
func (i *Ingress) managed(ctx *pulumi.Context, parent pulumi.ResourceOption) error {
	s := i.scope.Settings
	issuer := pulumi.Map{"kind": pulumi.String("ClusterIssuer"), "name": pulumi.String(s.TLS.Issuer)}
	if s.TLS.Email != "" {
		issuer = pulumi.Map{"kind": pulumi.String("Issuer"), "name": pulumi.String("acme")}
		if _, err := apiextensions.NewCustomResource(ctx, "acme", &apiextensions.CustomResourceArgs{
			ApiVersion: pulumi.String("cert-manager.io/v1"), Kind: pulumi.String("Issuer"), Metadata: i.scope.meta("acme", "ingress"),
			OtherFields: kubernetes.UntypedArgs{"spec": pulumi.Map{"acme": pulumi.Map{
				"server":              pulumi.String("https://acme-v02.api.letsencrypt.org/directory"),
				"email":               pulumi.String(s.TLS.Email),
				"privateKeySecretRef": pulumi.Map{"name": pulumi.String("acme-account")},
				"solvers": pulumi.Array{pulumi.Map{"http01": pulumi.Map{"ingress": pulumi.Map{
					"ingressClassName": pulumi.String(s.Ingress.Class),
				}}}},
			}}},
		}, parent); err != nil {
			return err
		}
	}
	_, err := apiextensions.NewCustomResource(ctx, ingressTLS, &apiextensions.CustomResourceArgs{
		ApiVersion: pulumi.String("cert-manager.io/v1"), Kind: pulumi.String("Certificate"), Metadata: i.scope.unawaited(ingressTLS, "ingress"),
		OtherFields: kubernetes.UntypedArgs{"spec": pulumi.Map{
			"secretName": pulumi.String(ingressTLS), "dnsNames": texts(hosts(s)...), "issuerRef": issuer,
			"privateKey": pulumi.Map{"algorithm": pulumi.String("ECDSA"), "size": pulumi.Int(256), "rotationPolicy": pulumi.String("Always")},
		}},
	}, parent)
	return err
}
