package local

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/smart-assistant/platform/cli/target"
)

// Job is something that the supervisor does again and again while the environment is up.
type Job struct {
	Name string
	// Next returns when the job is due after it began at last, and false for never. A zero last stands for never before. A moment that
	// has passed is made up for at once.
	Next func(last time.Time) (time.Time, bool)
	Run  func(ctx context.Context) error
}

// Every is a Job's Next for an interval.
func Every(d time.Duration) func(time.Time) (time.Time, bool) {
	return func(last time.Time) (time.Time, bool) { return last.Add(d), d > 0 }
}

const (
	retryFailed = 5 * time.Minute // a job that failed is tried again after this time, if it is not due earlier
	mostJitter  = time.Minute     // environments that share a schedule do not all begin in the same second
)

// scheduler runs jobs one after the other. It waits while the database is away or the entrance paused.
type scheduler struct {
	jobs       []Job
	supervisor *supervisor

	mu       sync.Mutex
	running  map[string]time.Time
	asked    []string
	answered map[string]float64 // jitter of each job's next run
}

func (c *scheduler) run(ctx context.Context) {
	if len(c.jobs) == 0 {
		return
	}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !c.supervisor.quiet() {
			continue
		}
		for _, j := range c.jobs {
			if ctx.Err() == nil && (c.takeRequest(j.Name) || c.due(j)) {
				c.do(ctx, j)
			}
		}
	}
}

// quiet reports whether nothing stands in the way of a job.
func (s *supervisor) quiet() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.Paused == "" && s.database != nil && s.database.look().State == ready
}

func (c *scheduler) due(j Job) bool {
	c.supervisor.mu.Lock()
	last := c.supervisor.state.Jobs[j.Name]
	c.supervisor.mu.Unlock()
	next, ok := c.next(j, last)
	return ok && !c.supervisor.now().Before(next)
}

func (c *scheduler) next(j Job, last job) (time.Time, bool) {
	next, ok := j.Next(last.Began)
	if !ok {
		return next, false
	}
	if last.Error != "" {
		if again := last.Began.Add(last.Took + retryFailed); again.Before(next) {
			return again, true
		}
	}
	if last.Began.IsZero() {
		return next, true
	}
	return next.Add(time.Duration(c.jitter(j.Name) * float64(min(next.Sub(last.Began)/20, mostJitter)))), true
}

// jitter is drawn once for each run.
func (c *scheduler) jitter(name string) float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answered == nil {
		c.answered = map[string]float64{}
	}
	if _, drawn := c.answered[name]; !drawn {
		c.answered[name] = c.supervisor.jitter()
	}
	return c.answered[name]
}

func (c *scheduler) do(ctx context.Context, j Job) {
	s := c.supervisor
	began := s.now()
	c.mu.Lock()
	c.running[j.Name] = began
	delete(c.answered, j.Name)
	c.mu.Unlock()

	err := j.Run(ctx)

	c.mu.Lock()
	delete(c.running, j.Name)
	c.mu.Unlock()
	took := s.now().Sub(began)
	saved := s.update(func(st *state) {
		last := job{Began: began, Took: took, LastOK: st.Jobs[j.Name].LastOK}
		if err == nil {
			last.LastOK = began.Add(took)
		} else {
			last.Error = err.Error()
		}
		st.Jobs[j.Name] = last
	})
	if err != nil || saved != nil {
		s.log.Error("scheduled job failed", "job", j.Name, "took", took, "error", err, "record", saved)
		return
	}
	s.log.Info("scheduled job done", "job", j.Name, "took", took)
}

// request asks for a run out of turn.
func (c *scheduler) request(name string) error {
	for _, j := range c.jobs {
		if j.Name == name {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.asked = append(c.asked, name)
			return nil
		}
	}
	return fmt.Errorf("there is no scheduled job %q", name)
}

func (c *scheduler) takeRequest(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := false
	rest := c.asked[:0]
	for _, asked := range c.asked {
		if asked == name {
			found = true
		} else {
			rest = append(rest, asked)
		}
	}
	c.asked = rest
	return found
}

// results is what the status says of the jobs. last is read under the supervisor's lock.
func (c *scheduler) results(last map[string]job) []target.JobResult {
	var all []target.JobResult
	for _, j := range c.jobs {
		was := last[j.Name]
		r := target.JobResult{Name: j.Name, Began: was.Began, Took: was.Took, Error: was.Error, LastOK: was.LastOK}
		if next, ok := c.next(j, was); ok {
			r.Next = next
		}
		c.mu.Lock()
		if began, running := c.running[j.Name]; running {
			r.Running, r.Began = true, began
		}
		c.mu.Unlock()
		all = append(all, r)
	}
	return all
}
