package command

import (
	"testing"

	"github.com/smart-assistant/platform/cli/config"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/ledger"
	"github.com/smart-assistant/platform/cli/objectstore/objectstoretest"
	"github.com/smart-assistant/platform/cli/release"
)

// A plan holds until the environment's ledger moves: by a run that began, and by one that ended.
func TestUnmoved(t *testing.T) {
	ctx := t.Context()
	e := &environment{
		config: config.Environment{Name: "prod"},
		ledger: ledger.Open(objectstoretest.S3(t), ledger.Options{Environment: "prod", Actor: "anna@laptop"}),
	}
	lease, err := e.ledger.Acquire(ctx, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer giveBack(ctx, lease)
	stand := func() standing {
		s, _, err := e.standing(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.unmoved(ctx, s, "again"); err != nil {
			t.Errorf("nothing moved: %v", err)
		}
		return s
	}
	moved := func(planned standing, what string) {
		if err := e.unmoved(ctx, planned, "again"); fault.CodeOf(err) != fault.Refused || fault.HintOf(err) != "again" {
			t.Errorf("%s: %v", what, err)
		}
	}
	planned := stand()
	run, err := e.ledger.Begin(ctx, lease, ledger.KindRestore, nil)
	if err != nil {
		t.Fatal(err)
	}
	moved(planned, "a run began")
	if planned = stand(); planned.Unfinished != 1 {
		t.Errorf("it stands at %+v", planned)
	}
	if err := run.End(ctx, ledger.OutcomeCommitted, release.Ending{Release: "v1"}); err != nil {
		t.Fatal(err)
	}
	moved(planned, "a run ended")
	if planned = stand(); planned.Release != "v1" || planned.Run != 1 || planned.Unfinished != 0 {
		t.Errorf("it stands at %+v", planned)
	}
	for range 2 { // the end of a run that has one stays
		if err := e.endUnfinished(ctx, lease, 1, release.Ending{Reason: "killed"}); err != nil {
			t.Fatal(err)
		}
	}
	if got := stand(); got != planned {
		t.Errorf("it stands at %+v, stood at %+v", got, planned)
	}
	if _, err := e.ledger.Begin(ctx, lease, ledger.KindMigrate, nil); err != nil {
		t.Fatal(err)
	}
	if err := e.endUnfinished(ctx, lease, 2, release.Ending{Reason: "killed"}); err != nil {
		t.Fatal(err)
	}
	if got, err := e.ledger.Run(ctx, 2); err != nil || got.Outcome != ledger.OutcomeAbandoned {
		t.Errorf("the killed run: %+v, %v", got, err)
	}
}
