package graph

import (
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// pair is a program in small: a Deployment with a knob, and a ConfigMap with JSON and lines.
func pair(t *testing.T, stack string, change func(spec, data pulumi.Map), opts ...pulumi.ResourceOption) *Graph {
	t.Helper()
	return capture(t, Run{Stack: stack}, func(ctx *pulumi.Context) error {
		spec := pulumi.Map{"replicas": pulumi.Int(2), "image": pulumi.String("registry/" + stack + "/assistd")}
		data := pulumi.Map{
			"conf":             pulumi.String("a = 1\nb = " + stack + "\nc = 3\n"),
			"environment.json": pulumi.String(`{"name":"` + stack + `","retention":{"daily":7}}`),
		}
		change(spec, data)
		var d, c thing
		if err := ctx.RegisterResource("kubernetes:apps/v1:Deployment", "api", pulumi.Map{"spec": spec}, &d, opts...); err != nil {
			return err
		}
		ctx.Export("namespace", pulumi.String("assistant-"+stack))
		return ctx.RegisterResource("kubernetes:core/v1:ConfigMap", stack+"-config", pulumi.Map{"data": data}, &c)
	})
}

func TestCompare(t *testing.T) {
	same := func(pulumi.Map, pulumi.Map) {}
	staging := pair(t, "staging", same)
	names := []string{"staging", "prod"}
	if d := Compare(staging, pair(t, "prod", same), names...); len(d) > 0 {
		t.Errorf("two of a kind differ: %v", d)
	}
	for name, c := range map[string]struct {
		change func(spec, data pulumi.Map)
		opts   []pulumi.ResourceOption
		want   string
	}{
		"a number":          {func(s, _ pulumi.Map) { s["replicas"] = pulumi.Int(3) }, nil, "Deployment::api .spec.replicas: 2 → 3"},
		"a property more":   {func(s, _ pulumi.Map) { s["paused"] = pulumi.Bool(true) }, nil, "Deployment::api .spec.paused: (absent) → true"},
		"a property less":   {func(s, _ pulumi.Map) { delete(s, "replicas") }, nil, "Deployment::api .spec.replicas: 2 → (absent)"},
		"a list":            {func(s, _ pulumi.Map) { s["args"] = pulumi.StringArray{} }, nil, "Deployment::api .spec.args.[]: (absent) → empty"},
		"a secret in clear": {func(s, _ pulumi.Map) { s["image"] = pulumi.ToSecret("registry/prod/assistd") }, nil, "Deployment::api .spec.image.secret: (absent) → true"},
		"inside of JSON": {func(_, d pulumi.Map) {
			d["environment.json"] = pulumi.String(`{"name":"prod","retention":{"daily":8}}`)
		}, nil, "ConfigMap::ENV-config .data.environment.json(json).retention.daily: 7 → 8"},
		"a line of a file":      {func(_, d pulumi.Map) { d["conf"] = pulumi.String("a = 1\nb = prod\nc = 4\n") }, nil, `ConfigMap::ENV-config .data.conf(line 3): "c = 3" → "c = 4"`},
		"the other's name":      {func(s, _ pulumi.Map) { s["image"] = pulumi.String("registry/production/assistd") }, nil, `Deployment::api .spec.image: "registry/ENV/assistd" → "registry/production/assistd"`},
		"protection":            {same, []pulumi.ResourceOption{pulumi.Protect(true)}, "Deployment::api options.protect: false → true"},
		"changes to be ignored": {same, []pulumi.ResourceOption{pulumi.IgnoreChanges([]string{"spec"})}, "Deployment::api options.ignoreChanges[0]: (absent) → "},
	} {
		t.Run(name, func(t *testing.T) {
			found := Compare(staging, pair(t, "prod", c.change, c.opts...), names...)
			if !slices.ContainsFunc(found, func(d Difference) bool { return strings.Contains(d.String(), c.want) }) {
				t.Errorf("found %v, want %s", found, c.want)
			}
		})
	}
}

func TestCompareFindsAResourceOfOneSide(t *testing.T) {
	same := func(pulumi.Map, pulumi.Map) {}
	staging, prod := pair(t, "staging", same), pair(t, "prod", same)
	prod.Resources = prod.Resources[1:]
	if found := Compare(staging, prod, "staging", "prod"); len(found) != 1 || found[0].B != "" || found[0].Path != "" {
		t.Errorf("found %v", found)
	}
}

func TestUndeclared(t *testing.T) {
	replicas := Difference{"api", ".spec.replicas", "2", "3"}
	image := Difference{"api", ".spec.image", `"a"`, `"b"`}
	undeclared, by := Undeclared([]Difference{replicas, image}, map[string][]Difference{
		"api.replicas": {{"api", ".spec.replicas", "2", "9"}},
		"api.host":     {{"ingress", ".spec.replicas", "", ""}},
	})
	if len(undeclared) != 1 || undeclared[0] != image {
		t.Errorf("undeclared %v", undeclared)
	}
	if !slices.Equal(by[replicas], []string{"api.replicas"}) {
		t.Errorf("by %v", by)
	}
}
