package kubernetes

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/smart-assistant/platform/cli/target"
)

// One deployment of an environment at a time. Pulumi's own lock on the stack would do for that, but it is not given back by who was
// killed, and tells nobody to make room. So each deployment takes its turn in the record, shows there that it is alive, and gives way
// when it is asked to. Only then is a lock that it left on the stack known to be a dead one's.

// turn is a deployment under way.
type turn struct {
	ID      string       `json:"id"`
	Fence   int64        `json:"fence"`
	Wants   string       `json:"wants"` // what it deploys, to tell whether another wants the same
	Build   target.Build `json:"build"`
	Began   time.Time    `json:"began"`
	Holder  process      `json:"holder"`
	Beat    int64        `json:"beat"`    // counts up while the holder lives
	Seen    time.Time    `json:"seen"`    // of the beat, by the holder's clock; for display
	Give    bool         `json:"give"`    // somebody wants something else: the holder ends
	Updated int          `json:"updated"` // replicas of Build that are ready
	Detail  string       `json:"detail,omitempty"`
}

const (
	beatEvery  = 2 * time.Second
	silentFor  = 45 * time.Second // a turn whose beat stands still this long, by the watcher's own clock, is over
	lookAround = 300 * time.Millisecond
)

// driver holds the turn.
type driver struct {
	c      *cluster
	now    func() time.Time
	mine   turn
	waited bool  // for another one's turn to end
	before *turn // that was not given back: it may have left a lock and half an operation

	cancel context.CancelCauseFunc
	stop   func() // of the beat; returns when it has ended

	mu      sync.Mutex
	updated int
	detail  string
}

// begin takes the turn for d, and raises the fence. It waits for the one before: as long as that one lives when it wants the same, else
// until it has given way. The returned context ends when somebody else wants the turn.
func (e *Environment) begin(ctx context.Context, c *cluster, d target.Deployment) (context.Context, *driver, error) {
	dr := &driver{c: c, now: e.now, mine: turn{
		ID: rand.Text(), Fence: d.Fence, Wants: wants(d), Build: d.Build, Began: e.now().UTC(), Holder: thisProcess(), Seen: e.now().UTC(),
	}}
	var other turn      // that is waited for
	var since time.Time // other has not moved
	for {
		before, err := dr.take(ctx, other.ID != "" && time.Since(since) > silentFor, other)
		if err != nil {
			return nil, nil, fmt.Errorf("deploy %s: %w", d.Build.Version, err)
		}
		if before == nil {
			turnCtx, cancel := context.WithCancelCause(ctx)
			dr.cancel = cancel
			dr.beat(turnCtx)
			return turnCtx, dr, nil
		}
		dr.waited = true
		if before.ID != other.ID || before.Beat != other.Beat {
			other, since = *before, time.Now()
		}
		select {
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		case <-time.After(lookAround):
		}
	}
}

// take tries to take the turn, and returns the one who has it. silent says that other has not moved for long enough.
func (dr *driver) take(ctx context.Context, silent bool, other turn) (before *turn, err error) {
	err = dr.c.update(ctx, func(r *record) error {
		before, dr.before = nil, nil
		if dr.mine.Fence < r.Fence {
			return fmt.Errorf("fencing number %d: %w: %d", dr.mine.Fence, target.ErrFenced, r.Fence)
		}
		r.Fence = dr.mine.Fence
		switch has := r.Turn; {
		case has == nil:
		case has.Holder.dead(), silent && !has.Holder.alive() && has.ID == other.ID && has.Beat == other.Beat:
			left := *has
			dr.before = &left
		default:
			held := *has
			before = &held
			if has.Wants != dr.mine.Wants || has.Fence < dr.mine.Fence {
				has.Give = true
			}
			return nil
		}
		mine := dr.mine
		r.Turn = &mine
		return nil
	})
	return before, err
}

// beat shows that this process lives, until the turn is given back, and ends the turn's context when somebody else wants it.
func (dr *driver) beat(ctx context.Context) {
	stopped := make(chan struct{})
	ended := make(chan struct{})
	dr.stop = sync.OnceFunc(func() { close(stopped); <-ended })
	go func() {
		defer close(ended)
		tick := time.NewTicker(beatEvery)
		defer tick.Stop()
		for {
			select {
			case <-stopped:
				return
			case <-tick.C:
			}
			// A holder whose caller has gone goes on beating: what it does about that takes a while, too. An API server that does not answer
			// is no reason to end: what is under way finds out by itself.
			if lost := dr.show(context.WithoutCancel(ctx)); lost != nil {
				dr.cancel(lost)
			}
		}
	}()
}

// show writes a beat, and returns why the turn is over, if it is.
func (dr *driver) show(ctx context.Context) (lost error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := dr.c.update(ctx, func(r *record) error {
		lost = nil
		switch {
		case r.Fence > dr.mine.Fence:
			lost = fmt.Errorf("fencing number %d: %w: %d", dr.mine.Fence, target.ErrFenced, r.Fence)
		case r.Turn == nil || r.Turn.ID != dr.mine.ID || r.Turn.Give:
			lost = target.ErrReplaced
		}
		if r.Turn == nil || r.Turn.ID != dr.mine.ID {
			return errNothing
		}
		dr.mu.Lock()
		defer dr.mu.Unlock()
		r.Turn.Beat++
		r.Turn.Seen, r.Turn.Updated, r.Turn.Detail = dr.now().UTC(), dr.updated, dr.detail
		return nil
	})
	_ = err // errNothing, or a cluster that does not answer
	return lost
}

var errNothing = fmt.Errorf("nothing to write")

func (dr *driver) report(updated int, detail string) {
	dr.mu.Lock()
	defer dr.mu.Unlock()
	dr.updated, dr.detail = updated, detail
}

// end gives the turn back, with what is to be remembered; also when the caller's context has ended.
func (dr *driver) end(ctx context.Context, remember func(*record)) error {
	dr.stop()
	dr.cancel(nil)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	return dr.c.update(ctx, func(r *record) error {
		if r.Turn == nil || r.Turn.ID != dr.mine.ID {
			return nil // somebody took it over: what is remembered now is theirs
		}
		r.Turn = nil
		if remember != nil {
			remember(r)
		}
		return nil
	})
}

// wants names what a deployment wants, whoever wants it.
func wants(d target.Deployment) string {
	d.Fence, d.Canary, d.Build.Artifact = 0, false, ""
	raw, err := json.Marshal(d) // sorts the keys
	if err != nil {
		panic(err) // plain data always marshals
	}
	return string(raw)
}

// process names a process of one machine, so that another one there can tell whether it lives.
type process struct {
	Machine string `json:"machine"` // its boot and process namespace; "" where that cannot be told
	PID     int    `json:"pid"`
	Started string `json:"started"` // in clock ticks since the boot
	Host    string `json:"host"`    // and User: as Pulumi names who has locked a stack
	User    string `json:"user"`
}

func thisProcess() process {
	p := process{PID: os.Getpid()}
	p.Host, _ = os.Hostname()
	if u, err := user.Current(); err == nil {
		p.User = u.Username
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return p
	}
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return p
	}
	p.Machine, p.Started = strings.TrimSpace(string(boot))+" "+namespace, startOf(os.Getpid())
	return p
}

// dead and alive say what is sure: of another machine's process, neither.
func (p process) dead() bool  { return p.here() && startOf(p.PID) != p.Started }
func (p process) alive() bool { return p.here() && startOf(p.PID) == p.Started }

func (p process) here() bool { return p.Machine != "" && p.Machine == thisProcess().Machine }

// startOf is when a process began, "" when there is none (proc(5), field 22 of stat).
func startOf(pid int) string {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	fields := bytes.Fields(raw[bytes.LastIndexByte(raw, ')')+1:])
	if len(fields) < 20 || string(fields[0]) == "Z" {
		return ""
	}
	return string(fields[19])
}
