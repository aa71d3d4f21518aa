package command

import (
	"context"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/cli/backup"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/ledger"
	"github.com/smart-assistant/platform/cli/release"
	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/cli/target/local"
)

// restorable is what a target does for a restore. Where the data is and who looks after it is the target's matter; what is done, and in which
// order, is package backup's.
type restorable interface {
	SystemIdentifier(ctx context.Context) (uint64, bool, error)
	Free(ctx context.Context) (int64, error)
	Try(ctx context.Context, dir string, check func(ctx context.Context, url string) error) error
	Stop(ctx context.Context) error
	Swap(ctx context.Context, dir, aside string) error
	StartWith(ctx context.Context, d target.Deployment) error
	Live(ctx context.Context, name string) (bool, error)
	Discard(ctx context.Context, name string) error
	Asides(ctx context.Context) ([]target.Aside, error)
	DropAside(ctx context.Context, name string) error
	RunJob(ctx context.Context, name string) error
	ExecOn(ctx context.Context, databaseURL string, b target.Build, args []string, stdout, stderr io.Writer) error
	Connect(ctx context.Context, databaseURL string) (*pgx.Conn, error)
}

var _ restorable = (*local.Environment)(nil)

// restorePlace is the environment as a restore sees it. What the restored data is brought forward for, and what starts on it, is the release
// that the ledger names: the environment itself may remember another one, of a promotion that was rolled out and never committed.
type restorePlace struct {
	restorable
	unpack     func(ctx context.Context, q backup.UnpackRequest, progress func(bytes int64)) (string, backup.Unpacked, error)
	deployment target.Deployment // without a build when no release runs
}

var _ backup.Place = restorePlace{}

// Unpack implements backup.Place.
func (p restorePlace) Unpack(ctx context.Context, q backup.UnpackRequest, progress func(bytes int64)) (string, backup.Unpacked, error) {
	return p.unpack(ctx, q, progress)
}

// Start brings up the database, and the ledger's release on it.
func (p restorePlace) Start(ctx context.Context) error { return p.StartWith(ctx, p.deployment) }

// Revive is Start for a restore that is given up. Where the place can, it does not wait for the service, and says so: one that was not ready
// before the restore would keep it from ending.
func (p restorePlace) Revive(ctx context.Context) (awaited bool, err error) {
	if r, ok := p.restorable.(reviving); ok {
		return false, r.Revive(ctx, p.deployment)
	}
	return true, p.Start(ctx)
}

// reviving is a place that can leave its replicas to come up by themselves.
type reviving interface {
	Revive(ctx context.Context, d target.Deployment) error
}

var _ reviving = clusterSite{}

// restorePlace brings the release's binary to the environment, where there is a release.
func (e *environment) restorePlace(ctx context.Context, version string, fence int64) (restorePlace, error) {
	p := restorePlace{restorable: e.site, unpack: e.unpack, deployment: target.Deployment{Fence: fence}}
	if version == "" {
		return p, nil
	}
	m, err := e.release.Releases.Get(ctx, version)
	if err != nil {
		return p, err
	}
	if err := e.install(ctx, m); err != nil {
		return p, err
	}
	p.deployment, err = e.site.deployment(m)
	p.deployment.Fence = fence
	return p, err
}

func (e *environment) unpack(ctx context.Context, q backup.UnpackRequest, progress func(bytes int64)) (string, backup.Unpacked, error) {
	return e.site.unpack(ctx, e, q, progress)
}

// standing is how an environment stands in its ledger. A plan holds as long as it has not moved.
type standing struct {
	Runs       int    // that have begun
	Release    string // that runs
	Run        int    // that brought it
	Unfinished int    // run that never ended; 0 for none
}

func (e *environment) standing(ctx context.Context) (standing, release.State, error) {
	state, err := release.StateOf(ctx, e.ledger)
	if err != nil {
		return standing{}, state, err
	}
	runs, err := e.ledger.Runs(ctx)
	if err != nil {
		return standing{}, state, err
	}
	s := standing{Runs: len(runs), Release: state.Release, Run: state.Run}
	if state.Unfinished != nil {
		s.Unfinished = state.Unfinished.Number
	}
	return s, state, nil
}

// unmoved refuses, under the lease, what was planned when the environment stood otherwise.
func (e *environment) unmoved(ctx context.Context, planned standing, again string) error {
	now, _, err := e.standing(ctx)
	if err != nil {
		return err
	}
	if now != planned {
		return fault.Code(fault.Hint(fmt.Errorf("%s has changed since the plan was made: nothing was done", e.config.Name), again), fault.Refused)
	}
	return nil
}

// endUnfinished puts an end to a run that nobody ended. One that has an end keeps it.
func (e *environment) endUnfinished(ctx context.Context, lease *ledger.Lease, number int, end release.Ending) error {
	state, err := e.ledger.Run(ctx, number)
	if err != nil || state.Outcome != "" {
		return err
	}
	run, err := e.ledger.Resume(ctx, lease, number)
	if err != nil {
		return err
	}
	return run.End(ctx, ledger.OutcomeAbandoned, end)
}
