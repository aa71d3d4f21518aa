// Package kubernetes is the target that runs an environment on a cluster: a Pulumi stack says what is there, and this package drives both.
//
// It changes what the stack declares by Pulumi's Automation API alone, over the local source: the folder of Pulumi.yaml, and so the same
// program that `pulumi up` runs. Client-go is for what no stack declares: looking, the pods that assistctl makes for a moment (a command
// in a release's own image, a canary, a restore), and the record of fencing numbers and rollouts. It links no provider.
//
// It owns neither what is stored (package backup) nor when something is deployed (package release).
//
// Reading order: kubernetes.go and outputs.go (what there is, and how it is reached), rollout.go (Deploy, top to bottom), stack.go and
// pulumi.go (the stack), turn.go and state.go (one deployment at a time), exec.go (a command inside), status.go, traffic.go, logs.go,
// forward.go and access.go (connections to what runs inside).
package kubernetes

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/cli/target/kubernetes/outputs"
)

// Config says which stack an environment is. Everything else the stack says itself.
type Config struct {
	Environment string            // its name
	Stack       string            // of Pulumi; "" is Environment
	Dir         string            // the folder that holds Pulumi.yaml
	Pulumi      string            // path of Pulumi's command line; "" looks for it on the PATH
	Env         map[string]string // for Pulumi, over this process's own: PULUMI_BACKEND_URL, PULUMI_CONFIG_PASSPHRASE_FILE, …
	Kubeconfig  string            // path; "" is what the stack says, and else kubectl's own

	ReadyTimeout time.Duration // a new replica must be ready after; 0 is what the Deployment says (progressDeadlineSeconds)
	ExecTimeout  time.Duration // a command inside must have begun after; 0 is 5 min
	PullTimeout  time.Duration // a registry that does not answer is asked again for so long; 0 is 2 min
	Now          func() time.Time
}

// Environment is one environment on a cluster, up or not. It may be used from several goroutines.
type Environment struct {
	config Config
	now    func() time.Time

	children children // runs of Pulumi that have ended

	mu      sync.Mutex
	cluster *cluster // once it was reached
}

var _ target.Target = (*Environment)(nil)

var stackName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,99}$`)

// Open checks the configuration and fills in its defaults. It asks nobody anything.
func Open(c Config) (*Environment, error) {
	if c.Stack == "" {
		c.Stack = c.Environment
	}
	if !stackName.MatchString(c.Stack) {
		return nil, fault.Code(fmt.Errorf("environment %s: %q cannot be a Pulumi stack's name", c.Environment, c.Stack), fault.Usage)
	}
	if !filepath.IsAbs(c.Dir) {
		return nil, fault.Code(fmt.Errorf("environment %s: the folder of Pulumi.yaml, %q, is not an absolute path", c.Environment, c.Dir), fault.Usage)
	}
	if c.ExecTimeout == 0 {
		c.ExecTimeout = 5 * time.Minute
	}
	if c.PullTimeout == 0 {
		c.PullTimeout = pullPatience
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Environment{config: c, now: c.Now}, nil
}

// Name is the environment's name.
func (e *Environment) Name() string { return e.config.Environment }

// Outputs are what the stack says of the environment; ErrDown when it says nothing, because it was never brought up.
func (e *Environment) Outputs(ctx context.Context) (outputs.Outputs, error) {
	c, err := e.reach(ctx)
	if err != nil {
		return outputs.Outputs{}, err
	}
	return c.out, nil
}
