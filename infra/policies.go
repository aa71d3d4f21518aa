package infra

import (
	"fmt"
	"net/url"
	"strconv"

	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	networkingv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/networking/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/smart-assistant/platform/infra/environment"
)

// Policies are what may talk to whom. Everything else is refused, both ways. The kubelet's probes and what assistctl forwards through
// it do not pass a policy. On EKS the VPC CNI applies policies only to pods with an owner, so that assistctl's bare ones there, the canary and a
// restore's, are held back by nothing but the policies of those that they talk to.
type Policies struct {
	pulumi.ResourceState
}

// flow is one allowed connection: from a component to a component's port, both in the environment.
type flow struct {
	from, to string
	port     int
}

// flows lists the connections inside the environment.
func flows(s environment.Settings) []flow {
	list := []flow{
		{nameAPI, namePostgres, databasePort},
		{nameAPI, nameValkey, cachePort},
		{nameCanary, namePostgres, databasePort},
		{nameCanary, nameValkey, cachePort},
		{nameExec, namePostgres, databasePort}, // migrations
		{nameExec, nameRestore, databasePort},  // those of a restored copy
		{nameExec, nameAPI, apiPort},           // smoke tests
		{nameExec, nameCanary, apiPort},
		{nameBackup, namePostgres, databasePort},
	}
	if s.OpenWebUI.Enabled {
		list = append(list, flow{nameOpenWebUI, nameAPI, apiPort})
	}
	if s.Bucket.Kind == environment.BucketCluster {
		for _, from := range []string{nameBackup, namePrune, nameRestore} {
			list = append(list, flow{from, nameS3, s3Port})
		}
	}
	return list
}

// policyComponents are those that have any path.
func policyComponents(s environment.Settings) []string {
	list := []string{nameAPI, nameCanary, nameExec, namePostgres, nameValkey, nameBackup, namePrune, nameRestore}
	if s.OpenWebUI.Enabled {
		list = append(list, nameOpenWebUI)
	}
	if s.Bucket.Kind == environment.BucketCluster {
		list = append(list, nameS3)
	}
	if acme(s) {
		list = append(list, nameSolver)
	}
	return list
}

// NewPolicies makes them: one that refuses everything, one for names, and one for each component.
func NewPolicies(ctx *pulumi.Context, scope Scope, opts ...pulumi.ResourceOption) (*Policies, error) {
	p := &Policies{}
	if err := ctx.RegisterComponentResource(component("Policies"), "policies", p, opts...); err != nil {
		return nil, err
	}
	s := scope.Settings
	specs := map[string]*networkingv1.NetworkPolicySpecArgs{
		"default-deny": {PodSelector: &metav1.LabelSelectorArgs{}, PolicyTypes: texts("Ingress", "Egress")},
		"names": {PodSelector: &metav1.LabelSelectorArgs{}, PolicyTypes: texts("Egress"), Egress: networkingv1.NetworkPolicyEgressRuleArray{
			networkingv1.NetworkPolicyEgressRuleArgs{
				To: networkingv1.NetworkPolicyPeerArray{networkingv1.NetworkPolicyPeerArgs{
					NamespaceSelector: namespaceNamed("kube-system"),
					PodSelector:       &metav1.LabelSelectorArgs{MatchLabels: pulumi.StringMap{"k8s-app": pulumi.String("kube-dns")}},
				}},
				Ports: networkingv1.NetworkPolicyPortArray{policyPort("UDP", 53), policyPort("TCP", 53)},
			},
		}},
	}
	for _, c := range policyComponents(s) {
		specs[c] = componentPolicy(s, c)
	}
	for _, name := range sortedKeys(specs) {
		label := name
		if specs[name].PodSelector == nil || name == "default-deny" || name == "names" {
			label = "policies"
		}
		if _, err := networkingv1.NewNetworkPolicy(ctx, name, &networkingv1.NetworkPolicyArgs{
			Metadata: scope.meta(name, label), Spec: specs[name],
		}, pulumi.Parent(p)); err != nil {
			return nil, fmt.Errorf("make the network policy %s: %w", name, err)
		}
	}
	return p, ctx.RegisterResourceOutputs(p, pulumi.Map{})
}

// componentPolicy is what a component's pods may be reached by, and reach.
func componentPolicy(s environment.Settings, name string) *networkingv1.NetworkPolicySpecArgs {
	var in networkingv1.NetworkPolicyIngressRuleArray
	var out networkingv1.NetworkPolicyEgressRuleArray
	for _, p := range flows(s) {
		if p.to == name {
			in = append(in, networkingv1.NetworkPolicyIngressRuleArgs{From: componentPeer(s, p.from), Ports: onePort(p.port)})
		}
		if p.from == name {
			out = append(out, networkingv1.NetworkPolicyEgressRuleArgs{To: componentPeer(s, p.to), Ports: onePort(p.port)})
		}
	}
	in = append(in, reachedFrom(s, name)...)
	switch name {
	case nameBackup, namePrune, nameRestore:
		out = append(out, bucketOutside(s)...)
	case nameAPI, nameCanary:
		out = append(out, servicesOutside(s)...)
	}
	selected := selector(s, name)
	if name == nameSolver {
		selected = pulumi.StringMap{"acme.cert-manager.io/http01-solver": pulumi.String("true")}
	}
	return &networkingv1.NetworkPolicySpecArgs{
		PodSelector: &metav1.LabelSelectorArgs{MatchLabels: selected},
		PolicyTypes: texts("Ingress", "Egress"), Ingress: in, Egress: out,
	}
}

// reachedFrom are the ways in from other namespaces: the ingress controller's and the monitoring's.
func reachedFrom(s environment.Settings, name string) networkingv1.NetworkPolicyIngressRuleArray {
	from := func(namespace string, pods *metav1.LabelSelectorArgs, port int) networkingv1.NetworkPolicyIngressRuleArgs {
		return networkingv1.NetworkPolicyIngressRuleArgs{
			From:  networkingv1.NetworkPolicyPeerArray{networkingv1.NetworkPolicyPeerArgs{NamespaceSelector: namespaceNamed(namespace), PodSelector: pods}},
			Ports: onePort(port),
		}
	}
	var list networkingv1.NetworkPolicyIngressRuleArray
	switch name {
	case nameAPI:
		list = append(list, from(s.Ingress.Namespace, nil, apiPort))
		if s.Addons.Monitoring != environment.None {
			prometheus := &metav1.LabelSelectorArgs{MatchLabels: pulumi.StringMap{"app.kubernetes.io/name": pulumi.String("prometheus")}}
			list = append(list, from(s.Monitoring.Namespace, prometheus, privatePort))
		}
	case nameOpenWebUI:
		list = append(list, from(s.Ingress.Namespace, nil, openWebUIPort))
	case nameSolver:
		list = append(list, from(s.Ingress.Namespace, nil, 8089))
	}
	return list
}

const nameSolver = "acme-solver" // cert-manager's pods that answer the challenge

func acme(s environment.Settings) bool {
	return s.TLS.From == environment.TLSCertManager && s.TLS.Email != ""
}

// Addresses that no client of the internet talks to: those where a node's credentials would be had, by link-local ones and Azure's of its machinery,
// and private ones, the cluster's own pods and services among them. All of IPv6 that is public is in one block.
var (
	credentials = []string{"169.254.0.0/16", "168.63.129.16/32"}
	notPublic   = append([]string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15"}, credentials...)
)

const publicV6 = "2000::/3"

// outsidePorts are those of what users connect the service with: HTTPS and feeds by HTTP, IMAP, and the mail server that takes the service's own mail.
var outsidePorts = []int{443, 80, 993, 465, 587}

// servicesOutside is the way to mailboxes, feeds, providers of log-in and models on the internet, and to what the settings name besides. Which
// of them a user may name is the service's to judge: it looks at the address of every connection by itself, too.
func servicesOutside(s environment.Settings) networkingv1.NetworkPolicyEgressRuleArray {
	internet := networkingv1.NetworkPolicyPeerArray{block("0.0.0.0/0", notPublic...), block(publicV6)}
	var ports networkingv1.NetworkPolicyPortArray
	for _, port := range outsidePorts {
		ports = append(ports, policyPort("TCP", port))
	}
	rules := networkingv1.NetworkPolicyEgressRuleArray{networkingv1.NetworkPolicyEgressRuleArgs{To: internet, Ports: ports}}
	for _, d := range s.API.Egress {
		rules = append(rules, networkingv1.NetworkPolicyEgressRuleArgs{
			To: networkingv1.NetworkPolicyPeerArray{block(d.Network.String())}, Ports: onePort(int(d.Port)),
		})
	}
	return rules
}

func block(cidr string, except ...string) networkingv1.NetworkPolicyPeerArgs {
	b := &networkingv1.IPBlockArgs{Cidr: pulumi.String(cidr)}
	if len(except) > 0 {
		b.Except = texts(except...)
	}
	return networkingv1.NetworkPolicyPeerArgs{IpBlock: b}
}

// bucketOutside is the way to a bucket that is not in the namespace: its port, and on EKS the agent that hands out credentials. Where it
// is cannot be said closer: an object store has no fixed addresses. One that somebody runs may be in a private network.
func bucketOutside(s environment.Settings) networkingv1.NetworkPolicyEgressRuleArray {
	to := func(peer networkingv1.NetworkPolicyPeerArgs, port int) networkingv1.NetworkPolicyEgressRuleArgs {
		return networkingv1.NetworkPolicyEgressRuleArgs{To: networkingv1.NetworkPolicyPeerArray{peer}, Ports: onePort(port)}
	}
	switch s.Bucket.Kind {
	case environment.BucketAWS:
		return networkingv1.NetworkPolicyEgressRuleArray{to(block("0.0.0.0/0", notPublic...), 443), to(block(podIdentityAgent), 80)}
	case environment.BucketS3:
		return networkingv1.NetworkPolicyEgressRuleArray{to(block("0.0.0.0/0", credentials...), endpointPort(s.Bucket.Endpoint))}
	}
	return nil
}

const podIdentityAgent = "169.254.170.23/32"

// endpointPort is the port of a URL that the settings have checked.
func endpointPort(endpoint string) int {
	u, err := url.Parse(endpoint)
	if err != nil {
		return 443
	}
	if port, err := strconv.Atoi(u.Port()); err == nil {
		return port
	}
	if u.Scheme == "http" {
		return 80
	}
	return 443
}

func componentPeer(s environment.Settings, name string) networkingv1.NetworkPolicyPeerArray {
	return networkingv1.NetworkPolicyPeerArray{networkingv1.NetworkPolicyPeerArgs{
		PodSelector: &metav1.LabelSelectorArgs{MatchLabels: selector(s, name)},
	}}
}

func namespaceNamed(name string) *metav1.LabelSelectorArgs {
	return &metav1.LabelSelectorArgs{MatchLabels: pulumi.StringMap{"kubernetes.io/metadata.name": pulumi.String(name)}}
}

func onePort(number int) networkingv1.NetworkPolicyPortArray {
	return networkingv1.NetworkPolicyPortArray{policyPort("TCP", number)}
}

func policyPort(protocol string, number int) networkingv1.NetworkPolicyPortArgs {
	return networkingv1.NetworkPolicyPortArgs{Protocol: pulumi.String(protocol), Port: pulumi.Int(number)}
}
