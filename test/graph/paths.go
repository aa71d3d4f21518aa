package graph

import (
	"slices"
	"strings"
)

// networkChecks judge the NetworkPolicies: everything is refused but what stands in the table below.
func networkChecks() []Check {
	return []Check{
		{Name: "network/default-deny", Run: func(v *View) []Finding {
			if !slices.ContainsFunc(v.Policies, func(p policy) bool { return p.Namespace == v.namespace() && isolatedBoth(p) }) {
				return []Finding{{Object: "Namespace " + v.namespace(), Message: "no policy denies everything to every pod, both ways"}}
			}
			return nil
		}},
		{Name: "network/paths", Run: func(v *View) []Finding {
			var found findings
			n, want := NewNetwork(v), v.paths()
			ours := map[string]bool{}
			for _, p := range n.Peers {
				ours[p.Name] = ours[p.Name] || p.Ours
			}
			compare := func(how string, open []string, concerns func(from, to string) bool) {
				for _, path := range open {
					if !slices.Contains(want, path) {
						found.on(path, "%s allowed, and not in the table of test/graph/paths.go", how)
					}
				}
				for _, path := range want {
					from, to, _ := strings.Cut(path, " → ")
					if concerns(from, to[:strings.LastIndex(to, ":")]) && !slices.Contains(open, path) {
						found.on(path, "in the table of test/graph/paths.go, and not %s allowed", how)
					}
				}
			}
			compare("as a whole", n.Paths(), func(string, string) bool { return true })
			compare("on its way out", n.Exits(), func(from, _ string) bool { return ours[from] })
			compare("on its way in", n.Entries(), func(_, to string) bool { return ours[to] })
			return found
		}},
	}
}

// table is every connection that an environment needs, in the reader's words: who, whom, at which port. A column on the left says when.
const table = `
	always       api, canary            → postgres:5432
	always       api, canary            → valkey:6379
	always       api, canary            → internet:443, internet:80, internet:993, internet:465, internet:587   # mail, feeds, log-in, models
	always       api, canary            → internet-v6:443, internet-v6:80, internet-v6:993, internet-v6:465, internet-v6:587
	always       exec                   → postgres:5432, restore:5432     # migrations, also of a restored copy
	always       exec                   → api:8080, canary:8080           # smoke tests
	always       backup                 → postgres:5432
	always       traefik                → api:8080
	monitoring   prometheus             → api:9090
	openwebui    open-webui             → api:8080
	openwebui    traefik                → open-webui:8080
	cluster      backup, prune, restore → s3:7070
	aws          backup, prune, restore → internet:443, pod-identity:80
	s3           backup, prune, restore → internet:9000, vpc:9000, private:9000, cgnat:9000   # wherever the endpoint is, also
	s3           backup, prune, restore → stranger:9000, system:9000, traefik:9000, dns:9000, prometheus:9000   # in another namespace
	egress       api, canary            → vpc:8000, private-v6:4318   # api.egress
`

// Of everything that runs here, names are asked of the cluster's DNS alone.
var namesOf = []string{"api", "canary", "postgres", "valkey", "exec", "backup", "prune", "restore", "open-webui", "s3"}

// paths is the table for this environment.
func (v *View) paths() []string {
	has := map[string]bool{
		"always":     true,
		"monitoring": String(v.Environ(), "monitoring") != "none",
		"openwebui":  len(v.Find(Object("StatefulSet", "open-webui"))) > 0,
		"cluster":    String(v.Environ(), "bucket", "kind") == "cluster",
		"aws":        String(v.Environ(), "bucket", "kind") == "aws",
		"s3":         String(v.Environ(), "bucket", "kind") == "s3",
		"egress":     strings.HasSuffix(v.Variant, "-existing"),
	}
	var paths []string
	for line := range strings.Lines(table) {
		line, _, _ = strings.Cut(line, "#")
		left, right, ok := strings.Cut(line, "→")
		if !ok {
			continue
		}
		when, from, _ := strings.Cut(strings.TrimSpace(left), " ")
		if !has[when] {
			continue
		}
		for f := range strings.SplitSeq(from, ",") {
			for to := range strings.SplitSeq(right, ",") {
				paths = append(paths, strings.TrimSpace(f)+" → "+strings.TrimSpace(to))
			}
		}
	}
	for _, p := range v.Pods {
		if slices.Contains(namesOf, p.Component()) {
			paths = append(paths, p.Component()+" → dns:53", p.Component()+" → dns:53/UDP")
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}
