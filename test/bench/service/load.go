package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// contender does one thing in one way.
type contender struct {
	what, name string
	server     *process // whose processor time counts; nil where there is none
	// open prepares one worker. What it returns does the thing once, and says the time to the first byte where that is of interest.
	open opener
}

// figures are what one run showed.
type figures struct {
	perSecond float64
	whole     quantiles
	first     quantiles     // of the times to the first byte
	cpu       time.Duration // of the server, for one request
}

type quantiles struct{ p50, p95, p99 time.Duration }

func quantilesOf(times []time.Duration) quantiles {
	if len(times) == 0 {
		return quantiles{}
	}
	slices.Sort(times)
	at := func(q float64) time.Duration { return times[min(len(times)-1, int(q*float64(len(times))))] }
	return quantiles{at(.5), at(.95), at(.99)}
}

const warmUp = time.Second

// measure runs a contender in a closed loop: each worker asks again when it has its answer. What ends in the span counts.
func measure(ctx context.Context, c contender, workers int, span time.Duration) (figures, error) {
	type worked struct {
		whole, first []time.Duration
		err          error
	}
	all := make([]worked, workers)
	calls := make([]func() (time.Duration, error), workers)
	for i := range workers {
		do, end, err := c.open(ctx, i)
		if err != nil {
			return figures{}, fmt.Errorf("prepare: %w", err)
		}
		defer end()
		calls[i] = do
	}
	from := time.Now().Add(warmUp)
	until := from.Add(span)
	var group sync.WaitGroup
	for i, do := range calls {
		group.Go(func() {
			w := &all[i]
			for ctx.Err() == nil {
				began := time.Now()
				if began.After(until) {
					return
				}
				first, err := do()
				if err != nil {
					w.err = err
					return
				}
				if ended := time.Now(); ended.After(from) && !ended.After(until) {
					w.whole = append(w.whole, ended.Sub(began))
					if first > 0 {
						w.first = append(w.first, first)
					}
				}
			}
		})
	}
	time.Sleep(time.Until(from))
	var before, after time.Duration
	if c.server != nil {
		before = c.server.cpu()
		time.Sleep(time.Until(until))
		after = c.server.cpu()
	}
	group.Wait()
	var whole, first []time.Duration
	for _, w := range all {
		if w.err != nil {
			return figures{}, w.err
		}
		whole, first = append(whole, w.whole...), append(first, w.first...)
	}
	if len(whole) == 0 {
		return figures{}, fmt.Errorf("nothing was answered within %s", span)
	}
	return figures{
		perSecond: float64(len(whole)) / span.Seconds(), whole: quantilesOf(whole), first: quantilesOf(first),
		cpu: (after - before) / time.Duration(len(whole)),
	}, ctx.Err()
}
