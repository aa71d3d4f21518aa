package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/smart-assistant/platform/cli/target"
)

// state is what outlives the supervisor: run/state.json. The holder of run/supervisor.lock writes it, everybody may read it.
type state struct {
	Ports      ports              `json:"ports"`
	Deployment *target.Deployment `json:"deployment,omitempty"` // whose rollout ended well: what has to run
	Rollout    *target.Rollout    `json:"rollout,omitempty"`    // the last one, if it failed
	Fence      int64              `json:"fence"`                // highest seen
	Paused     string             `json:"paused,omitempty"`
	Stopped    bool               `json:"stopped,omitempty"` // database and replicas stay ended, until a restore says Start
	Serial     int                `json:"serial"`            // number of the newest replica
	Processes  map[string]record  `json:"processes"`         // by component or replica
	Jobs       map[string]job     `json:"jobs,omitempty"`
}

type ports struct {
	Proxy    int `json:"proxy"`
	Postgres int `json:"postgres"`
	S3       int `json:"s3"`
}

// record is enough to find a process again, and to know that it is the same one.
type record struct {
	processID
	Port       int    `json:"port,omitempty"`
	Deployment string `json:"deployment,omitempty"` // key of what a replica runs
}

// job is what is remembered of a scheduled job.
type job struct {
	Began  time.Time     `json:"began"`
	Took   time.Duration `json:"took"`
	Error  string        `json:"error,omitempty"`
	LastOK time.Time     `json:"lastOK,omitzero"`
}

func (e *Environment) statePath() string  { return e.path("run", "state.json") }
func (e *Environment) configPath() string { return e.path("run", "config.json") }

// loadState reads the state; an environment that was never up has the zero one.
func loadState(path string) (state, error) {
	st := state{Processes: map[string]record{}, Jobs: map[string]job{}}
	err := readJSON(path, &st)
	if errors.Is(err, fs.ErrNotExist) {
		return st, nil
	}
	return st, err
}

func readJSON(path string, v any) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

func writeJSON(path string, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(path, append(raw, '\n'))
}

// writeFile replaces a file whole: after a crash there is the old one or the new one. Mode 0600.
func writeFile(path string, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(content)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return syncPath(filepath.Dir(path))
}

// syncPath makes a file's content, or a folder's list of names, survive a power failure.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
