package main

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/smart-assistant/platform/infra/environment"
)

// changeRelease is the variable by which assistctl says that this very run is to change what the environment runs.
const changeRelease = "ASSISTCTL_RELEASE"

// release decides what the environment runs: what the configuration says, when assistctl is at work; otherwise what the stack's last
// update left running. A checkout that is behind, or ahead, so never changes a release by surprise, and a stack that is made anew, with
// an empty database, waits for its first deployment.
func release(ctx *pulumi.Context, wanted *environment.Release) (*environment.Release, error) {
	// Read in any case, so that an update by assistctl and a plain one declare the same.
	self, err := pulumi.NewStackReference(ctx, fmt.Sprintf("%s/%s/%s", ctx.Organization(), ctx.Project(), ctx.Stack()), nil)
	if err != nil {
		return nil, fmt.Errorf("read what %s runs: %w", ctx.Stack(), err)
	}
	last, err := self.GetOutputDetails("environment")
	if err != nil {
		return nil, fmt.Errorf("read what %s runs: %w", ctx.Stack(), err)
	}
	running, err := lastRelease(last.Value)
	if err != nil {
		return nil, fmt.Errorf("read what %s runs: %w", ctx.Stack(), err)
	}
	if same(running, wanted) || os.Getenv(changeRelease) == "change" {
		return wanted, nil
	}
	if running == nil {
		return nil, ctx.Log.Warn(fmt.Sprintf("%s runs nothing, and Pulumi.%s.yaml says %s: its database has no schema yet. Next: assistctl deploy %s %s",
			ctx.Stack(), ctx.Stack(), wanted.Version, ctx.Stack(), wanted.Version), nil)
	}
	return running, ctx.Log.Warn(fmt.Sprintf(
		"%s runs %s, and Pulumi.%s.yaml says %s: kept as it is. Bring the file up to date (git pull), or change what runs by: assistctl deploy, promote or rollback",
		ctx.Stack(), running.Version, ctx.Stack(), version(wanted)), nil)
}

// lastRelease reads the release in the output "environment"; nil when there was none, or no update yet.
func lastRelease(output any) (*environment.Release, error) {
	content, err := json.Marshal(output)
	if err != nil {
		return nil, err
	}
	var last struct {
		Release *environment.Release `json:"release"`
	}
	if err := json.Unmarshal(content, &last); err != nil {
		return nil, err
	}
	return last.Release, nil
}

func same(a, b *environment.Release) bool {
	if a == nil || b == nil {
		return a == b
	}
	settings := len(a.Settings) == 0 && len(b.Settings) == 0 || reflect.DeepEqual(a.Settings, b.Settings)
	return a.Version == b.Version && a.Commit == b.Commit && reflect.DeepEqual(a.Images, b.Images) && settings
}

func version(r *environment.Release) string {
	if r == nil {
		return "no release"
	}
	return r.Version
}
