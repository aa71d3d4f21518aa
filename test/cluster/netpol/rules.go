// Package netpol enforces NetworkPolicies on the one node of the test cluster. It is test code and never ships: no maintained
// enforcer can be had from the Go module proxy, and policies that nobody enforces cannot be proven.
//
// It renders one nftables table from all Pods, Namespaces and NetworkPolicies (networking.k8s.io/v1, as its specification says) and
// loads it whole. Every pod of the test cluster hangs on a link of its own (CNI plugin ptp), so all traffic between pods passes the
// host's forward hook, and traffic to the node itself the input hook. What the node sends is never filtered: it is the kubelet's
// probes. Pods have IPv4 addresses only; a block of IPv6 is loaded and matches nothing.
package netpol

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Table is the name of the nftables table.
const Table = "test_network_policies"

// World is what the rules are made of.
type World struct {
	Pods       []*corev1.Pod
	Namespaces []*corev1.Namespace
	Policies   []*networkingv1.NetworkPolicy
}

// Rules is the script for nft that replaces the table. The same world always gives the same script.
func Rules(w World) (string, error) {
	r := renderer{World: w}
	var chains strings.Builder
	incoming, outgoing := map[string]string{}, map[string]string{}
	for i, pod := range w.live() {
		in, out := r.policies(pod, networkingv1.PolicyTypeIngress), r.policies(pod, networkingv1.PolicyTypeEgress)
		if len(in) > 0 {
			incoming[pod.Status.PodIP] = fmt.Sprintf("in_%d", i)
			lines, err := r.ingress(pod, in)
			if err != nil {
				return "", err
			}
			chain(&chains, incoming[pod.Status.PodIP], pod, lines)
		}
		if len(out) > 0 {
			outgoing[pod.Status.PodIP] = fmt.Sprintf("out_%d", i)
			lines, err := r.egress(out)
			if err != nil {
				return "", err
			}
			chain(&chains, outgoing[pod.Status.PodIP], pod, lines)
		}
	}
	var b strings.Builder
	// Declared, deleted and declared again in one transaction: the table need not be there, and is never half there.
	fmt.Fprintf(&b, "table inet %[1]s\ndelete table inet %[1]s\ntable inet %[1]s {\n%s", Table, chains.String())
	hook(&b, "forward", jumps("saddr", outgoing), jumps("daddr", incoming))
	hook(&b, "input", jumps("saddr", outgoing))
	b.WriteString("}\n")
	return b.String(), nil
}

func chain(b *strings.Builder, name string, pod *corev1.Pod, lines []string) {
	fmt.Fprintf(b, "  chain %s { # %s/%s\n", name, pod.Namespace, pod.Name)
	for _, line := range lines {
		fmt.Fprintf(b, "    %s\n", line)
	}
	b.WriteString("    counter drop\n  }\n")
}

func hook(b *strings.Builder, name string, lines ...string) {
	fmt.Fprintf(b, "  chain %[1]s {\n    type filter hook %[1]s priority filter; policy accept;\n    ct state established,related accept\n", name)
	for _, line := range lines {
		if line != "" {
			fmt.Fprintf(b, "    %s\n", line)
		}
	}
	b.WriteString("  }\n")
}

// jumps sends each selected pod's traffic to its chain; the chain returns what is allowed.
func jumps(field string, chains map[string]string) string {
	if len(chains) == 0 {
		return ""
	}
	var elements []string
	for _, ip := range slices.Sorted(maps.Keys(chains)) {
		elements = append(elements, ip+" : jump "+chains[ip])
	}
	return fmt.Sprintf("ip %s vmap { %s }", field, strings.Join(elements, ", "))
}

// live are the pods that have an address of their own, in order.
func (w World) live() []*corev1.Pod {
	var pods []*corev1.Pod
	for _, p := range w.Pods {
		if p.Status.PodIP != "" && !p.Spec.HostNetwork && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
			pods = append(pods, p)
		}
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	return pods
}

type renderer struct{ World }

// policies are those that select a pod for one direction.
func (r renderer) policies(pod *corev1.Pod, direction networkingv1.PolicyType) []*networkingv1.NetworkPolicy {
	var selected []*networkingv1.NetworkPolicy
	for _, p := range r.Policies {
		types := p.Spec.PolicyTypes
		if len(types) == 0 { // the API server's default
			types = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
			if len(p.Spec.Egress) > 0 {
				types = append(types, networkingv1.PolicyTypeEgress)
			}
		}
		if p.Namespace == pod.Namespace && slices.Contains(types, direction) && matches(&p.Spec.PodSelector, pod.Labels) {
			selected = append(selected, p)
		}
	}
	slices.SortFunc(selected, func(a, b *networkingv1.NetworkPolicy) int { return strings.Compare(a.Name, b.Name) })
	return selected
}

func matches(s *metav1.LabelSelector, of map[string]string) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(labels.Set(of))
}

func (r renderer) ingress(pod *corev1.Pod, policies []*networkingv1.NetworkPolicy) ([]string, error) {
	var lines []string
	for _, p := range policies {
		for _, rule := range p.Spec.Ingress {
			ports, err := portMatches(rule.Ports, []*corev1.Pod{pod})
			if err != nil {
				return nil, fmt.Errorf("policy %s/%s: %w", p.Namespace, p.Name, err)
			}
			lines = append(lines, allow(r.peers("saddr", p.Namespace, rule.From), ports)...)
		}
	}
	return lines, nil
}

func (r renderer) egress(policies []*networkingv1.NetworkPolicy) ([]string, error) {
	var lines []string
	for _, p := range policies {
		for _, rule := range p.Spec.Egress {
			// The name of a port means what it means on each pod that is reached.
			ports, err := portMatches(rule.Ports, r.reached(p.Namespace, rule.To))
			if err != nil {
				return nil, fmt.Errorf("policy %s/%s: %w", p.Namespace, p.Name, err)
			}
			lines = append(lines, allow(r.peers("daddr", p.Namespace, rule.To), ports)...)
		}
	}
	return lines, nil
}

func allow(peers, ports []string) []string {
	var lines []string
	for _, peer := range peers {
		for _, port := range ports {
			lines = append(lines, strings.TrimLeft(strings.TrimSpace(peer+" "+port)+" return", " "))
		}
	}
	return lines
}

// peers are matches for the other side's address; no peers at all means everybody, and that is one empty match.
func (r renderer) peers(field, namespace string, peers []networkingv1.NetworkPolicyPeer) []string {
	if len(peers) == 0 {
		return []string{""}
	}
	var out []string
	for _, peer := range peers {
		if peer.IPBlock != nil {
			out = append(out, block(field, peer.IPBlock))
			continue
		}
		var addresses []string
		for _, pod := range r.peerPods(namespace, peer) {
			addresses = append(addresses, pod.Status.PodIP)
		}
		if len(addresses) > 0 {
			out = append(out, fmt.Sprintf("ip %s { %s }", field, strings.Join(addresses, ", ")))
		}
	}
	return out
}

// block matches addresses of one family: nft refuses a whole script in which `ip` meets an address of IPv6.
func block(field string, b *networkingv1.IPBlock) string {
	family := "ip"
	if strings.Contains(b.CIDR, ":") {
		family = "ip6"
	}
	match := fmt.Sprintf("%s %s %s", family, field, b.CIDR)
	if len(b.Except) > 0 {
		match += fmt.Sprintf(" %s %s != { %s }", family, field, strings.Join(b.Except, ", "))
	}
	return match
}

func (r renderer) peerPods(namespace string, peer networkingv1.NetworkPolicyPeer) []*corev1.Pod {
	within := map[string]bool{namespace: true}
	if peer.NamespaceSelector != nil {
		within = map[string]bool{}
		for _, n := range r.Namespaces {
			within[n.Name] = matches(peer.NamespaceSelector, n.Labels)
		}
	}
	var pods []*corev1.Pod
	for _, pod := range r.live() {
		if within[pod.Namespace] && (peer.PodSelector == nil || matches(peer.PodSelector, pod.Labels)) {
			pods = append(pods, pod)
		}
	}
	return pods
}

func (r renderer) reached(namespace string, peers []networkingv1.NetworkPolicyPeer) []*corev1.Pod {
	if len(peers) == 0 {
		return r.live()
	}
	var pods []*corev1.Pod
	for _, peer := range peers {
		if peer.IPBlock == nil {
			pods = append(pods, r.peerPods(namespace, peer)...)
		}
	}
	return pods
}

// portMatches are matches for the port; no ports at all means all of them. A port's name is looked up in the pods that are reached.
func portMatches(ports []networkingv1.NetworkPolicyPort, pods []*corev1.Pod) ([]string, error) {
	if len(ports) == 0 {
		return []string{""}, nil
	}
	var out []string
	for _, p := range ports {
		protocol := corev1.ProtocolTCP
		if p.Protocol != nil {
			protocol = *p.Protocol
		}
		name := strings.ToLower(string(protocol))
		switch {
		case p.Port == nil:
			out = append(out, "meta l4proto "+name)
		case p.Port.Type == intstr.String:
			out = append(out, namedPorts(name, protocol, p.Port.StrVal, pods)...)
		case p.EndPort != nil:
			if *p.EndPort < p.Port.IntVal {
				return nil, fmt.Errorf("endPort %d is below port %d", *p.EndPort, p.Port.IntVal)
			}
			out = append(out, fmt.Sprintf("%s dport %d-%d", name, p.Port.IntVal, *p.EndPort))
		default:
			out = append(out, fmt.Sprintf("%s dport %d", name, p.Port.IntVal))
		}
	}
	return out, nil
}

func namedPorts(prefix string, protocol corev1.Protocol, name string, pods []*corev1.Pod) []string {
	var out []string
	for _, pod := range pods {
		for _, c := range pod.Spec.Containers {
			for _, port := range c.Ports {
				if port.Name == name && (port.Protocol == protocol || port.Protocol == "") {
					out = append(out, fmt.Sprintf("ip daddr %s %s dport %d", pod.Status.PodIP, prefix, port.ContainerPort))
				}
			}
		}
	}
	return out
}
