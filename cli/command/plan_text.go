package command

import (
	"fmt"
	"strings"

	"github.com/smart-assistant/platform/cli/ledger"
	"github.com/smart-assistant/platform/cli/release"
	"github.com/smart-assistant/platform/cli/terminal"
)

// planText is a plan as the operator reads it before anything changes.
func planText(a *App, p *release.Plan) string {
	var b strings.Builder
	b.WriteByte('\n')
	writeAligned(&b, "  ", [][]string{nowRow(a, p.To+" runs", p.Now), sourceRow(a, p)})
	fmt.Fprintf(&b, "\n  %s\n", terminal.Strong("Plan"))
	steps := planSteps(p)
	verify := 0
	var rows [][]string
	number := 0
	for _, s := range steps {
		label := ""
		if s[0] != "" {
			number++
			label = fmt.Sprint(number)
			if s[0] == release.StepVerify {
				verify = number
			}
		}
		rows = append(rows, append([]string{label}, s...))
	}
	writeAligned(&b, "    ", rows)
	fmt.Fprintf(&b, "    if %d fails: %s\n", verify, p.Undo)
	if p.Abandon != 0 {
		fmt.Fprintf(&b, "    run %d, which never ended, ends with this\n", p.Abandon)
	}
	fmt.Fprintf(&b, "\n  %s\n", terminal.Strong("Gates"))
	rows = rows[:0]
	for _, g := range p.Gates {
		rows = append(rows, []string{gateMark(g) + " " + gateName(p, g), gateDetail(p, g)})
	}
	writeAligned(&b, "    ", rows)
	b.WriteByte('\n')
	return b.String()
}

func nowRow(a *App, label string, o release.Observed) []string {
	if o.State.Release == "" {
		return []string{label, "nothing", fmt.Sprintf("schema %d", o.Schema)}
	}
	row := []string{
		label, o.State.Release, fmt.Sprintf("schema %d", o.Schema), "since " + terminal.Duration(a.Now().Sub(o.State.Since)),
		fmt.Sprintf("%d/%d ready", o.Running.Ready, o.Running.Want),
	}
	if o.Traffic.Requests > 0 {
		row = append(row, terminal.Percent(o.Traffic.Rate())+" errors")
	}
	return row
}

func sourceRow(a *App, p *release.Plan) []string {
	if p.From == "" {
		return []string{"to come", p.Release, fmt.Sprintf("schema %d", p.Head)}
	}
	verified := "not verified"
	if v := p.Source.State.Verified; !v.IsZero() {
		verified = "verified " + terminal.Ago(a.Now(), v)
	}
	return []string{p.From + " has", p.Release, fmt.Sprintf("schema %d", p.Head), verified}
}

// planSteps are rows of name and text; a row without a name continues the one above.
func planSteps(p *release.Plan) [][]string {
	var rows [][]string
	if s := p.Snapshot; s != nil {
		expect := ""
		if s.Expect > 0 {
			expect = "about " + terminal.Duration(s.Expect)
		}
		rows = append(rows, []string{release.StepSnapshot, fmt.Sprintf("%s, kept %s", p.To, terminal.Duration(s.Keep)), "", expect})
	}
	if p.From != "" {
		rows = append(rows, []string{release.StepCopy, fmt.Sprintf("%s from %s, unchanged", p.Release, p.From)})
	}
	if p.Kind != ledger.KindRollback {
		rows = append(rows, migrationRows(p)...)
	}
	change := p.Release
	if p.Before != "" && p.Before != p.Release {
		change = p.Before + " → " + p.Release
	}
	rows = append(rows, []string{release.StepDeploy, fmt.Sprintf("api %s, %s, one at a time", change, terminal.Plural(int64(p.Replicas), "replica"))})
	for _, c := range p.Changes {
		rows = append(rows, []string{"", terminal.Faint(c.String())})
	}
	return append(rows,
		[]string{release.StepVerify, fmt.Sprintf("ready · version · smoke · error rate ≤ %s for %s", terminal.Percent(p.Verify.ErrorRate), terminal.Duration(p.Verify.Window))})
}

func migrationRows(p *release.Plan) [][]string {
	if len(p.Pending) == 0 {
		return [][]string{{release.StepMigrate, "nothing to do"}}
	}
	var rows [][]string
	for i, m := range p.Pending {
		name, took := "", ""
		if i == 0 {
			name = release.StepMigrate
		}
		if m.Took > 0 {
			took = fmt.Sprintf("%s on %s", terminal.Duration(m.Took), m.Where)
		}
		rows = append(rows, []string{name, fmt.Sprintf("%d %s", m.Version, m.Name), string(m.Phase), took})
	}
	return rows
}

func gateMark(g release.Gate) string {
	switch {
	case g.Verdict == release.Yes:
		return terminal.Mark(true)
	case g.Overridden:
		return terminal.Warning(terminal.GlyphWarning)
	default:
		return terminal.Mark(false)
	}
}

func gateName(p *release.Plan, g release.Gate) string {
	if g.Name == release.GateVerified && p.From != "" {
		return "verified in " + p.From
	}
	return g.Name
}

func gateDetail(p *release.Plan, g release.Gate) string {
	detail := g.Detail
	if g.Verdict == release.NoData {
		detail = "no data, which counts as no: " + detail
	}
	if g.Overridden {
		detail += " – skipped: " + p.Reason
	}
	return detail
}
