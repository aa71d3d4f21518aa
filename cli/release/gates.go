package release

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/terminal"
)

// Verdict is a gate's answer. Only Yes lets a run pass.
type Verdict string

// The three answers. No data counts as no.
const (
	Yes    Verdict = "yes"
	No     Verdict = "no"
	NoData Verdict = "no data"
)

// Gate is a named question that a plan must answer with yes before it runs.
type Gate struct {
	Name       string  `json:"name"`
	Verdict    Verdict `json:"verdict"`
	Detail     string  `json:"detail"`
	Overridden bool    `json:"overridden,omitempty"` // by an operator, with a reason, which the ledger keeps
}

// Passes reports whether the gate lets the run go on.
func (g Gate) Passes() bool { return g.Verdict == Yes || g.Overridden }

// Gates that can be named on the command line.
const (
	GateVerified = "verified"
	GateSoaked   = "soaked"
	GateHealthy  = "healthy"
	GateBackup   = "backup fresh"
	GateLease    = "nobody else at work"
	GateDrift    = "schema as released"
	GateFits     = "old release fits"
	// GateInfrastructure asks whether the infrastructure is as its program says.
	GateInfrastructure = "infrastructure unchanged"
)

// Override marks gates as overridden. The lease and the fit of the old release cannot be overridden: the first protects somebody
// else's work, the second is the way back.
func (p *Plan) Override(names []string, reason string) error {
	if len(names) == 0 {
		return nil
	}
	if strings.TrimSpace(reason) == "" {
		return fault.Code(fault.Hint(fmt.Errorf("skipping a gate needs a reason"), `--reason "why" (the ledger keeps it)`), fault.Usage)
	}
	for _, name := range names {
		i := slices.IndexFunc(p.Gates, func(g Gate) bool { return g.Name == name || slices.Contains(strings.Fields(g.Name), name) })
		switch {
		case i < 0:
			return fault.Code(fmt.Errorf("there is no gate %q here; there are %s", name, gateNames(p.Gates)), fault.Usage)
		case p.Gates[i].Name == GateLease || p.Gates[i].Name == GateFits:
			return fault.Code(fmt.Errorf("the gate %q cannot be skipped", name), fault.Usage)
		}
		p.Gates[i].Overridden = p.Gates[i].Verdict != Yes
	}
	p.Skipped, p.Reason = names, reason
	return nil
}

func gateNames(gates []Gate) string {
	var names []string
	for _, g := range gates {
		names = append(names, fmt.Sprintf("%q", g.Name))
	}
	return strings.Join(names, ", ")
}

// GateError says which gates refused. Nothing was changed.
type GateError struct {
	To      string
	Refused []Gate
}

func (e *GateError) Error() string {
	var why []string
	for _, g := range e.Refused {
		why = append(why, g.Name+": "+g.Detail)
	}
	return fmt.Sprintf("%s was left as it is: %s", e.To, strings.Join(why, "; "))
}

// Check returns a *GateError unless all gates pass.
func (p *Plan) Check() error {
	var refused []Gate
	for _, g := range p.Gates {
		if !g.Passes() {
			refused = append(refused, g)
		}
	}
	if len(refused) == 0 {
		return nil
	}
	code := fault.Refused
	if len(refused) == 1 && refused[0].Name == GateLease {
		code = fault.Held
	}
	return fault.Code(&GateError{To: p.To, Refused: refused}, code)
}

func promotionGates(ctx context.Context, p *Plan, m Manifest, from, to *Environment, now time.Time) ([]Gate, error) {
	backup, err := backupGate(ctx, p, to, now)
	if err != nil {
		return nil, err
	}
	lease, err := leaseGate(ctx, to)
	if err != nil {
		return nil, err
	}
	gates := []Gate{
		verifiedGate(p.Source.State, from.Name, now),
		soakGate(p.Source.State, to.Limits.Soak, now),
		healthGate(p.Source, m, from),
		backup, lease,
	}
	return append(gates, p.Gates...), nil
}

func deployGates(ctx context.Context, p *Plan, _ Manifest, to *Environment) ([]Gate, error) {
	lease, err := leaseGate(ctx, to)
	return append([]Gate{lease}, p.Gates...), err
}

func verifiedGate(s State, from string, now time.Time) Gate {
	g := Gate{Name: GateVerified, Verdict: Yes}
	if s.Verified.IsZero() {
		g.Verdict, g.Detail = NoData, fmt.Sprintf("%s has not passed verification in %s", s.Release, from)
		return g
	}
	g.Detail = terminal.Ago(now, s.Verified)
	return g
}

func soakGate(s State, want time.Duration, now time.Time) Gate {
	soaked := now.Sub(s.Since)
	g := Gate{Name: GateSoaked, Verdict: Yes, Detail: fmt.Sprintf("%s of %s", terminal.Duration(min(soaked, want)), terminal.Duration(want))}
	switch {
	case want == 0:
		g.Detail = "not asked for"
	case s.Since.IsZero():
		g.Verdict, g.Detail = NoData, "the ledger does not say since when it runs"
	case soaked < want:
		g.Verdict = No
		g.Detail = fmt.Sprintf("%s of %s, %s left", terminal.Duration(soaked), terminal.Duration(want), terminal.Duration(want-soaked))
	}
	return g
}

func healthGate(o Observed, m Manifest, from *Environment) Gate {
	g := Gate{Name: from.Name + " " + GateHealthy, Verdict: Yes}
	r := o.Running
	g.Detail = fmt.Sprintf("%d/%d ready", r.Ready, r.Want)
	switch {
	case r.Version != m.Version:
		g.Verdict, g.Detail = No, fmt.Sprintf("runs %s, the ledger says %s", orNothing(r.Version), m.Version)
	case !r.Database:
		g.Verdict, g.Detail = No, "database does not answer: "+r.Detail
	case r.Ready < r.Want || r.Current < r.Want || r.Want == 0:
		g.Verdict = No
		if r.Detail != "" {
			g.Detail += ": " + r.Detail
		}
	case o.Traffic.Requests == 0:
		g.Detail += ", no requests in 1 h"
	default:
		g.Detail += fmt.Sprintf(", %s errors in 1 h", terminal.Percent(o.Traffic.Rate()))
		if o.Traffic.Rate() > from.Limits.ErrorRate {
			g.Verdict = No
			g.Detail += fmt.Sprintf(" (limit %s)", terminal.Percent(from.Limits.ErrorRate))
		}
	}
	return g
}

func backupGate(ctx context.Context, p *Plan, to *Environment, now time.Time) (Gate, error) {
	g := Gate{Name: GateBackup, Verdict: Yes}
	if p.empty() {
		g.Detail = fmt.Sprintf("no release has run in %s: there is nothing to lose", to.Name)
		return g, nil
	}
	newest, ok, err := to.Backups.Newest(ctx)
	switch {
	case err != nil:
		return g, fmt.Errorf("newest backup of %s: %w", to.Name, err)
	case !ok:
		g.Verdict, g.Detail = NoData, fmt.Sprintf("%s has no backup (assistctl backup create %s)", to.Name, to.Name)
	case to.Limits.BackupMaxAge > 0 && now.Sub(newest.Taken) > to.Limits.BackupMaxAge:
		g.Verdict = No
		g.Detail = fmt.Sprintf("%s is %s old, at most %s is allowed (assistctl backup create %s)", newest.ID, terminal.Duration(now.Sub(newest.Taken)), terminal.Duration(to.Limits.BackupMaxAge), to.Name)
	default:
		g.Detail = fmt.Sprintf("%s, %s", newest.ID, terminal.Ago(now, newest.Taken))
	}
	return g, nil
}

func leaseGate(ctx context.Context, to *Environment) (Gate, error) {
	g := Gate{Name: GateLease, Verdict: Yes, Detail: "lease free"}
	holder, err := to.Ledger.Holder(ctx)
	if err != nil {
		return g, fmt.Errorf("lease of %s: %w", to.Name, err)
	}
	if holder != nil {
		g.Verdict, g.Detail = No, fmt.Sprintf("held by %s since %s: %s", holder.Actor, holder.Since.Local().Format("15:04:05"), holder.Purpose)
	}
	return g, nil
}

func driftGate(mig MigrationPlan) Gate {
	if len(mig.Drift) > 0 {
		return Gate{Name: GateDrift, Verdict: No, Detail: strings.Join(mig.Drift, "; ")}
	}
	return Gate{Name: GateDrift, Verdict: Yes, Detail: fmt.Sprintf("schema %d, every checksum matches", mig.Current)}
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}
