package graph

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"
)

// The model against what Kubernetes' own documentation says of NetworkPolicies.
func TestNetworkModel(t *testing.T) {
	pod := func(name, namespace string, last byte, ports map[string]int32) Peer {
		return Peer{
			Name: name, Namespace: namespace, Labels: map[string]string{"app": name}, Above: map[string]string{"team": namespace},
			IP: netip.AddrFrom4([4]byte{10, 42, 0, last}), Ports: ports, Ours: namespace == "ours",
		}
	}
	web, db := pod("web", "ours", 1, map[string]int32{"http": 8080}), pod("db", "ours", 2, map[string]int32{"sql": 5432})
	other := pod("web", "theirs", 3, nil)
	internet := Peer{Name: "internet", IP: netip.MustParseAddr("203.0.113.7")}
	tcp := func(n int32) Port { return Port{n, corev1.ProtocolTCP} }
	udp := func(n int32) Port { return Port{n, corev1.ProtocolUDP} }
	const deny = "podSelector: {}\npolicyTypes: [Ingress, Egress]\n"

	for name, c := range map[string]struct {
		policies []string
		from, to Peer
		port     Port
		allowed  bool
	}{
		"no policy":                      {nil, web, db, tcp(5432), true},
		"denied":                         {[]string{deny}, web, db, tcp(5432), false},
		"only one half":                  {[]string{deny, "podSelector: {matchLabels: {app: web}}\negress: [{to: [{podSelector: {matchLabels: {app: db}}}]}]"}, web, db, tcp(5432), false},
		"both halves":                    {[]string{deny, "podSelector: {matchLabels: {app: web}}\negress: [{}]\npolicyTypes: [Egress]", "podSelector: {matchLabels: {app: db}}\ningress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: sql}]}]"}, web, db, tcp(5432), true},
		"a named port is the target's":   {[]string{"podSelector: {matchLabels: {app: db}}\ningress: [{ports: [{port: http}]}]"}, web, db, tcp(8080), false},
		"another protocol":               {[]string{"podSelector: {matchLabels: {app: db}}\ningress: [{ports: [{port: 5432}]}]"}, web, db, udp(5432), false},
		"a range":                        {[]string{"podSelector: {matchLabels: {app: db}}\ningress: [{ports: [{port: 5000, endPort: 6000}]}]"}, web, db, tcp(5432), true},
		"outside of the range":           {[]string{"podSelector: {matchLabels: {app: db}}\ningress: [{ports: [{port: 5000, endPort: 6000}]}]"}, web, db, tcp(6001), false},
		"no rules deny":                  {[]string{"podSelector: {matchLabels: {app: db}}\ningress: []"}, web, db, tcp(1), false},
		"a pod selector is of ours":      {[]string{"podSelector: {matchLabels: {app: db}}\ningress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]"}, other, db, tcp(1), false},
		"a namespace":                    {[]string{"podSelector: {matchLabels: {app: db}}\ningress: [{from: [{namespaceSelector: {matchLabels: {team: theirs}}}]}]"}, other, db, tcp(1), true},
		"both selectors of one peer":     {[]string{"podSelector: {matchLabels: {app: db}}\ningress: [{from: [{namespaceSelector: {matchLabels: {team: theirs}}, podSelector: {matchLabels: {app: x}}}]}]"}, other, db, tcp(1), false},
		"selectors of two peers":         {[]string{"podSelector: {matchLabels: {app: db}}\ningress: [{from: [{namespaceSelector: {matchLabels: {team: theirs}}}, {podSelector: {matchLabels: {app: x}}}]}]"}, other, db, tcp(1), true},
		"an empty namespace selector":    {[]string{"podSelector: {matchLabels: {app: db}}\ningress: [{from: [{namespaceSelector: {}}]}]"}, other, db, tcp(1), true},
		"an address":                     {[]string{"podSelector: {matchLabels: {app: web}}\negress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}]}]\npolicyTypes: [Egress]"}, web, internet, tcp(443), true},
		"an address that is excepted":    {[]string{"podSelector: {matchLabels: {app: web}}\negress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}]}]\npolicyTypes: [Egress]"}, web, db, tcp(443), false},
		"a wide block reaches pods":      {[]string{"podSelector: {matchLabels: {app: web}}\negress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]\npolicyTypes: [Egress]"}, web, other, tcp(443), true},
		"egress rules without the types": {[]string{"podSelector: {matchLabels: {app: web}}\negress: [{to: [{podSelector: {}}]}]"}, web, other, tcp(443), false},
		"such a policy denies ingress":   {[]string{"podSelector: {matchLabels: {app: web}}\negress: [{to: [{podSelector: {}}]}]"}, other, web, tcp(443), false},
		"a policy of another namespace":  {nil, other, db, tcp(1), true},
	} {
		t.Run(name, func(t *testing.T) {
			n := Network{}
			for _, text := range c.policies {
				var p policy
				p.Namespace = "ours"
				if err := yaml.UnmarshalStrict([]byte(text), &p.Spec); err != nil {
					t.Fatal(err)
				}
				n.Policies = append(n.Policies, p)
			}
			if got := n.Allowed(c.from, c.to, c.port); got != c.allowed {
				t.Errorf("%s → %s:%s allowed: %v, want %v", c.from.Name, c.to.Name, c.port, got, c.allowed)
			}
		})
	}
}

func TestPathsNameWhatIsOpen(t *testing.T) {
	web := Peer{Name: "web", Namespace: "ours", Labels: map[string]string{"app": "web"}, Ours: true}
	n := Network{Peers: []Peer{web, {Name: "internet", IP: netip.MustParseAddr("203.0.113.7")}}, Ports: []Port{{6, "TCP"}, {443, "TCP"}}}
	n.Policies = []policy{{}}
	n.Policies[0].Namespace = "ours"
	n.Policies[0].Spec = networkingv1.NetworkPolicySpec{PodSelector: *selectorOf(web.Labels), PolicyTypes: []networkingv1.PolicyType{"Egress"}}
	if got := strings.Join(n.Paths(), ", "); got != "internet → web:*" {
		t.Errorf("paths %s", got)
	}
	if isolatedBoth(n.Policies[0]) {
		t.Error("a policy of one pod and one direction is no default deny")
	}
	if !slices.Contains(typesOf(n.Policies[0]), networkingv1.PolicyTypeEgress) {
		t.Error("the types that are named count")
	}
}
