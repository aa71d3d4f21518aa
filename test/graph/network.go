package graph

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Peer is one end of a connection: a pod of ours, a pod of somebody else's, or an address.
type Peer struct {
	Name      string
	Namespace string // "" is no pod
	Labels    map[string]string
	Above     map[string]string // labels of the namespace
	IP        netip.Addr
	Ports     map[string]int32 // the named ones
	Ours      bool
}

// Port is where a connection goes.
type Port struct {
	Number   int32
	Protocol corev1.Protocol
}

// String is "5432", or "53/UDP".
func (p Port) String() string {
	if p.Protocol == corev1.ProtocolTCP {
		return fmt.Sprint(p.Number)
	}
	return fmt.Sprintf("%d/%s", p.Number, p.Protocol)
}

// Network is the model in which NetworkPolicies are judged as Kubernetes specifies them.
type Network struct {
	Peers    []Peer
	Ports    []Port
	Policies []policy

	selectors map[*metav1.LabelSelector]labels.Selector // read once
}

// selects is the package's function of that name, which remembers.
func (n Network) selects(selector *metav1.LabelSelector, on map[string]string) bool {
	s := n.selectors[selector]
	if s == nil {
		var err error
		if s, err = metav1.LabelSelectorAsSelector(selector); err != nil {
			s = labels.Nothing()
		}
		if n.selectors != nil {
			n.selectors[selector] = s
		}
	}
	return s.Matches(labels.Set(on))
}

// NewNetwork takes the pods and policies of a graph, and everything around it that a policy could let in or out by mistake.
func NewNetwork(v *View) Network {
	n := Network{Policies: v.Policies, selectors: map[*metav1.LabelSelector]labels.Selector{}}
	spaces := map[string]map[string]string{}
	for _, ns := range v.Namespaces {
		own := maps.Clone(ns.Labels)
		if own == nil {
			own = map[string]string{}
		}
		own["kubernetes.io/metadata.name"] = ns.Name
		spaces[ns.Name] = own
	}
	ports := map[Port]bool{{6, corev1.ProtocolTCP}: true} // one that nobody uses
	for i, p := range v.Pods {
		peer := Peer{
			Name: p.Component(), Namespace: p.Namespace, Labels: p.Labels, Above: spaces[p.Namespace],
			IP: netip.AddrFrom4([4]byte{10, 42, 0, byte(i + 1)}), Ports: map[string]int32{}, Ours: true,
		}
		for _, c := range p.Spec.Containers {
			for _, port := range c.Ports {
				protocol := port.Protocol
				if protocol == "" {
					protocol = corev1.ProtocolTCP
				}
				peer.Ports[port.Name] = port.ContainerPort
				ports[Port{port.ContainerPort, protocol}] = true
			}
		}
		n.Peers = append(n.Peers, peer)
	}
	n.Peers = append(n.Peers, strangers(v)...)
	for _, p := range v.Policies {
		portsOf(p, ports)
	}
	n.Ports = slices.SortedFunc(maps.Keys(ports), func(a, b Port) int { return strings.Compare(a.String(), b.String()) })
	return n
}

// strangers are the peers that are not ours.
func strangers(v *View) []Peer {
	pod := func(name, namespace string, last byte, own map[string]string) Peer {
		return Peer{
			Name: name, Namespace: namespace, Labels: own, Above: map[string]string{"kubernetes.io/metadata.name": namespace},
			IP: netip.AddrFrom4([4]byte{10, 42, 9, last}), Ports: map[string]int32{"web": 8000, "websecure": 8443, "dns": 53, "dns-tcp": 53},
		}
	}
	address := func(name, ip string) Peer { return Peer{Name: name, IP: netip.MustParseAddr(ip)} }
	monitoring := "monitoring"
	return []Peer{
		pod("dns", "kube-system", 1, map[string]string{"k8s-app": "kube-dns"}),
		pod("traefik", "traefik", 2, map[string]string{"app.kubernetes.io/name": "traefik"}),
		pod("prometheus", monitoring, 3, map[string]string{"app.kubernetes.io/name": "prometheus"}),
		pod("stranger", "default", 4, map[string]string{"app.kubernetes.io/name": "api", "app.kubernetes.io/component": "api", "app.kubernetes.io/instance": v.Environment}),
		pod("system", "kube-system", 5, map[string]string{"app": "anything"}),
		address("internet", "203.0.113.7"),
		address("internet-v6", "2001:db8::7"),
		address("private", "192.168.7.7"),
		address("vpc", "10.0.100.9"),
		address("cgnat", "100.64.7.7"),
		address("private-v6", "fd12::7"),
		address("link-local-v6", "fe80::7"),
		address("machinery", "168.63.129.16"),
		address("metadata", "169.254.169.254"),
		address("pod-identity", "169.254.170.23"),
	}
}

func portsOf(p policy, into map[Port]bool) {
	add := func(ports []networkingv1.NetworkPolicyPort) {
		for _, port := range ports {
			if port.Port == nil || port.Port.Type == intstr.String {
				continue
			}
			into[Port{port.Port.IntVal, protocolOf(port)}] = true
			if port.EndPort != nil {
				into[Port{*port.EndPort, protocolOf(port)}] = true
			}
		}
	}
	for _, r := range p.Spec.Ingress {
		add(r.Ports)
	}
	for _, r := range p.Spec.Egress {
		add(r.Ports)
	}
}

func protocolOf(p networkingv1.NetworkPolicyPort) corev1.Protocol {
	if p.Protocol == nil {
		return corev1.ProtocolTCP
	}
	return *p.Protocol
}

// Allowed says whether a connection can be made: the policies of the one end let it out, and those of the other let it in.
func (n Network) Allowed(from, to Peer, port Port) bool {
	return n.half(from, to, to, port, networkingv1.PolicyTypeEgress) && n.half(to, from, to, port, networkingv1.PolicyTypeIngress)
}

// half judges one end: subject is the pod whose policies are read, peer the other end, target the one whose ports are named.
func (n Network) half(subject, peer, target Peer, port Port, direction networkingv1.PolicyType) bool {
	if subject.Namespace == "" {
		return true
	}
	isolated := false
	for i := range n.Policies {
		p := &n.Policies[i]
		if p.Namespace != subject.Namespace || !n.selects(&p.Spec.PodSelector, subject.Labels) || !slices.Contains(typesOf(*p), direction) {
			continue
		}
		isolated = true
		if direction == networkingv1.PolicyTypeIngress {
			for _, r := range p.Spec.Ingress {
				if fitsPorts(r.Ports, target, port) && n.fitsPeers(r.From, p.Namespace, peer) {
					return true
				}
			}
			continue
		}
		for _, r := range p.Spec.Egress {
			if fitsPorts(r.Ports, target, port) && n.fitsPeers(r.To, p.Namespace, peer) {
				return true
			}
		}
	}
	return !isolated
}

// typesOf are a policy's directions; where it names none, Kubernetes takes ingress, and egress when it has rules for it.
func typesOf(p policy) []networkingv1.PolicyType {
	if len(p.Spec.PolicyTypes) > 0 {
		return p.Spec.PolicyTypes
	}
	if len(p.Spec.Egress) > 0 {
		return []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}
	}
	return []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
}

func (n Network) fitsPeers(peers []networkingv1.NetworkPolicyPeer, namespace string, peer Peer) bool {
	return len(peers) == 0 || slices.ContainsFunc(peers, func(p networkingv1.NetworkPolicyPeer) bool {
		if p.IPBlock != nil {
			return inBlock(p.IPBlock, peer.IP)
		}
		if peer.Namespace == "" {
			return false
		}
		if p.NamespaceSelector == nil && peer.Namespace != namespace || p.NamespaceSelector != nil && !n.selects(p.NamespaceSelector, peer.Above) {
			return false
		}
		return p.PodSelector == nil || n.selects(p.PodSelector, peer.Labels)
	})
}

// inBlock holds for pods as well: whether an address block reaches pods is up to the network plugin, so a block that contains them is
// taken at its word.
func inBlock(block *networkingv1.IPBlock, ip netip.Addr) bool {
	in := func(cidr string) bool {
		prefix, err := netip.ParsePrefix(cidr)
		return err == nil && prefix.Contains(ip)
	}
	return in(block.CIDR) && !slices.ContainsFunc(block.Except, in)
}

func fitsPorts(ports []networkingv1.NetworkPolicyPort, target Peer, port Port) bool {
	return len(ports) == 0 || slices.ContainsFunc(ports, func(p networkingv1.NetworkPolicyPort) bool {
		if protocolOf(p) != port.Protocol {
			return false
		}
		switch {
		case p.Port == nil:
			return true
		case p.Port.Type == intstr.String:
			number, ok := target.Ports[p.Port.StrVal]
			return ok && number == port.Number
		case p.EndPort != nil:
			return p.Port.IntVal <= port.Number && port.Number <= *p.EndPort
		}
		return p.Port.IntVal == port.Number
	})
}

// Paths are all allowed connections that begin or end at a pod of ours, as "api → postgres:5432". A connection on every port is "api → x:*".
func (n Network) Paths() []string {
	return n.open(func(from, to Peer) bool { return from.Ours || to.Ours }, n.Allowed)
}

// Exits are the connections that the pods' own policies let out, whatever the other end says; Entries those that they let in. Each half is
// to be right by itself, so that a mistake in the other opens nothing.
func (n Network) Exits() []string {
	return n.open(func(from, _ Peer) bool { return from.Ours }, func(from, to Peer, port Port) bool {
		if to.Ours {
			to.IP = netip.Addr{} // a block of addresses is no way to our own pods, which are named, and let nobody in
		}
		return n.half(from, to, to, port, networkingv1.PolicyTypeEgress)
	})
}

// Entries are explained at Exits.
func (n Network) Entries() []string {
	return n.open(func(_, to Peer) bool { return to.Ours }, func(from, to Peer, port Port) bool {
		return n.half(to, from, to, port, networkingv1.PolicyTypeIngress)
	})
}

func (n Network) open(of func(from, to Peer) bool, allowed func(from, to Peer, port Port) bool) []string {
	paths := map[string]bool{}
	for _, from := range n.Peers {
		for _, to := range n.Peers {
			if !of(from, to) {
				continue
			}
			var open []string
			for _, port := range n.Ports {
				if allowed(from, to, port) {
					open = append(open, port.String())
				}
			}
			if len(open) == len(n.Ports) {
				open = []string{"*"}
			}
			for _, port := range open {
				paths[fmt.Sprintf("%s → %s:%s", from.Name, to.Name, port)] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(paths))
}

// isolatedBoth says whether a policy denies everything in both directions to every pod of its namespace.
func isolatedBoth(p policy) bool {
	s := p.Spec.PodSelector
	return len(s.MatchLabels)+len(s.MatchExpressions) == 0 && len(p.Spec.Ingress)+len(p.Spec.Egress) == 0 &&
		slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeIngress) && slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
}

// selectorOf is for tests.
func selectorOf(labels map[string]string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: labels}
}
