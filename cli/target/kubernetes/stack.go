package kubernetes

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/auto"

	"github.com/smart-assistant/platform/cli/fault"
)

// open returns the stack. Nothing is selected: which stack a person works on at the terminal is theirs.
func (e *Environment) workspace(ctx context.Context) (auto.Workspace, error) {
	cli, err := findPulumi(e.config.Pulumi)
	if err != nil {
		return nil, err
	}
	w, err := auto.NewLocalWorkspace(ctx, auto.WorkDir(e.config.Dir), auto.Pulumi(cli), auto.EnvVars(e.config.Env))
	if err != nil {
		return nil, fmt.Errorf("open the Pulumi project in %s: %w", e.config.Dir, err)
	}
	return w, nil
}

// pulumi runs one command on the stack and returns what it printed. The Automation API reads outputs with two runs; here one is enough.
func (e *Environment) pulumi(ctx context.Context, args ...string) (string, error) {
	w, err := e.workspace(ctx)
	if err != nil {
		return "", err
	}
	var env []string
	for k, v := range e.config.Env {
		env = append(env, k+"="+v)
	}
	args = append(args, "--stack", e.config.Stack)
	out, errOut, _, err := w.PulumiCommand().Run(ctx, w.WorkDir(), nil, nil, nil, env, args...)
	if err != nil {
		if words := said(out, errOut); words != "" && ctx.Err() == nil {
			return "", fmt.Errorf("pulumi %s: %s", strings.Join(args, " "), words)
		}
		return "", fmt.Errorf("pulumi %s: %w", strings.Join(args, " "), err)
	}
	return out, nil
}

// stackOutputs are the stack's outputs, with secrets left out; none when there is no such stack yet.
func (e *Environment) stackOutputs(ctx context.Context) (map[string]json.RawMessage, error) {
	out, err := e.pulumi(ctx, "stack", "output", "--json")
	if err != nil {
		if strings.Contains(err.Error(), "no stack named") {
			return nil, nil
		}
		return nil, fault.Code(err, fault.Unreachable)
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		return nil, fmt.Errorf("outputs of stack %s: %w", e.config.Stack, err)
	}
	return all, nil
}

func (e *Environment) secretOutput(ctx context.Context, name string) (string, error) {
	out, err := e.pulumi(ctx, "stack", "output", name, "--show-secrets")
	return strings.TrimSpace(out), err
}
