package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/postgres"
	"github.com/smart-assistant/platform/cli/target"
)

// This file is the place where a restore puts its data. A cluster is prepared beside the live one, tried, and swapped in by changing one
// symbolic link. Every step may be repeated, also after a kill -9 in its middle. Stop, Swap and Start need the environment up; the others
// only touch files.

var clusterName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// SystemIdentifier is that of the live cluster; false when there is none, and 0 when its control data cannot be read.
func (e *Environment) SystemIdentifier(ctx context.Context) (uint64, bool, error) {
	dir, err := e.liveCluster()
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("system identifier of %s: %w", e.Name(), err)
	}
	binaries, err := e.Binaries()
	if err != nil {
		return 0, false, err
	}
	return postgres.SystemIdentifier(ctx, binaries, dir, nil)
}

// Free is how many bytes a restore may write.
func (e *Environment) Free(context.Context) (int64, error) {
	return postgres.FreeSpace(e.path("pg"))
}

// Prepare makes a new empty folder for a cluster. One of that name is emptied, unless it is the live one or kept aside.
func (e *Environment) Prepare(ctx context.Context, name string) (string, error) {
	dir, err := e.prepare(ctx, name)
	if err != nil {
		return "", fmt.Errorf("prepare a place for cluster %s: %w", name, err)
	}
	return dir, nil
}

func (e *Environment) prepare(ctx context.Context, name string) (string, error) {
	if !clusterName.MatchString(name) || strings.HasPrefix(name, firstCluster) {
		return "", errors.New("not a usable name")
	}
	dir := e.clusterPath(name)
	live, err := e.isLive(name)
	if err != nil {
		return "", err
	}
	if live {
		return "", errors.New("it is the live one")
	}
	asides, err := e.asideLinks()
	if err != nil {
		return "", err
	}
	for aside, cluster := range asides {
		if cluster == dir {
			return "", fault.Hint(fmt.Errorf("it is kept aside as %s", aside), "drop that first, or choose another name")
		}
	}
	if err := e.endScratch(ctx, dir); err != nil {
		return "", err
	}
	if err := postgres.RemoveCluster(dir); err != nil {
		return "", err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	return dir, syncPath(filepath.Dir(dir))
}

// Live reports whether the cluster of that name is the live one: whether Swap has put it there.
func (e *Environment) Live(_ context.Context, name string) (bool, error) {
	return e.isLive(name)
}

func (e *Environment) isLive(name string) (bool, error) {
	live, err := e.liveCluster()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("which cluster of %s is live: %w", e.Name(), err)
	}
	return live == e.clusterPath(name), nil
}

// Discard undoes Prepare and what came after it, short of Swap: it ends a server that Try has left and deletes the folder. A cluster that is
// live or kept aside, and one that is gone, stay as they are.
func (e *Environment) Discard(ctx context.Context, name string) error {
	if err := e.discard(ctx, name); err != nil {
		return fmt.Errorf("discard cluster %s: %w", name, err)
	}
	return nil
}

func (e *Environment) discard(ctx context.Context, name string) error {
	if !clusterName.MatchString(name) || strings.HasPrefix(name, firstCluster) {
		return errors.New("no restore has made it")
	}
	dir := e.clusterPath(name)
	live, err := e.isLive(name)
	if err != nil || live {
		return err
	}
	asides, err := e.asideLinks()
	if err != nil {
		return err
	}
	for _, cluster := range asides {
		if cluster == dir {
			return nil
		}
	}
	if err := e.endScratch(ctx, dir); err != nil {
		return err
	}
	return postgres.RemoveCluster(dir)
}

// Own gives the folder and all in it to the database's user, closes it to others, and makes it survive a power failure.
func (e *Environment) Own(ctx context.Context, dir string) error {
	return postgres.Own(ctx, dir, nil)
}

// Try starts a server of its own on a prepared cluster, waits until it has recovered, lets check look at it, and stops it. The server
// archives nothing and listens on a free port of 127.0.0.1; url is its superuser's, in the database postgres.
func (e *Environment) Try(ctx context.Context, dir string, check func(ctx context.Context, url string) error) error {
	if err := e.endScratch(ctx, dir); err != nil {
		return fmt.Errorf("try %s: %w", dir, err)
	}
	server, err := e.scratch(dir)
	if err != nil {
		return fmt.Errorf("try %s: %w", dir, err)
	}
	sec, err := e.secrets()
	if err != nil {
		return err
	}
	if server.Port, err = pickPort(); err != nil {
		return err
	}
	if err := server.Start(ctx); err != nil {
		return fmt.Errorf("try %s: %w", dir, err)
	}
	err = check(ctx, server.URL("postgres", postgres.Superuser, sec.Superuser))
	// Whatever the check said, and also when ctx has ended, no server stays behind.
	if stopErr := e.endScratch(context.WithoutCancel(ctx), dir); stopErr != nil {
		return errors.Join(err, fmt.Errorf("try %s: %w", dir, stopErr))
	}
	return err
}

// Connect opens a connection to a server that Try has started, by the url that its check was given.
func (e *Environment) Connect(ctx context.Context, url string) (*pgx.Conn, error) {
	return pgx.Connect(ctx, url)
}

func (e *Environment) scratch(dir string) (*postgres.Server, error) {
	if live, err := e.liveCluster(); err == nil && live == filepath.Clean(dir) {
		return nil, errors.New("it is the live cluster")
	}
	server, err := e.server()
	if err != nil {
		return nil, err
	}
	settings := map[string]string{"archive_mode": "off", "archive_command": ""}
	for name, value := range server.Settings {
		if _, ours := settings[name]; !ours {
			settings[name] = value
		}
	}
	server.DataDir, server.Settings = dir, settings
	server.Log = e.logPath("postgres-" + filepath.Base(dir))
	return server, nil
}

// endScratches stops every server that Try has left. The live cluster's is not one of them.
func (e *Environment) endScratches(ctx context.Context) error {
	live, err := e.liveCluster()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	entries, err := os.ReadDir(e.path("pg", "clusters"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var errs []error
	for _, entry := range entries {
		if dir := e.clusterPath(entry.Name()); entry.IsDir() && dir != live {
			errs = append(errs, e.endScratch(ctx, dir))
		}
	}
	return errors.Join(errs...)
}

// endScratch stops a server that Try started, in this process or in one that was killed.
func (e *Environment) endScratch(ctx context.Context, dir string) error {
	server, err := e.scratch(dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return server.Stop(ctx, postgres.Fast)
}

// Stop makes the API answer 503 with Retry-After, lets requests in flight end, and ends replicas and database. It stays so, also over a
// restart of the machine, until Start.
func (e *Environment) Stop(ctx context.Context) error {
	return e.act(ctx, pathStopDatabase, "the database is being restored")
}

// Start undoes Stop and returns when all replicas are ready and the API answers. What was deployed last runs again.
func (e *Environment) Start(ctx context.Context) error { return e.start(ctx, startRequest{}) }

// StartWith is Start with the deployment that has to run from then on, whatever was deployed last. Its build must be installed. Without
// a build (SHA256 is empty) the database runs and no replica. A lower fencing number than one seen before is target.ErrFenced.
func (e *Environment) StartWith(ctx context.Context, d target.Deployment) error {
	start := startRequest{Chosen: true, Fence: d.Fence}
	if d.Build.SHA256 != "" {
		start.Deployment = &d
	}
	return e.start(ctx, start)
}

func (e *Environment) start(ctx context.Context, r startRequest) error {
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return e.tell(ctx, pathStartDatabase, nil, body)
}

// Swap makes the cluster in dir the live one and keeps the one before as aside. It needs Stop before it. It is one atomic change of a
// link: after a crash either the old cluster is live or the new one is, and repeating Swap completes it.
func (e *Environment) Swap(ctx context.Context, dir, aside string) error {
	if err := e.swap(ctx, filepath.Clean(dir), aside); err != nil {
		return fmt.Errorf("make %s the live cluster of %s: %w", filepath.Base(dir), e.Name(), err)
	}
	return nil
}

func (e *Environment) swap(_ context.Context, dir, aside string) error {
	if !clusterName.MatchString(aside) {
		return fmt.Errorf("%q is not a usable name for the data set aside", aside)
	}
	if filepath.Dir(dir) != e.path("pg", "clusters") {
		return fmt.Errorf("it does not lie in %s", e.path("pg", "clusters"))
	}
	if _, err := os.Stat(filepath.Join(dir, "PG_VERSION")); err != nil {
		return err
	}
	live, err := e.liveCluster()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if live == dir {
		return nil // done before
	}
	if err := e.refuseRunning(live); err != nil {
		return err
	}
	// The name for the old cluster comes first: once the live link has changed, nothing else would say which one it was.
	if live != "" {
		if err := e.setAside(live, aside); err != nil {
			return err
		}
	}
	if err := e.linkCurrent(filepath.Base(dir)); err != nil {
		return err
	}
	return e.forgetAside(dir)
}

func (e *Environment) refuseRunning(live string) error {
	st, err := loadState(e.statePath())
	if err != nil {
		return err
	}
	if !st.Stopped {
		return errors.New("the environment was not stopped for a restore")
	}
	if live == "" {
		return nil
	}
	server, err := e.server()
	if err != nil {
		return err
	}
	if pid, runs := server.PID(); runs {
		return fmt.Errorf("the live cluster's server still runs, process %d", pid)
	}
	return nil
}
