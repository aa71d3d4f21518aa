package infra

import (
	"reflect"
	"strings"
	"testing"

	"github.com/smart-assistant/platform/infra/environment"
)

// TestTraefikWaitsForNoAddressThatWillNotCome: Helm waits for the address of a Service of the type LoadBalancer, which kind has not.
func TestTraefikWaitsForNoAddressThatWillNotCome(t *testing.T) {
	checkTraefik(t, environment.ClusterExisting, map[string]any{
		"service/type": "ClusterIP", "service/spec/externalTrafficPolicy": nil, "deployment/replicas": 1.0,
		"ports/web/hostPort": 80.0, "ports/websecure/hostPort": 443.0, "updateStrategy/rollingUpdate/maxSurge": 0.0,
	})
	checkTraefik(t, environment.ClusterEKS, map[string]any{
		"service/type": nil, "service/spec/externalTrafficPolicy": "Local", "deployment/replicas": 2.0, "ports/web/hostPort": nil, "ports/websecure/hostPort": nil,
	})
}

// TestTraefikDrains: the load balancer sends requests until its second failed check, and the kubelet kills after the grace period whatever goes on.
func TestTraefikDrains(t *testing.T) {
	checkTraefik(t, environment.ClusterEKS, map[string]any{
		"deployment/lifecycle/preStop/sleep/seconds": 40.0, "deployment/terminationGracePeriodSeconds": 90.0,
		"ports/web/transport/lifeCycle/graceTimeOut": "40s", "ports/websecure/transport/lifeCycle/graceTimeOut": "40s",
		"service/annotations": map[string]any{
			"service.beta.kubernetes.io/aws-load-balancer-type":                              "nlb",
			"service.beta.kubernetes.io/aws-load-balancer-cross-zone-load-balancing-enabled": "true",
		},
	})
	for _, r := range addonsOn(t, environment.ClusterEKS) {
		if r.Name == "traefik" && !strings.Contains(r.Inputs["values"].String(), "topologyKey:{topology.kubernetes.io/zone}") {
			t.Error("both replicas may be in one zone")
		}
	}
}

// TestTraefikLetsImportsArrive: by itself it ends a request that has not come whole after a minute.
func TestTraefikLetsImportsArrive(t *testing.T) {
	for _, cluster := range []string{environment.ClusterExisting, environment.ClusterEKS} {
		checkTraefik(t, cluster, map[string]any{
			"ports/websecure/transport/respondingTimeouts/readTimeout": "61m", "ports/web/transport/respondingTimeouts": nil,
		})
	}
}

// checkTraefik compares values of Traefik on such a cluster; nil is one that is not given.
func checkTraefik(t *testing.T, cluster string, want map[string]any) {
	t.Helper()
	for _, r := range addonsOn(t, cluster) {
		if r.Name != "traefik" {
			continue
		}
		values, ok := r.Inputs["values"].Mappable().(map[string]any)
		if !ok {
			t.Fatalf("its values are %v", r.Inputs["values"])
		}
		for path, wanted := range want {
			if got := member(values, strings.Split(path, "/")...); !reflect.DeepEqual(got, wanted) {
				t.Errorf("%s: %s is %v; want %v", cluster, path, got, wanted)
			}
		}
		return
	}
	t.Fatalf("%s: no Traefik", cluster)
}
