package schema

import (
	"fmt"
	"strings"
)

// EventKind names a line of what `assistd migrate up --json` and `… down --json` print.
type EventKind string

const (
	WaitingLock EventKind = "waiting-lock" // another runner holds the database's migration lock
	Repair      EventKind = "repair"       // an INVALID index of an interrupted run is dropped before the migration is run again
	Start       EventKind = "start"
	Retry       EventKind = "retry" // lock timeout or deadlock: rolled back, and tried again after a pause
	Done        EventKind = "done"
	Finished    EventKind = "finished" // last line of a run in which everything went well
	Failed      EventKind = "failed"   // last line of a run in which something did not
)

// Direction of a run.
type Direction string

const (
	Up   Direction = "up"
	Down Direction = "down"
)

// Event is one such line. Version, Name and Phase say which migration it is about; they are empty where it is about the run.
type Event struct {
	Event     EventKind `json:"event"`
	Direction Direction `json:"direction"`
	Version   int64     `json:"version,omitempty"`
	Name      string    `json:"name,omitempty"`
	Phase     Phase     `json:"phase,omitempty"`
	Attempt   int       `json:"attempt,omitempty"` // of start and retry, from 1
	Millis    int64     `json:"ms"`                // of done, finished and failed: how long it took; of retry: the pause
	Detail    string    `json:"detail,omitempty"`  // one sentence for people

	Current   int64   `json:"current"`             // of done, finished and failed: version of the database now
	Applied   []int64 `json:"applied,omitempty"`   // of finished and failed: versions that this run applied (or, downwards, took back)
	Remaining []int64 `json:"remaining,omitempty"` // of failed: versions that were planned and not reached; the failed one comes first
	Error     string  `json:"error,omitempty"`     // of failed
}

// String is the event as a line for people.
func (e Event) String() string {
	subject := fmt.Sprintf("%-12s", e.Event)
	if e.Version != 0 {
		subject += fmt.Sprintf(" %d %s", e.Version, e.Name)
	}
	switch e.Event {
	case Done:
		return fmt.Sprintf("%s  %d ms", subject, e.Millis)
	case Retry:
		return fmt.Sprintf("%s  in %d ms: %s", subject, e.Millis, e.Detail)
	case Finished:
		return fmt.Sprintf("%s %d migrations %s, schema %d, %d ms", subject, len(e.Applied), e.Direction, e.Current, e.Millis)
	case Failed:
		return fmt.Sprintf("%s %s; done %v, left %v, schema %d", subject, e.Error, e.Applied, e.Remaining, e.Current)
	default:
		return strings.TrimSpace(subject + "  " + e.Detail)
	}
}
