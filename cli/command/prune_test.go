package command

import (
	"testing"

	"github.com/smart-assistant/platform/cli/backup"
)

// Only what both plans remove may go.
func TestRemovedByBoth(t *testing.T) {
	verdict := func(id string, remove bool) backup.Verdict {
		return backup.Verdict{ID: id, Remove: remove}
	}
	shown := backup.PrunePlan{
		Backups:   []backup.Verdict{verdict("both", true), verdict("needed-since", true), verdict("kept", false)},
		Leftovers: []backup.Leftover{{ID: "swept", Remove: true}, {ID: "under-way"}},
	}
	now := backup.PrunePlan{
		Backups:   []backup.Verdict{verdict("both", true), verdict("needed-since", false), verdict("kept", true), verdict("new", true)},
		Leftovers: []backup.Leftover{{ID: "swept", Remove: true}, {ID: "under-way", Remove: true}},
	}
	var removed []string
	plan := removedByBoth(shown, now)
	for _, v := range plan.Backups {
		if v.Remove {
			removed = append(removed, v.ID)
		}
	}
	for _, l := range plan.Leftovers {
		if l.Remove {
			removed = append(removed, l.ID)
		}
	}
	if len(removed) != 2 || removed[0] != "both" || removed[1] != "swept" || plan.Removals() != 2 {
		t.Errorf("removed %v", removed)
	}
}
