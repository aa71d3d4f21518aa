package graph

import (
	"fmt"
	"strings"

	"k8s.io/pod-security-admission/api"
	psa "k8s.io/pod-security-admission/policy"
)

// restrictedChecks are Pod Security's own, level restricted, as the API server would apply them: one check for each control of the
// standard, so that a mutation shows which control guards what.
func restrictedChecks() []Check {
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	evaluator, err := psa.NewEvaluator(psa.DefaultChecks())
	if err != nil {
		panic("graph: the checks of Pod Security do not fit together: " + err.Error())
	}
	return []Check{
		eachPod("pod-security/restricted", func(_ *View, p Pod) string {
			result := psa.AggregateCheckResults(evaluator.EvaluatePod(level, &p.ObjectMeta, &p.Spec))
			if result.Allowed {
				return ""
			}
			return result.ForbiddenDetail()
		}),
		{Name: "pod-security/namespace", Run: func(v *View) []Finding {
			var found findings
			for _, n := range v.Namespaces {
				if n.Name != v.namespace() {
					continue
				}
				for _, mode := range []string{"enforce", "audit", "warn"} {
					if got := n.Labels["pod-security.kubernetes.io/"+mode]; got != string(api.LevelRestricted) {
						found.on("Namespace "+n.Name, "%s is %q, want restricted", mode, got)
					}
				}
			}
			if len(v.Namespaces) == 0 {
				found.on("Namespace", "the environment has none")
			}
			return found
		}},
		eachPod("pod-security/namespace", func(v *View, p Pod) string {
			if p.Namespace != v.namespace() {
				return fmt.Sprintf("it is in namespace %s, which does not enforce restricted", p.Namespace)
			}
			return ""
		}),
	}
}

// namespace is the environment's, as the stack says.
func (v *View) namespace() string {
	if name := String(v.Environ(), "namespace"); name != "" {
		return name
	}
	return "assistant-" + v.Environment
}

// Environ is the stack output "environment", whether it is a map or JSON text.
func (g *Graph) Environ() map[string]any {
	switch out := g.Outputs["environment"].(type) {
	case map[string]any:
		return out
	case string:
		var m map[string]any
		if strings.HasPrefix(strings.TrimSpace(out), "{") && parseJSON(out, &m) {
			return m
		}
	}
	return nil
}
