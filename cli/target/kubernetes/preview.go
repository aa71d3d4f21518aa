package kubernetes

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/auto/events"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optpreview"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optrefresh"
	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/config"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"

	"github.com/smart-assistant/platform/cli/target/kubernetes/outputs"
)

// Change is one resource that an update of the stack would change.
type Change struct {
	URN        string   `json:"urn"`
	Op         string   `json:"op"` // create, update, replace, delete, …
	Type       string   `json:"type"`
	Name       string   `json:"name"`
	Properties []string `json:"properties,omitempty"` // that would change, by path
	Release    bool     `json:"release"`              // a deployment is expected to change it: what runs the release's images
}

func (c Change) String() string {
	text := fmt.Sprintf("%s %s %s", c.Op, c.Type, c.Name)
	if len(c.Properties) > 0 {
		text += " (" + strings.Join(c.Properties, ", ") + ")"
	}
	return text
}

// Preview says what an update of the stack would change: with the release that its settings name, or with another one. The settings file
// is left as it is, even by a process that is killed: the other release stands in a copy.
func (e *Environment) Preview(ctx context.Context, r *outputs.Release) ([]Change, error) {
	if r == nil {
		return e.preview(ctx, nil)
	}
	dir, err := os.MkdirTemp("", "assistctl-preview-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // of the system's temporary folder
	copied := filepath.Join(dir, "Pulumi."+e.config.Stack+".yaml")
	if err := e.settingsWith(ctx, r, copied); err != nil {
		return nil, err
	}
	return e.preview(ctx, map[string]string{changeRelease: "change"}, optpreview.ConfigFile(copied))
}

// Drift says what the cluster has otherwise than the stack left it. Nothing is compared with the program: that is what Preview is for, and
// it fails where somebody else has taken a field over, which is the very thing to be told.
func (e *Environment) Drift(ctx context.Context) ([]Change, error) {
	s, err := e.stack(ctx, nil)
	if err != nil {
		return nil, err
	}
	stream, changes := collect(driftOf)
	_, err = s.PreviewRefresh(ctx, optrefresh.EventStreams(stream), optrefresh.UserAgent(userAgent), optrefresh.Color("never"),
		optrefresh.SuppressProgress(), optrefresh.SuppressOutputs())
	if err != nil {
		return nil, e.failed(ctx, "refresh --preview-only --stack "+e.config.Stack, err, err.Error())
	}
	return sorted(<-changes), nil
}

// driftOf reads an event of a refresh: what it found is known once it has looked.
func driftOf(event apitype.EngineEvent) (Change, bool) {
	// What the program read of its own stack is as old as the last update, always.
	if event.ResOutputsEvent == nil || event.ResOutputsEvent.Metadata.Type == "pulumi:pulumi:StackReference" {
		return Change{}, false
	}
	switch step := event.ResOutputsEvent.Metadata; step.Op { //nolint:exhaustive // a refresh changes nothing else
	case apitype.OpUpdate, apitype.OpDelete:
		return changeFrom(step), true
	}
	return Change{}, false
}

// settingsWith writes a copy of the stack's settings that names another release. Its secrets stay encrypted.
func (e *Environment) settingsWith(ctx context.Context, r *outputs.Release, path string) error {
	settings, err := e.settings(ctx)
	if err != nil {
		return err
	}
	return writeSettings(settings, r, path)
}

func writeSettings(settings *workspace.ProjectStack, r *outputs.Release, path string) error {
	if settings.Config == nil {
		settings.Config = config.Map{}
	}
	settings.Config[config.MustParseKey(releaseKey)] = config.NewValue(mustJSON(r))
	if err := settings.Save(path); err != nil {
		return fmt.Errorf("copy the stack's settings: %w", err)
	}
	return nil
}

func (e *Environment) preview(ctx context.Context, env map[string]string, options ...optpreview.Option) ([]Change, error) {
	s, err := e.stack(ctx, env)
	if err != nil {
		return nil, err
	}
	stream, changes := collect(changeOf)
	options = append(options, optpreview.EventStreams(stream), optpreview.UserAgent(userAgent), optpreview.Color("never"),
		optpreview.SuppressProgress(), optpreview.SuppressOutputs())
	if _, err := s.Preview(ctx, options...); err != nil {
		return nil, e.failed(ctx, "preview --stack "+e.config.Stack, err, err.Error())
	}
	return sorted(<-changes), nil
}

// collect reads the engine's events until they end.
func collect(read func(apitype.EngineEvent) (Change, bool)) (chan<- events.EngineEvent, <-chan []Change) {
	stream, changes := make(chan events.EngineEvent), make(chan []Change, 1)
	go func() {
		var all []Change
		for event := range stream {
			if c, ok := read(event.EngineEvent); ok {
				all = append(all, c)
			}
		}
		changes <- all
	}()
	return stream, changes
}

func sorted(all []Change) []Change {
	slices.SortFunc(all, func(a, b Change) int { return strings.Compare(a.URN, b.URN) })
	return slices.CompactFunc(all, func(a, b Change) bool { return a.URN == b.URN && a.Op == b.Op })
}

// changeOf reads an event of a preview. A replacement comes in three steps, of which the one that is a replacement is told.
func changeOf(event apitype.EngineEvent) (Change, bool) {
	if event.ResourcePreEvent == nil {
		return Change{}, false
	}
	switch step := event.ResourcePreEvent.Metadata; step.Op { //nolint:exhaustive // the others change something
	case apitype.OpSame, apitype.OpRead, apitype.OpReadReplacement, apitype.OpReadDiscard, apitype.OpCreateReplacement, apitype.OpDeleteReplaced,
		apitype.OpDiscardReplaced, apitype.OpRemovePendingReplace, apitype.OpRefresh:
		return Change{}, false
	default:
		return changeFrom(step), true
	}
}

func changeFrom(step apitype.StepEventMetadata) Change {
	c := Change{URN: step.URN, Op: string(step.Op), Type: step.Type, Name: step.URN[strings.LastIndex(step.URN, "::")+2:]}
	for path := range step.DetailedDiff {
		c.Properties = append(c.Properties, path)
	}
	if len(c.Properties) == 0 {
		c.Properties = slices.Clone(step.Diffs)
	}
	slices.Sort(c.Properties)
	c.Release = ofRelease(c.Type, c.URN)
	return c
}

// ofRelease reports whether a deployment is expected to change a resource: the service's own and that of the scheduled backups. Which
// component a resource belongs to stands in its URN, as the types of its parents.
func ofRelease(kind, urn string) bool {
	if _, ok := releaseKinds[kind]; !ok {
		return false
	}
	return slices.ContainsFunc([]string{"assistant:platform:Api$", "assistant:platform:Backups$"}, func(parent string) bool {
		return strings.Contains(urn, parent)
	})
}
