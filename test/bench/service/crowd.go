package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// crowded is what many open connections showed.
type crowded struct {
	connections int
	answered    int
	times       quantiles
	before      int64 // bytes of resident memory, without them
	during      int64 // at most, with them
	peak        int64 // of the whole run, the load before it included
}

const (
	crowdSpan  = 20 * time.Second
	crowdPause = 5 * time.Second // between two requests of one connection
)

// crowd opens connections that each ask for the list now and then, and looks at the service's memory.
func crowd(ctx context.Context, a *assistd, connections int) (crowded, error) {
	result := crowded{connections: connections}
	result.before, _ = a.memory()
	token, err := a.access(ctx)
	if err != nil {
		return result, err
	}
	list := request("GET", fmt.Sprintf("/api/v1/emails?limit=%d", pageSize), token, nil)
	until := time.Now().Add(crowdSpan)
	var group sync.WaitGroup
	var mu sync.Mutex
	var times []time.Duration
	var failure error
	one := func(i int) error {
		next := time.Now().Add(crowdPause * time.Duration(i) / time.Duration(connections))
		time.Sleep(time.Until(next)) // the service closes connections that have nothing to ask
		c, err := dial(ctx, a.address)
		if err != nil {
			return err
		}
		defer c.close()
		for ; next.Before(until); next = next.Add(crowdPause) {
			time.Sleep(time.Until(next))
			began := time.Now()
			if _, _, err := c.do(list); err != nil {
				return err
			}
			mu.Lock()
			times = append(times, time.Since(began))
			mu.Unlock()
		}
		time.Sleep(time.Until(until)) // the connection stays open to the end
		return nil
	}
	for i := range connections {
		group.Go(func() {
			if err := one(i); err != nil {
				mu.Lock()
				failure = err
				mu.Unlock()
			}
		})
	}
	for time.Now().Before(until) && ctx.Err() == nil {
		now, _ := a.memory()
		result.during = max(result.during, now)
		time.Sleep(100 * time.Millisecond)
	}
	group.Wait()
	_, result.peak = a.memory()
	result.answered, result.times = len(times), quantilesOf(times)
	return result, failure
}

func (c crowded) text() string {
	return fmt.Sprintf("%d connections, each asking for the list every %s: %d answers, p50 %s, p95 %s, p99 %s. Resident memory before %d MiB, with them at most %d MiB; peak of the whole run %d MiB.\n",
		c.connections, crowdPause, c.answered, milliseconds(c.times.p50), milliseconds(c.times.p95), milliseconds(c.times.p99), c.before>>20, c.during>>20, c.peak>>20)
}
