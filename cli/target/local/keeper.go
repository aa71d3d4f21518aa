package local

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"
)

const (
	firstDelay = 200 * time.Millisecond // before a process that ended is started again; doubles each time
	lastDelay  = 30 * time.Second
	steady     = 30 * time.Second // a process that ran this long has no crash loop behind it

	probeStarting = 100 * time.Millisecond // between questions whether a new process is ready
	probeRunning  = time.Second            // and whether it still is
	probeTimeout  = 3 * time.Second
	unreadyAfter  = 3 // so many wrong answers in a row make a ready process an unready one
)

// The states of a keeper, as target.Replica and target.Component name them.
const (
	starting = "starting" // the process runs or is about to, and was not ready yet
	ready    = "ready"
	unready  = "unready" // it was ready, and does not say so now
	backoff  = "backoff" // it ended; it is started again soon
	draining = "draining"
	stopped  = "stopped"
)

// keeper keeps one process running: it starts it, asks whether it is ready, and starts it again with exponential back-off when it
// ends, until it is told to end.
type keeper struct {
	name   string
	start  func(ctx context.Context) (*process, error) // may wait until it is ready; may find one that runs already
	probe  func(ctx context.Context) error             // nil when the process is ready
	stop   func(p *process) error                      // ends the process; returns when it is gone
	turned func(ready bool)                            // told of each change; the process has not ended yet or has just ended
	jitter func() float64                              // random, 0 ≤ x < 1
	now    func() time.Time

	cancel context.CancelFunc
	done   chan struct{} // closed when run has returned
	kick   chan struct{} // asks for a probe at once

	mu     sync.Mutex
	view   keeperView
	failed error // of stop
}

// keeperView is what a keeper says of itself.
type keeperView struct {
	State    string
	Detail   string
	PID      int
	Since    time.Time
	Restarts int
	Ends     int // of the process before it was ready, in a row
}

// begin starts to keep the process running. It may be called once.
func (k *keeper) begin() {
	ctx, cancel := context.WithCancel(context.Background())
	k.cancel = cancel
	k.done = make(chan struct{})
	k.kick = make(chan struct{}, 1)
	k.set(starting, "")
	go k.run(ctx)
}

// end ends the process and waits until it is gone.
func (k *keeper) end() error {
	k.cancel()
	<-k.done
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failed
}

func (k *keeper) run(ctx context.Context) {
	defer close(k.done)
	for failures := 0; ; {
		if ctx.Err() != nil { // while it waited to start the process again
			k.set(stopped, "")
			return
		}
		began := k.now()
		p, err := k.start(ctx)
		if err == nil {
			k.running(p)
			err = k.watch(ctx, p)
			k.turned(false)
		}
		if ctx.Err() != nil {
			if p != nil {
				err := k.stop(p)
				k.mu.Lock()
				k.failed = err
				k.mu.Unlock()
			}
			k.set(stopped, "")
			return
		}
		failures++
		if k.now().Sub(began) > steady {
			failures = 1
		}
		k.ended(err)
		select {
		case <-ctx.Done():
		case <-time.After(delay(failures, k.jitter())):
		}
		k.restarting(ctx)
	}
}

// delay is exponential, with up to a fifth taken off by chance so that replicas which ended together do not start together.
func delay(failures int, random float64) time.Duration {
	d := math.Min(float64(firstDelay)*math.Pow(2, float64(failures-1)), float64(lastDelay))
	return time.Duration(d * (1 - 0.2*random))
}

// watch asks the process again and again whether it is ready, until it or ctx has ended.
func (k *keeper) watch(ctx context.Context, p *process) error {
	wrong, isReady := 0, false
	for {
		wait := probeRunning
		err := k.ask(ctx, p)
		switch {
		case err == nil && !isReady:
			isReady, wrong = true, 0
			k.set(ready, "")
			k.turned(true)
		case err == nil:
			wrong = 0
		case isReady:
			if wrong++; wrong >= unreadyAfter {
				isReady = false
				k.turned(false)
				k.set(unready, err.Error())
			}
			wait = probeStarting
		default:
			k.explain(err.Error())
			wait = probeStarting
		}
		timer := time.NewTimer(wait)
		select {
		case <-p.done:
			timer.Stop()
			return fmt.Errorf("ended: %w", p.status)
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-k.kick:
			timer.Stop()
		case <-timer.C:
		}
	}
}

func (k *keeper) ask(ctx context.Context, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	asked := make(chan struct{})
	defer close(asked)
	go func() { // a process that has ended does not answer any more
		select {
		case <-p.done:
			cancel()
		case <-asked:
		}
	}()
	return k.probe(ctx)
}

// suspect asks for a probe now.
func (k *keeper) suspect() {
	select {
	case k.kick <- struct{}{}:
	default: // asked already
	}
}

func (k *keeper) look() keeperView {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.view
}

func (k *keeper) set(state, detail string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.view.State != state {
		k.view.State, k.view.Since = state, k.now()
	}
	if state == ready {
		k.view.Ends = 0
	}
	if state == stopped {
		k.view.PID = 0
	}
	k.view.Detail = detail
}

func (k *keeper) explain(detail string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.view.Detail = detail
}

func (k *keeper) running(p *process) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.view.PID = p.id.PID
}

func (k *keeper) ended(why error) {
	k.set(backoff, why.Error())
	k.mu.Lock()
	defer k.mu.Unlock()
	k.view.PID = 0
	k.view.Ends++
}

func (k *keeper) restarting(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	why := k.look().Detail
	k.set(starting, why)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.view.Restarts++
}
