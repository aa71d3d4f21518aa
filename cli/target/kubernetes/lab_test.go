//go:build cluster

package kubernetes

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/cli/target/targettest"
	"github.com/smart-assistant/platform/test/cluster/images"
)

// The tests with the build tag `cluster` run on the cluster of test/cluster, with Pulumi's own engine, the program of stacks/ and stand-ins
// for its providers. Each has a stack and a namespace of its own.

// lab is what they share.
var lab laboratory

type laboratory struct {
	repository, dir     string // of the sources, and for the tests' files
	kubeconfig, context string // of the cluster
	socket              string // of its containerd
	ingress             string // host:port of the ingress controller's HTTPS
	servers             map[string]images.Image
	stacks              atomic.Int64
}

func TestMain(m *testing.M) {
	runChild()
	code := targettest.MainWith(m, openLab)
	if lab.dir != "" {
		_ = os.RemoveAll(lab.dir)
	}
	os.Exit(code)
}

// openLab finds the cluster, and loads the images of the builds and of the servers.
func openLab(builds ...*target.Build) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	for name, to := range map[string]*string{"KUBECONFIG": &lab.kubeconfig, "CLUSTER_SOCKET": &lab.socket, "CLUSTER_INGRESS_HTTPS": &lab.ingress} {
		if *to = os.Getenv(name); *to == "" {
			return fmt.Errorf("%s is not set: these tests run by `make test-cluster`, which starts a cluster", name)
		}
	}
	file, err := clientcmd.LoadFromFile(lab.kubeconfig)
	if err != nil {
		return err
	}
	lab.context = file.CurrentContext
	if lab.repository, err = filepath.Abs("../../.."); err != nil {
		return err
	}
	if lab.dir, err = os.MkdirTemp("", "kubernetes-target-"); err != nil {
		return err
	}
	containerd := images.Containerd{Socket: lab.socket}
	if lab.servers, err = images.Servers(ctx, lab.repository, lab.bin("images")); err != nil {
		return err
	}
	if err := containerd.Load(ctx, slices.Collect(maps.Values(lab.servers))...); err != nil {
		return err
	}
	for _, b := range builds {
		i, err := images.Program(lab.repository, lab.dir, serviceImage, b.Version, b.Artifact)
		if err != nil {
			return err
		}
		if err := containerd.Load(ctx, i); err != nil {
			return err
		}
		b.Artifact, b.SHA256 = "", strings.TrimPrefix(i.Digest, "sha256:")
	}
	return nil
}

// bin is one of the programs that `make test-cluster` builds.
func (l *laboratory) bin(name string) string { return filepath.Join(l.repository, "bin", name) }

// newEnvironment brings a stack up.
func newEnvironment(t *testing.T, change func(*Config)) *Environment {
	t.Helper()
	name := fmt.Sprintf("e%d-%d", os.Getpid(), lab.stacks.Add(1))
	dir := filepath.Join(lab.dir, name)
	config := Config{
		Environment: name, Dir: dir, Pulumi: lab.bin("pulumi"), Kubeconfig: lab.kubeconfig, Now: time.Now,
		Env: map[string]string{
			"PULUMI_BACKEND_URL": "file://" + filepath.Join(dir, "state"), "PULUMI_HOME": filepath.Join(dir, "home"), "PULUMI_CONFIG_PASSPHRASE": "test",
			"PULUMI_DEBUG_PROVIDERS": providers(t), "KUBECONFIG": lab.kubeconfig,
		},
	}
	change(&config)
	write := func(file, content string) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("state/keep", "")
	write("home/keep", "")
	write("Pulumi.yaml", "name: smart-assistant\nruntime:\n  name: go\n  options:\n    binary: "+lab.bin("stacks")+"\n")
	write("Pulumi."+name+".yaml", settings(name))
	e, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.pulumi(t.Context(), "stack", "init"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { destroy(t, name) })
	began := time.Now()
	if err := e.up(t.Context(), "a test's environment", nil, func(string) {}); err != nil {
		t.Fatal(err)
	}
	t.Logf("up after %s", time.Since(began).Round(time.Second))
	return e
}

// settings are as small as they may be: the machine is shared by many environments.
func settings(name string) string {
	return `config:
  smart-assistant:cluster: existing
  smart-assistant:kube:
    context: ` + lab.context + `
  smart-assistant:protect: false
  smart-assistant:bucket: cluster
  smart-assistant:images:
    registry: ` + images.Registry + `
    postgres: ` + lab.servers["postgres"].Reference() + `
    valkey: ` + lab.servers["valkey"].Reference() + `
    versitygw: ` + lab.servers["versitygw"].Reference() + `
  smart-assistant:api:
    host: ` + name + `.example.com
    replicas: 2
    maxReplicas: 2
    progressDeadline: 60
    drainSeconds: 6
    cpu: 10m
    memory: 16Mi
  smart-assistant:database:
    storage: 1Gi
    connections: 50
    cpu: 10m
    memory: 64Mi
  smart-assistant:cache:
    cpu: 5m
    memory: 16Mi
  smart-assistant:addons:
    ingress: existing
    certManager: none
    monitoring: none
  smart-assistant:ingress:
    address: ` + lab.ingress + `
    rate: 5000
    burst: 10000
  smart-assistant:tls:
    from: generated
  smart-assistant:openWebUI:
    enabled: false
  smart-assistant:settings:
    ASSISTD_DRAIN_DELAY: 100ms
    ASSISTD_DRAIN_TIMEOUT: 5s
`
}

// providers starts stand-ins for the test's environment and returns what tells the engine of them.
func providers(t *testing.T) string {
	t.Helper()
	cmd := exec.Command(lab.bin("standins"), "-wait", "2m")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+lab.kubeconfig)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "standins.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if said, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("the stand-ins:\n%s", said[max(0, len(said)-4000):])
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(strings.TrimSpace(line), "PULUMI_DEBUG_PROVIDERS=")
}

func destroy(t *testing.T, name string) {
	t.Helper()
	if out, err := exec.Command("kubectl", "--kubeconfig", lab.kubeconfig, "delete", "namespace", "assistant-"+name, "--wait=false").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
