package migrate

import (
	"fmt"
	"strings"

	"github.com/smart-assistant/platform/service/schema"
)

// Drift compares a database's history (Status.Applied, as any build reads it) with the migrations of a release's manifest.
// Migrations that the history has above the manifest's head are no drift: a newer release was here.
func Drift(manifest schema.Manifest, applied []schema.Applied) []schema.Drift {
	return schema.Compare(manifest.Migrations, applied).Drift
}

// Release is a release in use: running, or the one that a rollback goes back to.
type Release struct {
	Version string
	Head    int64  // its schema head
	Role    string // "running" or "kept for rollback", as the refusal says it
}

// NeededError refuses a contract that takes away what a release in use still needs.
type NeededError struct {
	Migration schema.Migration
	By        []Release
}

func (e *NeededError) Error() string {
	by := make([]string, len(e.By))
	for i, r := range e.By {
		by[i] = fmt.Sprintf("%s (%s, schema %d)", r.Version, r.Role, r.Head)
	}
	return fmt.Sprintf("migration %d %s drops what releases with a schema below %d need: %s",
		e.Migration.Version, e.Migration.Name, e.Migration.Needs, strings.Join(by, ", "))
}

// CheckContracts refuses the first pending contract that a release in use still needs, with a *NeededError.
func CheckContracts(pending []schema.Migration, inUse []Release) error {
	for _, m := range pending {
		if m.Phase != schema.Contract {
			continue
		}
		var by []Release
		for _, r := range inUse {
			if r.Head < m.Needs {
				by = append(by, r)
			}
		}
		if len(by) > 0 {
			return &NeededError{m, by}
		}
	}
	return nil
}
