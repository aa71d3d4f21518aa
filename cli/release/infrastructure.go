package release

import (
	"context"
	"fmt"
	"strings"
)

// This file is about what lies under a release: the infrastructure that a program describes. A promotion brings a release and nothing
// else, so the program and what it made have to agree before.

// Preview is what bringing a release to an environment changes in its infrastructure, computed without changing anything.
type Preview struct {
	// Pending would change even with the release that runs now: somebody changed the program since it was last applied.
	Pending []Change
	// Changes come with the release.
	Changes []Change
}

// Change is one resource that a program would change.
type Change struct {
	Operation  string   `json:"operation"` // create, update, replace, delete
	Kind       string   `json:"kind"`      // as "Deployment"
	Name       string   `json:"name"`
	Properties []string `json:"properties,omitempty"` // that differ
}

// String is "update Deployment api (spec.template)".
func (c Change) String() string {
	text := c.Operation + " " + c.Kind + " " + c.Name
	if len(c.Properties) > 0 {
		text += " (" + strings.Join(c.Properties, ", ") + ")"
	}
	return text
}

// previewer is a Target whose replicas are part of an infrastructure that a program describes.
type previewer interface {
	Preview(ctx context.Context, m Manifest) (Preview, error)
}

// preview adds to a plan what the release changes in the infrastructure, and the gate that it changes nothing else.
func (p *Plan) preview(ctx context.Context, m Manifest, to *Environment) error {
	target, ok := to.Target.(previewer)
	if !ok {
		return nil
	}
	found, err := target.Preview(ctx, m)
	if err != nil {
		return fmt.Errorf("preview %s in %s: %w", m.Version, to.Name, err)
	}
	p.Changes = found.Changes
	p.Gates = append(p.Gates, infrastructureGate(found))
	return nil
}

const mostNamed = 3 // changes named in a gate; the rest is counted

func infrastructureGate(p Preview) Gate {
	g := Gate{Name: GateInfrastructure, Verdict: Yes, Detail: "nothing but the release changes"}
	if len(p.Pending) == 0 {
		return g
	}
	var named []string
	for _, c := range p.Pending[:min(len(p.Pending), mostNamed)] {
		named = append(named, c.String())
	}
	if more := len(p.Pending) - len(named); more > 0 {
		named = append(named, fmt.Sprintf("%d more", more))
	}
	g.Verdict, g.Detail = No, "it would change along with the release: "+strings.Join(named, ", ")
	return g
}
