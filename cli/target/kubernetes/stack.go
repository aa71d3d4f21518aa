package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/auto"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optup"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/config"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/target/kubernetes/outputs"
)

const (
	project    = "smart-assistant"
	releaseKey = project + ":release" // of the stack's settings; only this package writes it
	// Without changeRelease the program keeps what runs when the key says something else: a stale checkout must not change the release.
	changeRelease = "ASSISTCTL_RELEASE"
	userAgent     = "assistctl"
)

// quiet is a workspace that spares runs of Pulumi which take a second each: which stack a person works on at the terminal is theirs, and
// the outputs of an update are read when somebody asks for them.
type quiet struct{ *auto.LocalWorkspace }

func (quiet) SelectStack(context.Context, string) error                    { return nil }
func (quiet) StackOutputs(context.Context, string) (auto.OutputMap, error) { return nil, nil }

// stack opens the stack, with more variables for the program.
func (e *Environment) stack(ctx context.Context, more map[string]string) (auto.Stack, error) {
	cli, err := findPulumi(e.config.Pulumi, &e.children)
	if err != nil {
		return auto.Stack{}, err
	}
	env := maps.Clone(e.config.Env)
	if env == nil {
		env = map[string]string{}
	}
	maps.Copy(env, more)
	w, err := auto.NewLocalWorkspace(ctx, auto.WorkDir(e.config.Dir), auto.Pulumi(cli), auto.EnvVars(env))
	if err != nil {
		return auto.Stack{}, fmt.Errorf("open the Pulumi project in %s: %w", e.config.Dir, err)
	}
	local, ok := w.(*auto.LocalWorkspace)
	if !ok {
		return auto.Stack{}, fmt.Errorf("open the Pulumi project in %s: a workspace of kind %T", e.config.Dir, w)
	}
	return auto.SelectStack(ctx, e.config.Stack, quiet{local})
}

// pulumi runs one command on the stack and returns what it printed.
func (e *Environment) pulumi(ctx context.Context, args ...string) (string, error) {
	s, err := e.stack(ctx, nil)
	if err != nil {
		return "", err
	}
	w := s.Workspace()
	var env []string
	for k, v := range w.GetEnvVars() {
		env = append(env, k+"="+v)
	}
	args = append(args, "--stack", e.config.Stack)
	out, errOut, _, err := w.PulumiCommand().Run(ctx, w.WorkDir(), nil, nil, nil, env, args...)
	if err != nil {
		return "", e.failed(ctx, strings.Join(args, " "), err, out+"\n"+errOut)
	}
	return out, nil
}

// failed says what Pulumi complained of, in its own words and without the rest of its output.
func (e *Environment) failed(ctx context.Context, what string, err error, output string) error {
	if ctx.Err() != nil {
		return fmt.Errorf("pulumi %s: %w", what, context.Cause(ctx))
	}
	words := said(output)
	if words == "" {
		return fmt.Errorf("pulumi %s: %w", what, err)
	}
	return fmt.Errorf("pulumi %s: %s", what, words)
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

// ReleaseKey is the release that the stack's settings name; nil before the first deployment.
func (e *Environment) ReleaseKey(ctx context.Context) (*outputs.Release, error) {
	settings, err := e.settings(ctx)
	if err != nil {
		return nil, err
	}
	value, ok := settings.Config[config.MustParseKey(releaseKey)]
	if !ok {
		return nil, nil
	}
	text, err := value.Value(config.NopDecrypter)
	if err != nil {
		return nil, fmt.Errorf("settings of stack %s: %s: %w", e.config.Stack, releaseKey, err)
	}
	var r outputs.Release
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return nil, fmt.Errorf("settings of stack %s: %s: %w", e.config.Stack, releaseKey, err)
	}
	return &r, nil
}

func (e *Environment) settings(ctx context.Context) (*workspace.ProjectStack, error) {
	s, err := e.stack(ctx, nil)
	if err != nil {
		return nil, err
	}
	settings, err := s.Workspace().StackSettings(ctx, e.config.Stack)
	if err != nil {
		return nil, fault.Hint(fmt.Errorf("settings of stack %s in %s: %w", e.config.Stack, e.config.Dir, err), "is this the checkout of the environment?")
	}
	return settings, nil
}

// setReleaseKey writes the key, or takes it out. Only what it says differs is written: the file is under version control.
func (e *Environment) setReleaseKey(ctx context.Context, r *outputs.Release) error {
	now, err := e.ReleaseKey(ctx)
	if err != nil || sameRelease(now, r) {
		return err
	}
	s, err := e.stack(ctx, nil)
	if err != nil {
		return err
	}
	if r == nil {
		err = s.RemoveConfig(ctx, releaseKey)
	} else {
		err = s.SetConfig(ctx, releaseKey, auto.ConfigValue{Value: mustJSON(r)})
	}
	if err != nil {
		return e.failed(ctx, "config set "+releaseKey, err, err.Error())
	}
	return nil
}

// sameRelease compares all that a release is. An absent map is an empty one.
func sameRelease(a, b *outputs.Release) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Version == b.Version && a.Commit == b.Commit && maps.Equal(a.Images, b.Images) && maps.Equal(a.Settings, b.Settings)
}

func mustJSON(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain data always marshals
	}
	return string(raw)
}

// up makes the cluster what the stack's settings say, the release included. It waits for a lock that somebody else has on the stack;
// one that a dead deployment left behind is cancelled, and the operations with it that were under way. before is the turn that was not given
// back (turn.go), nil when there is none: nobody else's lock is cancelled, least of all that of a person's own 'pulumi up'.
func (e *Environment) up(ctx context.Context, why string, before *turn, report func(detail string)) error {
	s, err := e.stack(ctx, map[string]string{changeRelease: "change"})
	if err != nil {
		return err
	}
	waiting := time.Now()
	for mended := false; ; {
		_, err := s.Up(ctx, optup.Message(why), optup.UserAgent(userAgent), optup.Color("never"), optup.SuppressProgress(), optup.SuppressOutputs())
		switch {
		case err == nil:
			return nil
		case auto.IsConcurrentUpdateError(err):
			by := parseLock(err.Error())
			if by.alive() || !by.leftBy(before) && !e.children.ended(by) {
				if time.Since(waiting) > lockPatience {
					return fault.Code(fault.Hint(fmt.Errorf("stack %s is locked by %s", e.config.Stack, by),
						"wait for it, or when nobody works on it: pulumi cancel --stack "+e.config.Stack), fault.Held)
				}
				report("waits for " + by.String())
				break
			}
			if err := e.mend(ctx, s); err != nil {
				return err
			}
			mended = true
			continue
		case strings.Contains(err.Error(), "pending operation") && !mended && ctx.Err() == nil:
			if err := e.mend(ctx, s); err != nil {
				return err
			}
			mended = true
			continue
		default:
			return e.failed(ctx, "up --stack "+e.config.Stack, err, err.Error())
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Second):
		}
	}
}

// lockPatience is how long another's lock is waited for.
const lockPatience = 10 * time.Minute

// lock says who has locked a stack, as Pulumi's file backends tell it.
type lock struct {
	user, host string
	pid        int
	at         time.Time
}

var lockPattern = regexp.MustCompile(`created by ([^@\s]+)@(\S+) \(pid (\d+)\) at (\S+)`)

func parseLock(text string) lock {
	m := lockPattern.FindStringSubmatch(text)
	if m == nil {
		return lock{}
	}
	pid, err := strconv.Atoi(m[3])
	if err != nil {
		return lock{}
	}
	at, err := time.Parse(time.RFC3339, m[4])
	if err != nil {
		return lock{}
	}
	return lock{m[1], m[2], pid, at}
}

func (l lock) String() string {
	if l.pid == 0 {
		return "another update"
	}
	return fmt.Sprintf("the update of %s on %s (process %d)", l.user, l.host, l.pid)
}

func (l lock) here() bool {
	host, err := os.Hostname()
	return err == nil && l.pid != 0 && host == l.host
}

// runs reports whether the process is there, and is Pulumi's where that can be told: numbers are given anew.
func (l lock) runs() bool {
	if errors.Is(syscall.Kill(l.pid, 0), syscall.ESRCH) {
		return false
	}
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		return true
	}
	name, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(l.pid), "comm"))
	return err == nil && strings.HasPrefix(string(name), "pulumi") && startOf(l.pid) != ""
}

// alive reports whether it is sure that the lock's process runs: of one on another machine, or in another container, it never is.
func (l lock) alive() bool { return l.here() && l.runs() }

// leftBy reports whether the lock was taken by the Pulumi of a deployment that did not give its turn back: by the same user of the same
// machine while that one showed that it lived. A machine's name alone says little, many have the same.
func (l lock) leftBy(t *turn) bool {
	const slack = time.Minute // Pulumi takes its lock a little after the turn has begun, and perhaps after its last beat
	return t != nil && l.pid != 0 && l.host == t.Holder.Host && l.user == t.Holder.User &&
		l.at.After(t.Began.Add(-slack)) && l.at.Before(t.Seen.Add(slack))
}
