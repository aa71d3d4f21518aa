package netpol

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

func pod(namespace, name, ip string, ports ...corev1.ContainerPort) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": name}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: name, Ports: ports}}},
		Status:     corev1.PodStatus{PodIP: ip},
	}
}

func world(t *testing.T, policies ...string) World {
	t.Helper()
	w := World{
		Pods: []*corev1.Pod{
			pod("a", "db", "10.0.0.1", corev1.ContainerPort{Name: "pg", ContainerPort: 5432}),
			pod("a", "web", "10.0.0.2"),
			pod("b", "web", "10.0.0.3"),
		},
		Namespaces: []*corev1.Namespace{
			{ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"kubernetes.io/metadata.name": "a"}}},
			{ObjectMeta: metav1.ObjectMeta{Name: "b", Labels: map[string]string{"kubernetes.io/metadata.name": "b"}}},
		},
	}
	for _, text := range policies {
		p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "a"}}
		if err := yaml.UnmarshalStrict([]byte(text), &p.Spec); err != nil {
			t.Fatal(err)
		}
		w.Policies = append(w.Policies, p)
	}
	return w
}

// body returns the lines of one chain.
func body(t *testing.T, rules, chain string) []string {
	t.Helper()
	_, rest, ok := strings.Cut(rules, "chain "+chain+" {")
	if !ok {
		t.Fatalf("there is no chain %s in\n%s", chain, rules)
	}
	text, _, _ := strings.Cut(rest, "\n  }")
	var lines []string
	for _, line := range strings.Split(text, "\n")[1:] {
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}

func TestRules(t *testing.T) {
	for name, c := range map[string]struct {
		policy string
		chain  string
		want   []string
	}{
		"deny everything in": {
			`{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress]}`, "in_0", []string{"counter drop"},
		},
		"a pod of the same namespace only": {
			`{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 5432}]}]}`,
			"in_0",
			[]string{"ip saddr { 10.0.0.2 } tcp dport 5432 return", "counter drop"},
		},
		"a pod of another namespace, port by name": {
			`{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: b}}, podSelector: {}}], ports: [{port: pg}]}]}`,
			"in_0",
			[]string{"ip saddr { 10.0.0.3 } ip daddr 10.0.0.1 tcp dport 5432 return", "counter drop"},
		},
		"everybody": {
			`{podSelector: {matchLabels: {app: db}}, ingress: [{}]}`, "in_0", []string{"return", "counter drop"},
		},
		"a peer that is not there lets nobody in": {
			`{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: gone}}}]}]}`, "in_0", []string{"counter drop"},
		},
		"out to a block but for a part, and a range of ports": {
			`{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}], ports: [{port: 8000, endPort: 8010}]}, {ports: [{protocol: UDP, port: 53}]}]}`,
			"out_1",
			[]string{"ip daddr 0.0.0.0/0 ip daddr != { 10.0.0.0/8 } tcp dport 8000-8010 return", "udp dport 53 return", "counter drop"},
		},
		"out to blocks of both families": {
			`{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}, {ipBlock: {cidr: "2000::/3", except: ["2001:db8::/32"]}}], ports: [{port: 443}]}]}`,
			"out_1",
			[]string{"ip daddr 0.0.0.0/0 tcp dport 443 return", "ip6 daddr 2000::/3 ip6 daddr != { 2001:db8::/32 } tcp dport 443 return", "counter drop"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			rules, err := Rules(world(t, c.policy))
			if err != nil {
				t.Fatal(err)
			}
			if got := body(t, rules, c.chain); strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

func TestOnlySelectedPodsAreFiltered(t *testing.T) {
	rules, err := Rules(world(t, `{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress]}`))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(rules, "ip daddr vmap { 10.0.0.1 : jump in_0 }") || strings.Contains(rules, "10.0.0.2 : jump") {
		t.Errorf("the wrong pods are filtered:\n%s", rules)
	}
}
