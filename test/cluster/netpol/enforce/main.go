// Enforce keeps the node's nftables in step with the cluster's NetworkPolicies until it is ended. It is test code and never ships.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/smart-assistant/platform/test/cluster/netpol"
)

// settle is how long changes are gathered: a rollout changes many pods at once.
const settle = 50 * time.Millisecond

func main() {
	kubeconfig := flag.String("kubeconfig", os.Getenv("KUBECONFIG"), "of the cluster")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := enforce(ctx, *kubeconfig); err != nil {
		fmt.Fprintln(os.Stderr, "enforce:", err)
		stop()
		os.Exit(1)
	}
}

func enforce(ctx context.Context, kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("reading %s: %w", kubeconfig, err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	pods, namespaces, policies := factory.Core().V1().Pods(), factory.Core().V1().Namespaces(), factory.Networking().V1().NetworkPolicies()
	changed := make(chan struct{}, 1)
	for _, informer := range []cache.SharedIndexInformer{pods.Informer(), namespaces.Informer(), policies.Informer()} {
		if _, err := informer.AddEventHandler(notify(changed)); err != nil {
			return fmt.Errorf("watching: %w", err)
		}
	}
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("listing %s: %w", kind, ctx.Err())
		}
	}
	world := func() (w netpol.World, err error) {
		if w.Pods, err = pods.Lister().List(labels.Everything()); err != nil {
			return w, err
		}
		if w.Namespaces, err = namespaces.Lister().List(labels.Everything()); err != nil {
			return w, err
		}
		w.Policies, err = policies.Lister().List(labels.Everything())
		return w, err
	}
	return follow(ctx, changed, world)
}

func notify(changed chan<- struct{}) cache.ResourceEventHandler {
	tell := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { tell() }, UpdateFunc: func(any, any) { tell() }, DeleteFunc: func(any) { tell() },
	}
}

// follow loads the rules whenever they are others than those that are loaded, and takes them away in the end.
func follow(ctx context.Context, changed <-chan struct{}, world func() (netpol.World, error)) error {
	loaded := ""
	defer func() {
		if loaded != "" {
			_ = nft(context.WithoutCancel(ctx), "delete table inet "+netpol.Table)
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		time.Sleep(settle)
		w, err := world()
		if err != nil {
			return err
		}
		rules, err := netpol.Rules(w)
		if err != nil {
			return err
		}
		if rules == loaded {
			continue
		}
		if err := nft(ctx, rules); err != nil {
			return fmt.Errorf("%w; the rules:\n%s", err, rules)
		}
		if loaded == "" {
			fmt.Println("enforcing") // what the start script waits for
		}
		loaded = rules
	}
}

func nft(ctx context.Context, script string) error {
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, out)
	}
	return nil
}
