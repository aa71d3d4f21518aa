package release

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/objectstore/objectstoretest"
	"github.com/smart-assistant/platform/service/schema"
)

func TestGatesSayNoWithoutData(t *testing.T) {
	now := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	from := &Environment{Name: "staging", Limits: Limits{ErrorRate: 0.005}}
	m := Manifest{Version: "v2"}
	well := Observed{Running: Running{Up: true, Version: "v2", Want: 2, Ready: 2, Current: 2, Database: true}, Traffic: Traffic{Requests: 1000, Failed: 1}}
	with := func(change func(*Observed)) Observed { o := well; change(&o); return o }
	cases := map[string]struct {
		gate Gate
		want Verdict
	}{
		"verified":            {verifiedGate(State{Release: "v2", Verified: now.Add(-time.Hour)}, "staging", now), Yes},
		"never verified":      {verifiedGate(State{Release: "v2"}, "staging", now), NoData},
		"soaked":              {soakGate(State{Since: now.Add(-26 * time.Hour)}, 24*time.Hour, now), Yes},
		"still soaking":       {soakGate(State{Since: now.Add(-21 * time.Hour)}, 24*time.Hour, now), No},
		"soak unknown":        {soakGate(State{}, 24*time.Hour, now), NoData},
		"no soak asked for":   {soakGate(State{}, 0, now), Yes},
		"healthy":             {healthGate(well, m, from), Yes},
		"quiet":               {healthGate(with(func(o *Observed) { o.Traffic = Traffic{} }), m, from), Yes},
		"a replica short":     {healthGate(with(func(o *Observed) { o.Running.Ready = 1 }), m, from), No},
		"runs something else": {healthGate(with(func(o *Observed) { o.Running.Version = "v1" }), m, from), No},
		"errors":              {healthGate(with(func(o *Observed) { o.Traffic.Failed = 10 }), m, from), No},
		"database is gone":    {healthGate(with(func(o *Observed) { o.Running.Database = false }), m, from), No},
		"scaled to zero":      {healthGate(with(func(o *Observed) { o.Running.Want, o.Running.Ready, o.Running.Current = 0, 0, 0 }), m, from), No},
		"schema as released":  {driftGate(MigrationPlan{Current: 3}), Yes},
		"schema edited":       {driftGate(MigrationPlan{Drift: []string{"2 add_x was edited"}}), No},
	}
	for name, c := range cases {
		if c.gate.Verdict != c.want || c.gate.Detail == "" {
			t.Errorf("%s: %+v, want %s and a detail", name, c.gate, c.want)
		}
	}
}

func TestOverrideNeedsAReasonAndKnowsItsLimits(t *testing.T) {
	plan := func() *Plan {
		return &Plan{To: "prod", Gates: []Gate{{Name: GateSoaked, Verdict: No, Detail: "3 h left"}, {Name: GateLease, Verdict: No, Detail: "held"}}}
	}
	p := plan()
	if err := p.Check(); fault.CodeOf(err) != fault.Refused || !strings.Contains(err.Error(), "3 h left") {
		t.Errorf("check: %v", err)
	}
	if err := p.Override([]string{"soaked"}, " "); fault.CodeOf(err) != fault.Usage {
		t.Errorf("no reason: %v", err)
	}
	if err := p.Override([]string{"nobody"}, "hurry"); fault.CodeOf(err) != fault.Usage {
		t.Errorf("the lease was skipped: %v", err)
	}
	if err := p.Override([]string{"sokaed"}, "hurry"); fault.CodeOf(err) != fault.Usage || !strings.Contains(err.Error(), "soaked") {
		t.Errorf("unknown gate: %v", err)
	}
	p.Gates = append(p.Gates, Gate{Name: GateFits, Verdict: No, Detail: "v1 needs what it drops"})
	if err := p.Override([]string{"fits"}, "hurry"); fault.CodeOf(err) != fault.Usage {
		t.Errorf("the way back was skipped: %v", err)
	}
	p = plan()
	p.Gates = p.Gates[:1]
	if err := p.Override([]string{"soaked"}, "security fix"); err != nil || p.Check() != nil || !p.Gates[0].Overridden {
		t.Errorf("override: %v, %+v", err, p.Gates)
	}
}

func TestRunsOnFollowsThePhases(t *testing.T) {
	expand := func(v int64) schema.Migration { return schema.Migration{Version: v, Name: "m", Phase: "expand"} }
	contract := func(v, before int64) schema.Migration {
		return schema.Migration{Version: v, Name: "drop", Phase: "contract", Needs: before}
	}
	m := Manifest{Version: "v1", Schema: schema.Manifest{Head: 2, Migrations: []schema.Migration{expand(1), expand(2)}}}
	cases := map[string]struct {
		applied []schema.Migration
		want    bool
	}{
		"its own schema":                   {[]schema.Migration{expand(1), expand(2)}, true},
		"one that expanded since":          {[]schema.Migration{expand(1), expand(2), expand(3)}, true},
		"a contract of what it never used": {[]schema.Migration{expand(1), expand(2), contract(3, 2)}, true},
		"a contract of what it needs":      {[]schema.Migration{expand(1), expand(2), expand(3), contract(4, 3)}, false},
		"one that is behind":               {[]schema.Migration{expand(1)}, false},
	}
	for name, c := range cases {
		if ok, why := m.RunsOn(c.applied); ok != c.want || ok == (why != "") {
			t.Errorf("%s: %v %q", name, ok, why)
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	m, _ := manifest(f, "v1", 2)
	f.Add(mustJSON(m))
	f.Add([]byte(`{"format":1,"version":"v1"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := ParseManifest(raw, "v1")
		if err == nil && (m.Version != "v1" || m.Validate() != nil) {
			t.Errorf("accepted %s", raw)
		}
	})
}

// stacked is a place whose replicas are part of a larger infrastructure.
type stacked struct {
	*place
	found Preview
}

func (s stacked) Preview(context.Context, Manifest) (Preview, error) { return s.found, nil }

func TestInfrastructureThatWouldChangeAlongIsRefused(t *testing.T) {
	store := objectstoretest.S3(t)
	p := newPlace(1)
	e := environment("dev", store, p)
	create(t, e.Releases, "v1", 1)
	own := []Change{{Operation: "update", Kind: "Deployment", Name: "api", Properties: []string{"spec.template"}}}
	e.Target = stacked{p, Preview{Changes: own}}
	plan, err := PlanDeploy(t.Context(), e, "v1")
	if err != nil || plan.Check() != nil || len(plan.Changes) != 1 {
		t.Fatalf("plan %+v: %v, %v", plan, err, plan.Check())
	}
	also := []Change{{Operation: "update", Kind: "StatefulSet", Name: "postgres"}, {Operation: "delete", Kind: "NetworkPolicy", Name: "api"}}
	e.Target = stacked{p, Preview{Changes: own, Pending: append(also, also...)}}
	if plan, err = PlanDeploy(t.Context(), e, "v1"); err != nil {
		t.Fatal(err)
	}
	err = plan.Check()
	if fault.CodeOf(err) != fault.Refused || !strings.Contains(err.Error(), "update StatefulSet postgres, delete NetworkPolicy api") || !strings.Contains(err.Error(), "1 more") {
		t.Errorf("check: %v", err)
	}
	if err := plan.Override([]string{"infrastructure"}, "the new policy is wanted"); err != nil || plan.Check() != nil {
		t.Errorf("override: %v, %v", err, plan.Check())
	}
}
