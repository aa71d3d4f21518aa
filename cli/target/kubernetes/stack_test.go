package kubernetes

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"

	"github.com/smart-assistant/platform/cli/target/kubernetes/outputs"
)

func TestSaid(t *testing.T) {
	for output, want := range map[string]string{
		"": "",
		"Updating (prod):\nResources:\n  12 unchanged\n":                                                                     "",
		"failed to run update: exit status 255\ncode: 255\nstdout: Updating\n\nstderr: error: no stack named 'prod' found\n": "no stack named 'prod' found",
		"stdout: Diagnostics:\n  pulumi:pulumi:Stack (x):\n    error: update failed\n  kubernetes:apps/v1:Deployment (api):\n    error: 1 error occurred:\n    \t* not ready\n\nResources:\n  1 changed\n": "update failed; kubernetes:apps/v1:Deployment (api):; 1 error occurred:; * not ready",
		"error: a\nerror: a\n": "a",
	} {
		if got := said(output); got != want {
			t.Errorf("said(%q) = %q, want %q", output, got, want)
		}
	}
}

func TestLock(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	text := "error: the stack is currently locked by 1 lock(s). Either wait for the other process(es) to end or delete the lock file with `pulumi cancel`.\n" +
		"  file:///tmp/state/.pulumi/locks/organization/smart-assistant/prod/1.json: created by ann@HOST (pid PID) at 2026-11-23T15:00:00Z\n"
	at := func(host, pid string) lock {
		return parseLock(strings.NewReplacer("HOST", host, "PID", pid).Replace(text))
	}
	began := time.Date(2026, 11, 23, 14, 59, 58, 0, time.UTC)
	left := func(change func(*turn)) *turn {
		b := &turn{Began: began, Seen: began.Add(30 * time.Second), Holder: process{Host: host, User: "ann"}}
		change(b)
		return b
	}
	same := left(func(*turn) {})
	for name, test := range map[string]struct {
		lock
		before *turn
		left   bool
	}{
		"the dead deployment's":       {at(host, "999999999"), same, true},
		"its number is another's now": {at(host, "1"), same, true},
		"from another machine":        {at("other", "1"), same, false},
		"of another user":             {at(host, "1"), left(func(b *turn) { b.Holder.User = "bob" }), false},
		"taken after its death":       {at(host, "1"), left(func(b *turn) { b.Began, b.Seen = began.Add(-time.Hour), began.Add(-50*time.Minute) }), false},
		"held since before it":        {at(host, "1"), left(func(b *turn) { b.Began, b.Seen = began.Add(time.Hour), began.Add(2*time.Hour) }), false},
		"every turn was given back":   {at(host, "999999999"), nil, false},
		"nobody says whose":           {parseLock("error: the stack is currently locked"), same, false},
	} {
		if test.lock.alive() || test.leftBy(test.before) != test.left {
			t.Errorf("%s: %s: alive %v, left %v", name, test.lock, test.lock.alive(), test.leftBy(test.before))
		}
	}
	var mine children
	if mine.end(42); !mine.ended(at(host, "42")) || mine.ended(at(host, "43")) || mine.ended(at("other", "42")) {
		t.Error("a lock of this process's own child is not known")
	}
	if got := at("laptop", "42").String(); got != "the update of ann on laptop (process 42)" {
		t.Error(got)
	}
}

func TestWithoutPending(t *testing.T) {
	state := func(operations string) apitype.UntypedDeployment {
		return apitype.UntypedDeployment{Version: 3, Deployment: json.RawMessage(`{"manifest":{"magic":"x"},"resources":[{"urn":"u"}]` + operations + `}`)}
	}
	for _, none := range []string{"", `,"pending_operations":[]`, `,"pending_operations":null`} {
		if _, pending, err := withoutPending(state(none)); len(pending) > 0 || err != nil {
			t.Errorf("%q: %v %v", none, pending, err)
		}
	}
	updating := `,"pending_operations":[{"resource":{"urn":"u","type":"kubernetes:apps/v1:Deployment"},"type":"updating"}]`
	cleared, pending, err := withoutPending(state(updating))
	if err != nil || len(pending) != 1 || pending[0].Resource.URN != "u" || strings.Contains(string(cleared.Deployment), "pending") || cleared.Version != 3 {
		t.Errorf("%s %v %v", cleared.Deployment, pending, err)
	}
	var left map[string]any
	if err := json.Unmarshal(cleared.Deployment, &left); err != nil || len(left) != 2 {
		t.Errorf("what else the state says is lost: %s", cleared.Deployment)
	}
	creating := `,"pending_operations":[{"resource":{"urn":"the bucket","type":"aws:s3/bucket:Bucket"},"type":"creating"}]`
	if _, _, err := withoutPending(state(creating)); err == nil || !strings.Contains(err.Error(), "the bucket") {
		t.Errorf("a bucket that may be there: %v", err)
	}
	if _, _, err := withoutPending(apitype.UntypedDeployment{Deployment: json.RawMessage(`[`)}); err == nil {
		t.Error("a state that is cut off is no error")
	}
}

const testURN = "urn:pulumi:prod::smart-assistant::assistant:platform:Api$kubernetes:apps/v1:Deployment::api"

func TestChangeOf(t *testing.T) {
	pre := func(op apitype.OpType, kind, urn string, diff map[string]apitype.PropertyDiff) apitype.EngineEvent {
		return apitype.EngineEvent{ResourcePreEvent: &apitype.ResourcePreEvent{Metadata: apitype.StepEventMetadata{Op: op, Type: kind, URN: urn, DetailedDiff: diff}}}
	}
	const deployment = "kubernetes:apps/v1:Deployment"
	diff := map[string]apitype.PropertyDiff{"spec.template": {}, "metadata.labels": {}}
	c, ok := changeOf(pre(apitype.OpUpdate, deployment, testURN, diff))
	if !ok || c.String() != "update kubernetes:apps/v1:Deployment api (metadata.labels, spec.template)" || !c.Release || c.Name != "api" {
		t.Errorf("%+v %v", c, ok)
	}
	for _, op := range []apitype.OpType{apitype.OpSame, apitype.OpRead, apitype.OpCreateReplacement, apitype.OpDeleteReplaced, apitype.OpRefresh} {
		if c, ok := changeOf(pre(op, deployment, testURN, nil)); ok {
			t.Errorf("%s counts as a change: %+v", op, c)
		}
	}
	if c, ok := changeOf(pre(apitype.OpReplace, "kubernetes:core/v1:Service", strings.Replace(testURN, "apps/v1:Deployment", "core/v1:Service", 1), nil)); !ok || c.Release {
		t.Errorf("a Service is no part of a release: %+v %v", c, ok)
	}
	if c, ok := changeOf(pre(apitype.OpUpdate, deployment, strings.Replace(testURN, "platform:Api$", "platform:Cache$", 1), nil)); !ok || c.Release {
		t.Errorf("the cache's Deployment is no part of a release: %+v %v", c, ok)
	}
	found := func(op apitype.OpType) apitype.EngineEvent {
		return apitype.EngineEvent{ResOutputsEvent: &apitype.ResOutputsEvent{Metadata: apitype.StepEventMetadata{
			Op: op, Type: deployment, URN: testURN, Diffs: []string{"spec"},
		}}}
	}
	if c, ok := driftOf(found(apitype.OpUpdate)); !ok || !slices.Equal(c.Properties, []string{"spec"}) {
		t.Errorf("what a refresh found: %+v %v", c, ok)
	}
	self := found(apitype.OpUpdate)
	self.ResOutputsEvent.Metadata.Type = "pulumi:pulumi:StackReference"
	if _, ok := driftOf(self); ok {
		t.Error("what the stack knows of itself counts as drift")
	}
	if _, ok := driftOf(found(apitype.OpSame)); ok {
		t.Error("what is as it was counts as drift")
	}
	if _, ok := changeOf(apitype.EngineEvent{SummaryEvent: &apitype.SummaryEvent{}}); ok {
		t.Error("a summary is no change")
	}
}

// projectOf is a folder with a stack's settings, as Pulumi's own command line leaves them. Nothing below runs it.
func projectOf(t *testing.T, settings string) *Environment {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"Pulumi.yaml": "name: smart-assistant\nruntime: go\n", "Pulumi.prod.yaml": settings, "pulumi": "#!/bin/sh\nexit 9\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	e, err := Open(Config{Environment: "prod", Dir: dir, Pulumi: filepath.Join(dir, "pulumi")})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestReleaseKey(t *testing.T) {
	e := projectOf(t, "encryptionsalt: v1:abc\nconfig:\n  smart-assistant:release: '{\"version\":\"v2\",\"images\":{\"assistd\":\"sha256:12\"}}'\n")
	r, err := e.ReleaseKey(t.Context())
	if err != nil || r == nil || r.Version != "v2" || r.Images["assistd"] != "sha256:12" {
		t.Fatalf("%+v %v", r, err)
	}
	if r, err := projectOf(t, "config: {}\n").ReleaseKey(t.Context()); r != nil || err != nil {
		t.Errorf("%+v %v", r, err)
	}
	if _, err := projectOf(t, "config:\n  smart-assistant:release: v2\n").ReleaseKey(t.Context()); err == nil || !strings.Contains(err.Error(), "smart-assistant:release") {
		t.Errorf("a key that is no JSON: %v", err)
	}
}

// A preview of another release must not touch the settings, and must keep what is encrypted in them.
func TestSettingsWith(t *testing.T) {
	const before = "encryptionsalt: v1:abc\nconfig:\n  # for people\n  smart-assistant:cluster: existing\n  smart-assistant:secrets:\n    jwtKey:\n      secure: v1:xyz\n"
	e := projectOf(t, before)
	copied := filepath.Join(t.TempDir(), "Pulumi.prod.yaml")
	if err := e.settingsWith(t.Context(), &outputs.Release{Version: "v3"}, copied); err != nil {
		t.Fatal(err)
	}
	now, err := os.ReadFile(filepath.Join(e.config.Dir, "Pulumi.prod.yaml"))
	if err != nil || string(now) != before {
		t.Errorf("the settings have changed: %v\n%s", err, now)
	}
	raw, err := os.ReadFile(copied)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"encryptionsalt: v1:abc", "secure: v1:xyz", `"version":"v3"`, "cluster: existing"} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("the copy has no %s:\n%s", want, raw)
		}
	}
}

func TestSameRelease(t *testing.T) {
	a := &outputs.Release{Version: "v1", Commit: "c", Images: map[string]string{"assistd": "1"}}
	for name, b := range map[string]*outputs.Release{
		"version": {Version: "v2", Commit: "c", Images: a.Images}, "commit": {Version: "v1", Commit: "d", Images: a.Images},
		"image":    {Version: "v1", Commit: "c", Images: map[string]string{"assistd": "2"}},
		"settings": {Version: "v1", Commit: "c", Images: a.Images, Settings: map[string]string{"A": "b"}},
		"none":     nil,
	} {
		if sameRelease(a, b) {
			t.Errorf("%s: taken for the same", name)
		}
	}
	if !sameRelease(a, &outputs.Release{Version: "v1", Commit: "c", Images: a.Images, Settings: map[string]string{}}) || !sameRelease(nil, nil) {
		t.Error("the same is taken for another")
	}
}
