//go:build cluster

// Package e2e drives assistctl and pulumi as their users do, against a real cluster: the promises of the README on Kubernetes, each as a
// test.
//
// It owns the world of the tests: a project folder with three stacks, the releases, the load, all of it gone at the end. The cluster is
// started by `make test-cluster`; Pulumi's engine is the real one, and its providers are real where PROVIDERS=real, else the stand-ins of
// test/cluster/providers.
package e2e

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/objectstore/objectstoretest"
	product "github.com/smart-assistant/platform/images"
	"github.com/smart-assistant/platform/test/builds"
	"github.com/smart-assistant/platform/test/cluster/images"
)

// lab is what all tests share: the cluster, and what was built once.
var lab struct {
	repository, dir      string
	kubeconfig, node     string
	servers              map[string]images.Image
	assistctl, providers string // paths of programs
	pulumi               string
}

// releases are the builds of the service that the tests bring to the cluster.
var releases = map[string]string{"v1": builds.V1, "v2": builds.Current, "v3": builds.Stale}

const commit = "0123456789abcdef0123456789abcdef01234567" // that the releases say they are from

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	var err error
	if lab.repository, err = filepath.Abs("../../.."); err != nil {
		return 0, err
	}
	if lab.kubeconfig = os.Getenv("KUBECONFIG"); lab.kubeconfig == "" {
		return 0, errors.New("KUBECONFIG is not set: make test-cluster")
	}
	if lab.dir, err = os.MkdirTemp("", "cluster-e2e-"); err != nil {
		return 0, err
	}
	defer os.RemoveAll(lab.dir)
	if lab.pulumi, err = exec.LookPath("pulumi"); err != nil {
		return 0, fmt.Errorf("%w: make test-cluster builds it", err)
	}
	if err := findNode(ctx); err != nil {
		return 0, err
	}
	if err := build(ctx); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

func findNode(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "kubectl", "get", "nodes", "-o", `jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}`).Output()
	if err != nil {
		return fmt.Errorf("ask the cluster for its node: %w", err)
	}
	lab.node = string(out)
	return nil
}

// build makes the programs and the images, and loads the images into the cluster.
func build(ctx context.Context) error {
	lab.assistctl, lab.providers = filepath.Join(lab.dir, "assistctl"), filepath.Join(lab.dir, "standins")
	for path, pkg := range map[string]string{lab.assistctl: "./cli/assistctl", lab.providers: "./test/cluster/providers/standins"} {
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, pkg)
		cmd.Dir, cmd.Env = lab.repository, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
		}
	}
	containerd := images.Containerd{Socket: os.Getenv("CLUSTER_SOCKET")}
	var err error
	if lab.servers, err = images.Servers(ctx, lab.repository, filepath.Join(lab.repository, "bin", "images")); err != nil {
		return err
	}
	for _, i := range lab.servers {
		if err := containerd.Load(ctx, i); err != nil {
			return err
		}
	}
	operator, err := images.Program(lab.repository, lab.dir, "assistctl", "v1", lab.assistctl)
	if err != nil {
		return err
	}
	if err := containerd.Load(ctx, operator); err != nil {
		return err
	}
	for version, variant := range releases {
		binary := filepath.Join(lab.dir, version)
		if err := builds.Build(ctx, variant, version, binary); err != nil {
			return err
		}
		service, err := images.Program(lab.repository, lab.dir, "assistd", version, binary)
		if err != nil {
			return err
		}
		if err := containerd.Load(ctx, service); err != nil {
			return err
		}
		record, err := json.Marshal(product.Record{Version: version, Commit: commit, Images: map[string]string{"assistd": service.Digest, "assistctl": operator.Digest}})
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(lab.dir, version+".json"), record, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// world is an operator's machine and three environments on the cluster.
type world struct {
	t      *testing.T
	dir    string
	env    []string
	prefix string // of the namespaces
}

// newWorld makes a project folder as a checkout has it, with stacks that are not up yet. Prod's bucket is an S3 server of somebody else.
func newWorld(t *testing.T, window time.Duration) (*world, *wire) {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), prefix: fmt.Sprintf("e2e-%d", os.Getpid())}
	home := filepath.Join(w.dir, "home")
	for _, folder := range []string{"home/state", "home/pulumi"} {
		if err := os.MkdirAll(filepath.Join(w.dir, folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	w.env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home+"/config", "XDG_STATE_HOME="+home+"/share", "NO_COLOR=1", "KUBECONFIG="+lab.kubeconfig,
		"PATH="+filepath.Join(lab.repository, "bin")+":"+os.Getenv("PATH"), "PULUMI_HOME="+home+"/pulumi",
		"PULUMI_BACKEND_URL=file://"+home+"/state", "PULUMI_CONFIG_PASSPHRASE=e2e", "PULUMI_SKIP_UPDATE_CHECK=1", "ASSISTCTL_CONFIG="+filepath.Join(w.dir, "assistctl.yaml"))
	if os.Getenv("PROVIDERS") != "real" {
		w.env = append(w.env, "PULUMI_DEBUG_PROVIDERS="+w.standIns())
	}
	server := objectstoretest.Server(t)
	objectstoretest.Bucket(t, server, "prod-backups")
	s3 := newWire(t, server.Endpoint())
	w.write("Pulumi.yaml", "name: smart-assistant\nruntime:\n  name: go\n  options:\n    binary: "+filepath.Join(lab.repository, "bin", "stacks")+"\n")
	w.write("assistctl.yaml", fmt.Sprintf(`
project: e2e
order: [dev, staging, prod]
lease: {ttl: 5s}
environments:
  dev: {target: kubernetes, gates: {verify_window: 1s}}
  staging: {target: kubernetes, gates: {verify_window: 1s}}
  prod: {target: kubernetes, confirm: true, gates: {soak: 0s, verify_window: %s}}
`, window))
	w.stack("dev", 1, false, "bucket: cluster")
	w.stack("staging", 2, true, "bucket: cluster")
	w.stack("prod", 3, true, fmt.Sprintf("bucket: %s\n  smart-assistant:s3: {name: prod-backups, operator: {accessKey: %[2]s}, writer: {accessKey: %[2]s}, pruner: {accessKey: %[2]s}}", s3.URL, server.AccessKey))
	for _, role := range []string{"operator", "writer", "pruner"} {
		w.pulumi("config", "set", "--stack", "prod", "--secret", "--path", "smart-assistant:s3."+role+".secretKey", server.SecretKey)
	}
	return w, s3
}

// stack writes a stack's settings, as small as a cluster of two cores wants them, and makes the stack.
func (w *world) stack(name string, replicas int, protect bool, bucket string) {
	w.t.Helper()
	rate, burst, daily := 5000, 5000, 7
	if name == "dev" { // where the limit is tried, and pruning
		rate, burst, daily = 5, 10, 0
	}
	w.write("Pulumi."+name+".yaml", fmt.Sprintf(`config:
  smart-assistant:cluster: existing
  smart-assistant:kube: {context: %s}
  smart-assistant:namespace: %s
  smart-assistant:protect: %v
  smart-assistant:%s
  smart-assistant:images: {registry: %s, postgres: %q, valkey: %q, versitygw: %q}
  smart-assistant:api: {host: %s, replicas: %d, maxReplicas: %d, progressDeadline: 60, drainSeconds: 5, cpu: 10m, memory: 32Mi}
  smart-assistant:database: {storage: 1Gi, connections: 50, cpu: 20m, memory: 64Mi}
  smart-assistant:cache: {cpu: 5m, memory: 16Mi}
  smart-assistant:addons: {ingress: existing, certManager: none, monitoring: none}
  smart-assistant:ingress: {address: "%s", rate: %d, burst: %d}
  smart-assistant:tls: {from: generated}
  smart-assistant:openWebUI: {enabled: false}
  smart-assistant:retention: {keepLast: 1, daily: %d, weekly: 0}
  smart-assistant:settings: {ASSISTD_RATE_PER_ADDRESS: "1000000", ASSISTD_RATE_PER_USER: "1000000"} # the load is one client
`, w.context(), w.namespace(name), protect, bucket, images.Registry, lab.servers["postgres"].Reference(), lab.servers["valkey"].Reference(),
		lab.servers["versitygw"].Reference(), w.host(name), replicas, replicas+2, w.entrance(), rate, burst, daily))
	w.pulumi("stack", "init", name)
	w.t.Cleanup(func() {
		if out, err := exec.Command("kubectl", "delete", "namespace", w.namespace(name), "--wait=false", "--ignore-not-found").CombinedOutput(); err != nil {
			w.t.Errorf("%v: %s", err, out)
		}
	})
}

func (w *world) namespace(env string) string { return w.prefix + "-" + env }

// host is the environment's, its own in each world: an earlier world's ingress may not be gone yet.
func (w *world) host(env string) string { return "api." + w.namespace(env) + ".example.com" }

// entrance is where the ingress controller listens for HTTPS.
func (w *world) entrance() string {
	return cmp.Or(os.Getenv("CLUSTER_INGRESS_HTTPS"), net.JoinHostPort(lab.node, "30443"))
}

func (w *world) context() string {
	out, err := exec.Command("kubectl", "config", "current-context").Output()
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// standIns starts the providers' stand-ins and returns what tells the engine of them.
func (w *world) standIns() string {
	w.t.Helper()
	cmd := exec.Command(lab.providers, "-wait", "3m")
	cmd.Env = w.env
	var log bytes.Buffer
	cmd.Stderr = &log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if w.t.Failed() {
			said := log.Bytes()
			w.t.Logf("the providers' stand-ins said at the end:\n%s", said[max(0, len(said)-3000):])
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.TrimPrefix(strings.TrimSpace(line), "PULUMI_DEBUG_PROVIDERS=")
}

func (w *world) write(name, content string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
}
