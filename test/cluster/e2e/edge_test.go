//go:build cluster

package e2e

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// edge proves what an environment lets in and what it refuses, by requests: TLS and the redirect to it, the limit on each client's rate,
// and the network policies both ways. The environment runs a release, and its limit is 5 requests a second with bursts of 10.
func (w *world) edge(t *testing.T, env string) {
	t.Run("TLS", func(t *testing.T) { w.edgeTLS(t, env) })
	t.Run("rate limit", func(t *testing.T) { w.edgeRate(t, env) })
	t.Run("network policies", func(t *testing.T) { w.edgePolicies(t, env) })
}

const jwks = "/.well-known/jwks.json" // what anybody may ask for

func (w *world) edgeTLS(t *testing.T, env string) {
	host := w.host(env)
	client := w.through(t, w.authority(t, env))
	if status := get(t, client, "https://"+host+jwks); status != http.StatusOK {
		t.Errorf("with the environment's CA: status %d", status)
	}
	if _, err := fetch(t, w.through(t, nil), "https://"+host+jwks); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("without the environment's CA: %v, which should speak of an unknown authority", err)
	}
	if _, err := fetch(t, client, "https://other."+host+jwks); err == nil || !strings.Contains(err.Error(), "certificate is") {
		t.Errorf("under another name: %v, which should speak of the certificate", err)
	}
	if _, err := fetch(t, w.through(t, w.authority(t, env), tls.VersionTLS11), "https://"+host+jwks); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	response, err := fetch(t, client, "http://"+host+jwks)
	if err != nil {
		t.Fatal(err)
	}
	if to := response.Header.Get("Location"); response.StatusCode/100 != 3 || !strings.HasPrefix(to, "https://"+host) {
		t.Errorf("HTTP is answered with status %d to %q", response.StatusCode, to)
	}
}

func (w *world) edgeRate(t *testing.T, env string) {
	client := w.through(t, w.authority(t, env))
	url := "https://" + w.host(env) + jwks
	counts := map[int]int{}
	for range 60 {
		counts[get(t, client, url)]++
	}
	if counts[http.StatusOK] < 10 || counts[http.StatusTooManyRequests] < 20 || counts[http.StatusOK]+counts[http.StatusTooManyRequests] != 60 {
		t.Errorf("60 requests at once were answered so: %v; the burst is 10, the rate 5 a second", counts)
	}
	time.Sleep(3 * time.Second)
	if status := get(t, client, url); status != http.StatusOK {
		t.Errorf("3 seconds later: status %d", status)
	}
}

func (w *world) edgePolicies(t *testing.T, env string) {
	namespace, elsewhere := w.namespace(env), w.prefix+"-elsewhere"
	w.must("kubectl", "create", "namespace", elsewhere)
	t.Cleanup(func() { w.must("kubectl", "delete", "namespace", elsewhere, "--wait=false") })

	targets := map[string]string{"kubernetes": w.apiServer(t), "dns": w.podAddress(t, "kube-system", "k8s-app=kube-dns") + " 53"}
	for component, port := range map[string]string{"api": "8080", "postgres": "5432", "valkey": "6379", "s3": "7070"} {
		targets[component] = w.podAddress(t, namespace, "app.kubernetes.io/component="+component) + " " + port
	}
	targets["api-private"] = strings.TrimSuffix(targets["api"], "8080") + "9090"

	sources := []string{"canary", "exec", "backup", "prune", "stranger"}
	for _, component := range sources {
		w.probe(t, namespace, component, fmt.Sprintf(`"app.kubernetes.io/name":%q,"app.kubernetes.io/instance":%q,"app.kubernetes.io/component":%q`, component, env, component))
	}
	w.probe(t, elsewhere, "elsewhere", `"app.kubernetes.io/component":"api"`)
	w.probe(t, "traefik", "ingress-"+env, `"app":"probe"`)
	where := map[string]string{"elsewhere": elsewhere, "ingress-" + env: "traefik"}

	allowed := map[string][]string{
		"canary": {"postgres", "valkey", "dns"}, "exec": {"postgres", "api", "dns"}, "backup": {"postgres", "s3", "dns"}, "prune": {"s3", "dns"},
		"stranger": {"dns"}, "ingress-" + env: {"api", "dns", "kubernetes"}, "elsewhere": {"dns", "kubernetes"},
	}
	for from, may := range allowed {
		t.Run("from "+from, func(t *testing.T) {
			t.Parallel()
			got := w.reach(t, cmp.Or(where[from], namespace), "probe-"+from, targets)
			for to := range targets {
				want := false
				for _, m := range may {
					want = want || m == to
				}
				if got[to] != want {
					t.Errorf("%s reaches %s: %t, want %t", from, to, got[to], want)
				}
			}
		})
	}
}

// probe starts a pod that can open connections, as restricted as all pods of the environment.
func (w *world) probe(t *testing.T, namespace, name, labels string) {
	t.Helper()
	pod := fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"probe-%s","namespace":%q,"labels":{%s}},"spec":{
		"automountServiceAccountToken":false,"terminationGracePeriodSeconds":0,"securityContext":{"runAsNonRoot":true,"runAsUser":999,"seccompProfile":{"type":"RuntimeDefault"}},
		"containers":[{"name":"probe","image":%q,"imagePullPolicy":"IfNotPresent","command":["sleep","900"],
			"resources":{"requests":{"cpu":"1m","memory":"8Mi"},"limits":{"memory":"32Mi"}},
			"securityContext":{"allowPrivilegeEscalation":false,"readOnlyRootFilesystem":true,"capabilities":{"drop":["ALL"]}}}]}}`,
		name, namespace, labels, lab.servers["postgres"].Reference())
	cmd := w.command("kubectl", "apply", "-f", "-")
	cmd.Stdin = strings.NewReader(pod)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("starting the probe %s: %v\n%s", name, err, out)
	}
	t.Cleanup(func() { w.must("kubectl", "-n", namespace, "delete", "pod", "probe-"+name, "--wait=false") })
	w.must("kubectl", "-n", namespace, "wait", "--for=condition=Ready", "pod/probe-"+name, "--timeout=60s")
}

// reach tries each target from a pod, all at once, and says which could be connected to.
func (w *world) reach(t *testing.T, namespace, pod string, targets map[string]string) map[string]bool {
	t.Helper()
	var script strings.Builder
	for name, address := range targets {
		host, port, _ := strings.Cut(address, " ")
		fmt.Fprintf(&script, "(timeout 4 bash -c '</dev/tcp/%s/%s' 2>/dev/null && echo %s) & ", host, port, name)
	}
	out := w.must("kubectl", "-n", namespace, "exec", pod, "--", "bash", "-c", script.String()+"wait").out
	reached := map[string]bool{}
	for _, name := range strings.Fields(out) {
		reached[name] = true
	}
	return reached
}

func (w *world) podAddress(t *testing.T, namespace, labels string) string {
	t.Helper()
	address := w.must("kubectl", "-n", namespace, "get", "pods", "-l", labels, "--field-selector=status.phase=Running", "-o", "jsonpath={.items[0].status.podIP}").out
	if net.ParseIP(address) == nil {
		t.Fatalf("no pod with %s runs in %s", labels, namespace)
	}
	return address
}

// apiServer is where pods reach Kubernetes: something outside of the environment that is there on every cluster.
func (w *world) apiServer(t *testing.T) string {
	t.Helper()
	address := w.must("kubectl", "get", "endpointslices", "-n", "default", "-l", "kubernetes.io/service-name=kubernetes", "-o",
		"jsonpath={.items[0].endpoints[0].addresses[0]} {.items[0].ports[0].port}").out
	return strings.TrimSpace(address)
}

// authority is the CA that the environment's certificate is from, as its outputs say.
func (w *world) authority(t *testing.T, env string) *x509.CertPool {
	t.Helper()
	var outputs struct {
		TLSCA string `json:"tlsCA"`
	}
	if err := json.Unmarshal([]byte(w.pulumi("stack", "output", "environment", "--json", "--stack", env).out), &outputs); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(outputs.TLSCA)) {
		t.Fatal("the environment's outputs have no CA")
	}
	return pool
}

// through is a client that finds every host at the ingress and follows no redirect. It speaks TLS up to the version given.
func (w *world) through(t *testing.T, roots *x509.CertPool, newest ...uint16) *http.Client {
	t.Helper()
	if roots == nil {
		roots = x509.NewCertPool()
	}
	config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS10}
	if len(newest) > 0 {
		config.MaxVersion = newest[0]
	}
	at := map[string]string{"443": w.entrance(), "80": cmp.Or(os.Getenv("CLUSTER_INGRESS_HTTP"), net.JoinHostPort(lab.node, "30080"))}
	transport := &http.Transport{TLSClientConfig: config, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		return (&net.Dialer{}).DialContext(ctx, network, at[port])
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func fetch(t *testing.T, client *http.Client, url string) (*http.Response, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	return response, response.Body.Close()
}

func get(t *testing.T, client *http.Client, url string) int {
	t.Helper()
	response, err := fetch(t, client, url)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode
}

// TestEdge brings one environment up for these checks alone.
func TestEdge(t *testing.T) {
	w, _ := newWorld(t, time.Second)
	w.pulumi("up", "--yes", "--stack", "dev")
	w.release("v1")
	w.assistctl("deploy", "dev", "v1")
	w.edge(t, "dev")
}
